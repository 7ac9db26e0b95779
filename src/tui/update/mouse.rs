//! The mouse: a press moves the cursor or the focus to where it points, the wheel scrolls what is below
//! it. It never says yes to anything.

use ratatui::layout::{Position, Rect};

use crate::tui::actions::Motion;
use crate::tui::app::Pane;
use crate::tui::dialogs::{Dialog, JobsPane, Keyboard};
use crate::tui::key::{Code, Key};
use crate::tui::layout::{self, Layout, Room};
use crate::tui::msg::{Effect, MouseEvent};
use crate::tui::ui::Ui;

use super::{cursor, keys};

/// Rows a turn of the wheel goes.
const WHEEL: usize = 3;

/// Takes in what the mouse did.
pub(super) fn take(ui: &mut Ui, did: MouseEvent, column: u16, row: u16, effects: &mut Vec<Effect>) {
    let layout = layout::of(ui);
    if layout.room == Room::None {
        return;
    }
    ui.app.session.toast = None;
    let spot = Position::new(column, row);
    let on = |area: Rect| area.contains(spot);
    if ui.dialogs.keyboard() == Keyboard::Dialog {
        return on_dialog(ui, did, spot, &layout, effects);
    }
    let (motion, forward) = match did {
        MouseEvent::Press => {
            press(ui, spot);
            return;
        }
        MouseEvent::WheelDown => (Motion::Down, true),
        MouseEvent::WheelUp => (Motion::Up, false),
    };
    ui.app.tree.touched = true;
    if on(layout.detail) || on(layout.chain) {
        for _ in 0..WHEEL {
            cursor::scroll_detail(ui, motion);
        }
    } else if on(layout.images) {
        let tree = &mut ui.app.tree;
        let last = tree.rows.list.len().saturating_sub(1);
        tree.cursor = if forward {
            (tree.cursor + WHEEL).min(last)
        } else {
            tree.cursor.saturating_sub(WHEEL)
        };
    }
}

/// A press goes to the entry of a list it points at; the wheel does what the arrows do, where they scroll.
fn on_dialog(
    ui: &mut Ui,
    did: MouseEvent,
    spot: Position,
    layout: &Layout,
    effects: &mut Vec<Effect>,
) {
    let area = layout::of_dialog(ui, layout);
    let key = match (did, ui.dialogs.top_mut()) {
        (MouseEvent::Press, Some(Dialog::List(menu))) => {
            if let Some(at) = menu.entry_at(area, spot) {
                menu.cursor.at = at;
            }
            return;
        }
        (MouseEvent::Press, _) => return,
        (MouseEvent::WheelDown, _) => Code::Down,
        (MouseEvent::WheelUp, _) => Code::Up,
    };
    let turns = ui.dialogs.top().is_some_and(|open| open.window().turns());
    if turns {
        keys::press(ui, Key::of(key), effects);
    }
}

fn press(ui: &mut Ui, spot: Position) {
    let layout = layout::of(ui);
    let app = &mut ui.app;
    app.tree.touched = true;
    if layout.jobs.contains(spot) && !app.jobs.list.is_empty() {
        ui.dialogs.open_alone(Dialog::Jobs(JobsPane));
        return;
    }
    if ui.dialogs.keyboard() == Keyboard::Jobs {
        ui.dialogs.close_all();
    }
    if layout.detail.contains(spot) || layout.chain.contains(spot) {
        app.pane = Pane::Detail;
        return;
    }
    let inner = Rect {
        x: layout.images.x + 1,
        y: layout.images.y + 1,
        width: layout.images.width.saturating_sub(2),
        height: layout.rows(),
    };
    if !inner.contains(spot) {
        return;
    }
    app.pane = Pane::Images;
    let (x, y) = (usize::from(spot.x - inner.x), usize::from(spot.y - inner.y));
    let row = match &app.diagram {
        Some(picture) => picture.at(x, y),
        None => Some(app.tree.top + y),
    };
    if let Some(row) = row.filter(|row| *row < app.tree.rows.list.len()) {
        app.tree.cursor = row;
    }
}
