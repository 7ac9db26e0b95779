//! What comes back from the workers: files found, plans, the ends of jobs, facts. An answer to an
//! older question is dropped.

use std::sync::Arc;

use crate::ops::{Error, Outcome, Progress, Ready, Request};
use crate::tui::app::{App, Job, JobState};
use crate::tui::dialog::{Mode, PruneDialog};
use crate::tui::msg::{Effect, Msg};

use super::{dialogs, panes};

/// Takes in an answer.
pub(super) fn take(app: &mut App, msg: Msg, effects: &mut Vec<Effect>) {
    match msg {
        Msg::Found(ticket, found) if ticket == app.scan.ticket => match &mut app.scan.fresh {
            Some(fresh) => fresh.extend(found),
            None => Arc::make_mut(&mut app.forest).extend(found),
        },
        Msg::Looked(ticket, looked_at) if ticket == app.scan.ticket => {
            app.scan.looked_at = looked_at;
        }
        Msg::Scanned(ticket, end) if ticket == app.scan.ticket => {
            app.scan.running = false;
            app.scan.looked_at = end.looked_at;
            app.scan.unreadable = end.unreadable;
            if let Some(fresh) = app.scan.fresh.take() {
                app.replace_forest(Arc::new(fresh));
            }
            // What the disk told of the selected image may be old as well.
            app.asked = None;
            effects.push(Effect::Remember(Arc::clone(&app.forest)));
        }
        Msg::Planned(ticket, plan, forest) => {
            let is_asked = match &app.mode {
                Mode::Form(form) => form.ticket == ticket,
                Mode::Plan(dialog) => dialog.ticket == ticket,
                _ => false,
            };
            if !is_asked {
                return;
            }
            if let Some(forest) = forest {
                app.replace_forest(forest);
            }
            match &mut app.mode {
                Mode::Form(form) => form.plan = Some(plan),
                Mode::Plan(dialog) => dialog.plan = Some(plan),
                _ => {}
            }
            app.refresh_future();
            dialogs::submit(app, effects);
        }
        Msg::Progress(views) => {
            for (id, view) in views {
                if let Some(job) = app.jobs.list.iter_mut().find(|job| job.id == id) {
                    job.view = view;
                }
            }
        }
        Msg::Ended(id, result) => ended(app, id, result, effects),
        Msg::Facts(facts) => {
            if app.asked.as_ref() == Some(&facts.path) {
                app.facts = Some(*facts);
            }
        }
        Msg::Candidates(ticket, candidates) => {
            if let Mode::Prune(dialog) = &mut app.mode
                && dialog.ticket == ticket
            {
                dialog.ticked = candidates
                    .iter()
                    .map(|candidate| candidate.age >= PruneDialog::OLD)
                    .collect();
                dialog.candidates = Some(candidates);
            }
        }
        Msg::Trash(ticket, entries) => {
            if let Mode::Trash(dialog) = &mut app.mode
                && dialog.ticket == ticket
            {
                dialog.entries = Some(entries);
            }
        }
        Msg::Tell(text) => app.warn(text),
        Msg::Found(..)
        | Msg::Looked(..)
        | Msg::Scanned(..)
        | Msg::Key(_)
        | Msg::Paste(_)
        | Msg::Resize(..)
        | Msg::Clock(_) => {}
    }
}

/// Makes a job of what the person agreed to, and closes the dialog it came from.
pub(super) fn enqueue(app: &mut App, ready: Ready, effects: &mut Vec<Effect>) {
    let progress = Progress::new();
    let plan = ready.plan();
    let id = u64::try_from(app.jobs.list.len()).unwrap_or(u64::MAX) + 1;
    app.jobs.list.push(Job {
        id,
        title: plan.title.clone(),
        request: plan.request.clone(),
        state: JobState::Waiting,
        view: progress.view(),
        progress,
        commands: plan.commands.clone(),
        ready: Some(Box::new(ready)),
    });
    app.mode = Mode::Main;
    app.tree.marks.clear();
    app.refresh_future();
    start_next(app, effects);
}

/// Starts the oldest waiting job, if none runs: one after the other, so that no two touch one file.
fn start_next(app: &mut App, effects: &mut Vec<Effect>) {
    if app.jobs.running().is_some() {
        return;
    }
    let waiting = app.jobs.list.iter_mut();
    for job in waiting.filter(|job| job.state == JobState::Waiting) {
        if let Some(ready) = job.ready.take() {
            job.state = JobState::Running;
            effects.push(Effect::Run {
                job: job.id,
                ready,
                progress: job.progress.clone(),
            });
            return;
        }
    }
}

fn ended(app: &mut App, id: u64, result: Result<Outcome, Error>, effects: &mut Vec<Effect>) {
    let Some(at) = app.jobs.list.iter().position(|job| job.id == id) else {
        return;
    };
    let Some(job) = app.jobs.list.get_mut(at) else {
        return;
    };
    let request = job.request.clone();
    let title = job.title.clone();
    match result {
        Ok(outcome) => {
            job.state = JobState::Done(outcome.summary.clone());
            let mut text = outcome.summary.clone();
            for remark in &outcome.remarks {
                text.push(' ');
                text.push_str(remark);
            }
            // Having been undone, an operation is no longer there to be undone.
            if app.undo.last().is_some_and(|(_, undo)| *undo == request) {
                app.undo.pop();
            } else {
                app.no_undo = outcome.undo.is_none().then(|| {
                    format!(
                        "{} cannot be taken back",
                        outcome.summary.trim_end_matches('.')
                    )
                });
                app.undo
                    .extend(outcome.undo.map(|undo| (outcome.summary, undo)));
                if let Some((_, undo)) = app.undo.last()
                    && !matches!(undo, Request::EmptyTrash { .. })
                    && app.no_undo.is_none()
                {
                    text.push_str(" z takes it back.");
                }
            }
            if let Request::Branch { new, .. } = &request {
                app.tree.wanted = Some(new.clone());
            }
            app.tell(text);
        }
        Err(Error::Cancelled(text)) => {
            job.state = JobState::Cancelled(text.clone());
            app.tell(format!("{title}: {text}"));
        }
        Err(error) => {
            let text = error.to_string();
            job.state = JobState::Failed(text.clone());
            if matches!(app.mode, Mode::Main) && !app.leaving {
                // The person meant it to happen: show what stands against it, planned anew.
                dialogs::ask(app, request, Mode::Main, effects);
                if let Mode::Plan(dialog) = &mut app.mode {
                    dialog.reason = Some(text);
                }
            } else {
                app.warn(format!("{title}: {text}"));
            }
        }
    }
    start_next(app, effects);
    if app.leaving && app.jobs.open().next().is_none() {
        effects.push(Effect::Quit);
    } else {
        panes::rescan(app, effects);
    }
}
