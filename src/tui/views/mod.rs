//! The screen: what is known becomes widgets. Only reads; no disk, no locks, no clock. Dialogs draw
//! themselves.

pub(super) mod bars;
pub(super) mod frame;
pub(super) mod words;

use ratatui::Frame;
use ratatui::widgets::Paragraph;

use super::app::{App, Pane};
use super::detail_pane::Tab;
use super::layout::{self, LEAST, Layout, Panes};
use super::panes::{detail, diagram, jobs, tree};
use super::ui::Ui;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, ui: &Ui) {
    let layout = layout::of(ui);
    let app = &ui.app;
    let whole = frame.area();
    if layout.panes == Panes::None {
        let (columns, rows) = LEAST;
        let text = format!(
            "needs {columns}x{rows}, have {}x{} - q quits",
            whole.width, whole.height
        );
        frame.render_widget(Paragraph::new(text), whole);
        return;
    }
    let keyboard = ui.dialogs.keyboard();
    let dialog = layout::of_dialog(ui, &layout);
    bars::header(frame, app, layout.header);
    bars::tour(frame, app, layout.tour);
    bars::footer(frame, ui, layout.footer, dialog);
    bars::line(frame, app, keyboard, layout.line);
    if app.diagram.is_some() {
        diagram::draw(frame, app, keyboard, layout.images);
    } else {
        tree::draw(frame, app, keyboard, layout.images);
    }
    detail_panes(frame, app, &layout);
    jobs::draw(frame, app, keyboard, layout.jobs);
    if let Some(open) = ui.dialogs.top()
        && !dialog.is_empty()
    {
        open.window().draw(frame, app, dialog);
    }
}

fn detail_panes(frame: &mut Frame<'_>, app: &App, layout: &Layout) {
    let focus = app.pane == Pane::Detail;
    let tab = detail::shown_tab(app, layout);
    if layout.chain.is_empty() {
        detail::draw(frame, app, layout, (layout.detail, tab), focus);
    } else {
        // Both have a place: the focus frames the one whose tab was chosen.
        detail::draw(
            frame,
            app,
            layout,
            (layout.detail, tab),
            focus && app.detail.tab == tab,
        );
        detail::draw(
            frame,
            app,
            layout,
            (layout.chain, Tab::Chain),
            focus && app.detail.tab == Tab::Chain,
        );
    }
}
