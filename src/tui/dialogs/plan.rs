//! A plan that waits for its answer. Only [`PlanDialog::confirm`] lets a plan become a job that does more
//! than create.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::forest::Forest;
use crate::ops::{
    Commit, CommittedLayer, Confirm, Consent, Danger, Direction, Plan, Request, Squash, WayOut,
};
use crate::tui::app::App;
use crate::tui::bindings::{self, Row, Scope, dialog};
use crate::tui::forms::name_beside;
use crate::tui::key::{Code, Key};
use crate::tui::msg::Effect;
use crate::tui::query::QueryId;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::tui::views::words::{LABEL_ROOM, is_refusal, push_words, push_wrapped};

use super::next::Next;
use super::window::{Context, Window};

/// What a key can mean while a plan waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Says yes to a plan.
    Confirm,
    /// Leaves a dialog.
    Close,
    /// Fires what has the focus.
    Fire,
    /// To the next field or button.
    NextField,
    /// To the field or button before.
    PreviousField,
    /// A way out of a refusal; its number is the key's.
    WayOut,
    /// What happens to the committed layer, or where a squashed one goes.
    ToggleLayer,
    /// Commits into the next image below.
    Into,
    /// Puts aside what the base shows.
    KeepOld,
    /// Proves that no other image changes.
    Verify,
    /// Gives a passphrase.
    Unlock,
    /// The same as commands, shown or hidden.
    Commands,
    /// Scrolls down.
    ScrollDown,
    /// Scrolls up.
    ScrollUp,
}

impl bindings::Action for Action {
    const SCOPE: Scope = Scope::Plan;

    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Confirm, "plan-yes", &[Key::char('y')], "do it", ""),
        dialog(Self::Close, "plan-no", &[Key::of(Code::Esc), Key::ctrl('c')], "nothing happens", ""),
        dialog(Self::Fire, "plan-fire", &[Key::of(Code::Enter)], "what has the focus", ""),
        dialog(Self::NextField, "plan-next", &[Key::of(Code::Tab), Key::of(Code::Right)], "next button", ""),
        dialog(Self::PreviousField, "plan-previous", &[Key::of(Code::BackTab), Key::of(Code::Left)], "button before", ""),
        dialog(Self::WayOut, "plan-instead", &[Key::char('1'), Key::char('2'), Key::char('3'), Key::char('4'), Key::char('5'), Key::char('6'), Key::char('7'), Key::char('8'), Key::char('9')], "plan that instead", ""),
        dialog(Self::ToggleLayer, "plan-layer", &[Key::char('t')], "committed layer: to the trash, or kept and emptied; squashed layer: down or up", ""),
        dialog(Self::Into, "plan-into", &[Key::char('i')], "commit into the next image below", ""),
        dialog(Self::KeepOld, "plan-keep-old", &[Key::char('o')], "put aside what the base shows now, or not", ""),
        dialog(Self::Verify, "plan-verify", &[Key::char('v')], "read all images around before and after, and prove that the others show the same", ""),
        dialog(Self::Unlock, "plan-unlock", &[Key::char('u')], "give the passphrase of an encrypted image", ""),
        dialog(Self::Commands, "plan-commands", &[Key::char('p')], "the same as qemu-img commands", ""),
        dialog(Self::ScrollDown, "plan-down", &[Key::of(Code::Down), Key::char('j'), Key::of(Code::PageDown)], "scroll down", ""),
        dialog(Self::ScrollUp, "plan-up", &[Key::of(Code::Up), Key::char('k'), Key::of(Code::PageUp)], "scroll up", ""),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}

/// What fires on Enter in a plan's dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Button {
    /// Go back; nothing happens.
    #[default]
    Cancel,
    /// Do it.
    Confirm,
}

/// A plan waiting for an answer.
#[derive(Debug)]
pub struct PlanDialog {
    /// The question's number.
    pub query_id: QueryId,
    /// What is asked.
    pub request: Request,
    /// The plan; none while it is being made.
    pub plan: Option<Box<Plan>>,
    /// What comes before the plan: why it was made anew, why an answer did not do.
    pub reason: Option<String>,
    /// What fires on Enter.
    pub button: Button,
    /// The number typed so far.
    pub typed: String,
    /// Lines scrolled past.
    pub scroll: usize,
    /// Whether the same as commands is shown.
    pub commands: bool,
    /// Whether running it has to prove that no other image changes.
    pub proves: bool,
    /// The encrypted image whose passphrase is missing.
    pub locked: Option<PathBuf>,
}

