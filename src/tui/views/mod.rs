//! The screen: what is known becomes widgets. Only reads; no disk, no locks, no clock.

mod bars;
mod detail;
mod diagram;
mod dialogs;
mod form;
mod frame;
mod jobs;
mod list;
mod measure;
mod tree;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::app::{App, Pane, Tab};
use super::dialog::Mode;
use super::layout::{self, LEAST, Layout, Room};

pub use detail::{health_lines_at_cursor, lines_of_detail as detail_lines};
pub use dialogs::{needed_height as dialog_height, scroll_limit as plan_scroll};
pub use form::scroll_limit as form_scroll;
pub use list::{entry_at as list_entry, page as list_page};

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &App) {
    let layout = layout::of(app);
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
        Mode::Log(view) => list::log(frame, app, *view, overlay(app)),
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
        let tab = match app.tab {
            Tab::Chain => Tab::Info,
            other => other,
        };
        detail::draw(frame, app, layout.detail, tab, focus && app.tab == tab);
        detail::draw(
            frame,
            app,
            layout.chain,
            Tab::Chain,
            focus && app.tab == Tab::Chain,
        );
    }
}

/// Where lists are shown: in the middle, over the panes; a menu is no taller than its entries.
#[must_use]
pub fn overlay(app: &App) -> Rect {
    let (width, height) = app.size;
    let whole = Rect::new(0, 0, width, height);
    if width < 60 || height < 12 {
        return whole;
    }
    let width_used = width.saturating_sub(4).min(100);
    let mut height_used = height.saturating_sub(2).min(40);
    if let Mode::List(menu) = &app.mode
        && menu.by_key
    {
        let entries = u16::try_from(menu.items.len()).unwrap_or(u16::MAX);
        height_used = height_used.min(entries.saturating_add(2));
    }
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
