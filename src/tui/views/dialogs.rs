//! Dialogs in the lower part of the screen, below the tree that shows the future: plans, and the question
//! whether to leave. Forms are in `form`.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::ops::{self, Commit, CommittedLayer, Danger, Direction, Request, Squash, Tone};
use crate::tui::app::App;
use crate::tui::dialog::{Button, Mode, PlanDialog};
use crate::tui::keymap::{self, Action, Scope};
use crate::tui::layout;
use crate::tui::text;
use crate::tui::theme::Role;

use super::{form, measure};

/// Rows a dialog would like to have with its frame at that width; none if none is open.
#[must_use]
pub fn needed_height(app: &App, width: u16) -> Option<u16> {
    let inner = usize::from(width.saturating_sub(2));
    let lines = match &app.mode {
        Mode::Form(form) => form::height(app, form, inner),
        Mode::Plan(dialog) => {
            plan_lines(app, dialog, inner).len() + answer(app, dialog, inner).len()
        }
        Mode::Leave => leave_lines(app, inner).len(),
        Mode::Secret(dialog) => form::secret_lines(app, dialog, inner).len(),
        Mode::Measure(dialog) => measure::lines(app, dialog, inner).len(),
        _ => return None,
    };
    u16::try_from(lines + 2).ok().or(Some(u16::MAX))
}

/// How far a plan can be scrolled.
#[must_use]
pub fn scroll_limit(app: &App) -> usize {
    let Mode::Plan(dialog) = &app.mode else {
        return 0;
    };
    let area = layout::of(app).dialog;
    let inner = usize::from(area.width.saturating_sub(2));
    let lines = plan_lines(app, dialog, inner).len();
    let seen =
        usize::from(area.height.saturating_sub(2)).saturating_sub(answer(app, dialog, inner).len());
    lines.saturating_sub(seen)
}

/// Draws whichever dialog is open.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, area: Rect) {
    if area.is_empty() {
        return;
    }
    match &app.mode {
        Mode::Form(form) => form::draw(frame, app, form, area),
        Mode::Secret(dialog) => form::draw_secret(frame, app, dialog, area),
        Mode::Measure(dialog) => measure::draw(frame, app, dialog, area),
        Mode::Plan(dialog) => draw_plan(frame, app, dialog, area),
        Mode::Leave => {
            let room = usize::from(area.width).saturating_sub(2);
            let bottom = super::frame::hints(app, Scope::Leave, room);
            let inside = super::frame::dialog(frame, app, area, "Jobs are running", bottom);
            super::lines_in(frame, inside, leave_lines(app, usize::from(inside.width)));
        }
        _ => {}
    }
}

fn leave_lines(app: &App, width: usize) -> Vec<Line<'static>> {
    let jobs = app.jobs.open();
    jobs.map(|job| {
        let title = text::safe(&job.title);
        Line::raw(format!(
            " {} {}",
            text::cut_middle(&title, width.saturating_sub(8), app.settings.ascii),
            super::bars::percent(job.view.done, job.view.total)
        ))
    })
    .collect()
}

fn draw_plan(frame: &mut Frame<'_>, app: &App, dialog: &PlanDialog, area: Rect) {
    let title = match &dialog.plan {
        Some(plan) => text::safe(&plan.title),
        None => "Making a plan".to_owned(),
    };
    let width = usize::from(area.width).saturating_sub(2);
    let bottom = super::frame::join(app, plan_hints(app, dialog), width);
    let inside = super::frame::dialog(frame, app, area, &title, bottom);
    let lines = plan_lines(app, dialog, width);
    let answer = answer(app, dialog, width);
    let seen = usize::from(inside.height).saturating_sub(answer.len());
    let most = lines.len().saturating_sub(seen);
    let scroll = dialog.scroll.min(most);
    let mut shown: Vec<Line<'static>> = lines.into_iter().skip(scroll).take(seen).collect();
    shown.extend(answer.into_iter().take(usize::from(inside.height)));
    frame.render_widget(Paragraph::new(shown), inside);
    if most > 0 {
        let text = format!("{} more below, j k scrolls", most - scroll);
        super::frame::corner(frame, app, area, &text);
    }
}

