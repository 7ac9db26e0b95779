//! The one step: what is known, and what happened, become what is known now and what is to be done.
//! Pure: no disk, no terminal, no clock.

mod answers;
mod dialogs;
mod forms;
mod jobs;
mod menus;
mod mouse;
mod moving;
mod panes;
mod plans;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use crate::forest::{Node, Whereabouts};
use crate::host::printable;

use super::app::{App, LARGE, Tab, Toast};
use super::dialog::Mode;
use super::jobs::{Job, Task};
use super::key::Key;
use super::keymap::{Action, Scope};
use super::layout::{self, Room};
use super::log::Kind;
use super::msg::{Effect, Msg};
use super::query::Ticket;
use super::views;

/// How long a plan for a form waits for a further key.
const TYPING: Duration = Duration::from_millis(40);

/// Takes in what happened; returns what is to be done about it.
pub fn update(app: &mut App, msg: Msg) -> Vec<Effect> {
    let mut effects = Vec::new();
    if msg.may_gather() {
        answers::take(app, msg, &mut effects);
        app.unsettled = true;
        return effects;
    }
    if std::mem::take(&mut app.unsettled) {
        // Keys mean what is on the screen next, not what was before.
        app.settle();
    }
    match msg {
        Msg::Key(key) => on_key(app, key, &mut effects),
        Msg::Mouse(did, column, row) => mouse::take(app, did, column, row, &mut effects),
        Msg::Paste(text) => dialogs::paste(app, &text, &mut effects),
        Msg::Resize(width, height) => app.size = (width, height),
        Msg::Clock(now) => app.now = Some(now),
        other => answers::take(app, other, &mut effects),
    }
    app.settle();
    ask_for_hits(app, &mut effects);
    let asked = asked_about(app).map(|node| node.path.clone());
    if asked.is_some() && asked != app.asked {
        app.asked.clone_from(&asked);
        effects.extend(asked.map(Effect::Facts));
    }
    ask_for_map(app, &mut effects);
    forget_passphrase(app, &mut effects);
    effects
}

/// The passphrase of an image that was to be made is held no longer than a form, a plan or a job may need
/// it.
fn forget_passphrase(app: &mut App, effects: &mut Vec<Effect>) {
    let makes =
        |job: &Job| matches!(&job.task, Task::Change(request) if request.creates().is_some());
    let is_needed = matches!(app.mode, Mode::Form(_) | Mode::Plan(_) | Mode::Secret(_))
        || app.jobs.open().any(makes);
    if app.protects && !is_needed {
        app.protects = false;
        effects.push(Effect::Forget);
    }
}

/// The image that the disk is asked about: the one a list shows the inside of, or else the selected one.
fn asked_about(app: &App) -> Option<&Node> {
    match &app.mode {
        Mode::List(menu) if menu.inside.is_some() => app.target(),
        _ => app.selected(),
    }
}

/// In a large forest a worker finds out what the filter asks for; until it answers, the rows stay.
fn ask_for_hits(app: &mut App, effects: &mut Vec<Effect>) {
    let line = app.tree.filter.value();
    if line.trim().is_empty() {
        app.tree.hits_of = None;
        return;
    }
    if app.forest.len() <= LARGE {
        return;
    }
    let wanted = (line.to_owned(), app.epoch, app.forest.generation());
    if app.tree.hits_of.as_ref() != Some(&wanted) {
        let ticket = app.ticket();
        app.tree.hits_ticket = ticket;
        effects.push(Effect::Filter(
            ticket,
            wanted.0.clone(),
            Arc::clone(&app.forest),
            app.now(),
        ));
        app.tree.hits_of = Some(wanted);
    }
}

/// The map is read only where it is shown.
fn ask_for_map(app: &mut App, effects: &mut Vec<Effect>) {
    if !matches!(app.tab, Tab::Map | Tab::Changes) {
        return;
    }
    let Some(node) = app.selected() else { return };
    if node.whereabouts != Whereabouts::Scanned || app.map_asked.as_ref() == Some(&node.path) {
        return;
    }
    let (path, format) = (node.path.clone(), node.format());
    app.map_asked = Some(path.clone());
    effects.push(Effect::Map(path, format));
}

