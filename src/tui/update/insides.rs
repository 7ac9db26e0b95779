//! What is inside images: looked at only while rows are chosen by it, and as far as nobody knows it.

use std::sync::Arc;

use crate::ops::{InsideProgress, InsidesByPath};
use crate::tui::app::App;
use crate::tui::filter::Filter;
use crate::tui::insides::InsidesFound;
use crate::tui::msg::Effect;
use crate::tui::query::QueryId;

/// Whether the rows are made from what is inside.
fn rows_need_it(app: &App) -> bool {
    Filter::parse(app.tree.filter.value()).asks_for_insides()
}

/// Has images looked into where that is needed and not known, and stops it where it is not needed any more.
pub(super) fn ask(app: &mut App, effects: &mut Vec<Effect>) {
    if !rows_need_it(app) {
        if app.insides.asked.take().is_some() {
            app.insides.of = None;
            effects.push(Effect::StopInsides);
        }
        return;
    }
    let of = (app.epoch, app.forest.generation());
    let waits = app.refresh.scan.running || app.refresh.refreshing.is_some();
    if waits || app.insides.of == Some(of) {
        return;
    }
    let query_id = app.query_id();
    app.insides.asked = Some(query_id);
    app.insides.of = Some(of);
    app.insides.progress = InsideProgress::default();
    let forest = Arc::clone(&app.forest);
    effects.push(Effect::Insides(query_id, forest));
}

/// Takes in what was found so far.
pub(super) fn take(app: &mut App, query_id: QueryId, found: InsidesFound) {
    if app.insides.asked != Some(query_id) {
        return;
    }
    app.insides.progress = found.progress;
    if found.is_whole {
        app.insides.asked = None;
    }
    take_known(app, found.found);
}

/// Takes in what is known of earlier runs, where nobody asked for more.
pub(super) fn take_kept(app: &mut App, found: InsidesByPath) {
    if app.insides.asked.is_none() {
        take_known(app, found);
    }
}

fn take_known(app: &mut App, found: InsidesByPath) {
    app.insides.take(Arc::new(found));
    if rows_need_it(app) {
        app.changed();
    }
}
