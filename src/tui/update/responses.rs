//! What comes back from the workers: files found, plans, the ends of jobs, facts. An answer to an
//! older question is dropped.

use std::path::PathBuf;
use std::sync::Arc;

use crate::forest::{ChangedBase, Forest};
use crate::host::Stat;
use crate::image::{Check, Verdict};
use crate::ops::{Error, Plan};
use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::dialogs::Dialog;
use crate::tui::log::Kind;
use crate::tui::msg::{Effect, Interrupted, Msg, Watching};
use crate::tui::query::{AT_START, QueryId};
use crate::tui::session::Checked;
use crate::tui::text;
use crate::tui::ui::Ui;
use crate::units;

use super::settle::{refresh_preview, replace_here};
use super::{
    beside, dialogs, doctor, guest_files, hosts, insides, jobs, keys, machines, menus, open, prune,
    scan, space, there,
};

/// Gives the forests that a scan's finds go to to `change`: the one that is shown, the one that will be, or both.
fn scanned(app: &mut App, change: impl Fn(&mut Forest)) {
    let scan = &mut app.refresh.scan;
    if let Some(fresh) = &mut scan.fresh {
        change(fresh);
    }
    if scan.is_shown {
        change(Arc::make_mut(&mut app.forest));
        app.find_folds();
    }
}

