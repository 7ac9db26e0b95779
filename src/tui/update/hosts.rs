//! What other machines tell of their images. Each is asked by itself, and nobody waits for it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::forest::ScannedFile;
use crate::host::{FileId, Holder};
use crate::tui::app::App;
use crate::tui::hosts::{HostState, Images};
use crate::tui::log::Kind;
use crate::tui::msg::{Effect, ScanEnd};
use crate::tui::query::QueryId;

/// Asks all of them.
pub(super) fn ask_all(app: &mut App, effects: &mut Vec<Effect>) {
    for at in 0..app.hosts.list.len() {
        ask(app, at, effects);
    }
}

/// Asks one of them; what it told before stays on the screen until it has told all.
pub(super) fn ask(app: &mut App, at: usize, effects: &mut Vec<Effect>) {
    let query_id = app.query_id();
    let Some(host) = app.hosts.list.get_mut(at) else {
        return;
    };
    host.query_id = query_id;
    host.state = HostState::Asked;
    host.fresh = (!host.images.files.is_empty()).then(Images::default);
    host.unreadable.clear();
    app.changed();
    effects.push(Effect::ScanHost(query_id, at));
}

/// Files it has met.
pub(super) fn found(app: &mut App, query_id: QueryId, at: usize, files: Vec<ScannedFile>) {
    let Some(host) = app.hosts.asked(at, query_id) else {
        return;
    };
    match &mut host.fresh {
        Some(fresh) => fresh.files.extend(files),
        None => {
            host.images.files.extend(files.iter().cloned());
            Arc::make_mut(&mut app.forest).extend(files);
            app.find_folds();
        }
    }
}

/// Which of them processes have open there.
pub(super) fn held(
    app: &mut App,
    query_id: QueryId,
    at: usize,
    held: HashMap<FileId, Vec<Holder>>,
) {
    let Some(host) = app.hosts.asked(at, query_id) else {
        return;
    };
    match &mut host.fresh {
        Some(fresh) => fresh.held.extend(held),
        None => {
            host.images.held.extend(held.clone());
            Arc::make_mut(&mut app.forest).hold(held);
        }
    }
}

/// It says nothing.
pub(super) fn silent(app: &mut App, query_id: QueryId, at: usize, seconds: u64) {
    if let Some(host) = app.hosts.asked(at, query_id) {
        host.state = HostState::Silent(seconds);
        app.changed();
    }
}

/// It has told all, or why it cannot.
pub(super) fn scanned(app: &mut App, query_id: QueryId, at: usize, ended: Result<ScanEnd, String>) {
    let Some(host) = app.hosts.asked(at, query_id) else {
        return;
    };
    let fresh = host.fresh.take();
    match ended {
        Err(why) => {
            host.state = HostState::Failed(why.clone());
            app.note(None, Kind::Bad, &why);
        }
        Ok(end) => {
            host.state = HostState::Told;
            host.unreadable = end.unreadable;
            if let Some(fresh) = fresh {
                host.images = fresh;
                // Those of all hosts that have told by then are taken in at once.
                app.refresh.is_far_outdated = true;
            }
        }
    }
    app.changed();
    app.detail.asked = None;
    let unreadable = app.hosts.list.get(at).map(|host| host.unreadable.clone());
    for why in unreadable.into_iter().flatten() {
        app.note(None, Kind::Note, &format!("Cannot read {why}"));
    }
}
