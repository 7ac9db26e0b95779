//! Jobs: begun, cancelled, tried again; what comes of them. Nothing becomes a job but a plan the person
//! agreed to, a look through tables, or a command of the person's own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::host::shell_quoted;
use crate::ops::{Error, Note, Outcome, Phase, ProgressView, Ready, Remedy, Request};
use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::browse::Extraction;
use crate::tui::config::{NoticeBy, Notices};
use crate::tui::dialogs::{Dialog, Keyboard};
use crate::tui::jobs::{Files, JobState, Jobs, Task, Work};
use crate::tui::log::Kind;
use crate::tui::msg::{Effect, Notice};
use crate::tui::query::FOR_THE_ROWS;
use crate::tui::remedies;
use crate::tui::there::Part;
use crate::tui::ui::Ui;
use crate::units;

use super::settle::refresh_preview;
use super::{open, scan, series};

/// Makes a job of what the person agreed to, and closes the dialog it came from. Where that is one of several, those
/// that follow it.
pub(super) fn enqueue(ui: &mut Ui, ready: Ready, effects: &mut Vec<Effect>) -> Option<Vec<Part>> {
    let following = ui.dialogs.close_all();
    let app = &mut ui.app;
    let plan = ready.plan();
    let files = Files::of_plan(&app.forest, plan);
    let (title, request) = (plan.title.clone(), plan.request.clone());
    let commands = plan.commands.clone();
    series::unmark(app, &request, following.is_some());
    let work = Work::Plan(Box::new(ready));
    let id = app
        .jobs
        .add(title.clone(), Task::Change(request), work, files);
    app.note(Some(id), Kind::Step, &format!("agreed to: {title}"));
    for command in &commands {
        app.note(Some(id), Kind::Command, command);
    }
    refresh_preview(ui);
    start_next(&mut ui.app.jobs, effects);
    following
}

/// Looks through the tables of images, those of each machine one after the other.
pub(super) fn check(app: &mut App, images: Vec<PathBuf>, effects: &mut Vec<Effect>) {
    let mut by_machine: BTreeMap<Option<usize>, Vec<PathBuf>> = BTreeMap::new();
    for image in images {
        let machine = app.hosts.of_path(&image);
        by_machine.entry(machine).or_default().push(image);
    }
    for images in by_machine.into_values() {
        check_of_one(app, images, effects);
    }
}

fn check_of_one(app: &mut App, images: Vec<PathBuf>, effects: &mut Vec<Effect>) {
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
        let command = Remedy::Check(only.clone()).command_line();
        let command = command.map(|line| line.to_string()).unwrap_or_default();
        app.note(Some(id), Kind::Command, &command);
    }
    app.tree.marks.clear();
    start_next(&mut app.jobs, effects);
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
    start_next(&mut app.jobs, effects);
    tell_if_waiting(app, id, &title);
}

/// Copies files out of an image.
pub(super) fn extract(app: &mut App, what: Extraction, effects: &mut Vec<Effect>) {
    let of = &what.of;
    let title = format!(
        "Extract {} of {}",
        what.spot.shown(),
        units::file_name(&of.image)
    );
    let mut command = format!(
        "qanopy extract {} {} --to {}",
        shell_quoted(&of.image),
        shell_quoted(what.spot.typed()),
        shell_quoted(&what.to)
    );
    if let Some(id) = &of.snapshot {
        let id = shell_quoted(OsStr::from_bytes(id));
        command.push_str(&format!(" --id --snapshot {id}"));
    }
    let files = Files::shown(&app.forest, std::slice::from_ref(&of.image));
    let id = app.jobs.add(
        title.clone(),
        Task::Extract(what.clone()),
        Work::Extract(what),
        files,
    );
    app.note(Some(id), Kind::Step, &title);
    app.note(Some(id), Kind::Command, &command);
    start_next(&mut app.jobs, effects);
    tell_if_waiting(app, id, &title);
}

/// Runs a program unseen.
pub(super) fn command(
    app: &mut App,
    title: String,
    task: Task,
    reads: &[PathBuf],
    effects: &mut Vec<Effect>,
) {
    let files = Files::read(&app.forest, reads);
    let (words, work) = match &task {
        Task::Command(words) => (words, Work::Command(words.clone())),
        Task::CommandThere(at, words) => (words, Work::CommandThere(*at, words.clone())),
        _ => return,
    };
    let line: Vec<String> = words.iter().map(shell_quoted).collect();
    let id = app.jobs.add(title.clone(), task, work, files);
    app.note(Some(id), Kind::Step, &title);
    app.note(Some(id), Kind::Command, &line.join(" "));
    start_next(&mut app.jobs, effects);
}

/// Starts every waiting job that may begin now.
pub(super) fn start_next(jobs: &mut Jobs, effects: &mut Vec<Effect>) {
    while let Some((job, work, progress)) = jobs.begin_next() {
        effects.push(Effect::Run {
            job,
            work,
            progress,
        });
    }
}

