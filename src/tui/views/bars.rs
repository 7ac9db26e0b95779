//! The bars: what is looked at on top, what can be pressed at the bottom, what happened last and
//! the filter just above that.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::bindings::Group;
use crate::tui::dialogs::{FilterLine, Keyboard, Window};
use crate::tui::disabled_reason::why_not;
use crate::tui::layout::strip_width;
use crate::tui::msg::Watching;
use crate::tui::status_line;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::tour_strip;
use crate::tui::ui::Ui;
use crate::units;

use super::frame::spread;

/// What is looked at, how much there is, and what needs attention.
pub(super) fn header(frame: &mut Frame<'_>, app: &App, area: Rect) {
    if area.is_empty() {
        return;
    }
    let ascii = app.settings.ascii;
    let width = usize::from(area.width);
    let totals = app.tree.summary.totals;
    let dot = if ascii { "-" } else { "·" };
    let mut right = String::new();
    if let Some(job) = app.jobs.running() {
        let open = app.jobs.open().count();
        let sign = if ascii { ">" } else { "▶" };
        right.push_str(&format!(
            "{sign}{open} {}  ",
            text::percent(job.view.done, job.view.total)
        ));
    }
    if totals.problems > 0 {
        right.push_str(&format!("! {}  ", totals.problems));
    }
    if matches!(app.refresh.watching, Watching::Polling(_)) {
        right.push_str("polling  ");
    }
    right.push_str(if app.settings.read_only {
        "read-only  "
    } else {
        ""
    });
    right.push_str("? help ");
    let counts = if app.refresh.scan.running {
        let dots = if ascii { "..." } else { "…" };
        format!(
            "scanning {}{dots}",
            units::grouped(app.refresh.scan.looked_at)
        )
    } else {
        format!(
            "{} {dot} {} {dot} {} on disk",
            units::count(totals.trees, "tree"),
            units::count(totals.images, "image"),
            units::size(totals.bytes)
        )
    };
    let roots: Vec<String> = app
        .settings
        .roots
        .iter()
        .map(|root| app.shown(root))
        .chain(app.hosts.words())
        .collect();
    let fixed = 10 + text::width(&counts) + 2 + text::width(&right);
    let roots = text::cut_middle(&roots.join(" "), width.saturating_sub(fixed), ascii);
    let left = format!(" qanopy  {roots}  {counts}");
    let left = text::pad(&left, width.saturating_sub(text::width(&right)), ascii);
    let style = app.settings.theme.style(Role::Bar);
    let line = Line::from(vec![
        Span::styled(
            text::cut_end(" qanopy", width, ascii),
            style.add_modifier(Modifier::BOLD),
        ),
        Span::styled(left.chars().skip(7).collect::<String>(), style),
        Span::styled(right, style),
    ]);
    frame.render_widget(Paragraph::new(line).style(style), area);
}

/// The task of the tour, and what helps.
pub(super) fn tour(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let style = app.settings.theme.style(Role::Warning);
    let lines = tour_strip::lines(app, strip_width(area.width));
    let lines = lines
        .into_iter()
        .map(|line| Line::styled(format!(" {line}"), style));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

/// The keys worth knowing now; the area of the dialog that is open goes with it.
pub(super) fn footer(frame: &mut Frame<'_>, ui: &Ui, area: Rect, dialog: Rect) {
    if area.is_empty() {
        return;
    }
    let line = footer_line(ui, area.width, dialog);
    frame.render_widget(Paragraph::new(line), area);
}

/// The footer, so wide.
#[must_use]
pub(in crate::tui) fn footer_line(ui: &Ui, width: u16, dialog: Rect) -> Line<'static> {
    let width = usize::from(width);
    match ui.dialogs.top() {
        Some(open) => open.window().footer(&ui.app, width, dialog),
        None => of_panes(&ui.app, width),
    }
}

fn of_panes(app: &App, width: usize) -> Line<'static> {
    let entries = app.settings.keymap.entries::<Action>().filter(|entry| {
        entry.hint.is_some()
            && !(app.settings.read_only && entry.group.changes())
            && why_not(app, entry.action).is_none()
    });
    let mut entries: Vec<_> = entries.collect();
    // What works on the image comes first, then what finds and shows.
    entries.sort_by_key(|entry| match entry.group {
        Group::Create => 0,
        Group::Change => 1,
        Group::Look => 2,
        Group::Find => 3,
        Group::Mark => 4,
        Group::Any => 5,
        Group::Move | Group::Panes | Group::Dialog => 6,
    });
    let hints = entries
        .into_iter()
        .map(|entry| (entry.key(), entry.hint.unwrap_or_default().to_owned()));
    spread(app, hints, width)
}

/// The filter while it is typed, or what happened last.
pub(super) fn line(frame: &mut Frame<'_>, app: &App, keyboard: Keyboard, area: Rect) {
    if area.is_empty() {
        return;
    }
    let lines = match keyboard {
        Keyboard::FilterLine => filter(app, area.width),
        _ => toast(app, area.width),
    };
    frame.render_widget(Paragraph::new(lines), area);
}

/// The filter line, below what is wrong with it.
fn filter(app: &App, width: u16) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let hits = app.tree.rows.hits.len();
    let of = app.forest.len();
    let count = if app.tree.filter.value().is_empty() {
        let terms = app
            .settings
            .keymap
            .key(<FilterLine as Window>::Action::Terms);
        format!("words of the path, size>1.5G, age>30d, state:in-use; {terms} explains")
    } else {
        let number = |count: usize| units::grouped(u64::try_from(count).unwrap_or(u64::MAX));
        format!("{} of {}", number(hits), number(of))
    };
    let room = usize::from(width).saturating_sub(text::width(&count) + 5);
    let scroll = app.tree.filter.visual_scroll(room.saturating_sub(1));
    let shown: String = text::safe(app.tree.filter.value());
    let visible: String = shown.chars().skip(scroll).collect();
    let complaint = status_line::complaint(app, width).into_iter().enumerate();
    let mut lines: Vec<Line<'static>> = complaint
        .map(|(i, line)| told(app, i, line, ("!", Role::Warning)))
        .collect();
    lines.push(Line::from(vec![
        Span::styled(" /", theme.style(Role::Key)),
        Span::raw(text::cut_end(&visible, room, ascii)),
        Span::styled(" ", theme.style(Role::Cursor)),
        Span::styled(format!("  {count}"), theme.style(Role::Quiet)),
    ]));
    lines
}

/// What happened last.
fn toast(app: &App, width: u16) -> Vec<Line<'static>> {
    let is_bad = app.session.toast.as_ref().is_some_and(|toast| toast.bad);
    let sign = match (is_bad, app.settings.ascii) {
        (true, _) => ("!", Role::Error),
        (false, true) => ("*", Role::Good),
        (false, false) => ("✓", Role::Good),
    };
    let lines = status_line::toast(app, width).into_iter().enumerate();
    lines.map(|(i, line)| told(app, i, line, sign)).collect()
}

/// A line of a message, with its sign before the first.
fn told(app: &App, i: usize, line: String, (sign, role): (&'static str, Role)) -> Line<'static> {
    let theme = app.settings.theme;
    let sign = if i == 0 { sign } else { " " };
    let text_role = match role {
        Role::Good => Role::Plain,
        bad => bad,
    };
    Line::from(vec![
        Span::styled(format!(" {sign} "), theme.style(role)),
        Span::styled(line, theme.style(text_role)),
    ])
}
