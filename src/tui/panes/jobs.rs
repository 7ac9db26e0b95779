//! The jobs: what runs and how far it is, what waits, what is done.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::ops::Phase;
use crate::tui::actions;
use crate::tui::app::App;
use crate::tui::dialogs::Keyboard;
use crate::tui::dialogs::jobs::Action;
use crate::tui::jobs::{Job, JobState};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::units;

/// Draws the jobs where they have a place: one line without a frame, or a pane.
pub(in crate::tui) fn draw(frame: &mut Frame<'_>, app: &App, keyboard: Keyboard, area: Rect) {
    if area.is_empty() {
        return;
    }
    let focus = keyboard == Keyboard::Jobs;
    if area.height < 3 {
        frame.render_widget(Paragraph::new(strip(app, area.width)), area);
        return;
    }
    let dash = frame::lead(app, focus);
    let dot = if app.settings.ascii { "-" } else { "·" };
    let mut title = format!("{dash} Jobs ");
    for (what, count) in counts(app) {
        if count > 0 {
            title.push_str(&format!("{dot} {count} {what} "));
        }
    }
    let title = text::cut_end(
        &title,
        usize::from(area.width).saturating_sub(2),
        app.settings.ascii,
    );
    let title = Line::styled(title, app.settings.theme.style(Role::Title));
    let height = usize::from(area.height).saturating_sub(2);
    let first = first_seen(app, focus, height);
    let bottom = match app.jobs.list.len().saturating_sub(height) {
        _ if focus => frame::hints::<Action>(app, usize::from(area.width).saturating_sub(2)),
        0 => Line::default(),
        hidden => Line::raw(format!("{dash} {} ", more(app, hidden))),
    };
    let role = if focus { Role::Focus } else { Role::Frame };
    let inside = frame::draw(frame, app, area, title, bottom, role);
    let lines: Vec<Line<'static>> = app
        .jobs
        .list
        .iter()
        .enumerate()
        .skip(first)
        .take(height)
        .map(|(i, job)| line(app, job, inside.width, focus && i == app.jobs.cursor.at))
        .collect();
    if lines.is_empty() {
        let text = Line::styled(
            " nothing was done yet",
            app.settings.theme.style(Role::Quiet),
        );
        frame.render_widget(Paragraph::new(text), inside);
    } else {
        frame.render_widget(Paragraph::new(lines), inside);
    }
}

/// The first job that is seen: the cursor is while the pane has the focus, else the first that is not over, or
/// the newest ones.
fn first_seen(app: &App, focus: bool, height: usize) -> usize {
    let all = app.jobs.list.len();
    let last_page = all.saturating_sub(height);
    if focus {
        return app.jobs.cursor.first_seen(height).min(last_page);
    }
    let open = app.jobs.list.iter().position(Job::is_open);
    open.unwrap_or(last_page).min(last_page)
}

/// The first job that is not over, and how many more there are.
fn strip(app: &App, width: u16) -> Line<'static> {
    let mut open = app.jobs.open();
    let Some(job) = open.next() else {
        return Line::default();
    };
    let words = match open.count() {
        0 => String::new(),
        hidden => format!(" {} ", more(app, hidden)),
    };
    let cells = u16::try_from(text::width(&words)).unwrap_or(width);
    let mut line = line(app, job, width.saturating_sub(cells), false);
    let used = line.width();
    let gap = usize::from(width).saturating_sub(used + text::width(&words));
    line.push_span(Span::raw(" ".repeat(gap)));
    line.push_span(Span::styled(words, app.settings.theme.style(Role::Quiet)));
    line
}

/// How many jobs are not seen, and the key that shows them.
fn more(app: &App, hidden: usize) -> String {
    format!("+{hidden} more: {}", app.key(actions::Action::Jobs))
}

/// How many jobs there are of each kind.
fn counts(app: &App) -> [(&'static str, usize); 4] {
    let of = |is_it: fn(&JobState) -> bool| {
        let jobs = app.jobs.list.iter();
        jobs.filter(|job| is_it(&job.state)).count()
    };
    [
        ("running", of(|state| *state == JobState::Running)),
        ("waiting", of(|state| *state == JobState::Waiting)),
        ("done", of(|state| matches!(state, JobState::Done(_)))),
        (
            "failed or stopped",
            of(|state| matches!(state, JobState::Failed(_) | JobState::Cancelled(_))),
        ),
    ]
}

fn line(app: &App, job: &Job, width: u16, is_at: bool) -> Line<'static> {
    let ascii = app.settings.ascii;
    let theme = app.settings.theme;
    let width = usize::from(width);
    let (sign, role, state) = match &job.state {
        JobState::Running => (
            if ascii { ">" } else { "▶" },
            Role::Key,
            running(app, job, width),
        ),
        JobState::Waiting => {
            let before = app.jobs.waits_for(job.id);
            let text = before.map_or_else(|| "waits".to_owned(), |id| format!("waits for {id}"));
            (if ascii { "." } else { "·" }, Role::Quiet, text)
        }
        JobState::Done(text) => (if ascii { "*" } else { "✓" }, Role::Good, text.clone()),
        JobState::Failed(text) => (if ascii { "x" } else { "✗" }, Role::Error, text.clone()),
        JobState::Cancelled(text) => (if ascii { "x" } else { "✗" }, Role::Warning, text.clone()),
    };
    let title_room = width.saturating_sub(50).clamp(16, 60);
    let title = text::cut_middle(&text::safe(&job.title), title_room, ascii);
    let head = format!(" {} {}  ", job.id, text::pad(&title, title_room, ascii));
    let room = width.saturating_sub(text::width(&head) + 3);
    let mut line = Line::from(vec![
        Span::raw(frame::bar(app, is_at)),
        Span::styled(sign.to_owned(), theme.style(role)),
        Span::raw(head),
        Span::raw(text::cut_end(&text::safe(&state), room, ascii)),
    ]);
    if is_at {
        line = line.patch_style(theme.style(Role::Cursor));
    }
    line
}

/// Phase, bar, share, rate, time left.
fn running(app: &App, job: &Job, width: usize) -> String {
    let view = job.view;
    let (full, empty) = if app.settings.ascii {
        ("#", ".")
    } else {
        ("█", "·")
    };
    let cells: usize = if width < 100 { 8 } else { 14 };
    let filled = if view.total == 0 {
        0
    } else {
        let filled =
            u128::from(view.done.min(view.total)) * (cells as u128) / u128::from(view.total);
        usize::try_from(filled).unwrap_or(0)
    };
    let bar = format!(
        "{}{}",
        full.repeat(filled),
        empty.repeat(cells - filled.min(cells))
    );
    let mut text = format!(
        "{} {bar} {:>4}",
        view.phase.name(),
        text::percent(view.done, view.total)
    );
    if view.phase == Phase::Copy {
        if view.speed > 0 {
            text.push_str(&format!("  at most {}/s", units::size(view.speed)));
        }
        if view.is_paused {
            text.push_str("  paused");
        } else if let Some(rate) = view.rate() {
            text.push_str(&format!("  {}/s", units::size(rate)));
        }
        if let Some(eta) = view.eta() {
            text.push_str(&format!("  {} left", units::clock(eta)));
        }
    }
    if job.progress.is_cancelled() {
        text.push_str("  stopping");
    }
    text
}
