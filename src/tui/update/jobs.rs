//! Jobs: begun, cancelled, tried again; what comes of them. Nothing becomes a job but a plan the person
//! agreed to, a look through tables, or a command of the person's own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::host::shell_quoted;
use crate::ops::{Error, Outcome, Phase, ProgressView, Ready, Request};
use crate::tui::app::App;
use crate::tui::config::{NoticeBy, Notices};
use crate::tui::dialog::{LogView, Mode};
use crate::tui::jobs::{Files, JobState, Task, Work};
use crate::tui::keymap::Action;
use crate::tui::log::Kind;
use crate::tui::msg::{Effect, Notice};
use crate::units;

use super::{panes, plans};

/// Makes a job of what the person agreed to, and closes the dialog it came from.
pub(super) fn enqueue(app: &mut App, ready: Ready, effects: &mut Vec<Effect>) {
    let plan = ready.plan();
    let files = Files::of_plan(&app.forest, plan);
    let (title, request) = (plan.title.clone(), plan.request.clone());
    let commands = plan.commands.clone();
    let work = Work::Plan(Box::new(ready));
    let id = app
        .jobs
        .add(title.clone(), Task::Change(request), work, files);
    app.note(Some(id), Kind::Step, &format!("agreed to: {title}"));
    for command in &commands {
        app.note(Some(id), Kind::Command, command);
    }
    app.mode = Mode::Main;
    app.tree.marks.clear();
    app.refresh_preview();
    start_next(app, effects);
}

/// Looks through the tables of images, one after the other.
pub(super) fn check(app: &mut App, images: Vec<PathBuf>, effects: &mut Vec<Effect>) {
    let title = match &images[..] {
        [] => return,
        [only] => format!("Check {}", units::file_name(only)),
        many => format!("Check {} images", many.len()),
    };
    let files = Files::read(&app.forest, &images);
    let id = app.jobs.add(
        title.clone(),
        Task::Check(images.clone()),
        Work::Check(images.clone()),
        files,
    );
    app.note(Some(id), Kind::Step, &title);
    if let [only] = &images[..] {
        let command = format!("qanopy check {}", shell_quoted(only));
        app.note(Some(id), Kind::Command, &command);
    }
    app.tree.marks.clear();
    start_next(app, effects);
    tell_if_waiting(app, id, &title);
}

fn tell_if_waiting(app: &mut App, id: u64, title: &str) {
    let job = app.jobs.get(id);
    if job.is_some_and(|job| job.state == JobState::Waiting) {
        app.tell(format!("{title}: waits for a job on the same files."));
    }
}

/// Compares what two images show.
pub(super) fn compare(app: &mut App, images: [PathBuf; 2], effects: &mut Vec<Effect>) {
    let [one, other] = &images;
    let title = format!(
        "Compare {} with {}",
        units::file_name(one),
        units::file_name(other)
    );
    let command = format!(
        "qanopy compare {} {}",
        shell_quoted(one),
        shell_quoted(other)
    );
    let files = Files::shown(&app.forest, &images);
    let id = app.jobs.add(
        title.clone(),
        Task::Compare(images.clone()),
        Work::Compare(images),
        files,
    );
    app.note(Some(id), Kind::Step, &title);
    app.note(Some(id), Kind::Command, &command);
    app.tree.marks.clear();
    start_next(app, effects);
    tell_if_waiting(app, id, &title);
}

/// Runs a program unseen.
pub(super) fn command(
    app: &mut App,
    title: String,
    words: Vec<OsString>,
    reads: &[PathBuf],
    effects: &mut Vec<Effect>,
) {
    let files = Files::read(&app.forest, reads);
    let line: Vec<String> = words.iter().map(shell_quoted).collect();
    let id = app.jobs.add(
        title.clone(),
        Task::Command(words.clone()),
        Work::Command(words),
        files,
    );
    app.note(Some(id), Kind::Step, &title);
    app.note(Some(id), Kind::Command, &line.join(" "));
    start_next(app, effects);
}

