//! The one step: what is known, and what happened, become what is known now and what is to be done.
//! Pure: no disk, no terminal, no clock.
//!
//! | file | what |
//! |---|---|
//! | `keys`, `mouse` | where a key or a press goes |
//! | `changes` | moving among the files that differ |
//! | `panes`, `cursor`, `operations`, `menus` | what keys do in the panes |
//! | `open`, `dialogs` | opening dialogs, and doing what they ask for |
//! | `jobs`, `scan`, `machines`, `hosts`, `beside`, `ask_there`, `there`, `series` | what is begun, and what comes of it |
//! | `responses`, `space`, `prune` | answers of the workers |
//! | `files`, `guest_files`, `insides` | what is asked about the inside of images |
//! | `settle`, `tour` | what follows from every change |

mod ask_there;
mod beside;
mod changes;
mod cursor;
mod dialogs;
mod doctor;
mod files;
mod guest_files;
mod hosts;
mod insides;
mod jobs;
mod keys;
mod machine_menu;
mod machines;
mod menus;
mod mouse;
mod open;
mod operations;
mod panes;
mod prune;
mod responses;
mod scan;
mod series;
mod settle;
mod space;
mod there;
mod tour;

use std::sync::Arc;

use crate::forest::{Location, Node};

use super::app::App;
use super::detail_pane::Tab;
use super::dialogs::Dialog;
use super::dialogs::list::ContentKind;
use super::jobs::{Job, Task};
use super::msg::{Effect, Msg};
use super::query::AT_START;
use super::selection::HitsOf;
use super::ui::Ui;
use settle::settle;

/// Takes in what happened; returns what is to be done about it.
pub fn update(ui: &mut Ui, msg: Msg) -> Vec<Effect> {
    let mut effects = Vec::new();
    if msg.may_gather() {
        responses::take(ui, msg, &mut effects);
        ui.app.refresh.unsettled = true;
        return effects;
    }
    if std::mem::take(&mut ui.app.refresh.unsettled) {
        // Keys mean what is on the screen next, not what was before.
        settle(ui);
    }
    match msg {
        Msg::Key(key) => keys::press(ui, key, &mut effects),
        Msg::Mouse(did, column, row) => mouse::take(ui, did, column, row, &mut effects),
        Msg::Paste(text) => keys::paste(ui, &text, &mut effects),
        Msg::Resize(width, height) => ui.app.size = (width, height),
        Msg::Clock(now) => ui.app.now = Some(now),
        other => responses::take(ui, other, &mut effects),
    }
    settle(ui);
    hosts::gather(&mut ui.app, &mut effects);
    tour::follow(&mut ui.app);
    space::ask(ui, &mut effects);
    prune::ask(ui, &mut effects);
    beside::ask_for_interrupted(&mut ui.app, &mut effects);
    beside::ask_for_machines(&mut ui.app, &mut effects);
    beside::ask_for_findings(&mut ui.app, &mut effects);
    insides::ask(&mut ui.app, &mut effects);
    ask_for_hits(&mut ui.app, &mut effects);
    let asked = asked_about(ui).map(|node| node.path.clone());
    if asked.is_some() && asked != ui.app.detail.asked {
        ui.app.detail.asked.clone_from(&asked);
        effects.extend(asked.map(Effect::Info));
    }
    ask_for_map(&mut ui.app, &mut effects);
    files::ask(&mut ui.app, &mut effects);
    guest_files::ask(ui, &mut effects);
    forget_passphrase(ui, &mut effects);
    effects
}

/// The passphrase of an image that was to be made is held no longer than a form, a plan or a job may need
/// it.
fn forget_passphrase(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let makes =
        |job: &Job| matches!(&job.task, Task::Change(request) if request.creates().is_some());
    let may_ask = matches!(
        ui.dialogs.top(),
        Some(Dialog::Form(_) | Dialog::Plan(_) | Dialog::Secret(_))
    );
    let app = &mut ui.app;
    let is_needed = may_ask || app.jobs.open().any(makes);
    if app.protects && !is_needed {
        app.protects = false;
        effects.push(Effect::Forget);
    }
}

/// The image that the disk is asked about: the one a list shows the inside of, or else the selected one.
fn asked_about(ui: &Ui) -> Option<&Node> {
    match ui.dialogs.top() {
        Some(Dialog::List(menu))
            if matches!(
                menu.inside,
                Some(ContentKind::Snapshots | ContentKind::Bitmaps)
            ) =>
        {
            ui.app.target()
        }
        _ => ui.app.selected(),
    }
}

/// In a large forest a worker finds out what the filter asks for; until it responses, the rows stay.
fn ask_for_hits(app: &mut App, effects: &mut Vec<Effect>) {
    let line = app.tree.filter.value();
    if line.trim().is_empty() {
        app.tree.hits_of = None;
        return;
    }
    if !app.asks_worker_for_hits() {
        return;
    }
    let wanted = HitsOf {
        line: line.to_owned(),
        forest: (app.epoch, app.forest.generation()),
        space: app.space.version,
        insides: app.insides.version,
    };
    if app.tree.hits_of.as_ref() != Some(&wanted) {
        let query_id = app.query_id();
        app.tree.hits_query_id = query_id;
        app.tree.hits_known = false;
        effects.push(Effect::Filter {
            query_id,
            line: wanted.line.clone(),
            forest: Arc::clone(&app.forest),
            roots: app.settings.roots.clone(),
            home: app.settings.home.clone(),
            now: app.now(),
            space: Arc::clone(&app.space.found.figures),
            insides: Arc::clone(&app.insides.found),
        });
        app.tree.hits_of = Some(wanted);
    }
}

/// The map is read only where it is shown.
fn ask_for_map(app: &mut App, effects: &mut Vec<Effect>) {
    if app.detail.hidden || !matches!(app.detail.tab, Tab::Map | Tab::Changes) {
        return;
    }
    let Some(node) = app.selected() else { return };
    if node.location != Location::Scanned || app.detail.map_asked.as_ref() == Some(&node.path) {
        return;
    }
    let (path, format) = (node.path.clone(), node.format());
    app.detail.map_asked = Some(path.clone());
    effects.push(Effect::Map(path, format));
}

/// Asks for the first scan, and for what was interrupted before.
pub fn start(ui: &mut Ui) -> Vec<Effect> {
    let mut effects = Vec::new();
    scan::rescan(&mut ui.app, &mut effects);
    hosts::ask_all(&mut ui.app, &mut effects);
    if !ui.app.settings.read_only {
        effects.push(Effect::Interrupted(AT_START, None));
    }
    settle(ui);
    effects
}
