//! Moving: the cursor along rows and boxes, folding, scrolling the detail.

use crate::tui::app::{App, Pane, Tab};
use crate::tui::health;
use crate::tui::keymap::Action;
use crate::tui::layout;
use crate::tui::rows::{RowKind, holds_rows};
use crate::tui::views;

/// Moves among the lines of the health pane that something helps against, as long as there is a further
/// one.
fn select_in_health(app: &mut App, action: Action) -> bool {
    let Some(node) = app.selected() else {
        return false;
    };
    let lines = health::lines(app, node);
    let last = lines.iter().filter(|line| line.remedy.is_some()).count();
    let last = last.saturating_sub(1);
    let at = app.health_cursor.min(last);
    let to = match action {
        Action::Down => (at + 1).min(last),
        Action::Up => at.saturating_sub(1),
        _ => return false,
    };
    app.health_cursor = to;
    if to == at {
        return false;
    }
    let page = usize::from(layout::of(app).detail.height.max(3)) - 2;
    if let Some(seen) = views::health_lines_at_cursor(app) {
        let least = seen.end.saturating_sub(page);
        app.detail_scroll = app.detail_scroll.max(least).min(seen.start);
    }
    true
}

/// Scrolls or turns the detail pane, if that is what the action does there.
pub(super) fn scroll_detail(app: &mut App, action: Action) -> bool {
    if app.tab == Tab::Health && select_in_health(app, action) {
        return true;
    }
    let page = usize::from(layout::of(app).detail.height.max(3)) - 2;
    let most = views::detail_lines(app).saturating_sub(page);
    let at = app.detail_scroll;
    let to = match action {
        Action::Down => at + 1,
        Action::Up => at.saturating_sub(1),
        Action::PageDown => at + page,
        Action::HalfDown => at + page / 2,
        Action::PageUp => at.saturating_sub(page),
        Action::HalfUp => at.saturating_sub(page / 2),
        Action::Top => 0,
        Action::Bottom => most,
        Action::Left | Action::Right => {
            app.tab = app.tab.beside(action == Action::Right);
            0
        }
        _ => return false,
    };
    app.detail_scroll = to.min(most);
    true
}

/// Moves the cursor or folds, if that is what the action does.
pub(super) fn go(app: &mut App, action: Action) -> bool {
    let last = app.tree.rows.list.len().saturating_sub(1);
    let at = app.tree.cursor;
    let page = usize::from(layout::of(app).rows()).saturating_sub(1).max(1);
    if let Some(picture) = &app.picture
        && matches!(action, Action::Down | Action::Up)
    {
        app.tree.cursor = picture.vertical(at, action == Action::Down).unwrap_or(at);
        return true;
    }
    let to = match action {
        Action::Down => at + 1,
        Action::Up => at.saturating_sub(1),
        Action::Top => 0,
        Action::Bottom => last,
        Action::PageDown => at + page,
        Action::PageUp => at.saturating_sub(page),
        Action::HalfDown => at + page.div_ceil(2),
        Action::HalfUp => at.saturating_sub(page.div_ceil(2)),
        Action::Left => left(app, at),
        Action::Right => right(app, at),
        Action::Parent => {
            index(app.tree.rows.list.get(at).and_then(|row| row.parent)).unwrap_or(at)
        }
        Action::NextSibling => sibling(app, at, true).unwrap_or(at),
        Action::PreviousSibling => sibling(app, at, false).unwrap_or(at),
        Action::NextRoot => root(app, at, true).unwrap_or(at),
        Action::PreviousRoot => root(app, at, false).unwrap_or(at),
        Action::NextHit => hit(app, at, true).unwrap_or(at),
        Action::PreviousHit => hit(app, at, false).unwrap_or(at),
        Action::FoldAll => {
            let parents = app.forest.nodes().filter(|node| holds_rows(node));
            app.tree.folds = parents.map(|node| node.id).collect();
            app.changed();
            return true;
        }
        Action::UnfoldAll => {
            app.tree.folds.clear();
            app.changed();
            return true;
        }
        _ => return false,
    };
    app.tree.cursor = to.min(last);
    true
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
        && app.picture.is_none()
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
            app.tab = Tab::Snapshots;
            app.detail_scroll = 0;
            app.pane = Pane::Detail;
        }
        _ => app.pane = Pane::Detail,
    }
}
