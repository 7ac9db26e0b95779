//! The jobs pane while it has the keyboard. It is drawn with the panes.

use crate::tui::bindings::{self, Row, dialog};
use crate::tui::jobs::JobState;
use crate::tui::key::{Code, Key};

use super::next::Next;
use super::window::{Context, Window};

/// What a key can mean in the jobs pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stops a job.
    CancelJob,
    /// Leaves a dialog.
    Close,
    /// One row down.
    Down,
    /// One row up.
    Up,
    /// Leaves the program.
    Quit,
    /// Shows a job's part of the log.
    JobLog,
    /// Tries a job again.
    RetryJob,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::CancelJob, "jobs-cancel", &[Key::char('X')], "stop this job", "cancel"),
        dialog(Self::Close, "jobs-leave", &[Key::of(Code::Esc), Key::char('J'), Key::of(Code::Tab)], "back to the images", "back"),
        dialog(Self::Down, "jobs-down", &[Key::of(Code::Down), Key::char('j')], "next job", ""),
        dialog(Self::Up, "jobs-up", &[Key::of(Code::Up), Key::char('k')], "job before", ""),
        dialog(Self::Quit, "jobs-quit", &[Key::char('q'), Key::ctrl('c')], "leave; asks while jobs run", ""),
        dialog(Self::JobLog, "jobs-log", &[Key::of(Code::Enter)], "the job's part of the log", "log"),
        dialog(Self::RetryJob, "jobs-retry", &[Key::char('r')], "plan it again", "retry"),
    ];

    fn leaves(self) -> bool {
        matches!(self, Self::Close | Self::Quit)
    }
}

/// The jobs have the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobsPane;

impl Window for JobsPane {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        let app = &mut *context.app;
        let len = app.jobs.list.len();
        let at = app.jobs.cursor.at;
        match action {
            Action::Down => app.jobs.cursor.down(len),
            Action::Up => app.jobs.cursor.up(),
            Action::CancelJob => {
                let Some(job) = app.jobs.list.get_mut(at) else {
                    return Next::Stay;
                };
                let text = match job.state {
                    JobState::Running if job.is_switching() => {
                        format!("{}: finishing, it cannot stop here.", job.title)
                    }
                    JobState::Running | JobState::Waiting => format!("{}: stopping.", job.title),
                    JobState::Done(_) | JobState::Failed(_) | JobState::Cancelled(_) => {
                        format!("{}: this job is over.", job.title)
                    }
                };
                job.cancel();
                app.tell(text);
                return Next::StartJobs;
            }
            Action::RetryJob => {
                let Some(job) = app.jobs.list.get(at) else {
                    return Next::Stay;
                };
                let (title, task) = (job.title.clone(), job.task.clone());
                if job.is_open() || matches!(job.state, JobState::Done(_)) {
                    app.tell(format!(
                        "{title}: only what failed or was stopped is tried again."
                    ));
                    return Next::Stay;
                }
                return Next::Retry { title, task };
            }
            Action::JobLog => return Next::Log(app.jobs.list.get(at).map(|job| job.id)),
            Action::Close => return Next::Close,
            Action::Quit => return Next::Quit,
        }
        Next::Stay
    }
}