impl PlanDialog {
    /// A dialog that waits for its plan.
    #[must_use]
    pub fn new(query_id: QueryId, request: Request) -> Self {
        Self {
            query_id,
            request,
            plan: None,
            reason: None,
            button: Button::Cancel,
            typed: String::new(),
            scroll: 0,
            commands: false,
            proves: false,
            locked: None,
        }
    }

    /// The ways out of a refusal, in the order of their keys.
    #[must_use]
    pub fn ways_out(&self) -> Vec<&WayOut> {
        let refusals = self.plan.iter().flat_map(|plan| &plan.refusals);
        refusals
            .flat_map(|refusal| &refusal.ways_out)
            .take(9)
            .collect()
    }

    /// The number that has to be typed, if one has to be.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        match self.plan.as_ref()?.confirm {
            Confirm::Count(count) => Some(count),
            Confirm::Nothing | Confirm::Yes | Confirm::Impossible => None,
        }
    }

    /// Whether a yes is possible at all.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.plan
            .as_ref()
            .is_some_and(|plan| plan.confirm != Confirm::Impossible)
    }
}

impl PlanDialog {
    /// Opens the dialog and asks for its plan.
    pub(in crate::tui) fn ask(app: &mut App, request: Request, effects: &mut Vec<Effect>) -> Self {
        let query_id = app.query_id();
        effects.push(Effect::Plan {
            query_id,
            request: request.clone(),
            forest: Arc::clone(&app.forest),
            delay: Duration::ZERO,
        });
        Self::new(query_id, request)
    }

    /// The person says yes: with the number typed where one is asked for.
    fn confirm(&mut self) -> Next {
        let Some(plan) = &self.plan else {
            self.reason = Some("the plan is not there yet".to_owned());
            return Next::Stay;
        };
        let consent = match self.typed.parse() {
            Ok(count) if self.count().is_some() => Consent::Count(count),
            _ => Consent::Yes,
        };
        match plan.as_ref().clone().agree(consent) {
            Ok(ready) if self.proves => Next::Agreed(vec![ready.proving()]),
            Ok(ready) => Next::Agreed(vec![ready]),
            Err(denied) => {
                self.typed.clear();
                self.reason = Some(denied.to_string());
                Next::Stay
            }
        }
    }

    /// How far it can be scrolled.
    fn scroll_limit(&self, app: &App, area: Rect) -> usize {
        let inner = usize::from(area.width.saturating_sub(2));
        let lines = plan_lines(app, self, inner).len();
        let seen = usize::from(area.height.saturating_sub(2))
            .saturating_sub(answer(app, self, inner).len());
        lines.saturating_sub(seen)
    }

    fn way_out(&mut self, key: Key) -> Next {
        let Code::Char(c) = key.code else {
            return Next::Stay;
        };
        if self.count().is_some() {
            self.type_count(key);
            return Next::Stay;
        }
        let number = c.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
        let chosen = number
            .and_then(|number| self.ways_out().get(number.checked_sub(1)?).copied())
            .map(|way| way.request.clone());
        chosen.map_or(Next::Stay, |request| Next::Ask(Box::new(request)))
    }

    fn otherwise(&self, app: &App, other: Otherwise) -> Next {
        match otherwise(&app.forest, &self.request, other) {
            Some(request) => Next::AskInstead {
                request: Box::new(request),
                proves: self.proves,
            },
            None => Next::Stay,
        }
    }

    fn type_count(&mut self, key: Key) {
        if self.count().is_none() {
            return;
        }
        match key.code {
            Code::Backspace => {
                self.typed.pop();
            }
            Code::Char(c) if c.is_ascii_digit() && self.typed.len() < 12 => self.typed.push(c),
            _ => {}
        }
    }
}

/// The button that leads back, as it is written.
const CANCEL: &str = "[ Cancel ]";

impl Window for PlanDialog {
    type Action = Action;

