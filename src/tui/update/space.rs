//! Where the space went: measured while somebody looks at it, or rows are ordered or chosen by it, and stopped where
//! nobody does any more.

use std::sync::Arc;

use crate::tui::app::App;
use crate::tui::filter::Filter;
use crate::tui::msg::Effect;
use crate::tui::query::QueryId;
use crate::tui::space::SpaceFound;
use crate::tui::ui::Ui;

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
        if app.space.stop() {
            effects.push(Effect::StopSpace);
        }
        return;
    }
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
        app.space.take_some(found);
        rows_change(app);
    }
}

/// Takes in all of it.
pub(super) fn take_all(app: &mut App, query_id: QueryId, found: SpaceFound) {
    if app.space.asked == Some(query_id) {
        app.space.take_all(found);
        rows_change(app);
    }
}

fn rows_change(app: &mut App) {
    if rows_need_it(app) {
        app.changed();
    }
}
