//! The detail pane: which of its tabs is shown, and how far it is scrolled. The tabs are in files of their
//! own.

mod chain;
mod explain;
mod files;
mod health;
mod info;
mod map;
mod snapshots;
mod title;

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::detail_pane::Tab;
use crate::tui::layout::{self, Layout};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::ui::Ui;
use crate::tui::views::frame;

use title::Title;

use super::machine;

/// Draws one tab of the detail.
pub(in crate::tui) fn draw(
    frame: &mut Frame<'_>,
    app: &App,
    layout: &Layout,
    (area, tab): (Rect, Tab),
    focus: bool,
) {
    if area.width < 10 || area.height < 3 {
        return;
    }
    let ascii = app.settings.ascii;
    let theme = app.settings.theme;
    let beside = !layout.chain.is_empty();
    let title = Title::of(app, usize::from(area.width), tab, beside, focus);
    let named = title.below.clone();
    let title = Line::styled(title.text(), theme.style(Role::Title));
    let inside_width = usize::from(area.width).saturating_sub(2);
    let height = usize::from(area.height).saturating_sub(2);
    let count = count(app, layout, tab, inside_width);
    let scroll = if tab == app.detail.tab {
        app.detail.scroll
    } else {
        app.detail.beside_scroll
    };
    let scroll = scroll.min(count.saturating_sub(height));
    let below = count.saturating_sub(scroll + height);
    let has_rows = tab == Tab::Changes && !app.detail.files.rows.is_empty();
    let more = match (focus, has_rows) {
        (true, true) => "Enter opens or compares",
        (true, false) => "j k scrolls",
        (false, _) => "Enter, then j k",
    };
    let more = match below > 0 || scroll > 0 {
        true => Some(format!("{below} more below: {more}")),
        false => has_rows.then(|| more.to_owned()),
    };
    let bottom = bottom(named, more, inside_width, ascii);
    let bottom = Line::raw(bottom);
    let role = if focus { Role::Focus } else { Role::Frame };
    let inside = frame::draw(frame, app, area, title, bottom, role);
    let shown = lines(app, layout, tab, inside_width, scroll..scroll + height);
    frame.render_widget(Paragraph::new(shown), inside);
}

/// What stands on the lower edge: the image's name where it has no room above, cut in its middle, and how to
/// see the rest.
fn bottom(name: Option<String>, more: Option<String>, width: usize, ascii: bool) -> String {
    let (line, dot) = if ascii { ("-", "-") } else { ("─", "·") };
    let more = more.map(|more| format!("{more} "));
    let rest = more.as_deref().map_or(0, text::width);
    let name = name.filter(|name| !name.is_empty()).map(|name| {
        let name = text::cut_middle(&name, width.saturating_sub(rest + 5), ascii);
        format!("{name} ")
    });
    let between = match (&name, &more) {
        (None, None) => return String::new(),
        (Some(_), Some(_)) => format!("{dot} "),
        _ => String::new(),
    };
    let parts = [name.unwrap_or_default(), between, more.unwrap_or_default()].concat();
    text::cut_end(&format!("{line} {parts}"), width, ascii)
}

/// The tab whose name stands at this place of the screen, on the upper edge of the detail or the chain.
#[must_use]
pub(in crate::tui) fn tab_at(app: &App, layout: &Layout, spot: Position) -> Option<Tab> {
    let beside = !layout.chain.is_empty();
    let shown = shown_tab(app, layout);
    let panes = [(layout.detail, shown), (layout.chain, Tab::Chain)];
    let (area, tab) = panes.into_iter().find(|(area, _)| area.contains(spot))?;
    let title = Title::of(app, usize::from(area.width), tab, beside, false);
    (spot.y == area.y).then(|| title.tab_at(usize::from(spot.x - area.x)))?
}

