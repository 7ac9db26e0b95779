//! Dialogs in the lower part of the screen, below the tree that shows the future: the branch form,
//! plans, the question whether to leave.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::ops::{self, CommittedLayer, Danger, Request, Tone};
use crate::tui::app::App;
use crate::tui::dialog::{Button, Mode, PlanDialog};
use crate::tui::form::{Field, Form, Holds};
use crate::tui::keymap::{self, Action, Scope};
use crate::tui::text;
use crate::tui::theme::Role;

/// Rows a dialog would like to have with its frame at that width; none if none is open.
#[must_use]
pub fn needed_height(app: &App, width: u16) -> Option<u16> {
    let inner = usize::from(width.saturating_sub(2));
    let lines = match &app.mode {
        Mode::Form(form) => form_lines(app, form, inner).len(),
        Mode::Plan(dialog) => {
            plan_lines(app, dialog, inner).len() + answer(app, dialog, inner).len()
        }
        Mode::Leave => leave_lines(app, inner).len(),
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
    let area = app.layout().dialog;
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
        Mode::Form(form) => draw_form(frame, app, form, area),
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

fn draw_form(frame: &mut Frame<'_>, app: &App, form: &Form, area: Rect) {
    let room = usize::from(area.width).saturating_sub(2);
    let keymap = &app.settings.keymap;
    let hints = keymap.entries(Scope::Form).filter_map(|entry| {
        let what = match entry.action {
            Action::Fire if !form.creates => "plan",
            Action::NextField if form.fields.len() < 2 => return None,
            _ => entry.hint?,
        };
        Some((entry.key(), what.to_owned()))
    });
    let bottom = super::frame::join(app, hints, room);
    let inside = super::frame::dialog(frame, app, area, &form.title, bottom);
    super::lines_in(
        frame,
        inside,
        form_lines(app, form, usize::from(inside.width)),
    );
}

fn form_lines(app: &App, form: &Form, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let mut lines = Vec::new();
    if let Some(reason) = &form.reason {
        push_wrapped(&mut lines, app, "", reason, Role::Error, width);
    }
    for (i, field) in form.fields.iter().enumerate() {
        lines.push(field_line(app, form, field, i == form.at, width));
    }
    if let Some(field) = form.fields.get(form.at) {
        let switch = match field.holds {
            Holds::Text(_) => "",
            Holds::Choice { .. } => "Space changes it: ",
        };
        let help = format!("{switch}{}", field.help);
        push_wrapped(&mut lines, app, " ", &help, Role::Quiet, width);
    }
    match &form.plan {
        Some(plan) => push_words(&mut lines, app, plan.lines(), width, true),
        None if form.creates && form.request().is_ok() => {
            lines.push(Line::styled(" looking", theme.style(Role::Quiet)));
        }
        None => {}
    }
    lines
}

fn field_line(app: &App, form: &Form, field: &Field, is_at: bool, width: usize) -> Line<'static> {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let label = Span::styled(
        format!(" {}", text::pad(field.label, 10, ascii)),
        theme.style(if is_at { Role::Focus } else { Role::Quiet }),
    );
    let input = match &field.holds {
        Holds::Text(input) => input,
        Holds::Choice { options, at } => {
            let mut spans = vec![label];
            for (i, option) in options.iter().enumerate() {
                let sign = match (i == *at, ascii) {
                    (false, _) => "( )",
                    (true, true) => "(*)",
                    (true, false) => "(•)",
                };
                let role = if i == *at { Role::Plain } else { Role::Quiet };
                spans.push(Span::styled(
                    format!("{sign} {option}  "),
                    theme.style(role),
                ));
            }
            return Line::from(spans);
        }
    };
    // Only file names are seen from a folder.
    let dir = if matches!(field.label, "name" | "base" | "onto" | "to") {
        let dir = text::cut_middle(&app.shown(&form.dir), width / 3, ascii);
        format!(" in {dir}")
    } else {
        String::new()
    };
    let room = width.saturating_sub(14 + text::width(&dir)).max(8);
    let scroll = input.visual_scroll(room.saturating_sub(1));
    let value = text::safe(input.value());
    let cursor = input.visual_cursor().saturating_sub(scroll);
    let visible: Vec<char> = value
        .chars()
        .skip(scroll)
        .chain(std::iter::repeat(' '))
        .take(room)
        .collect();
    let part = |range: &[char]| range.iter().collect::<String>();
    let split = cursor.min(visible.len().saturating_sub(1));
    let cursor_style = theme.style(if is_at { Role::Cursor } else { Role::Plain });
    Line::from(vec![
        label,
        Span::raw("["),
        Span::raw(part(visible.get(..split).unwrap_or_default())),
        Span::styled(
            part(visible.get(split..=split).unwrap_or_default()),
            cursor_style,
        ),
        Span::raw(part(visible.get(split + 1..).unwrap_or_default())),
        Span::raw("]"),
        Span::styled(dir, theme.style(Role::Quiet)),
    ])
}

