//! The screen: what is known becomes widgets. Only reads; no disk, no locks, no clock.

mod bars;
mod detail;
mod diagram;
mod dialogs;
mod frame;
mod jobs;
mod list;
mod tree;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::app::{App, Pane, Tab};
use super::dialog::Mode;
use super::layout::{LEAST, Layout, Room};

pub use detail::lines_of_detail as detail_lines;
pub use dialogs::{needed_height as dialog_height, scroll_limit as plan_scroll};
pub use list::page as list_page;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &App) {
    let layout = app.layout();
    let whole = frame.area();
    if layout.room == Room::None {
        let (columns, rows) = LEAST;
        let text = format!(
            "needs {columns}x{rows}, have {}x{} - q quits",
            whole.width, whole.height
        );
        frame.render_widget(Paragraph::new(text), whole);
        return;
    }
    bars::header(frame, app, layout.header);
    bars::footer(frame, app, layout.footer);
    bars::line(frame, app, layout.line);
    if app.picture.is_some() {
        diagram::draw(frame, app, layout.images);
    } else {
        tree::draw(frame, app, layout.images);
    }
    detail_panes(frame, app, &layout);
    jobs::draw(frame, app, layout.jobs);
    match &app.mode {
        Mode::List(menu) => list::menu(frame, app, menu, overlay(app)),
        Mode::Prune(dialog) => list::prune(frame, app, dialog, overlay(app)),
        Mode::Trash(dialog) => list::trash(frame, app, dialog, overlay(app)),
        _ => dialogs::draw(frame, app, layout.dialog),
    }
}

fn detail_panes(frame: &mut Frame<'_>, app: &App, layout: &Layout) {
    let focus = app.pane == Pane::Detail;
    if layout.chain.is_empty() {
        detail::draw(frame, app, layout.detail, app.tab, focus);
    } else {
        // Both have a place: the focus frames the one whose tab was chosen.
        detail::draw(
            frame,
            app,
            layout.detail,
            Tab::Info,
            focus && app.tab == Tab::Info,
        );
        detail::draw(
            frame,
            app,
            layout.chain,
            Tab::Chain,
            focus && app.tab == Tab::Chain,
        );
    }
}

/// Where lists are shown: in the middle, over the panes.
pub(super) fn overlay(app: &App) -> Rect {
    let (width, height) = app.size;
    let whole = Rect::new(0, 0, width, height);
    if width < 60 || height < 12 {
        return whole;
    }
    let width_used = width.saturating_sub(4).min(100);
    let height_used = height.saturating_sub(2).min(40);
    Rect::new(
        (width - width_used) / 2,
        (height - height_used) / 2,
        width_used,
        height_used,
    )
}

/// Lines from `first` on, as many as fit.
fn lines_in(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>) {
    frame.render_widget(Paragraph::new(lines), area);
}
