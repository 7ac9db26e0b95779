//! Where the space went: measured while somebody looks at it, or rows are ordered or chosen by it, and stopped where
//! nobody does any more.

use std::sync::Arc;

use crate::tui::app::App;
use crate::tui::far_answers::{Asking, Topic};
use crate::tui::filter::Filter;
use crate::tui::hosts::HostState;
use crate::tui::msg::Effect;
use crate::tui::query::QueryId;
use crate::tui::space::SpaceFound;
use crate::tui::ui::Ui;

use super::beside;

/// Whether the rows are made from what was measured.
fn rows_need_it(app: &App) -> bool {
    app.tree.sort.figure().is_some() || Filter::parse(app.tree.filter.value()).asks_for_space()
}

/// Has it measured where it is needed and not known, and stopped where it is not needed.
pub(super) fn ask(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let pane = ui.dialogs.space();
    let reads = pane.is_some_and(|pane| pane.reads);
    let is_needed = pane.is_some() || rows_need_it(&ui.app);
    let app = &mut ui.app;
    if !is_needed {
        let was_asked = app.hosts.stop_space();
        if app.space.stop() || was_asked {
            effects.push(Effect::StopSpace);
        }
        return;
    }
    ask_hosts(app, reads, effects);
    join(app, effects);
    if app.refresh.scan.running || app.refresh.refreshing.is_some() {
        return;
    }
    let of = (app.epoch, app.forest.generation(), reads);
    let is_known = match app.space.of {
        // What was read beside is no reason to measure without it.
        Some((epoch, generation, has_read)) => {
            (epoch, generation) == (of.0, of.1) && (has_read || !reads)
        }
        None => false,
    };
    if is_known {
        return;
    }
    let query_id = app.query_id();
    app.space.ask(query_id, of);
    effects.push(Effect::Space {
        query_id,
        forest: Arc::clone(&app.forest),
        reads,
        prune_days: app.settings.prune_days,
    });
}

/// Takes in what was measured so far.
pub(super) fn take_some(app: &mut App, query_id: QueryId, found: SpaceFound) {
    if app.space.asked == Some(query_id) {
        match app.hosts.list.is_empty() {
            true => app.space.take_some(found),
            false => app.space.take_here(found),
        }
        rows_change(app);
    }
}

/// Takes in all of it.
pub(super) fn take_all(app: &mut App, query_id: QueryId, found: SpaceFound) {
    if app.space.asked == Some(query_id) {
        match app.hosts.list.is_empty() {
            true => app.space.take_all(found),
            false => app.space.take_here(found),
        }
        rows_change(app);
    }
}

/// Takes in that of all machines.
pub(super) fn take_joined(app: &mut App, query_id: QueryId, found: SpaceFound) {
    if app.space.joining == Some(query_id) {
        app.space.take_joined(found);
        rows_change(app);
    }
}

/// Has each host measure its own, once it has told its images and again where these are others.
fn ask_hosts(app: &mut App, reads: bool, effects: &mut Vec<Effect>) {
    for at in 0..app.hosts.list.len() {
        let Some(host) = app.hosts.list.get_mut(at) else {
            return;
        };
        let (scan, has_read) = host.beside.space_of;
        // What was read beside is no reason to measure without it.
        let is_known = scan == host.query_id && (has_read || !reads);
        if host.state != HostState::Told || is_known {
            continue;
        }
        host.beside.space_of = (host.query_id, reads);
        let asking = Asking {
            reads,
            prune_days: app.settings.prune_days,
            ..Asking::about(Topic::Space)
        };
        beside::ask(app, at, asking, effects);
    }
}

/// Has what is known of each machine put together, which another thread does.
fn join(app: &mut App, effects: &mut Vec<Effect>) {
    if !app.space.is_outdated || app.space.joining.is_some() {
        return;
    }
    let query_id = app.query_id();
    app.space.is_outdated = false;
    app.space.joining = Some(query_id);
    let far = app.hosts.list.iter();
    let far = far.filter_map(|host| host.beside.space.told().cloned());
    let parts = app.space.here.iter().cloned().chain(far).collect();
    effects.push(Effect::JoinSpace(query_id, parts));
}

fn rows_change(app: &mut App) {
    if rows_need_it(app) {
        app.changed();
    }
}
