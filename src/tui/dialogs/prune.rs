//! The prune checklist: leaves that nothing uses, to be ticked and discarded.

use std::sync::Arc;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::ops::{Candidate, Per, Request, Retention};
use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};
use crate::tui::msg::Effect;
use crate::tui::query::QueryId;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::units;

use super::list_cursor::ListCursor;
use super::next::Next;
use super::window::{Context, Window};

/// What a key can mean in the checklist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ticks or unticks an entry.
    Tick,
    /// Ticks all or none.
    TickAll,
    /// Keeps more of the youngest, or none again.
    KeepLast,
    /// The same of the youngest of each day.
    KeepDaily,
    /// Of each week.
    KeepWeekly,
    /// Of each month.
    KeepMonthly,
    /// What the youngest are counted by.
    Per,
    /// Goes on with what is ticked.
    Proceed,
    /// Leaves a dialog.
    Close,
    /// One row down.
    Down,
    /// One row up.
    Up,
    /// One screen down.
    PageDown,
    /// One screen up.
    PageUp,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Tick, "prune-tick", &[Key::char(' ')], "tick or untick", "tick"),
        dialog(Self::TickAll, "prune-all", &[Key::char('a')], "tick all or none", "all/none"),
        dialog(Self::Proceed, "prune-plan", &[Key::of(Code::Enter)], "plan the discard of what is ticked", "discard: the plan"),
        dialog(Self::KeepLast, "prune-keep-last", &[Key::char('l')], "keep the youngest few: 1, 2, 3, 5, 10, none", "keep last"),
        dialog(Self::KeepDaily, "prune-keep-daily", &[Key::char('d')], "keep the youngest of each day: 7, 14, 30, none", ""),
        dialog(Self::KeepWeekly, "prune-keep-weekly", &[Key::char('w')], "keep the youngest of each week: 4, 8, 12, none", ""),
        dialog(Self::KeepMonthly, "prune-keep-monthly", &[Key::char('m')], "keep the youngest of each month: 3, 6, 12, none", ""),
        dialog(Self::Per, "prune-per", &[Key::char('p')], "count them per base, per tree or per machine", ""),
        dialog(Self::Close, "prune-close", &[Key::of(Code::Esc), Key::char('q'), Key::ctrl('c')], "nothing happens", "close"),
        dialog(Self::Down, "prune-down", &[Key::of(Code::Down), Key::char('j')], "next entry", ""),
        dialog(Self::Up, "prune-up", &[Key::of(Code::Up), Key::char('k')], "entry before", ""),
        dialog(Self::PageDown, "prune-page-down", &[Key::of(Code::PageDown)], "one screen down", ""),
        dialog(Self::PageUp, "prune-page-up", &[Key::of(Code::PageUp)], "one screen up", ""),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}

/// The prune checklist.
#[derive(Debug, Default)]
pub struct PruneDialog {
    /// The question's number.
    pub query_id: QueryId,
    /// What could go, oldest first; none while that is looked for.
    pub candidates: Option<Vec<Candidate>>,
    /// Which of them are ticked.
    pub ticked: Vec<bool>,
    /// What is kept by rule.
    pub rule: Retention,
    /// Of each, why the rule keeps it, if it does.
    pub kept: Vec<Option<String>>,
    /// Whether that is being found out.
    pub waits: bool,
    /// The entry under the cursor.
    pub cursor: ListCursor,
}

impl PruneDialog {
    /// The ticked entries.
    pub fn chosen(&self) -> impl Iterator<Item = &Candidate> {
        let all = self.candidates.iter().flatten();
        all.zip(&self.ticked)
            .filter(|(_, ticked)| **ticked)
            .map(|(c, _)| c)
    }
}

impl PruneDialog {
    /// Another rule: what it keeps is found out by a worker, since only that knows the time zone.
    fn change_rule(&mut self, context: &mut Context<'_>, change: impl FnOnce(&mut Retention)) {
        let Some(candidates) = &self.candidates else {
            return;
        };
        change(&mut self.rule);
        self.query_id = context.app.query_id();
        self.waits = true;
        context.effects.push(Effect::Keep {
            query_id: self.query_id,
            forest: Arc::clone(&context.app.forest),
            candidates: candidates.clone(),
            rule: self.rule.clone(),
        });
    }

    /// Takes in what the rule keeps. Without a rule those are ticked that are older than `old`.
    pub fn take_kept(&mut self, kept: Vec<Option<String>>, old: Duration) {
        let candidates = self.candidates.iter().flatten();
        let has_rule = !self.rule.keeps_nothing();
        self.ticked = candidates
            .zip(&kept)
            .map(|(candidate, kept)| match has_rule {
                true => kept.is_none(),
                false => candidate.age >= old,
            })
            .collect();
        self.kept = kept;
        self.waits = false;
    }

    /// The rule in words.
    #[must_use]
    pub fn rule_words(&self) -> String {
        let Retention {
            last,
            daily,
            weekly,
            monthly,
            per,
        } = &self.rule;
        let name = Per::ALL.iter().find(|(one, _)| one == per);
        format!(
            "keep: last {last}, daily {daily}, weekly {weekly}, monthly {monthly}, per {}",
            name.map_or("", |(_, name)| name)
        )
    }
}

/// The number after this one in turn, and none after the last.
fn next_of(steps: &[usize], now: usize) -> usize {
    steps.iter().copied().find(|step| *step > now).unwrap_or(0)
}

