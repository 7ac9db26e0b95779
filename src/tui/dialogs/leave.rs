//! The question whether to leave while jobs run.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};
use crate::tui::msg::Effect;
use crate::tui::text;
use crate::tui::views::frame;

use super::next::Next;
use super::window::{Context, Window};

/// What a key can mean at that question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Waits for the jobs, then leaves.
    QuitWhenDone,
    /// Cancels the jobs and leaves.
    QuitNow,
    /// Leaves a dialog.
    Close,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::QuitWhenDone, "leave-when-done", &[Key::char('w')], "wait for the jobs, then leave", "wait, then quit"),
        dialog(Self::QuitNow, "leave-now", &[Key::char('c'), Key::ctrl('c')], "cancel the jobs and leave", "cancel jobs and quit"),
        dialog(Self::Close, "leave-not", &[Key::of(Code::Esc)], "stay", "stay"),
    ];

    fn leaves(self) -> bool {
        matches!(self, Self::Close | Self::QuitNow)
    }
}

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaveDialog;

impl Window for LeaveDialog {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        let app = &mut *context.app;
        match action {
            Action::Close => app.leaving = false,
            Action::QuitWhenDone => {
                app.leaving = true;
                app.tell("Leaving as soon as the last job is done; Esc stays.");
            }
            Action::QuitNow => {
                app.leaving = true;
                for job in &mut app.jobs.list {
                    job.cancel();
                }
            }
        }
        if app.leaving && app.jobs.open().next().is_none() {
            context.effects.push(Effect::Quit);
        }
        Next::Close
    }

    fn height(&self, app: &App, width: usize) -> Option<usize> {
        Some(lines(app, width).len())
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        let room = usize::from(area.width).saturating_sub(2);
        let bottom = frame::hints::<Action>(app, room);
        let inside = frame::dialog(screen, app, area, "Quit: jobs are running", bottom);
        frame::lines_in(screen, inside, lines(app, usize::from(inside.width)));
    }
}

fn lines(app: &App, width: usize) -> Vec<Line<'static>> {
    let jobs = app.jobs.open();
    jobs.map(|job| {
        let title = text::safe(&job.title);
        Line::raw(format!(
            " {} {}",
            text::cut_middle(&title, width.saturating_sub(8), app.settings.ascii),
            text::percent(job.view.done, job.view.total)
        ))
    })
    .collect()
}
