//! Moving: the cursor along rows and boxes, folding, scrolling the detail.

use crate::tui::actions::Motion;
use crate::tui::app::{App, Pane};
use crate::tui::detail_pane::Tab;
use crate::tui::health;
use crate::tui::layout::{self, Layout};
use crate::tui::panes::detail;
use crate::tui::rows::{RowKind, holds_rows};
use crate::tui::ui::Ui;

use super::changes;

/// Moves among the lines of the health pane that something helps against, as long as there is a further
/// one.
fn select_in_health(app: &mut App, layout: &Layout, motion: Motion) -> bool {
    let Some(node) = app.selected() else {
        return false;
    };
    let lines = health::lines(app, node);
    let last = lines.iter().filter(|line| line.fix.is_some()).count();
    let last = last.saturating_sub(1);
    let at = app.detail.health_cursor.min(last);
    let to = match motion {
        Motion::Down => (at + 1).min(last),
        Motion::Up => at.saturating_sub(1),
        _ => return false,
    };
    app.detail.health_cursor = to;
    if to == at {
        return false;
    }
    let page = usize::from(layout.detail.height.max(3)) - 2;
    if let Some(seen) = detail::health_lines_at_cursor(app, layout) {
        let least = seen.end.saturating_sub(page);
        app.detail.scroll = app.detail.scroll.max(least).min(seen.start);
    }
    true
}

/// Scrolls or turns the detail pane, if that is what the action does there.
pub(super) fn scroll_detail(ui: &mut Ui, motion: Motion) -> bool {
    let layout = &layout::of(ui);
    let app = &mut ui.app;
    if app.detail.tab == Tab::Health && select_in_health(app, layout, motion) {
        return true;
    }
    if changes::are_shown(app) && changes::go(app, layout, motion) {
        return true;
    }
    let page = usize::from(layout.detail.height.max(3)) - 2;
    let most = detail::lines_of_detail(app, layout).saturating_sub(page);
    let at = app.detail.scroll;
    let to = match motion {
        Motion::Down => at + 1,
        Motion::Up => at.saturating_sub(1),
        Motion::PageDown => at + page,
        Motion::HalfDown => at + page / 2,
        Motion::PageUp => at.saturating_sub(page),
        Motion::HalfUp => at.saturating_sub(page / 2),
        Motion::Top => 0,
        Motion::Bottom => most,
        Motion::Left | Motion::Right => {
            app.detail.tab = app.detail.tab.beside(motion == Motion::Right);
            0
        }
        Motion::Parent
        | Motion::PreviousSibling
        | Motion::NextSibling
        | Motion::PreviousRoot
        | Motion::NextRoot
        | Motion::PreviousHit
        | Motion::NextHit
        | Motion::FoldAll
        | Motion::UnfoldAll => return false,
    };
    app.detail.scroll = to.min(most);
    true
}

/// Moves the cursor, or folds.
pub(super) fn go(ui: &mut Ui, motion: Motion) {
    let page = usize::from(layout::of(ui).rows()).saturating_sub(1).max(1);
    let app = &mut ui.app;
    let last = app.tree.rows.list.len().saturating_sub(1);
    let at = app.tree.cursor;
    if let Some(picture) = &app.diagram
        && matches!(motion, Motion::Down | Motion::Up)
    {
        app.tree.cursor = picture.vertical(at, motion == Motion::Down).unwrap_or(at);
        return;
    }
    let to = match motion {
        Motion::Down => at + 1,
        Motion::Up => at.saturating_sub(1),
        Motion::Top => 0,
        Motion::Bottom => last,
        Motion::PageDown => at + page,
        Motion::PageUp => at.saturating_sub(page),
        Motion::HalfDown => at + page.div_ceil(2),
        Motion::HalfUp => at.saturating_sub(page.div_ceil(2)),
        Motion::Left => left(app, at),
        Motion::Right => right(app, at),
        Motion::Parent => {
            index(app.tree.rows.list.get(at).and_then(|row| row.parent)).unwrap_or(at)
        }
        Motion::NextSibling => sibling(app, at, true).unwrap_or(at),
        Motion::PreviousSibling => sibling(app, at, false).unwrap_or(at),
        Motion::NextRoot => root(app, at, true).unwrap_or(at),
        Motion::PreviousRoot => root(app, at, false).unwrap_or(at),
        Motion::NextHit => hit(app, at, true).unwrap_or(at),
        Motion::PreviousHit => hit(app, at, false).unwrap_or(at),
        Motion::FoldAll => {
            let parents = app.forest.nodes().filter(|node| holds_rows(node));
            app.tree.folds = parents.map(|node| node.id).collect();
            app.changed();
            return;
        }
        Motion::UnfoldAll => {
            app.tree.folds.clear();
            app.changed();
            return;
        }
    };
    app.tree.cursor = to.min(last);
}