    fn update(&mut self, action: Action, key: Key, context: &mut Context<'_>) -> Next {
        let app = &mut *context.app;
        let most = self.scroll_limit(app, context.area);
        match action {
            Action::Close => return Next::Cancel,
            Action::Confirm => return self.confirm(),
            Action::Fire => {
                if self.count().is_some() && !self.typed.is_empty() {
                    return self.confirm();
                }
                return match self.button {
                    Button::Cancel => Next::Cancel,
                    Button::Confirm => self.confirm(),
                };
            }
            Action::NextField | Action::PreviousField => {
                self.button = match self.button {
                    Button::Cancel if self.is_possible() => Button::Confirm,
                    Button::Cancel | Button::Confirm => Button::Cancel,
                };
            }
            Action::ScrollDown => self.scroll = (self.scroll + 1).min(most),
            Action::ScrollUp => self.scroll = self.scroll.min(most).saturating_sub(1),
            Action::Commands => self.commands = !self.commands,
            Action::WayOut => return self.way_out(key),
            Action::ToggleLayer => return self.otherwise(app, Otherwise::Layer),
            Action::Into => return self.otherwise(app, Otherwise::Into),
            Action::KeepOld => return self.otherwise(app, Otherwise::KeepOld),
            Action::Verify => self.proves = !self.proves,
            Action::Unlock => match self.locked.clone() {
                Some(image) => return Next::AskSecret(image),
                None => app.tell(
                    "No passphrase of an image that is there is missing. That of a new one is typed in its form.",
                ),
            },
        }
        Next::Stay
    }

    fn type_key(&mut self, key: Key, _context: &mut Context<'_>) -> Next {
        self.type_count(key);
        Next::Stay
    }

    fn pressed(&mut self, spot: Position, context: &mut Context<'_>) -> Next {
        match is_cancel(context.app, self, context.area, spot) {
            true => Next::Cancel,
            false => Next::Stay,
        }
    }

    fn edge(&self, app: &App, width: usize) -> Line<'static> {
        frame::join(app, plan_hints(app, self), width)
    }

    fn turns(&self) -> bool {
        true
    }

    fn height(&self, app: &App, width: usize) -> Option<usize> {
        Some(plan_lines(app, self, width).len() + answer(app, self, width).len())
    }

    fn footer(&self, app: &App, width: usize, area: Rect) -> Line<'static> {
        let left = hints_left(app, self, area);
        if !left.is_empty() {
            return frame::spread(app, left, width);
        }
        let signs = if app.settings.ascii {
            "x goes  ! would break  ~ header rewritten  = data rewritten  + new"
        } else {
            "✗ goes  ! would break  ~ header rewritten  ≈ data rewritten  + new"
        };
        Line::raw(text::cut_end(
            &format!(" {signs}"),
            width,
            app.settings.ascii,
        ))
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw(screen, app, self, area);
    }
}

/// What about a request can be asked for in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    /// What happens to the committed layer, or where a squashed one goes.
    Layer,
    /// The image committed into.
    Into,
    /// Whether what the base shows is put aside.
    KeepOld,
}

/// The same asked for in another way, where the request has one.
fn otherwise(forest: &Forest, request: &Request, other: Otherwise) -> Option<Request> {
    let mut request = request.clone();
    match &mut request {
        Request::Commit(Commit {
            overlay,
            into,
            layer,
            keep_old,
            ..
        }) => match other {
            Otherwise::Into => {
                *into = next_below(forest, overlay, into.as_deref());
                if keep_old.is_some() {
                    // It is named after the image whose content it keeps.
                    *keep_old = old_name(forest, overlay, into.as_deref());
                }
            }
            Otherwise::KeepOld => {
                *keep_old = match keep_old {
                    Some(_) => None,
                    None => old_name(forest, overlay, into.as_deref()),
                }
            }
            Otherwise::Layer => {
                *layer = match layer {
                    CommittedLayer::Trash => CommittedLayer::Keep,
                    CommittedLayer::Keep => CommittedLayer::Trash,
                }
            }
        },
        Request::Squash(Squash { direction, .. }) if other == Otherwise::Layer => {
            *direction = match direction {
                None => Some(Direction::Down),
                Some(Direction::Down) => Some(Direction::Up),
                Some(Direction::Up) => None,
            }
        }
        _ => return None,
    }
    Some(request)
}