/// The number of the question that is asked before all others, which are counted from 1.
const AT_START: Ticket = 0;
/// That of a question only for the signs on the rows.
const FOR_THE_ROWS: Ticket = Ticket::MAX;

/// Asks for the first scan, and for what was interrupted before.
pub fn start(app: &mut App) -> Vec<Effect> {
    let mut effects = Vec::new();
    panes::rescan(app, &mut effects);
    if !app.settings.read_only {
        effects.push(Effect::Interrupted(AT_START, None));
    }
    app.settle();
    effects
}

impl App {
    /// Tells something that is wrong from the start, and keeps it in the log.
    pub(super) fn complain(&mut self, text: &str) {
        self.note(None, Kind::Bad, text);
        self.warn(text);
    }

    /// Tells something that went well, or only informs.
    fn tell(&mut self, text: impl AsRef<str>) {
        self.toast = Some(Toast {
            text: printable(text.as_ref()),
            bad: false,
        });
    }

    /// Tells something that did not go well.
    pub(super) fn warn(&mut self, text: impl AsRef<str>) {
        self.toast = Some(Toast {
            text: printable(text.as_ref()),
            bad: true,
        });
    }
}

fn on_key(app: &mut App, key: Key, effects: &mut Vec<Effect>) {
    let scope = app.mode.scope();
    let action = app.settings.keymap.action(scope, key);
    if layout::of(app).room == Room::None {
        // Nothing is seen, so nothing but leaving is understood.
        if let Some(action @ (Action::Quit | Action::Close | Action::Back | Action::QuitNow)) =
            action
        {
            run(app, scope, action, key, effects);
        }
        return;
    }
    if dialogs::hold(app, action, key) {
        return;
    }
    app.toast = None;
    app.tree.touched = true;
    match action {
        Some(action) => run(app, scope, action, key, effects),
        None => dialogs::type_key(app, key, effects),
    }
}

/// Runs an action, wherever it was chosen.
fn run(app: &mut App, scope: Scope, action: Action, key: Key, effects: &mut Vec<Effect>) {
    match scope {
        Scope::Main => panes::run(app, action, effects),
        Scope::Jobs => jobs::run(app, action, effects),
        Scope::Log => run_in_log(app, action),
        Scope::Filter => dialogs::run_in_filter(app, action),
        Scope::List => dialogs::run_in_list(app, action, effects),
        Scope::Form => dialogs::run_in_form(app, action, key, effects),
        Scope::Plan => plans::run_in_plan(app, action, key, effects),
        Scope::Secret => plans::run_in_secret(app, action, effects),
        Scope::Prune => dialogs::run_in_prune(app, action, effects),
        Scope::Trash => dialogs::run_in_trash(app, action, effects),
        Scope::Leave => run_in_leave(app, action, effects),
        Scope::Measure => app.mode = Mode::Main,
    }
}

fn run_in_log(app: &mut App, action: Action) {
    let page = views::list_page(app) + 1;
    let Mode::Log(view) = &mut app.mode else {
        return;
    };
    let most = app.log.of(view.job).count().saturating_sub(page);
    view.up = match action {
        Action::ScrollUp => view.up + 1,
        Action::ScrollDown => view.up.saturating_sub(1),
        Action::PageUp => view.up + page,
        Action::PageDown => view.up.saturating_sub(page),
        Action::Top => most,
        Action::Bottom => 0,
        _ => {
            app.mode = if view.job.is_some() {
                Mode::Jobs
            } else {
                Mode::Main
            };
            return;
        }
    }
    .min(most);
}

fn run_in_leave(app: &mut App, action: Action, effects: &mut Vec<Effect>) {
    app.mode = Mode::Main;
    app.leaving = matches!(action, Action::QuitWhenDone | Action::QuitNow);
    if action == Action::QuitWhenDone {
        app.tell("Leaving as soon as the last job is done; Esc stays.");
    }
    if action == Action::QuitNow {
        for job in &mut app.jobs.list {
            job.cancel();
        }
    }
    if app.leaving && app.jobs.open().next().is_none() {
        effects.push(Effect::Quit);
    }
}
