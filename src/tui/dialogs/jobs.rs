//! The jobs pane while it has the keyboard. It is drawn with the panes.

use crate::ops::{Controls, ProgressView};
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::jobs::{Job, JobState};
use crate::tui::key::{Code, Key};
use crate::units;

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
    /// Has a job of a machine move more bytes per second.
    Faster,
    /// Has a job of a machine stand still, or go on.
    Pause,
    /// Leaves the program.
    Quit,
    /// Shows a job's part of the log.
    JobLog,
    /// Tries a job again.
    RetryJob,
    /// Has a job of a machine move fewer bytes per second.
    Slower,
    /// Has a job of a machine move as many bytes per second as it can.
    Unlimited,
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
        dialog(Self::Pause, "jobs-pause", &[Key::char('p')], "pause a machine's job, or have it go on", "pause"),
        dialog(Self::Slower, "jobs-slower", &[Key::char('-')], "half the speed for a machine's job", ""),
        dialog(Self::Faster, "jobs-faster", &[Key::char('+'), Key::char('=')], "twice the speed for a machine's job", ""),
        dialog(Self::Unlimited, "jobs-unlimited", &[Key::char('0')], "no limit for a machine's job", ""),
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
            Action::Pause | Action::Slower | Action::Faster | Action::Unlimited => {
                if let Some(job) = app.jobs.list.get_mut(at) {
                    let text = governed(job, action);
                    app.tell(text);
                }
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

/// Below this no job is slowed down.
const SLOWEST: u64 = 1 << 20;
/// What is not slower has no limit.
const FASTEST: u64 = 4 << 30;

/// Has a job that a machine runs go on otherwise; what came of it.
fn governed(job: &mut Job, action: Action) -> String {
    let view = job.progress.view();
    let is_running = job.state == JobState::Running;
    let can = match action {
        Action::Pause => view.controls == Controls::SpeedAndPause,
        _ => view.controls != Controls::Stop,
    };
    if !is_running || !can {
        let why = match view.controls {
            Controls::Speed if is_running => {
                "libvirt runs it, which has no pause for a job: a low speed holds it back"
            }
            _ => "only what a machine copies is paused, or held to a speed",
        };
        return format!("{}: {why}.", job.title);
    }
    let said = match action {
        Action::Pause => {
            job.progress.pause(!view.is_paused);
            match view.is_paused {
                true => "goes on".to_owned(),
                false => "paused".to_owned(),
            }
        }
        _ => {
            let speed = changed_speed(&view, action);
            job.progress.limit(speed);
            match speed {
                0 => "as fast as it goes".to_owned(),
                speed => format!("at most {}/s", units::size(speed)),
            }
        }
    };
    job.view = job.progress.view();
    format!("{}: {said}.", job.title)
}

/// The next speed, in steps that are each twice the one before; 0 for no limit.
fn changed_speed(view: &ProgressView, action: Action) -> u64 {
    let now = match view.speed {
        0 => view.rate().unwrap_or(FASTEST),
        speed => speed,
    };
    let step = now.clamp(SLOWEST, FASTEST).next_power_of_two();
    match action {
        Action::Slower => (step / 2).max(SLOWEST),
        Action::Faster if view.speed > 0 && step < FASTEST => step * 2,
        _ => 0,
    }
}
