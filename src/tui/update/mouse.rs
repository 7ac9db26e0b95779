//! The mouse: a press moves the cursor or the focus to where it points, the wheel scrolls what is below
//! it. It never says yes to anything.

use ratatui::layout::Position;

use crate::tui::actions::Motion;
use crate::tui::app::Pane;
use crate::tui::detail_pane::Tab;
use crate::tui::dialogs::{Context, JobsPane, Keyboard};
use crate::tui::key::{Code, Key};
use crate::tui::layout::{self, Layout, Panes};
use crate::tui::msg::{Effect, MouseEvent};
use crate::tui::panes::detail;
use crate::tui::ui::Ui;
use crate::tui::views::{bars, frame};

use super::{cursor, dialogs, keys};

/// Rows a turn of the wheel goes.
const WHEEL: usize = 3;

/// Takes in what the mouse did.
pub(super) fn take(ui: &mut Ui, did: MouseEvent, column: u16, row: u16, effects: &mut Vec<Effect>) {
    let layout = layout::of(ui);
    if layout.panes == Panes::None {
        return;
    }
    ui.app.session.toast = None;
    ui.app.tree.touched = true;
    let spot = Position::new(column, row);
    let is_dialog = ui.dialogs.keyboard() == Keyboard::Dialog;
    match did {
        MouseEvent::Press if layout.footer.contains(spot) => {
            on_footer(ui, spot, &layout, effects);
        }
        MouseEvent::Press if is_dialog => press_in_dialog(ui, spot, &layout, effects),
        MouseEvent::Press => press(ui, spot),
        MouseEvent::WheelDown if is_dialog => turn_in_dialog(ui, Code::Down, effects),
        MouseEvent::WheelUp if is_dialog => turn_in_dialog(ui, Code::Up, effects),
        MouseEvent::WheelDown => turn(ui, spot, &layout, true),
        MouseEvent::WheelUp => turn(ui, spot, &layout, false),
    }
}

/// Presses the key whose hint stands there. In a dialog only keys that lead out of it: a press never says
/// yes.
fn on_footer(ui: &mut Ui, spot: Position, layout: &Layout, effects: &mut Vec<Effect>) {
    let dialog = layout::of_dialog(ui, layout);
    let line = bars::footer_line(ui, layout.footer.width, dialog);
    let Some(key) = frame::key_at(&line, usize::from(spot.x - layout.footer.x)) else {
        return;
    };
    match ui.dialogs.keyboard() {
        Keyboard::Panes | Keyboard::FilterLine => keys::press(ui, key, effects),
        Keyboard::Jobs | Keyboard::Dialog => keys::press_to_leave(ui, key, effects),
    }
}

/// What is below the pointer scrolls.
fn turn(ui: &mut Ui, spot: Position, layout: &Layout, forward: bool) {
    let motion = if forward { Motion::Down } else { Motion::Up };
    let moved = |at: usize, most: usize| match forward {
        true => (at + WHEEL).min(most),
        false => at.saturating_sub(WHEEL).min(most),
    };
    let tab = if layout.chain.contains(spot) {
        Some(Tab::Chain)
    } else {
        let shown = detail::shown_tab(&ui.app, layout);
        layout.detail.contains(spot).then_some(shown)
    };
    if layout.images.contains(spot) {
        let tree = &mut ui.app.tree;
        tree.cursor = moved(tree.cursor, tree.rows.list.len().saturating_sub(1));
    } else if layout.jobs.contains(spot) && ui.dialogs.keyboard() == Keyboard::Jobs {
        let jobs = &mut ui.app.jobs;
        jobs.cursor.at = moved(jobs.cursor.at, jobs.list.len().saturating_sub(1));
    } else if let Some(tab) = tab.filter(|tab| *tab != ui.app.detail.tab) {
        let page = usize::from(layout.detail.height).saturating_sub(2);
        let most = detail::lines_of(&ui.app, layout, tab).saturating_sub(page);
        ui.app.detail.beside_scroll = moved(ui.app.detail.beside_scroll, most);
    } else if tab.is_some() {
        for _ in 0..WHEEL {
            cursor::scroll_detail(ui, motion);
        }
    }
}

/// The wheel does what the arrows do in a dialog, where they scroll.
fn turn_in_dialog(ui: &mut Ui, key: Code, effects: &mut Vec<Effect>) {
    if ui.dialogs.top().is_some_and(|open| open.window().turns()) {
        keys::press(ui, Key::of(key), effects);
    }
}

fn press_in_dialog(ui: &mut Ui, spot: Position, layout: &Layout, effects: &mut Vec<Effect>) {
    let area = layout::of_dialog(ui, layout);
    let Some(open) = ui.dialogs.top_mut() else {
        return;
    };
    if area.contains(spot) && spot.y + 1 == area.bottom() {
        let inside = frame::inside(area);
        let line = open.window().edge(&ui.app, usize::from(inside.width));
        // A piece of the frame stands before the hints.
        let cell = usize::from(spot.x).checked_sub(usize::from(inside.x) + 1);
        if let Some(key) = cell.and_then(|cell| frame::key_at(&line, cell)) {
            keys::press_to_leave(ui, key, effects);
        }
        return;
    }
    let mut context = Context {
        app: &mut ui.app,
        area,
        effects,
    };
    let next = open.window_mut().pressed(spot, &mut context);
    dialogs::follow(ui, next, effects);
}

fn press(ui: &mut Ui, spot: Position) {
    let layout = layout::of(ui);
    let app = &mut ui.app;
    if layout.jobs.contains(spot) && !app.jobs.list.is_empty() {
        ui.dialogs.open_alone(JobsPane);
        return;
    }
    if ui.dialogs.keyboard() == Keyboard::Jobs {
        ui.dialogs.close_all();
    }
    if layout.detail.contains(spot) || layout.chain.contains(spot) {
        match detail::tab_at(app, &layout, spot) {
            Some(tab) => cursor::show(app, tab),
            None => app.pane = Pane::Detail,
        }
        return;
    }
    let inner = frame::inside(layout.images);
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
