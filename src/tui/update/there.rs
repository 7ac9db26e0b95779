//! Changes that hosts make: agreed to, and what comes of them.

use std::path::Path;

use crate::facts::PlanFacts;
use crate::fleet::{PassphraseQuery, Question};
use crate::forest::far::path_on;
use crate::host::printable;
use crate::ops::Outcome;
use crate::tui::dialogs::{Dialog, SecretThere};
use crate::tui::jobs::Task;
use crate::tui::log::Kind;
use crate::tui::msg::{Effect, ThereEnd};
use crate::tui::query::QueryId;
use crate::tui::there::Part;
use crate::tui::ui::Ui;

use super::settle::refresh_preview;
use super::{hosts, jobs, open, series};

/// What the plan would do is known: the rows are marked.
pub(super) fn planned(ui: &mut Ui, query_id: QueryId, facts: PlanFacts) {
    if let Some(dialog) = ui.dialogs.plan_mut()
        && dialog.query_id == query_id
    {
        dialog.planned_there(facts);
        refresh_preview(ui);
    }
}

/// A passphrase is needed for the plan. It is asked for where the image is one of that host that is shown, or that the
/// request names: a host that asks for others is given none.
pub(super) fn locked(ui: &mut Ui, query_id: QueryId, query: &PassphraseQuery) {
    let Some(dialog) = ui.dialogs.plan_mut() else {
        return;
    };
    let Some(host) = dialog.there.as_ref().map(|there| there.host.clone()) else {
        return;
    };
    if dialog.query_id != query_id {
        return;
    }
    let image = path_on(&host, Path::new(&query.image));
    let is_named = dialog.request.paths().contains(&image);
    let is_shown = ui.app.forest.by_path(&image).is_some_and(|node| {
        let of = ui.app.forest.host_of(node);
        of == Some(host.as_str())
    });
    let words = query.words(&host);
    if query.of.is_new() || !(is_named || is_shown) {
        dialog.give_there(query.number, None);
        if !query.of.is_new() {
            let text = format!("{host} was given no passphrase: it shows no such image. {words}");
            ui.app.warn(text);
        }
        return;
    }
    dialog.locked = Some(image.clone());
    let there = SecretThere {
        host,
        query_id,
        number: query.number,
        words,
    };
    open::ask_secret_there(ui, image, there);
}

/// The plan is there.
pub(super) fn asked(ui: &mut Ui, query_id: QueryId, question: &Question) {
    if let Some(dialog) = ui.dialogs.plan_mut()
        && dialog.query_id == query_id
    {
        let lines = question.lines.iter().map(printable).collect();
        dialog.told_there(lines, true, question.count);
    }
}

/// The person agreed: it is a job from now on. Where it is one of several, those that follow it.
pub(super) fn agreed(ui: &mut Ui, typed: &str) -> Option<Vec<Part>> {
    let Some(Dialog::Plan(dialog)) = ui.dialogs.top_mut() else {
        return None;
    };
    let (query_id, request, title) = (dialog.query_id, dialog.request.clone(), dialog.title());
    let (at, progress) = dialog.agree_there(typed)?;
    let app = &mut ui.app;
    let title = match app.hosts.list.get(at) {
        Some(host) => format!("{}: {title}", host.name),
        None => title,
    };
    let following = ui.dialogs.close_all();
    let app = &mut ui.app;
    series::unmark(app, &request, following.is_some());
    let task = Task::There {
        at,
        request,
        query_id,
    };
    let id = app.jobs.begin_there(title.clone(), task, progress);
    app.note(Some(id), Kind::Step, &format!("agreed to: {title}"));
    refresh_preview(ui);
    following
}

/// It is over: a job, or a plan that nothing is agreed to.
pub(super) fn ended(ui: &mut Ui, query_id: QueryId, end: ThereEnd, effects: &mut Vec<Effect>) {
    let ThereEnd { printed, ended } = end;
    if let Some(Dialog::Secret(dialog)) = ui.dialogs.top()
        && let Some(there) = &dialog.there
        && there.query_id == query_id
    {
        // Nobody needs it any more.
        ui.dialogs.close();
    }
    let job = ui.app.jobs.there(query_id);
    let Some((job, at)) = job else {
        if let Some(dialog) = ui.dialogs.plan_mut()
            && dialog.query_id == query_id
        {
            dialog.told_there(printed, false, None);
            dialog.reason = ended.err().map(|error| error.to_string());
        }
        return;
    };
    let summary = printed
        .first()
        .cloned()
        .unwrap_or_else(|| "done".to_owned());
    let more: Vec<String> = printed.into_iter().skip(1).collect();
    for line in &more {
        ui.app.note(Some(job), Kind::Note, line);
    }
    let outcome = ended.map(|()| Outcome {
        summary,
        touched: Vec::new(),
        undo: None,
        remarks: Vec::new(),
    });
    jobs::ended(ui, job, outcome, effects);
    hosts::ask(&mut ui.app, at, effects);
}
