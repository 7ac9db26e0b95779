//! How a plan looks while it waits: what it says, the keys that mean something for it, and the answer.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::ops::Danger;
use crate::tui::app::App;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::tui::views::words::{
    LABEL_ROOM, gravest_first, is_to_be_read, push_words, push_wrapped,
};

use super::action::Action;
use super::state::{Button, PlanDialog};
use super::variants::variants;

/// The button that leads back, as it is written.
const CANCEL: &str = "[ Cancel ]";

/// The keys on the frame, as many as fit.
pub(super) fn edge(app: &App, dialog: &PlanDialog, width: usize) -> Line<'static> {
    frame::join(app, plan_hints(app, dialog), width)
}

/// Whether the button that leads back is drawn at this place.
pub(super) fn is_cancel(app: &App, dialog: &PlanDialog, area: Rect, spot: Position) -> bool {
    let inside = frame::inside(area);
    if !inside.contains(spot) {
        return false;
    }
    let width = usize::from(inside.width);
    let answer = answer(app, dialog, width);
    let seen = usize::from(inside.height).saturating_sub(answer.len());
    let above = written(app, dialog, width).lines.len().min(seen);
    let at = usize::from(spot.y - inside.y).checked_sub(above);
    let line = at.and_then(|at| answer.get(at));
    let word = line.and_then(|line| frame::word_at(line, usize::from(spot.x - inside.x)));
    word == Some(CANCEL)
}

/// Draws a plan.
pub(super) fn draw(screen: &mut Frame<'_>, app: &App, dialog: &PlanDialog, area: Rect) {
    let title = match (dialog.title(), &dialog.there) {
        (title, None) if !title.is_empty() => text::safe(&title),
        (title, Some(there)) if !title.is_empty() => {
            text::safe(&format!("{}: {title}", there.host))
        }
        _ => "Making a plan".to_owned(),
    };
    let title = format!("{title}{}", dialog.then(app));
    let width = usize::from(area.width).saturating_sub(2);
    let bottom = edge(app, dialog, width);
    let inside = frame::dialog(screen, app, area, &title, bottom);
    let lines = written(app, dialog, width).lines;
    let answer = answer(app, dialog, width);
    let seen = usize::from(inside.height).saturating_sub(answer.len());
    let most = lines.len().saturating_sub(seen);
    let scroll = dialog.scroll.min(most);
    let mut shown: Vec<Line<'static>> = lines.into_iter().skip(scroll).take(seen).collect();
    shown.extend(answer.into_iter().take(usize::from(inside.height)));
    screen.render_widget(Paragraph::new(shown), inside);
    if most > 0 {
        let text = match most - scroll {
            0 => "the end, k scrolls back".to_owned(),
            below => format!("{below} more below, j scrolls"),
        };
        frame::corner(screen, app, area, &text);
    }
}

/// The keys of a plan's dialog that had no room on its frame.
pub(super) fn hints_left(app: &App, dialog: &PlanDialog, area: Rect) -> Vec<(String, String)> {
    let room = usize::from(area.width).saturating_sub(2);
    let hints = plan_hints(app, dialog);
    let shown = frame::fitting(app, &hints, room);
    hints.into_iter().skip(shown).collect()
}

/// Machines that are named one by one.
const MOST_NAMED: usize = 2;

impl PlanDialog {
    /// Whose plans follow, behind its title; nothing where none does.
    pub(in crate::tui) fn then(&self, app: &App) -> String {
        let following = self.following.as_deref().unwrap_or_default();
        let mut names: Vec<String> = following
            .iter()
            .take(MOST_NAMED)
            .map(|(of, _)| app.hosts.machine(*of))
            .collect();
        if names.is_empty() {
            return String::new();
        }
        match following.len().saturating_sub(MOST_NAMED) {
            0 => {}
            more => names.push(format!("{more} more")),
        }
        text::safe(&format!(" (then {})", names.join(", ")))
    }

