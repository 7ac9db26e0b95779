//! The one step: what is known, and what happened, become what is known now and what is to be done.
//! Pure: no disk, no terminal, no clock.

mod answers;
mod dialogs;
mod menus;
mod moving;
mod panes;

use std::time::Duration;

use crate::host::printable;

use super::app::{App, Toast};
use super::dialog::Mode;
use super::key::Key;
use super::keymap::{self, Action, Scope};
use super::layout::Room;
use super::msg::{Effect, Msg};

/// How long a plan for a form waits for a further key.
const TYPING: Duration = Duration::from_millis(40);

/// Takes in what happened; returns what is to be done about it.
pub fn update(app: &mut App, msg: Msg) -> Vec<Effect> {
    let mut effects = Vec::new();
    match msg {
        Msg::Key(key) => on_key(app, key, &mut effects),
        Msg::Paste(text) => dialogs::paste(app, &text, &mut effects),
        Msg::Resize(width, height) => app.size = (width, height),
        Msg::Clock(now) => app.now = Some(now),
        other => answers::take(app, other, &mut effects),
    }
    app.settle();
    let selected = app.selected().map(|node| node.path.clone());
    if selected.is_some() && selected != app.asked {
        app.asked.clone_from(&selected);
        effects.extend(selected.map(Effect::Facts));
    }
    effects
}

/// Asks for the first scan.
pub fn start(app: &mut App) -> Vec<Effect> {
    let mut effects = Vec::new();
    panes::rescan(app, &mut effects);
    app.settle();
    effects
}

impl App {
    /// Tells something that went well, or only informs.
    fn tell(&mut self, text: impl AsRef<str>) {
        self.toast = Some(Toast {
            text: printable(text.as_ref()),
            bad: false,
        });
    }

    /// Tells something that did not go well.
    fn warn(&mut self, text: impl AsRef<str>) {
        self.toast = Some(Toast {
            text: printable(text.as_ref()),
            bad: true,
        });
    }
}

fn on_key(app: &mut App, key: Key, effects: &mut Vec<Effect>) {
    let scope = app.mode.scope();
    let action = keymap::action(scope, key);
    if app.layout().room == Room::None {
        // Nothing is seen, so nothing but leaving is understood.
        if let Some(action @ (Action::Quit | Action::Close | Action::Back | Action::QuitNow)) =
            action
        {
            run(app, scope, action, key, effects);
        }
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
        Scope::Jobs => panes::run_in_jobs(app, action, effects),
        Scope::Filter => dialogs::run_in_filter(app, action),
        Scope::List => dialogs::run_in_list(app, action, effects),
        Scope::Form => dialogs::run_in_form(app, action, effects),
        Scope::Plan => dialogs::run_in_plan(app, action, key, effects),
        Scope::Prune => dialogs::run_in_prune(app, action, effects),
        Scope::Trash => dialogs::run_in_trash(app, action, effects),
        Scope::Leave => run_in_leave(app, action, effects),
    }
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
