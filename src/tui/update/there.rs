//! Changes that hosts make: agreed to, and what comes of them.

use crate::facts::PlanFacts;
use crate::fleet::Question;
use crate::host::printable;
use crate::ops::Outcome;
use crate::tui::dialogs::Dialog;
use crate::tui::jobs::Task;
use crate::tui::log::Kind;
use crate::tui::msg::{Effect, ThereEnd};
use crate::tui::query::QueryId;
use crate::tui::ui::Ui;

use super::settle::refresh_preview;
use super::{hosts, jobs};

/// What the plan would do is known: the rows are marked.
pub(super) fn planned(ui: &mut Ui, query_id: QueryId, facts: PlanFacts) {
    if let Some(dialog) = ui.dialogs.plan_mut()
        && dialog.query_id == query_id
    {
        dialog.planned_there(facts);
        refresh_preview(ui);
    }
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

/// The person agreed: it is a job from now on.
pub(super) fn agreed(ui: &mut Ui, typed: &str) {
    let Some(Dialog::Plan(dialog)) = ui.dialogs.top_mut() else {
        return;
    };
    let (query_id, request, title) = (dialog.query_id, dialog.request.clone(), dialog.title());
    let Some((at, progress)) = dialog.agree_there(typed) else {
        return;
    };
    let app = &mut ui.app;
    let title = match app.hosts.list.get(at) {
        Some(host) => format!("{}: {title}", host.name),
        None => title,
    };
    let task = Task::There {
        at,
        request,
        query_id,
    };
    let id = app.jobs.begin_there(title.clone(), task, progress);
    app.note(Some(id), Kind::Step, &format!("agreed to: {title}"));
    app.tree.marks.clear();
    ui.dialogs.close_all();
    refresh_preview(ui);
}

/// It is over: a job, or a plan that nothing is agreed to.
pub(super) fn ended(ui: &mut Ui, query_id: QueryId, end: ThereEnd, effects: &mut Vec<Effect>) {
    let ThereEnd { printed, ended } = end;
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