    /// The keys that ask for the same in another way or for more to be told, with what each does.
    pub(in crate::tui) fn other_keys(&self, app: &App) -> Vec<(String, String)> {
        let keymap = &app.settings.keymap;
        let answers = [Action::Confirm, Action::Close].map(|action| keymap.key(action));
        let mut keys = plan_hints(app, self);
        keys.retain(|(key, _)| {
            let is_letter = key.len() == 1 && key.chars().all(char::is_alphabetic);
            is_letter && !answers.contains(key)
        });
        keys
    }
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
    let does = dialog.request.name().to_owned();
    if dialog.count().is_some() {
        hints.push((
            Some("Enter".to_owned()),
            format!("{does}, after the number"),
        ));
    } else if dialog.is_possible() {
        hints.push((key(Action::Confirm), does));
    }
    hints.push((key(Action::Close), "nothing happens".to_owned()));
    if dialog.locked.is_some() {
        hints.push((key(Action::Unlock), "give the passphrase".to_owned()));
    }
    for variant in variants(&app.forest, &dialog.request) {
        hints.push((key(variant.action), variant.hint.to_owned()));
    }
    if dialog.is_possible() && dialog.there.is_none() {
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

/// What a plan says, in lines.
pub(super) struct Written {
    /// All of it.
    pub lines: Vec<Line<'static>>,
    /// So many of them have to be read before one agrees.
    pub to_be_read: usize,
}

/// What the plan says, with what comes before it.
pub(super) fn written(app: &App, dialog: &PlanDialog, width: usize) -> Written {
    let theme = app.settings.theme;
    let mut lines = Vec::new();
    if let Some(reason) = &dialog.reason {
        push_wrapped(&mut lines, app, "", reason, Role::Error, width);
    }
    let mut to_be_read = lines.len();
    if let Some(told) = dialog.told() {
        // Their digits do what the command lines say.
        let has_ways = !dialog.ways_out().is_empty();
        let is_told = |line: &&String| !(has_ways && line.starts_with("To do "));
        for line in told.lines.iter().skip(1).filter(is_told) {
            let role = match line.starts_with('!') {
                true => Role::Warning,
                false => Role::Plain,
            };
            // The place of the sign is kept where there is none.
            let line = line.replacen(' ', "\u{a0}", usize::from(line.starts_with(' ')));
            push_wrapped(&mut lines, app, "", &line, role, width);
        }
        let to_be_read = lines.len();
        return Written { lines, to_be_read };
    }
    let Some(plan) = &dialog.plan else {
        lines.push(Line::styled(
            " Looking at the files, and who else is built on them.",
            theme.style(Role::Quiet),
        ));
        return Written { lines, to_be_read };
    };
    // What a key has just switched on is seen however long the rest is.
    let proof = dialog.proves.then(|| plan.proof_line());
    for line in proof.into_iter().chain(gravest_first(plan.lines())) {
        let counts = is_to_be_read(&line);
        let room = (LABEL_ROOM, width);
        push_words(&mut lines, app, [line], room, dialog.commands);
        if counts {
            to_be_read = lines.len();
        }
    }
    Written { lines, to_be_read }
}

/// The answer: a number to type, or buttons.
pub(super) fn answer(app: &App, dialog: &PlanDialog, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    if !dialog.is_possible() {
        return Vec::new();
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
    let role = match dialog.plan.as_ref().map(|plan| plan.danger) {
        Some(Danger::Loses | Danger::Refused) => Role::Error,
        Some(Danger::Creates) => Role::Good,
        Some(Danger::Reversible) | None => Role::Warning,
    };
    vec![Line::from(vec![
        Span::raw(frame::bar(app, dialog.button == Button::Cancel)),
        cancel,
        Span::raw(" "),
        Span::raw(frame::bar(app, dialog.button == Button::Confirm)),
        button(
            &format!("[ {} ]", dialog.request.verb()),
            dialog.button == Button::Confirm,
            role,
        ),
    ])]
}