/// Tries a job again that is over: what it was asked is planned anew.
pub(super) fn retry(ui: &mut Ui, title: String, task: Task, effects: &mut Vec<Effect>) {
    match task {
        Task::Change(request) => open::ask(ui, request, effects),
        Task::There { at, request, .. } => open::ask_there(ui, at, request, effects),
        Task::Check(images) => check(&mut ui.app, images, effects),
        Task::Compare(images) => compare(&mut ui.app, images, effects),
        Task::Extract(what) => extract(&mut ui.app, what, effects),
        Task::Command(_) | Task::CommandThere(..) => {
            command(&mut ui.app, title, task, &[], effects);
        }
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
    ui: &mut Ui,
    id: u64,
    result: Result<Outcome, Error>,
    effects: &mut Vec<Effect>,
) {
    let app = &mut ui.app;
    let result = result.map_err(|error| {
        let report = error.report();
        let text = remedies::told(app, &report.text, &report.remedies, None);
        (error, text)
    });
    let Some(job) = app.jobs.get_mut(id) else {
        return;
    };
    let title = job.title.clone();
    let task = job.task.clone();
    // Cut off half way, or the end of what was: the rows say so.
    if matches!(task, Task::Change(_)) && (result.is_err() || !app.session.halves.is_empty()) {
        effects.push(Effect::Interrupted(FOR_THE_ROWS, None));
    }
    let took = job.view.elapsed;
    let mut touched = Vec::new();
    let said = match result {
        Ok(outcome) => {
            job.state = JobState::Done(outcome.summary.clone());
            app.note(Some(id), Kind::Good, &outcome.summary);
            let told = |note: &Note| remedies::told(app, &note.text, &note.remedies, None);
            let remarks: Vec<String> = outcome.remarks.iter().map(told).collect();
            for remark in &remarks {
                app.note(Some(id), Kind::Note, remark);
            }
            touched.clone_from(&outcome.touched);
            let mut text = format!("{}.", outcome.summary.trim_end_matches('.'));
            if matches!(task, Task::Compare(_) | Task::Extract(_)) && !outcome.remarks.is_empty() {
                let key = app.key(Action::Jobs);
                text.push_str(&format!(" {key} Enter lists them."));
            } else {
                for remark in &remarks {
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
            if let Task::There { request, .. } = &task {
                app.tree.wanted = request.creates().map(Path::to_path_buf);
            }
            app.tell(text.clone());
            text
        }
        Err((Error::Cancelled(_), text)) => {
            job.state = JobState::Cancelled(text.clone());
            app.note(Some(id), Kind::Note, &text);
            app.tell(format!("{title}: {text}"));
            text
        }
        Err((_, text)) => {
            job.state = JobState::Failed(text.clone());
            app.note(Some(id), Kind::Bad, &text);
            match &task {
                Task::Change(request) if ui.dialogs.is_empty() && !app.leaving => {
                    // The person meant it to happen: show what stands against it, planned anew.
                    open::ask(ui, request.clone(), effects);
                    if let Some(Dialog::Plan(dialog)) = ui.dialogs.top_mut() {
                        dialog.reason = Some(text.clone());
                    }
                }
                _ => app.warn(format!("{title}: {text}")),
            }
            text
        }
    };
    let app = &mut ui.app;
    start_next(&mut app.jobs, effects);
    effects.extend(notice(app, title, said, took));
    let is_last = app.jobs.open().next().is_none();
    if is_last && matches!(ui.dialogs.top(), Some(Dialog::Leave(_))) {
        // The question was about running jobs, and there are none: what came of them is to be read.
        ui.dialogs.close_all();
        let quit = app.key(Action::Quit);
        if let Some(toast) = &mut app.session.toast {
            toast
                .text
                .push_str(&format!(" That was the last job: {quit} leaves."));
        }
    }
    if app.leaving && is_last {
        effects.push(Effect::Quit);
    } else if matches!(task, Task::Change(_)) {
        let is_whole = touched.is_empty();
        scan::look_again(app, (!is_whole).then_some(touched), effects);
    }
}

/// A job is over since the passphrase of an image is missing: a person who does nothing else is asked for
/// it.
pub(super) fn locked(
    ui: &mut Ui,
    id: u64,
    image: PathBuf,
    error: Error,
    effects: &mut Vec<Effect>,
) {
    ended(ui, id, Err(error), effects);
    let is_free = matches!(ui.dialogs.keyboard(), Keyboard::Panes | Keyboard::Jobs);
    if is_free && !ui.app.leaving {
        open::ask_secret(ui, image, Some(id));
    }
}

/// Begins a job anew that has ended for lack of something.
pub(super) fn again(jobs: &mut Jobs, id: u64, effects: &mut Vec<Effect>) {
    jobs.again(id);
    start_next(jobs, effects);
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
    let last = app.session.undo.last();
    if matches!(request, Request::Undo(_)) || last.is_some_and(|(_, undo)| undo == request) {
        app.session.undo.pop();
        app.session.no_undo = None;
        return String::new();
    }
    app.session.no_undo = outcome.undo.is_none().then(|| {
        format!(
            "{} cannot be taken back",
            outcome.summary.trim_end_matches('.')
        )
    });
    let Some(undo) = &outcome.undo else {
        return String::new();
    };
    app.session
        .undo
        .push((outcome.summary.clone(), undo.clone()));
    if matches!(undo, Request::EmptyTrash(_)) {
        return String::new();
    }
    format!(" {} takes it back.", app.key(Action::Undo))
}
