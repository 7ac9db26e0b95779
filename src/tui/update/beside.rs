//! What hosts are asked beside their images, and what comes of it.

use std::sync::Arc;

use crate::machines::Machines;
use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::detail_pane::Tab;
use crate::tui::dialogs::Dialog;
use crate::tui::dialogs::list::ContentKind;
use crate::tui::far_answers::{Asking, FarAnswer, PendingState, Topic};
use crate::tui::hosts::HostState;
use crate::tui::log::Kind;
use crate::tui::msg::Effect;
use crate::tui::query::QueryId;
use crate::tui::ui::Ui;

use super::menus;

/// Asks all of them.
pub(super) fn ask_all(app: &mut App, topic: Topic, effects: &mut Vec<Effect>) {
    for at in 0..app.hosts.list.len() {
        ask(app, at, Asking::about(topic), effects);
    }
}

/// Asks one of them.
pub(super) fn ask(app: &mut App, at: usize, asking: Asking, effects: &mut Vec<Effect>) {
    let query_id = app.query_id();
    if let Some(host) = app.hosts.list.get_mut(at) {
        host.beside.ask(asking.topic, query_id);
        match host.untold() {
            None => effects.push(Effect::AskHost(query_id, at, asking)),
            Some(why) => host.beside.end(asking.topic, query_id, Err(why)),
        }
    }
}

/// While somebody looks at what is wrong, each host is asked once it has told its images.
pub(super) fn ask_for_findings(app: &mut App, effects: &mut Vec<Effect>) {
    if app.detail.hidden || app.detail.tab != Tab::Health {
        return;
    }
    for at in 0..app.hosts.list.len() {
        let Some(host) = app.hosts.list.get_mut(at) else {
            return;
        };
        if host.state == HostState::Told && host.beside.findings_of != host.query_id {
            host.beside.findings_of = host.query_id;
            ask(app, at, Asking::about(Topic::Findings), effects);
        }
    }
}

/// What was interrupted on hosts where it can be mended is asked once each has told its images: these come first.
pub(super) fn ask_for_interrupted(app: &mut App, effects: &mut Vec<Effect>) {
    let mut hosts = app.hosts.list.iter();
    if app.settings.read_only || hosts.any(|host| host.state == HostState::Asked) {
        return;
    }
    for at in 0..app.hosts.list.len() {
        let Some(host) = app.hosts.list.get_mut(at) else {
            return;
        };
        let can_be_mended = host.state == HostState::Told && !host.rules.is_read_only;
        if can_be_mended && host.beside.interrupted_of != host.query_id {
            host.beside.interrupted_of = host.query_id;
            ask(app, at, Asking::about(Topic::Interrupted), effects);
        }
    }
}

/// Which machines there are is asked once each host has told its images: those of all hosts, and of this machine, come
/// first.
pub(super) fn ask_for_machines(app: &mut App, effects: &mut Vec<Effect>) {
    let mut hosts = app.hosts.list.iter();
    let scan = &app.refresh.scan;
    if scan.running && scan.is_shown || hosts.any(|host| host.state == HostState::Asked) {
        return;
    }
    for at in 0..app.hosts.list.len() {
        let Some(host) = app.hosts.list.get_mut(at) else {
            return;
        };
        if host.state == HostState::Told && host.beside.machines_of != host.query_id {
            host.beside.machines_of = host.query_id;
            ask(app, at, Asking::about(Topic::Machines), effects);
            // Of one that tells none it is known at once.
            machines(app, at);
        }
    }
}

/// A host says nothing.
pub(super) fn silent(app: &mut App, at: usize, query_id: QueryId, seconds: u64) {
    if let Some(host) = app.hosts.list.get_mut(at) {
        host.beside.silent(query_id, seconds);
    }
}

/// A host has answered.
pub(super) fn answered(
    ui: &mut Ui,
    (query_id, at): (QueryId, usize),
    topic: Topic,
    answer: Result<FarAnswer, String>,
) {
    let app = &mut ui.app;
    let Some(host) = app.hosts.list.get_mut(at) else {
        return;
    };
    host.beside.end(topic, query_id, answer);
    match topic {
        Topic::Space => app.space.is_outdated = true,
        Topic::Interrupted => interrupted(ui, query_id, at),
        Topic::Machines => machines(app, at),
        Topic::Findings | Topic::Trash | Topic::Prune => {}
    }
}

/// Which machines a host has: they join the forest, as soon as that is made anew. What could not be asked is told in the
/// log, once.
fn machines(app: &mut App, at: usize) {
    let Some(host) = app.hosts.list.get_mut(at) else {
        return;
    };
    let before = unasked(&host.machines, host.beside.untold_machines.as_deref());
    match &host.beside.machines.state {
        PendingState::Told(told) => {
            app.refresh.is_far_outdated |= host.machines != *told;
            host.machines = Arc::clone(told);
            host.beside.untold_machines = None;
        }
        // One that is asked for its images again is asked for machines again.
        PendingState::Failed(why) if host.beside.machines_of == host.query_id => {
            host.beside.untold_machines = Some(why.clone());
        }
        _ => return,
    }
    let now = unasked(&host.machines, host.beside.untold_machines.as_deref());
    for why in now.iter().filter(|why| !before.contains(why)) {
        let text = format!("Which machines use images could not be asked: {why}.");
        app.note(None, Kind::Note, &text);
    }
}

/// Why a host does not tell all of its machines.
fn unasked(machines: &Machines, failed: Option<&str>) -> Vec<String> {
    let places = machines.unasked().iter().map(ToString::to_string);
    places.chain(failed.map(str::to_owned)).collect()
}

/// What was interrupted on a host: into the list, if that is open, or told.
fn interrupted(ui: &mut Ui, query_id: QueryId, at: usize) {
    if let Some(Dialog::List(menu)) = ui.dialogs.top()
        && menu.inside == Some(ContentKind::Interrupted)
    {
        menus::refresh(ui);
        return;
    }
    let app = &mut ui.app;
    let Some(host) = app.hosts.list.get(at) else {
        return;
    };
    let pending = &host.beside.interrupted;
    let Some(found) = pending.told().filter(|_| pending.query_id == query_id) else {
        return;
    };
    let titles: Vec<String> = found.halted.iter().map(|one| one.title.clone()).collect();
    let lead = format!("{}: ", host.name);
    warn_of_interrupted(app, &lead, &titles);
}

/// Warns of operations of these titles that were interrupted, if there are any; `lead` says on which host.
pub(super) fn warn_of_interrupted(app: &mut App, lead: &str, titles: &[String]) {
    let what = match titles {
        [] => return,
        [only] => format!("“{only}” was interrupted"),
        several => format!("{} operations were interrupted", several.len()),
    };
    let key = app.key(Action::Recover);
    let text = format!("{lead}{what}: {key} finishes that, or takes it back.");
    app.note(None, Kind::Bad, &text);
    app.warn(text);
}