fn index(row: Option<u32>) -> Option<usize> {
    row.and_then(|row| usize::try_from(row).ok())
}

fn has_rows_below(app: &App, at: usize) -> bool {
    let next = app.tree.rows.list.get(at + 1);
    next.is_some_and(|row| index(row.parent) == Some(at))
}

/// Folds what is open below the row, or else goes to the parent.
fn left(app: &mut App, at: usize) -> usize {
    let Some(row) = app.tree.rows.list.get(at).copied() else {
        return at;
    };
    if let RowKind::Image(id) = row.kind
        && app.diagram.is_none()
        && has_rows_below(app, at)
        && !app.tree.folds.contains(&id)
        && !app.tree.rows.filtered
    {
        app.tree.folds.insert(id);
        app.changed();
        return at;
    }
    index(row.parent).unwrap_or(at)
}

/// Unfolds what is folded on or below the row, or else goes to the first child.
fn right(app: &mut App, at: usize) -> usize {
    if unfold(app, at) || !has_rows_below(app, at) {
        at
    } else {
        at + 1
    }
}

/// Unfolds what is folded on or below the row; says whether there was anything.
fn unfold(app: &mut App, at: usize) -> bool {
    let did = match app.tree.rows.list.get(at).map(|row| row.kind) {
        Some(RowKind::Image(id) | RowKind::Folded { under: id, .. }) => app.tree.folds.remove(&id),
        Some(RowKind::Run { after, .. }) => app.tree.open_runs.insert(after),
        _ => false,
    };
    if did {
        app.changed();
    }
    did
}

fn sibling(app: &App, at: usize, forward: bool) -> Option<usize> {
    let rows = &app.tree.rows.list;
    let parent = rows.get(at)?.parent;
    let is_sibling = |i: &usize| rows.get(*i).is_some_and(|row| row.parent == parent);
    if forward {
        (at + 1..rows.len()).find(is_sibling)
    } else {
        (0..at).rev().find(is_sibling)
    }
}

fn root(app: &App, at: usize, forward: bool) -> Option<usize> {
    let rows = &app.tree.rows.list;
    let is_root = |i: &usize| rows.get(*i).is_some_and(|row| row.parent.is_none());
    if forward {
        (at + 1..rows.len()).find(is_root)
    } else {
        (0..at).rev().find(is_root)
    }
}

fn hit(app: &App, at: usize, forward: bool) -> Option<usize> {
    let hits = &app.tree.rows.hits;
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    let found = if forward {
        hits.iter().find(|row| **row > at).or(hits.first())
    } else {
        hits.iter().rev().find(|row| **row < at).or(hits.last())
    };
    index(found.copied())
}

/// Into the detail pane; on a folded line it unfolds, where a loop closes it goes to its start.
pub(super) fn enter(app: &mut App) {
    let at = app.tree.cursor;
    match app.tree.rows.list.get(at).map(|row| row.kind) {
        Some(RowKind::Folded { .. } | RowKind::Run { .. }) if app.pane == Pane::Images => {
            unfold(app, at);
        }
        Some(RowKind::Again(id)) if app.pane == Pane::Images => {
            app.tree.cursor = app.tree.rows.place(id).unwrap_or(at);
        }
        Some(RowKind::Snapshot { .. } | RowKind::MoreSnapshots { .. })
            if app.pane == Pane::Images =>
        {
            show(app, Tab::Snapshots);
        }
        _ => into_detail(app),
    }
}

/// Into the detail pane, which is shown again if it was hidden.
pub(super) fn into_detail(app: &mut App) {
    app.detail.hidden = false;
    app.pane = Pane::Detail;
}

/// Into the detail pane, to that tab.
pub(super) fn show(app: &mut App, tab: Tab) {
    app.detail.tab = tab;
    app.detail.scroll = 0;
    into_detail(app);
}
