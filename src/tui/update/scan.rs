//! Looking at the disk again: all of it, or the files that have changed.

use std::path::PathBuf;
use std::sync::Arc;

use crate::forest::Forest;
use crate::tui::app::App;
use crate::tui::msg::Effect;

/// Asks for a scan; what was found before stays on the screen until it is done.
pub(super) fn rescan(app: &mut App, effects: &mut Vec<Effect>) {
    let query_id = app.query_id();
    app.refresh.scan.query_id = query_id;
    app.refresh.scan.running = true;
    app.refresh.scan.looked_at = 0;
    app.refresh.scan.again = false;
    // All of them are looked at by this scan.
    app.refresh.changed_files.clear();
    app.refresh.refreshing = None;
    app.refresh.scan.unreadable.clear();
    let is_first = app.forest.is_empty();
    app.refresh.scan.is_shown = is_first;
    let is_kept = !is_first || !app.hosts.list.is_empty();
    app.refresh.scan.fresh = is_kept.then(Forest::new);
    effects.push(Effect::Scan(query_id));
}

/// Files have changed: they alone are looked at again, or everything where it is not known which.
pub(super) fn look_again(app: &mut App, files: Option<Vec<PathBuf>>, effects: &mut Vec<Effect>) {
    match files {
        None if app.refresh.scan.running => app.refresh.scan.again = true,
        None => rescan(app, effects),
        Some(files) => {
            app.refresh.changed_files.extend(files);
            look_at_changed(app, effects);
        }
    }
}

/// Looks again at the files that have changed, unless something is being looked at now: its end will
/// come back here.
pub(super) fn look_at_changed(app: &mut App, effects: &mut Vec<Effect>) {
    if app.refresh.scan.running || app.refresh.refreshing.is_some() {
        return;
    }
    if std::mem::take(&mut app.refresh.scan.again) {
        app.refresh.changed_files.clear();
        rescan(app, effects);
        return;
    }
    if app.refresh.changed_files.is_empty() {
        return;
    }
    let mut files: Vec<PathBuf> = app.refresh.changed_files.drain().collect();
    files.sort_unstable();
    let query_id = app.query_id();
    app.refresh.refreshing = Some(query_id);
    let here = app.refresh.here.as_ref().unwrap_or(&app.forest);
    effects.push(Effect::Refresh(query_id, Arc::clone(here), files));
}