/// The image below the one committed into; behind the root it begins again with what the overlay is
/// built on, which needs no name.
fn next_below(forest: &Forest, overlay: &Path, into: Option<&Path>) -> Option<PathBuf> {
    let chain = forest.chain(forest.by_path(overlay)?.id);
    let paths: Vec<&Path> = chain
        .iter()
        .filter_map(|id| Some(forest.get(*id)?.path.as_path()))
        .collect();
    let now = match into {
        Some(into) => paths.iter().position(|path| *path == into)?,
        None => 1,
    };
    paths.get(now + 1).map(|path| path.to_path_buf())
}

/// A free name for the overlay that keeps what the base shows now.
fn old_name(forest: &Forest, overlay: &Path, into: Option<&Path>) -> Option<PathBuf> {
    let base = match into {
        Some(into) => into,
        None => {
            let base = forest.by_path(overlay)?.parent?;
            forest.get(base)?.path.as_path()
        }
    };
    Some(base.with_file_name(name_beside(forest, base, "before")))
}

fn draw(screen: &mut Frame<'_>, app: &App, dialog: &PlanDialog, area: Rect) {
    let title = match &dialog.plan {
        Some(plan) => text::safe(&plan.title),
        None => "Making a plan".to_owned(),
    };
    let width = usize::from(area.width).saturating_sub(2);
    let bottom = dialog.edge(app, width);
    let inside = frame::dialog(screen, app, area, &title, bottom);
    let lines = plan_lines(app, dialog, width);
    let answer = answer(app, dialog, width);
    let seen = usize::from(inside.height).saturating_sub(answer.len());
    let most = lines.len().saturating_sub(seen);
    let scroll = dialog.scroll.min(most);
    let mut shown: Vec<Line<'static>> = lines.into_iter().skip(scroll).take(seen).collect();
    shown.extend(answer.into_iter().take(usize::from(inside.height)));
    screen.render_widget(Paragraph::new(shown), inside);
    if most > 0 {
        let text = format!("{} more below, j k scrolls", most - scroll);
        frame::corner(screen, app, area, &text);
    }
}

/// The keys of a plan's dialog that had no room on its frame.
fn hints_left(app: &App, dialog: &PlanDialog, area: Rect) -> Vec<(String, String)> {
    let room = usize::from(area.width).saturating_sub(2);
    let hints = plan_hints(app, dialog);
    let shown = frame::fitting(app, &hints, room);
    hints.into_iter().skip(shown).collect()
}

/// The keys of a plan's dialog, as far as they mean something for this plan.
fn plan_hints(app: &App, dialog: &PlanDialog) -> Vec<(String, String)> {
    let key = |action| {
        let entry = app.settings.keymap.entry::<Action>(action);
        entry.map(|entry| entry.key())
    };
    let mut hints: Vec<(Option<String>, String)> = Vec::new();
    let ways = dialog.ways_out().len();
    if ways > 0 {
        hints.push((
            Some(if ways == 1 {
                "1".to_owned()
            } else {
                format!("1-{ways}")
            }),
            "instead".to_owned(),
        ));
    }
    if dialog.count().is_some() {
        hints.push((
            Some("Enter".to_owned()),
            "with the number does it".to_owned(),
        ));
    } else if dialog.is_possible() {
        hints.push((key(Action::Confirm), "do it".to_owned()));
    }
    hints.push((key(Action::Close), "nothing happens".to_owned()));
    if dialog.locked.is_some() {
        hints.push((key(Action::Unlock), "give the passphrase".to_owned()));
    }
    match &dialog.request {
        Request::Commit(Commit {
            overlay,
            layer,
            keep_old,
            ..
        }) => {
            let other = match layer {
                CommittedLayer::Trash => "keep the layer",
                CommittedLayer::Keep => "layer to the trash",
            };
            hints.push((key(Action::ToggleLayer), other.to_owned()));
            let node = app.forest.by_path(overlay);
            // With one image below there is no other to commit into.
            if node.is_some_and(|node| app.forest.chain(node.id).len() > 2) {
                hints.push((key(Action::Into), "into the next below".to_owned()));
            }
            let old = match keep_old {
                None => "keep the old base too",
                Some(_) => "no old base",
            };
            hints.push((key(Action::KeepOld), old.to_owned()));
        }
        Request::Squash(Squash { direction, .. }) => {
            let other = match direction {
                None => "down",
                Some(Direction::Down) => "up",
                Some(Direction::Up) => "whichever is cheaper",
            };
            hints.push((key(Action::ToggleLayer), other.to_owned()));
        }
        _ => {}
    }
    if dialog.is_possible() {
        let what = if dialog.proves {
            "do not prove"
        } else {
            "prove"
        };
        hints.push((key(Action::Verify), what.to_owned()));
    }
    if dialog
        .plan
        .as_ref()
        .is_some_and(|plan| !plan.commands.is_empty())
    {
        let what = if dialog.commands {
            "hide commands"
        } else {
            "as commands"
        };
        hints.push((key(Action::Commands), what.to_owned()));
    }
    hints
        .into_iter()
        .filter_map(|(key, what)| Some((key?, what)))
        .collect()
}

