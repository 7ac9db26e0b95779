//! The log of this session, or one job's part of it.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};
use crate::tui::log::{Kind, LogLine};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::units;

use super::next::Next;
use super::window::{Context, Window};

/// What a key can mean in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Leaves a dialog.
    Close,
    /// Scrolls up.
    ScrollUp,
    /// Scrolls down.
    ScrollDown,
    /// One screen up.
    PageUp,
    /// One screen down.
    PageDown,
    /// To the first row.
    Top,
    /// To the last row.
    Bottom,
    /// To the clipboard.
    Copy,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Close, "log-close", &[Key::of(Code::Esc), Key::char('q'), Key::char('L'), Key::ctrl('c')], "close the log", "close"),
        dialog(Self::ScrollUp, "log-up", &[Key::of(Code::Up), Key::char('k')], "scroll up", "scroll"),
        dialog(Self::ScrollDown, "log-down", &[Key::of(Code::Down), Key::char('j')], "scroll down", ""),
        dialog(Self::PageUp, "log-page-up", &[Key::of(Code::PageUp), Key::ctrl('u')], "one screen up", ""),
        dialog(Self::PageDown, "log-page-down", &[Key::of(Code::PageDown), Key::ctrl('d')], "one screen down", ""),
        dialog(Self::Top, "log-top", &[Key::char('g'), Key::of(Code::Home)], "to the first line", ""),
        dialog(Self::Copy, "log-copy", &[Key::char('y')], "copy all of it", "copy"),
        dialog(Self::Bottom, "log-bottom", &[Key::char('G'), Key::of(Code::End)], "to the last line", ""),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}

/// The log, or one job's part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogView {
    /// The job, if only one is shown.
    pub job: Option<u64>,
    /// Lines scrolled up from the end.
    pub up: usize,
}

impl Window for LogView {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        // A line of the page has the headings.
        let page = context.page();
        let lines = context.app.session.log.of(self.job).count();
        let most = lines.saturating_sub(page);
        let up = match action {
            Action::ScrollUp => self.up + 1,
            Action::ScrollDown => self.up.saturating_sub(1),
            Action::PageUp => self.up + page,
            Action::PageDown => self.up.saturating_sub(page),
            Action::Top => most,
            Action::Bottom => 0,
            Action::Copy => {
                let text = self.text(context.app);
                context.copy(text);
                return Next::Stay;
            }
            Action::Close => return Next::Close,
        };
        self.up = up.min(most);
        Next::Stay
    }

    fn turns(&self) -> bool {
        true
    }

    fn edge(&self, app: &App, width: usize) -> Line<'static> {
        frame::hints::<Action>(app, width)
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw(screen, app, *self, area);
    }
}

impl LogView {
    /// What is shown, whole, a line each.
    fn text(self, app: &App) -> String {
        let lines = app.session.log.of(self.job).map(|line| {
            let job = line
                .job
                .map_or_else(String::new, |job| format!("job {job} "));
            let sign = line.kind.sign();
            format!("{} {job}{sign}{}\n", time(app, line), line.text)
        });
        lines.collect()
    }
}

fn draw(screen: &mut Frame<'_>, app: &App, view: LogView, area: Rect) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = view.edge(app, room);
    let title = match view.job {
        Some(job) => format!("Log of job {job}"),
        None => "Log".to_owned(),
    };
    let inside = frame::dialog(screen, app, area, &title, bottom);
    let height = usize::from(inside.height).saturating_sub(1);
    let all: Vec<_> = app.session.log.of(view.job).collect();
    let end = all.len().saturating_sub(view.up).max(height.min(all.len()));
    let first = end.saturating_sub(height);
    let heading = format!(" {:8} {:>3}   {}", "time", "job", "what happened");
    let mut lines = vec![Line::styled(heading, theme.style(Role::Title))];
    lines.extend(all.get(first..end).unwrap_or_default().iter().map(|line| {
        let (sign, role) = match (line.kind, ascii) {
            (Kind::Step | Kind::Note, _) => (" ", Role::Plain),
            (Kind::Command, _) => ("$", Role::Quiet),
            (Kind::Good, true) => ("*", Role::Good),
            (Kind::Good, false) => ("✓", Role::Good),
            (Kind::Bad, _) => ("!", Role::Error),
        };
        let job = line.job.map_or_else(String::new, |job| job.to_string());
        let room = usize::from(inside.width).saturating_sub(17);
        Line::from(vec![
            Span::styled(
                format!(" {} {} ", time(app, line), text::pad_left(&job, 3, ascii)),
                theme.style(Role::Quiet),
            ),
            Span::styled(format!("{sign} "), theme.style(role)),
            Span::styled(text::cut_end(&line.text, room, ascii), theme.style(role)),
        ])
    }));
    frame::lines_in(screen, inside, lines);
}

/// The time on the clock when a line was written.
fn time(app: &App, line: &LogLine) -> String {
    units::time_of_day(line.at, app.settings.utc_offset)
}