/// Takes in an answer.
pub(super) fn take(ui: &mut Ui, msg: Msg, effects: &mut Vec<Effect>) {
    let app = &mut ui.app;
    match msg {
        Msg::Found(query_id, found) if query_id == app.refresh.scan.query_id => {
            scanned(app, |forest| forest.extend(found.iter().cloned()));
        }
        Msg::Held(query_id, held) if query_id == app.refresh.scan.query_id => {
            scanned(app, |forest| forest.hold(held.clone()));
        }
        Msg::Looked(query_id, looked_at) if query_id == app.refresh.scan.query_id => {
            app.refresh.scan.looked_at = looked_at;
        }
        Msg::Scanned(query_id, end) if query_id == app.refresh.scan.query_id => {
            app.refresh.scan.running = false;
            app.refresh.scan.looked_at = end.looked_at;
            app.refresh.scan.unreadable = end.unreadable;
            if let Some(fresh) = app.refresh.scan.fresh.take() {
                replace_here(ui, Arc::new(fresh));
            }
            // What the disk told of the selected image may be old as well.
            let app = &mut ui.app;
            // What hosts see as well becomes one with theirs.
            app.refresh.is_far_outdated |= app.hosts.list.iter().any(|host| host.images.is_shared);
            app.detail.asked = None;
            app.detail.map_asked = None;
            app.detail.files.forget();
            machines::ask(app, effects);
            effects.push(Effect::Remember(Arc::clone(&app.forest)));
            scan::look_at_changed(app, effects);
        }
        Msg::FarFound(query_id, at, files) => hosts::found(app, query_id, at, files),
        Msg::FarHeld(query_id, at, held) => hosts::held(app, query_id, at, held),
        Msg::FarSilent(query_id, at, seconds) => {
            hosts::silent(app, query_id, at, seconds);
            beside::silent(app, at, query_id, seconds);
        }
        Msg::Gathered(query_id, forest) => hosts::all_gathered(ui, query_id, forest),
        Msg::FarGreeted(at, rules) => {
            if let Some(host) = app.hosts.list.get_mut(at) {
                host.rules = rules;
            }
        }
        Msg::FarScanned(query_id, at, told) => hosts::scanned(app, query_id, at, told),
        Msg::FarAnswered(query_id, at, topic, answer) => {
            beside::answered(ui, (query_id, at), topic, *answer);
            prune::answered(ui, query_id, at);
        }
        Msg::ThereAsked(query_id, question) => there::asked(ui, query_id, &question),
        Msg::ThereLocked(query_id, query) => there::locked(ui, query_id, &query),
        Msg::TherePlanned(query_id, facts) => there::planned(ui, query_id, *facts),
        Msg::ThereEnded(query_id, end) => there::ended(ui, query_id, *end, effects),
        Msg::Refreshed(query_id, forest) => {
            if app.refresh.refreshing == Some(query_id) {
                app.refresh.refreshing = None;
                replace_here(ui, forest);
                let app = &mut ui.app;
                app.detail.asked = None;
                app.detail.map_asked = None;
                app.detail.files.forget();
                if !machines::ask_again(app, effects) {
                    doctor::ask(app, effects);
                }
                effects.push(Effect::Remember(Arc::clone(&app.forest)));
                scan::look_at_changed(app, effects);
            }
        }
        Msg::Changed(files) => scan::look_again(app, files, effects),
        Msg::Watching(watching) => {
            if let Watching::Polling(why) = &watching {
                let text = format!("Changes are looked for every few seconds: {why}.");
                app.note(None, Kind::Note, &text);
                app.tell(text);
            }
            app.refresh.watching = watching;
        }
        Msg::Filtered(query_id, hits) => {
            if app.tree.hits_query_id == query_id {
                app.tree.hits = Some(hits);
                app.tree.hits_known = true;
                app.changed();
            }
        }
        Msg::Checked(job, path, stat, found) => checked(app, job, path, stat, *found),
        Msg::Locked(query_id, image) => match ui.dialogs.top_mut() {
            Some(Dialog::Form(form)) if form.query_id == query_id => form.locked = Some(image),
            Some(Dialog::Plan(dialog)) if dialog.query_id == query_id => {
                dialog.locked = Some(image)
            }
            // The question is an older one.
            Some(_) | None => {}
        },
        Msg::Completed(query_id, ways) => {
            if let Some(Dialog::Folders(dialog)) = ui.dialogs.top_mut()
                && dialog.query_id == query_id
            {
                dialog.completed(&ways);
                return;
            }
            if let Some(Dialog::FilesLine(dialog)) = ui.dialogs.top_mut()
                && dialog.query_id == query_id
            {
                dialog.completed(&ways);
                return;
            }
            if let Some(Dialog::Form(form)) = ui.dialogs.top_mut() {
                for key in form.completed(query_id, ways, app, effects) {
                    keys::press(ui, key, effects);
                }
            }
        }
        Msg::Focus(is_there) => app.focused = Some(is_there),
        Msg::Planned(query_id, plan, forest) => planned(ui, query_id, plan, forest, effects),
        Msg::GuestFiles(query_id, index, found) => {
            guest_files::take(ui, query_id, index, *found);
        }
        Msg::PlannedEach(query_id, plans) => {
            if let Some(Dialog::Form(form)) = ui.dialogs.top_mut()
                && form.query_id == query_id
            {
                form.plans = plans;
                refresh_preview(ui);
                submit(ui, effects);
            }
        }
        Msg::Progress(views) => jobs::progressed(app, views),
        Msg::Ended(id, result) => jobs::ended(ui, id, result, effects),
        Msg::Info(info) => {
            if app.detail.asked.as_ref() == Some(&info.path) {
                app.detail.info = Some(*info);
                menus::refresh(ui);
            }
        }
        Msg::Files(query, answer) => app.detail.files.take(&query, answer),
        Msg::Mapped(path, seen) => {
            if app.detail.map_asked.as_ref() == Some(&path) {
                app.detail.map = Some((path, seen));
            }
        }
        Msg::Candidates(query_id, candidates) => {
            let old = app.settings.prune_age();
            if let Some(dialog) = ui.dialogs.prune_mut()
                && dialog.query_id == query_id
            {
                dialog.take_here(candidates, old);
            }
        }
        Msg::Kept(query_id, kept) => {
            let old = app.settings.prune_age();
            if let Some(dialog) = ui.dialogs.prune_mut()
                && dialog.query_id == query_id
            {
                dialog.take_kept(kept, old);
            }
        }
        Msg::SpaceSoFar(query_id, found) => space::take_some(app, query_id, *found),
        Msg::Space(query_id, found) => space::take_all(app, query_id, *found),
        Msg::SpaceJoined(query_id, found) => space::take_joined(app, query_id, *found),
        Msg::Insides(query_id, found) => insides::take(app, query_id, *found),
        Msg::KeptInsides(found) => insides::take_kept(app, found),
        Msg::Trash(query_id, entries) => {
            if let Some(Dialog::Trash(dialog)) = ui.dialogs.top_mut()
                && dialog.query_id == query_id
            {
                dialog.here = Some(entries);
            }
        }
        Msg::Browsed(query_id, answer) => {
            if let Some(Dialog::Files(dialog)) = ui.dialogs.top_mut()
                && let Some(image) = dialog.take(query_id, *answer)
            {
                open::ask_secret(ui, image, None);
            }
        }
        Msg::Machines(machines) => {
            machines::take(app, machines);
            doctor::ask(app, effects);
        }
        Msg::Examined(findings) => doctor::take(app, findings, effects),
        Msg::Interrupted(query_id, found) => interrupted(ui, query_id, &found),
        Msg::BasesChanged(changed) => bases_changed(app, changed),
        Msg::Measured(query_id, found) => {
            if let Some(Dialog::Measure(dialog)) = ui.dialogs.top_mut()
                && dialog.query_id == query_id
            {
                dialog.found = Some(found);
            }
        }
        Msg::JobLocked(id, image, error) => jobs::locked(ui, id, image, error, effects),
        Msg::Tell(text) => {
            app.note(None, Kind::Bad, &text);
            app.warn(text);
        }
        Msg::Found(..)
        | Msg::Held(..)
        | Msg::Looked(..)
        | Msg::Scanned(..)
        | Msg::Key(_)
        | Msg::Mouse(..)
        | Msg::Paste(_)
        | Msg::Resize(..)
        | Msg::Clock(_) => {}
    }
}