fn draw_plan(frame: &mut Frame<'_>, app: &App, dialog: &PlanDialog, area: Rect) {
    let title = match &dialog.plan {
        Some(plan) => text::safe(&plan.title),
        None => "Making a plan".to_owned(),
    };
    let width = usize::from(area.width).saturating_sub(2);
    let bottom = plan_hints(app, dialog, width);
    let inside = super::frame::dialog(frame, app, area, &title, bottom);
    let lines = plan_lines(app, dialog, width);
    let answer = answer(app, dialog, width);
    let seen = usize::from(inside.height).saturating_sub(answer.len());
    let most = lines.len().saturating_sub(seen);
    let scroll = dialog.scroll.min(most);
    let mut shown: Vec<Line<'static>> = lines.into_iter().skip(scroll).take(seen).collect();
    shown.extend(answer.into_iter().take(usize::from(inside.height)));
    frame.render_widget(Paragraph::new(shown), inside);
    if most > 0 && area.width > 24 {
        let below = most - scroll;
        let text = format!(" {below} more below, j k scrolls ");
        let text = text::cut_end(&text, width, app.settings.ascii);
        let cells = u16::try_from(text::width(&text)).unwrap_or(0);
        let spot = Rect::new(
            (area.x + area.width).saturating_sub(cells + 2),
            area.y,
            cells,
            1,
        );
        frame.render_widget(Paragraph::new(text), spot);
    }
}

/// The keys of a plan's dialog, as far as they mean something for this plan.
fn plan_hints(app: &App, dialog: &PlanDialog, room: usize) -> Line<'static> {
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
    if let Request::Commit { layer, .. } = &dialog.request {
        let other = match layer {
            CommittedLayer::Trash => "keep the layer instead",
            CommittedLayer::Keep => "layer to the trash instead",
        };
        hints.push((key(Action::ToggleLayer), other.to_owned()));
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
    let hints = hints
        .into_iter()
        .filter_map(|(key, what)| Some((key?, what)));
    super::frame::join(app, hints, room)
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
            let said = plan.lines().into_iter().filter(|line| !is_refusal(line));
            push_words(&mut lines, app, said, width, dialog.commands);
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
        push_words(&mut lines, app, said, width, false);
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
fn is_refusal(line: &ops::Line) -> bool {
    line.label == "refused" || line.label.chars().all(|c| c.is_ascii_digit())
}

/// The plan's own words, wrapped beside their labels.
fn push_words(
    lines: &mut Vec<Line<'static>>,
    app: &App,
    said: impl IntoIterator<Item = ops::Line>,
    width: usize,
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
        push_wrapped(lines, app, &line.label, &line.text, role, width);
    }
}

fn push_wrapped(
    lines: &mut Vec<Line<'static>>,
    app: &App,
    label: &str,
    words: &str,
    role: Role,
    width: usize,
) {
    let theme = app.settings.theme;
    let label_room = if label.is_empty() { 0 } else { 10 };
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
