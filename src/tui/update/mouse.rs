//! The mouse: a press moves the cursor or the focus to where it points, the wheel scrolls what is below
//! it. It never says yes to anything.

use ratatui::layout::{Position, Rect};

use crate::tui::app::{App, Pane};
use crate::tui::dialog::Mode;
use crate::tui::key::{Code, Key};
use crate::tui::keymap::Action;
use crate::tui::layout::{self, Room};
use crate::tui::msg::{Effect, MouseDid};
use crate::tui::views;

use super::moving;

/// Rows a turn of the wheel goes.
const WHEEL: usize = 3;

/// Takes in what the mouse did.
pub(super) fn take(app: &mut App, did: MouseDid, column: u16, row: u16, effects: &mut Vec<Effect>) {
    let layout = layout::of(app);
    if layout.room == Room::None {
        return;
    }
    app.toast = None;
    let spot = Position::new(column, row);
    let on = |area: Rect| area.contains(spot);
    match &mut app.mode {
        Mode::Main | Mode::Filter { .. } | Mode::Jobs => {}
        Mode::List(menu) if did == MouseDid::Press => {
            let area = views::overlay(app);
            if let Mode::List(menu) = &mut app.mode
                && let Some(at) = views::list_entry(menu, area, spot)
            {
                menu.cursor = at;
            }
            return;
        }
        Mode::Plan(_) | Mode::List(_) | Mode::Prune(_) | Mode::Trash(_) | Mode::Log(_) => {
            // The wheel does what the arrows do there.
            let key = match did {
                MouseDid::WheelDown => Code::Down,
                MouseDid::WheelUp => Code::Up,
                MouseDid::Press => return,
            };
            super::on_key(app, Key::of(key), effects);
            return;
        }
        Mode::Form(_) | Mode::Leave | Mode::Secret(_) | Mode::Measure(_) => return,
    }
    let (action, forward) = match did {
        MouseDid::Press => {
            press(app, spot);
            return;
        }
        MouseDid::WheelDown => (Action::Down, true),
        MouseDid::WheelUp => (Action::Up, false),
    };
    app.tree.touched = true;
    if on(layout.detail) || on(layout.chain) {
        for _ in 0..WHEEL {
            moving::scroll_detail(app, action);
        }
    } else if on(layout.images) {
        let last = app.tree.rows.list.len().saturating_sub(1);
        app.tree.cursor = if forward {
            (app.tree.cursor + WHEEL).min(last)
        } else {
            app.tree.cursor.saturating_sub(WHEEL)
        };
    }
}

fn press(app: &mut App, spot: Position) {
    let layout = layout::of(app);
    app.tree.touched = true;
    if layout.jobs.contains(spot) && !app.jobs.list.is_empty() {
        app.mode = Mode::Jobs;
        return;
    }
    if matches!(app.mode, Mode::Jobs) {
        app.mode = Mode::Main;
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
    let row = match &app.picture {
        Some(picture) => picture.at(x, y),
        None => Some(app.tree.top + y),
    };
    if let Some(row) = row.filter(|row| *row < app.tree.rows.list.len()) {
        app.tree.cursor = row;
    }
}