/// A plan is there: into the dialog that asked for it.
fn planned(
    ui: &mut Ui,
    query_id: QueryId,
    plan: Box<Plan>,
    forest: Option<Arc<Forest>>,
    effects: &mut Vec<Effect>,
) {
    let is_asked = match ui.dialogs.top() {
        Some(Dialog::Form(form)) => form.query_id == query_id,
        Some(Dialog::Plan(dialog)) => dialog.query_id == query_id,
        Some(_) | None => false,
    };
    if !is_asked {
        return;
    }
    if let Some(forest) = forest {
        replace_here(ui, forest);
    }
    match ui.dialogs.top_mut() {
        Some(Dialog::Form(form)) => form.plans = vec![*plan],
        Some(Dialog::Plan(dialog)) => dialog.plan = Some(plan),
        _ => {}
    }
    refresh_preview(ui);
    submit(ui, effects);
}

/// A form that was sent off before its plans were there goes on with them.
fn submit(ui: &mut Ui, effects: &mut Vec<Effect>) {
    if let Some(Dialog::Form(form)) = ui.dialogs.top_mut() {
        let next = form.submit();
        dialogs::follow(ui, next, effects);
    }
}

/// What was interrupted: into the list that waits for it, or told at the start.
fn interrupted(ui: &mut Ui, query_id: QueryId, found: &Result<Interrupted, String>) {
    let app = &mut ui.app;
    if let Ok(found) = found
        && app.session.halves != found.halves
    {
        app.session.halves.clone_from(&found.halves);
        app.apply_checks();
        app.changed();
    }
    if let Some(Dialog::List(menu)) = ui.dialogs.top_mut()
        && menu.query_id == Some(query_id)
    {
        // It waits for nothing of this machine any more.
        menu.query_id = None;
        ui.app.session.interrupted = Some(found.clone());
        menus::refresh(ui);
        return;
    }
    // The answer for a list that was closed meanwhile is no news.
    if query_id == AT_START {
        let entries = found.iter().flat_map(|found| &found.entries);
        let titles: Vec<String> = entries.map(|entry| entry.title.clone()).collect();
        beside::warn_of_interrupted(app, "", &titles);
    }
}

/// Bases were changed under what is built on them: those that were not known as such are told of.
fn bases_changed(app: &mut App, changed: Vec<ChangedBase>) {
    if app.session.changed_bases == changed {
        return;
    }
    let known = std::mem::take(&mut app.session.changed_bases);
    let is_new = |one: &&ChangedBase| known.iter().all(|old| old.base != one.base);
    let new: Vec<&ChangedBase> = changed.iter().filter(is_new).collect();
    let what = match new[..] {
        [] => None,
        [one] => {
            let node = app.forest.by_path(&one.base);
            let name = node.map_or_else(|| units::file_name(&one.base), |node| app.label(node));
            let many = units::count(one.affected.len(), "image");
            Some(format!("{name} was changed under {many} built on it"))
        }
        _ => Some(format!(
            "{} bases were changed under what is built on them",
            new.len()
        )),
    };
    app.session.changed_bases = changed;
    app.apply_checks();
    app.changed();
    if let Some(what) = what {
        let text = format!("{what}: {} tells more.", app.key(Action::Health));
        app.note(None, Kind::Bad, &text);
        app.warn(text);
    }
}

/// What a job has found in an image's tables.
fn checked(
    app: &mut App,
    job: u64,
    path: PathBuf,
    stat: Option<Stat>,
    found: Result<Check, Error>,
) {
    let node = app.forest.by_path(&path);
    let name = node.map_or_else(|| units::file_name(&path), |node| app.label(node));
    let found = found.map(Arc::new).map_err(|error| error.to_string());
    let (kind, words) = match &found {
        Ok(check) => (
            match check.verdict() {
                Verdict::Clean => Kind::Good,
                Verdict::Leaks => Kind::Note,
                Verdict::Corrupt => Kind::Bad,
            },
            format!("{name}: {}", text::verdict(check)),
        ),
        Err(why) => (Kind::Bad, format!("{name}: not checked: {why}")),
    };
    app.note(Some(job), kind, &words);
    let at = app.now();
    app.session.checks.insert(path, Checked { at, stat, found });
    app.apply_checks();
}
