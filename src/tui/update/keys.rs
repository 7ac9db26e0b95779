//! A key, on its way to what has the keyboard.

use ratatui::layout::Rect;

use crate::tui::actions::Action;
use crate::tui::bindings::Action as _;
use crate::tui::dialogs::Context;
use crate::tui::key::Key;
use crate::tui::layout::{self, Panes};
use crate::tui::msg::Effect;
use crate::tui::ui::Ui;

use super::{dialogs, panes};

/// A key was pressed.
pub(super) fn press(ui: &mut Ui, key: Key, effects: &mut Vec<Effect>) {
    let layout = layout::of(ui);
    let area = layout::of_dialog(ui, &layout);
    // Where nothing is seen, nothing but leaving is understood.
    let is_seen = layout.panes != Panes::None;
    let Some(open) = ui.dialogs.top_mut() else {
        return press_in_panes(ui, key, is_seen, effects);
    };
    let window = open.window_mut();
    if is_seen && window.hold_key(key, &ui.app) {
        return;
    }
    if is_seen {
        ui.app.session.toast = None;
        ui.app.tree.touched = true;
    }
    let mut context = Context {
        app: &mut ui.app,
        area,
        effects,
    };
    let next = match is_seen {
        true => window.press(key, &mut context),
        false => window.press_unseen(key, &mut context),
    };
    dialogs::follow(ui, next, effects);
}

/// The same as [`press`], but that only what leads out of what is open is understood.
pub(super) fn press_to_leave(ui: &mut Ui, key: Key, effects: &mut Vec<Effect>) {
    let Some(open) = ui.dialogs.top_mut() else {
        return;
    };
    let mut context = Context {
        app: &mut ui.app,
        area: Rect::ZERO,
        effects,
    };
    let next = open.window_mut().press_unseen(key, &mut context);
    dialogs::follow(ui, next, effects);
}

fn press_in_panes(ui: &mut Ui, key: Key, is_seen: bool, effects: &mut Vec<Effect>) {
    let action = ui.app.settings.keymap.action::<Action>(key);
    if !is_seen {
        if let Some(action) = action.filter(|action| action.leaves()) {
            panes::run(ui, action, effects);
        }
        return;
    }
    ui.app.session.toast = None;
    ui.app.tree.touched = true;
    if let Some(action) = action {
        panes::run(ui, action, effects);
    }
}

/// Pasted text goes where typed text would.
pub(super) fn paste(ui: &mut Ui, text: &str, effects: &mut Vec<Effect>) {
    let layout = layout::of(ui);
    let area = layout::of_dialog(ui, &layout);
    if let Some(open) = ui.dialogs.top_mut() {
        let mut context = Context {
            app: &mut ui.app,
            area,
            effects,
        };
        open.window_mut().paste(text, &mut context);
    }
}
