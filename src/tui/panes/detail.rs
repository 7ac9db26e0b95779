//! The detail pane: which of its tabs is shown, and how far it is scrolled. The tabs are in files of their
//! own.

mod chain;
mod health;
mod info;
mod map;
mod snapshots;

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::detail_pane::Tab;
use crate::tui::layout::Layout;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;

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
    let line = if ascii { "-" } else { "─" };
    let dot = if ascii { "-" } else { "·" };
    let name = app
        .selected()
        .map_or_else(String::new, |node| app.label(node));
    let beside = !layout.chain.is_empty();
    let mut tabs = String::new();
    for (of, action, what) in Tab::ALL {
        // What has a pane of its own is no tab of this one.
        let has_own = beside && (tab == Tab::Chain) != (of == Tab::Chain);
        if of == tab {
            tabs.push_str(&format!("[{} {what}]", tab_key(app, action)));
        } else if !has_own {
            tabs.push_str(&format!(" {} {what} ", tab_key(app, action)));
        }
    }
    if text::width(&tabs) + 20 > usize::from(area.width) {
        // Names where there is room for them, keys where not.
        tabs.clear();
        for (of, action, what) in Tab::ALL {
            let key = tab_key(app, action);
            if of == tab {
                tabs.push_str(&format!("[{key} {what}]"));
            } else if !beside || tab != Tab::Chain && of != Tab::Chain {
                tabs.push_str(&format!(" {key}"));
            }
        }
        tabs.push(' ');
    }
    let room = usize::from(area.width).saturating_sub(text::width(&tabs) + 9);
    let title = format!(
        "{line} {} {dot} {tabs} ",
        text::cut_middle(&name, room, ascii)
    );
    let title = Line::styled(title, theme.style(Role::Title));
    let inside_width = usize::from(area.width).saturating_sub(2);
    let height = usize::from(area.height).saturating_sub(2);
    let count = count(app, layout, tab, inside_width);
    let scroll = if tab == app.detail.tab {
        app.detail.scroll
    } else {
        0
    };
    let scroll = scroll.min(count.saturating_sub(height));
    let below = count.saturating_sub(scroll + height);
    let bottom = if below > 0 || scroll > 0 {
        let more = if focus {
            "j k scrolls"
        } else {
            "Enter, then j k"
        };
        format!("{line} {below} more below: {more} ")
    } else {
        String::new()
    };
    let bottom = Line::raw(text::cut_end(&bottom, inside_width, ascii));
    let role = if focus { Role::Focus } else { Role::Frame };
    let inside = frame::draw(frame, app, area, title, bottom, role);
    let shown = lines(app, layout, tab, inside_width, scroll..scroll + height);
    frame.render_widget(Paragraph::new(shown), inside);
}

/// The key that shows a tab: the last of its action's, which is the pane's number unless it was bound
/// anew.
fn tab_key(app: &App, action: Action) -> String {
    let entry = app.settings.keymap.entry(action);
    let key = entry.and_then(|entry| entry.keys.last());
    key.map(ToString::to_string).unwrap_or_default()
}

/// How many lines the chosen tab has at its present width.
#[must_use]
pub(in crate::tui) fn lines_of_detail(app: &App, layout: &Layout) -> usize {
    let area = match app.detail.tab {
        Tab::Chain if !layout.chain.is_empty() => layout.chain,
        _ => layout.detail,
    };
    count(
        app,
        layout,
        app.detail.tab,
        usize::from(area.width).saturating_sub(2),
    )
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
        _ => lines(app, layout, tab, width, 0..usize::MAX).len(),
    }
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
        return vec![Line::raw(" no image is selected")];
    };
    let all = match tab {
        Tab::Chain => return chain::lines(app, width, seen),
        Tab::Info => info::lines(app, layout, node, width),
        Tab::Changes => map::lines(app, node, width, map::Of::Own),
        Tab::Map => map::lines(app, node, width, map::Of::All),
        Tab::Health => health::lines(app, node, width),
        Tab::Snapshots => snapshots::lines(app, node, width),
    };
    let len = seen.end.saturating_sub(seen.start);
    all.into_iter().skip(seen.start).take(len).collect()
}