impl Window for PruneDialog {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        let len = self.ticked.len();
        match action {
            Action::Down => self.cursor.down(len),
            Action::Up => self.cursor.up(),
            Action::PageDown => self.cursor.page_down(len, context.page()),
            Action::PageUp => self.cursor.page_up(context.page()),
            Action::Tick => {
                if let Some(tick) = self.ticked.get_mut(self.cursor.at) {
                    *tick = !*tick;
                }
                self.cursor.down(len);
            }
            Action::TickAll => {
                let all = self.ticked.iter().all(|tick| *tick);
                self.ticked.fill(!all);
            }
            Action::KeepLast => self.change_rule(context, |rule| {
                rule.last = next_of(&[1, 2, 3, 5, 10], rule.last);
            }),
            Action::KeepDaily => self.change_rule(context, |rule| {
                rule.daily = next_of(&[7, 14, 30], rule.daily);
            }),
            Action::KeepWeekly => self.change_rule(context, |rule| {
                rule.weekly = next_of(&[4, 8, 12], rule.weekly);
            }),
            Action::KeepMonthly => self.change_rule(context, |rule| {
                rule.monthly = next_of(&[3, 6, 12], rule.monthly);
            }),
            Action::Per => self.change_rule(context, |rule| {
                let all = Per::ALL.map(|(per, _)| per);
                let at = all.iter().position(|per| *per == rule.per).unwrap_or(0);
                rule.per = all.into_iter().cycle().nth(at + 1).unwrap_or_default();
            }),
            Action::Proceed => {
                let images: Vec<_> = self.chosen().map(|c| c.path.clone()).collect();
                if images.is_empty() {
                    context.app.warn("Nothing is ticked: Space ticks an image.");
                    return Next::Stay;
                }
                return Next::Ask(Box::new(Request::discard(images)));
            }
            Action::Close => return Next::Close,
        }
        Next::Stay
    }

    fn turns(&self) -> bool {
        true
    }

    fn edge(&self, app: &App, width: usize) -> Line<'static> {
        frame::hints::<Action>(app, width)
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw(screen, app, self, area);
    }
}

/// The keys that change the rule.
fn rule_keys(app: &App) -> String {
    let keys = [
        Action::KeepLast,
        Action::KeepDaily,
        Action::KeepWeekly,
        Action::KeepMonthly,
        Action::Per,
    ];
    keys.map(|action| app.settings.keymap.key(action)).join(" ")
}

fn draw(screen: &mut Frame<'_>, app: &App, dialog: &PruneDialog, area: Rect) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = dialog.edge(app, room);
    let inside = frame::dialog(screen, app, area, "Prune: leaves that nothing uses", bottom);
    let width = usize::from(inside.width);
    let Some(candidates) = &dialog.candidates else {
        let text = Line::raw(" Looking for leaves that nothing uses.");
        frame::lines_in(screen, inside, vec![text]);
        return;
    };
    if candidates.is_empty() {
        let text = "Nothing to prune: every leaf is in use, is a root, or has problems that should be looked at first.";
        let lines = text::wrap(text, width.saturating_sub(2), 0);
        let lines = lines.into_iter().map(|line| Line::raw(format!(" {line}")));
        frame::lines_in(screen, inside, lines.collect());
        return;
    }
    let frees = dialog
        .chosen()
        .map(|c| c.frees)
        .fold(0, u64::saturating_add);
    let chosen = u64::try_from(dialog.chosen().count()).unwrap_or(0);
    let ticked = match dialog.rule.keeps_nothing() {
        true => format!(
            "ticked at first: unchanged for {}",
            units::count(app.settings.prune_days, "day")
        ),
        false => "ticked: what no rule keeps".to_owned(),
    };
    let first = format!(
        " {} ticked, {} to be freed; {ticked}",
        units::count(chosen, "leaf"),
        units::size(frees),
    );
    let rule = format!(" {} ({})", dialog.rule_words(), rule_keys(app));
    let quiet = theme.style(Role::Quiet);
    let mut lines = vec![
        Line::raw(text::cut_end(&first, width, ascii)),
        Line::styled(text::cut_end(&rule, width, ascii), quiet),
    ];
    let height = usize::from(inside.height).saturating_sub(lines.len());
    let from = dialog.cursor.first_seen(height);
    let entries = candidates.iter().zip(&dialog.ticked).enumerate();
    for (i, (candidate, ticked)) in entries.skip(from).take(height) {
        let tick = match (ticked, ascii) {
            (false, _) => "[ ]",
            (true, true) => "[x]",
            (true, false) => "[✗]",
        };
        let label = app
            .forest
            .by_path(&candidate.path)
            .map_or_else(|| app.shown(&candidate.path), |node| app.label(node));
        let days = candidate.age.as_secs() / 86_400;
        let is_kept = dialog.kept.get(i).is_some_and(Option::is_some);
        let age = if is_kept {
            "kept".to_owned()
        } else if days > 0 {
            units::count(days, "day")
        } else {
            format!("{} h", candidate.age.as_secs() / 3600)
        };
        let name_room = width.saturating_sub(32);
        let mut line = Line::from(vec![
            Span::styled(
                format!("{}{tick} ", frame::bar(app, i == dialog.cursor.at)),
                theme.style(if *ticked { Role::Error } else { Role::Quiet }),
            ),
            Span::raw(text::pad(
                &text::cut_middle(&label, name_room, ascii),
                name_room,
                ascii,
            )),
            Span::raw(text::pad_left(&units::size(candidate.frees), 11, ascii)),
            Span::styled(
                format!("  {}", text::pad_left(&age, 11, ascii)),
                theme.style(Role::Quiet),
            ),
            Span::raw(" "),
        ]);
        if i == dialog.cursor.at {
            line = line.patch_style(theme.style(Role::Cursor));
        }
        lines.push(line);
    }
    frame::lines_in(screen, inside, lines);
}