/// The keys of a plan's dialog that had no room on its frame.
pub(super) fn hints_left(app: &App, dialog: &PlanDialog) -> Vec<(String, String)> {
    let room = usize::from(layout::of(app).dialog.width).saturating_sub(2);
    let hints = plan_hints(app, dialog);
    let shown = super::frame::fitting(app, &hints, room);
    hints.into_iter().skip(shown).collect()
}

/// The keys of a plan's dialog, as far as they mean something for this plan.
fn plan_hints(app: &App, dialog: &PlanDialog) -> Vec<(String, String)> {
    let key = |action| {
        app.settings
            .keymap
            .entry(Scope::Plan, action)
            .map(keymap::Entry::key)
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
        Span::styled(format!("[ {text} ]"), style)
    };
    let cancel = button("Cancel", dialog.button == Button::Cancel, Role::Plain);
    if let Some(count) = dialog.count() {
        let text = format!(" Type {count} to do it: ");
        return vec![Line::from(vec![
            Span::styled(
                text::cut_end(&text, width, ascii),
                theme.style(Role::Warning),
            ),
            Span::raw(dialog.typed.clone()),
            Span::styled(" ", theme.style(Role::Cursor)),
            Span::raw("   "),
            cancel,
        ])];
    }
    let role = match plan.danger {
        Danger::Loses | Danger::Refused => Role::Error,
        Danger::Reversible => Role::Warning,
        Danger::Creates => Role::Good,
    };
    vec![Line::from(vec![
        Span::raw(" "),
        cancel,
        Span::raw("  "),
        button(plan.request.verb(), dialog.button == Button::Confirm, role),
    ])]
}

/// Whether the line says why not, or what instead.
pub(super) fn is_refusal(line: &ops::Line) -> bool {
    line.label == "refused" || line.label.chars().all(|c| c.is_ascii_digit())
}

/// Cells for the label before a line, and the space behind it.
pub(super) const LABEL_ROOM: usize = 10;

/// The plan's own words, wrapped beside their labels; how much of the width is for these, and all of it.
pub(super) fn push_words(
    lines: &mut Vec<Line<'static>>,
    app: &App,
    said: impl IntoIterator<Item = ops::Line>,
    (labels, width): (usize, usize),
    commands: bool,
) {
    for line in said {
        if line.label == "$" && !commands {
            continue;
        }
        let role = match line.tone {
            Tone::Plain => Role::Plain,
            Tone::Good => Role::Good,
            Tone::Warning => Role::Warning,
            Tone::Danger => Role::Error,
            Tone::Quiet => Role::Quiet,
        };
        push_labelled(lines, app, (&line.label, labels), &line.text, role, width);
    }
}

pub(super) fn push_wrapped(
    lines: &mut Vec<Line<'static>>,
    app: &App,
    label: &str,
    words: &str,
    role: Role,
    width: usize,
) {
    push_labelled(lines, app, (label, LABEL_ROOM), words, role, width);
}

/// Words beside a label that has so much room, wrapped.
pub(super) fn push_labelled(
    lines: &mut Vec<Line<'static>>,
    app: &App,
    (label, labels): (&str, usize),
    words: &str,
    role: Role,
    width: usize,
) {
    let theme = app.settings.theme;
    let label_room = if label.is_empty() { 0 } else { labels };
    let label = text::safe(label);
    let is_way_out = label.chars().all(|c| c.is_ascii_digit());
    let label_role = if is_way_out { Role::Key } else { role };
    let parts = text::wrap(&text::safe(words), width.saturating_sub(label_room + 2), 0);
    for (i, part) in parts.into_iter().enumerate() {
        let label = if i == 0 { label.as_str() } else { "" };
        let label = text::pad(label, label_room, app.settings.ascii);
        lines.push(Line::from(vec![
            Span::styled(format!(" {label}"), theme.style(label_role)),
            Span::styled(part, theme.style(role)),
        ]));
    }
}