/// Starts every waiting job that may begin now.
pub(super) fn start_next(app: &mut App, effects: &mut Vec<Effect>) {
    while let Some((job, work, progress)) = app.jobs.begin_next() {
        effects.push(Effect::Run {
            job,
            work,
            progress,
        });
    }
}

/// Keys of the jobs pane.
pub(super) fn run(app: &mut App, action: Action, effects: &mut Vec<Effect>) {
    let last = app.jobs.list.len().saturating_sub(1);
    let at = app.jobs.cursor;
    match action {
        Action::Down => app.jobs.cursor = (at + 1).min(last),
        Action::Up => app.jobs.cursor = at.saturating_sub(1),
        Action::CancelJob => {
            let Some(job) = app.jobs.list.get_mut(at) else {
                return;
            };
            let text = match job.state {
                JobState::Running if job.is_switching() => {
                    format!("{}: finishing, it cannot stop here.", job.title)
                }
                JobState::Running | JobState::Waiting => format!("{}: stopping.", job.title),
                _ => format!("{}: this job is over.", job.title),
            };
            job.cancel();
            app.tell(text);
            start_next(app, effects);
        }
        Action::RetryJob => {
            let Some(job) = app.jobs.list.get(at) else {
                return;
            };
            let (title, task) = (job.title.clone(), job.task.clone());
            if job.is_open() || matches!(job.state, JobState::Done(_)) {
                app.tell(format!(
                    "{title}: only what failed or was stopped is tried again."
                ));
                return;
            }
            match task {
                Task::Change(request) => plans::ask(app, request, Mode::Jobs, effects),
                Task::Check(images) => check(app, images, effects),
                Task::Compare(images) => compare(app, images, effects),
                Task::Command(words) => command(app, title, words, &[], effects),
            }
        }
        Action::JobLog => {
            let job = app.jobs.list.get(at).map(|job| job.id);
            app.mode = Mode::Log(LogView { job, up: 0 });
        }
        Action::Close => app.mode = Mode::Main,
        Action::Quit => panes::quit(app, effects),
        _ => {}
    }
}

/// How far jobs are; a new phase is worth a line in the log.
pub(super) fn progressed(app: &mut App, views: Vec<(u64, ProgressView)>) {
    for (id, view) in views {
        let Some(job) = app.jobs.get_mut(id) else {
            continue;
        };
        let before = job.view.phase;
        job.view = view;
        if before != view.phase && view.phase != Phase::Collect {
            let text = match view.total {
                0 => view.phase.name().to_owned(),
                total => format!("{}: {}", view.phase.name(), units::size(total)),
            };
            app.note(Some(id), Kind::Step, &text);
        }
    }
}