/// Whether the button that leads back is drawn at this place.
fn is_cancel(app: &App, dialog: &PlanDialog, area: Rect, spot: Position) -> bool {
    let inside = frame::inside(area);
    if !inside.contains(spot) {
        return false;
    }
    let width = usize::from(inside.width);
    let answer = answer(app, dialog, width);
    let seen = usize::from(inside.height).saturating_sub(answer.len());
    let above = plan_lines(app, dialog, width).len().min(seen);
    let at = usize::from(spot.y - inside.y).checked_sub(above);
    let line = at.and_then(|at| answer.get(at));
    let word = line.and_then(|line| frame::word_at(line, usize::from(spot.x - inside.x)));
    word == Some(CANCEL)
}

/// What the plan says, with what comes before it.
fn plan_lines(app: &App, dialog: &PlanDialog, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let mut lines = Vec::new();
    if let Some(reason) = &dialog.reason {
        push_wrapped(&mut lines, app, "", reason, Role::Error, width);
    }
    match &dialog.plan {
        Some(plan) => {
            // What a key has just switched on is seen however long the rest is.
            if dialog.proves {
                push_words(
                    &mut lines,
                    app,
                    [plan.proof_line()],
                    (LABEL_ROOM, width),
                    false,
                );
            }
            let said = plan.lines().into_iter().filter(|line| !is_refusal(line));
            push_words(&mut lines, app, said, (LABEL_ROOM, width), dialog.commands);
        }
        None => lines.push(Line::styled(
            " Looking at the files, and who else is built on them.",
            theme.style(Role::Quiet),
        )),
    }
    lines
}

/// The answer: a number to type, or buttons.
fn answer(app: &App, dialog: &PlanDialog, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let Some(plan) = &dialog.plan else {
        return Vec::new();
    };
    if !dialog.is_possible() {
        // Why not, and what instead, has to be seen however long the rest is.
        let mut lines = Vec::new();
        let said = plan.lines().into_iter().filter(is_refusal);
        push_words(&mut lines, app, said, (LABEL_ROOM, width), false);
        return lines;
    }
    let button = |text: &str, is_at: bool, role: Role| {
        let style = theme.style(role);
        let style = if is_at {
            style.patch(theme.style(Role::Cursor))
        } else {
            style
        };
        Span::styled(text.to_owned(), style)
    };
    let cancel = button(CANCEL, dialog.button == Button::Cancel, Role::Plain);
    if let Some(count) = dialog.count() {
        let text = format!(" Type {count} to do it: ");
        return vec![Line::from(vec![
            Span::styled(
                text::cut_end(&text, width, ascii),
                theme.style(Role::Warning),
            ),
            Span::raw(dialog.typed.clone()),
            Span::styled(" ", theme.style(Role::Cursor)),
            Span::raw("  "),
            Span::raw(frame::bar(app, dialog.button == Button::Cancel)),
            cancel,
        ])];
    }
    let role = match plan.danger {
        Danger::Loses | Danger::Refused => Role::Error,
        Danger::Reversible => Role::Warning,
        Danger::Creates => Role::Good,
    };
    vec![Line::from(vec![
        Span::raw(frame::bar(app, dialog.button == Button::Cancel)),
        cancel,
        Span::raw(" "),
        Span::raw(frame::bar(app, dialog.button == Button::Confirm)),
        button(
            &format!("[ {} ]", plan.request.verb()),
            dialog.button == Button::Confirm,
            role,
        ),
    ])]
}