/// The tab that the detail pane itself shows: the chain may have one of its own.
#[must_use]
pub(in crate::tui) fn shown_tab(app: &App, layout: &Layout) -> Tab {
    match app.detail.tab {
        Tab::Chain if !layout.chain.is_empty() => Tab::Info,
        tab => tab,
    }
}

/// A tab in lines of text, for who does not see it.
#[must_use]
pub(in crate::tui) fn told(ui: &Ui, tab: Tab, width: u16) -> Vec<String> {
    let width = usize::from(width);
    let all = match (tab, ui.app.selected()) {
        (Tab::Changes, Some(node)) => files::all(&ui.app, node, width),
        _ => lines(&ui.app, &layout::of(ui), tab, width, 0..usize::MAX),
    };
    let text = all.iter().map(ToString::to_string);
    text.map(|line| line.trim_end().to_owned()).collect()
}

/// How many lines the chosen tab has at its present width.
#[must_use]
pub(in crate::tui) fn lines_of_detail(app: &App, layout: &Layout) -> usize {
    lines_of(app, layout, app.detail.tab)
}

/// How many lines a tab has where it is drawn.
#[must_use]
pub(in crate::tui) fn lines_of(app: &App, layout: &Layout, tab: Tab) -> usize {
    let area = match tab {
        Tab::Chain if !layout.chain.is_empty() => layout.chain,
        _ => layout.detail,
    };
    count(app, layout, tab, usize::from(area.width).saturating_sub(2))
}

/// The line of the diff on which the row under its cursor stands.
#[must_use]
pub(in crate::tui) fn line_of_change(app: &App, layout: &Layout) -> Option<usize> {
    let width = usize::from(layout.detail.width).saturating_sub(2);
    files::line_at_cursor(app, app.selected()?, width)
}

/// The lines of the health pane that what is under its cursor takes.
#[must_use]
pub(in crate::tui) fn health_lines_at_cursor(app: &App, layout: &Layout) -> Option<Range<usize>> {
    let width = usize::from(layout.detail.width).saturating_sub(2);
    health::lines_at_cursor(app, app.selected()?, width)
}

/// How many lines a tab has. A chain may have thousands of layers: they are counted, not made.
fn count(app: &App, layout: &Layout, tab: Tab, width: usize) -> usize {
    match (tab, app.selected()) {
        (Tab::Chain, Some(_)) => chain::count(app),
        (Tab::Changes, Some(node)) => files::count(app, node, width),
        _ => lines(app, layout, tab, width, 0..usize::MAX).len(),
    }
}

/// What is said of the host under the cursor.
fn host_lines(app: &App, width: usize) -> Option<Vec<Line<'static>>> {
    let host = app.host_under_cursor()?;
    let again = app.key(Action::Rescan);
    let told = [host.row()?, format!("{again} asks again.")];
    let lines = told
        .iter()
        .flat_map(|text| text::wrap(&text::safe(text), width.saturating_sub(2), 0));
    Some(lines.map(|line| Line::raw(format!(" {line}"))).collect())
}

/// Those lines of a tab that are seen.
fn lines(
    app: &App,
    layout: &Layout,
    tab: Tab,
    width: usize,
    seen: Range<usize>,
) -> Vec<Line<'static>> {
    let Some(node) = app.selected() else {
        let told = machine::lines(app).or_else(|| host_lines(app, width));
        return told.unwrap_or_else(|| vec![Line::raw(" no image is selected")]);
    };
    let all = match tab {
        Tab::Chain => return chain::lines(app, width, seen),
        Tab::Info => info::lines(app, layout, node, width),
        Tab::Changes => return files::lines(app, node, width, seen),
        Tab::Map => map::lines(app, node, width, map::Of::All),
        Tab::Explain => explain::lines(app, node, width),
        Tab::Health => health::lines(app, node, width),
        Tab::Snapshots => snapshots::lines(app, node, width),
    };
    let len = seen.end.saturating_sub(seen.start);
    all.into_iter().skip(seen.start).take(len).collect()
}