/// A job is over.
pub(super) fn ended(
    app: &mut App,
    id: u64,
    result: Result<Outcome, Error>,
    effects: &mut Vec<Effect>,
) {
    let Some(job) = app.jobs.get_mut(id) else {
        return;
    };
    let title = job.title.clone();
    let task = job.task.clone();
    // Cut off half way, or the end of what was: the rows say so.
    if matches!(task, Task::Change(_)) && (result.is_err() || !app.halves.is_empty()) {
        effects.push(Effect::Interrupted(super::FOR_THE_ROWS, None));
    }
    let took = job.view.elapsed;
    let mut touched = Vec::new();
    let said = match result {
        Ok(outcome) => {
            job.state = JobState::Done(outcome.summary.clone());
            app.note(Some(id), Kind::Good, &outcome.summary);
            for remark in &outcome.remarks {
                app.note(Some(id), Kind::Note, remark);
            }
            touched.clone_from(&outcome.touched);
            let mut text = format!("{}.", outcome.summary.trim_end_matches('.'));
            if matches!(task, Task::Compare(_)) && !outcome.remarks.is_empty() {
                let key = app.key(Action::Jobs);
                text.push_str(&format!(" {key} Enter lists them."));
            } else {
                for remark in &outcome.remarks {
                    text.push(' ');
                    text.push_str(remark);
                }
            }
            if let Task::Change(request) = &task {
                text.push_str(&undone_or_not(app, request, &outcome));
                // Among several each would tear the cursor away from where the person is by then.
                if let Some(new) = request.creates()
                    && app.jobs.open().next().is_none()
                {
                    app.tree.wanted = Some(new.to_path_buf());
                }
            }
            app.tell(text.clone());
            text
        }
        Err(Error::Cancelled(text)) => {
            job.state = JobState::Cancelled(text.clone());
            app.note(Some(id), Kind::Note, &text);
            app.tell(format!("{title}: {text}"));
            text
        }
        Err(error) => {
            let text = error.to_string();
            job.state = JobState::Failed(text.clone());
            app.note(Some(id), Kind::Bad, &text);
            match &task {
                Task::Change(request) if matches!(app.mode, Mode::Main) && !app.leaving => {
                    // The person meant it to happen: show what stands against it, planned anew.
                    plans::ask(app, request.clone(), Mode::Main, effects);
                    if let Mode::Plan(dialog) = &mut app.mode {
                        dialog.reason = Some(text.clone());
                    }
                }
                _ => app.warn(format!("{title}: {text}")),
            }
            text
        }
    };
    start_next(app, effects);
    effects.extend(notice(app, title, said, took));
    let is_last = app.jobs.open().next().is_none();
    if is_last && matches!(app.mode, Mode::Leave) {
        // The question was about running jobs, and there are none: what came of them is to be read.
        app.mode = Mode::Main;
        let quit = app.key(Action::Quit);
        if let Some(toast) = &mut app.toast {
            toast
                .text
                .push_str(&format!(" That was the last job: {quit} leaves."));
        }
    }
    if app.leaving && is_last {
        effects.push(Effect::Quit);
    } else if matches!(task, Task::Change(_)) {
        let is_whole = touched.is_empty();
        panes::look_again(app, (!is_whole).then_some(touched), effects);
    }
}

/// A job is over since the passphrase of an image is missing: a person who does nothing else is asked for
/// it.
pub(super) fn locked(
    app: &mut App,
    id: u64,
    image: PathBuf,
    error: Error,
    effects: &mut Vec<Effect>,
) {
    ended(app, id, Err(error), effects);
    if matches!(app.mode, Mode::Main | Mode::Jobs) && !app.leaving {
        plans::ask_secret(app, image, Some(id));
    }
}

/// Begins a job anew that has ended for lack of something.
pub(super) fn again(app: &mut App, id: u64, effects: &mut Vec<Effect>) {
    app.jobs.again(id);
    start_next(app, effects);
}

/// Tells the end of a long job to somebody who looks elsewhere.
fn notice(app: &App, title: String, text: String, took: Duration) -> Option<Effect> {
    let Notices { by, after } = app.settings.notices;
    let is_wanted = by != NoticeBy::Off && app.focused == Some(false) && took.as_secs() >= after;
    is_wanted.then(|| Effect::Notify(Notice { by, title, text }))
}

/// Remembers what would take the operation back; the words to add.
fn undone_or_not(app: &mut App, request: &Request, outcome: &Outcome) -> String {
    // Having been undone, an operation is no longer there to be undone.
    let last = app.undo.last();
    if matches!(request, Request::Undo(_)) || last.is_some_and(|(_, undo)| undo == request) {
        app.undo.pop();
        app.no_undo = None;
        return String::new();
    }
    app.no_undo = outcome.undo.is_none().then(|| {
        format!(
            "{} cannot be taken back",
            outcome.summary.trim_end_matches('.')
        )
    });
    let Some(undo) = &outcome.undo else {
        return String::new();
    };
    app.undo.push((outcome.summary.clone(), undo.clone()));
    if matches!(undo, Request::EmptyTrash(_)) {
        return String::new();
    }
    format!(" {} takes it back.", app.key(Action::Undo))
}
