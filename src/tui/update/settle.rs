//! What follows from a change of what is known: rows, cursor and scroll position are brought in line, folds
//! and marks stay with their files, what checks have found stays with the images it was found in.

use std::sync::Arc;

use crate::forest::{Forest, NodeId};
use crate::tui::app::App;
use crate::tui::filter::Filter;
use crate::tui::hosts::gathered;
use crate::tui::layout;
use crate::tui::plan_preview::PlanPreview;
use crate::tui::rows::{self, Row, RowKind, RowOptions, Rows};
use crate::tui::selection::{BeforePlan, Built, LARGE};
use crate::tui::summary::Summary;
use crate::tui::ui::Ui;

/// Brings rows, cursor and scroll position in line with what they are made from. Costs nothing
/// when nothing of that changed.
pub(super) fn settle(ui: &mut Ui) {
    if let Some(held) = ui.app.refresh.far_held.take() {
        Arc::make_mut(&mut ui.app.forest).hold(held);
    }
    let layout = layout::of(ui);
    let app = &mut ui.app;
    let state = (app.epoch, app.forest.generation());
    if app.tree.summary_of != Some(state) {
        app.tree.summary = Summary::of(&app.forest);
        app.tree.summary_of = Some(state);
    }
    let built = Built {
        forest: state,
        version: app.tree.version,
        indent: usize::from(layout.images.width).saturating_sub(2) * 2 / 5,
        seen: app.preview.as_ref().map(|_| layout.diagram()),
    };
    if app.tree.built != Some(built) {
        build(app, built);
        app.tree.built = Some(built);
    }
    let last = app.tree.rows.list.len().saturating_sub(1);
    app.tree.cursor = app.tree.cursor.min(last);
    let height = usize::from(layout.rows()).max(1);
    let most = app.tree.rows.list.len().saturating_sub(height);
    if let Some((first, last)) = app.affected_rows() {
        // All that a plan changes, or as much of it as fits below and with the cursor.
        app.tree.top = if last - first < height {
            first.min(app.tree.top.max((last + 1).saturating_sub(height)))
        } else {
            first.max(app.tree.cursor.saturating_sub(height / 3))
        };
    }
    app.tree.top = app
        .tree
        .top
        .min(app.tree.cursor)
        .max((app.tree.cursor + 1).saturating_sub(height))
        .min(most);
    let at = app.tree.rows.node(app.tree.cursor);
    if app.tree.at != at && !app.is_on_new_row() {
        app.tree.at = at;
        app.detail.scroll = 0;
        app.detail.beside_scroll = 0;
        app.detail.health_cursor = 0;
    }
    app.detail.chain.follow(&app.forest, app.epoch, app.tree.at);
    app.tree.inside = app.snapshot().map(|snapshot| snapshot.id.clone());
    if let Some(picture) = &mut app.diagram {
        picture.follow(app.tree.cursor, layout.diagram());
    }
}

/// Makes the rows, and the boxes where they are shown. Where a plan is shown and what it concerns is not seen
/// whole, there are rows of nothing else.
fn build(app: &mut App, built: Built) {
    let filter = Filter::parse(app.tree.filter.value());
    let filter = filter
        .knowing(Arc::clone(&app.space.found.figures))
        .seeing(Arc::clone(&app.insides.found));
    if filter.is_empty() {
        app.tree.hits = None;
    } else if app.forest.len() <= LARGE {
        let hits = filter.hits(&app.forest, app.places(), app.now());
        app.tree.hits = Some(Arc::new(hits));
    }
    lay_out(app, built.indent, false);
    if built.seen.is_some_and(|seen| !app.sees_plan(seen)) {
        lay_out(app, built.indent, true);
    }
    app.find_cursor();
    app.find_first_hit();
    if app.tree.narrowed
        && app
            .tree
            .at
            .is_none_or(|at| app.tree.rows.place(at).is_none())
        && let Some((first, _)) = app.affected_rows()
    {
        app.tree.cursor = first;
    }
}

fn lay_out(app: &mut App, indent: usize, narrowed: bool) {
    app.tree.narrowed = narrowed;
    let (failed, silent) = app.hosts.with_rows();
    app.tree.rows = Rows::build(
        &app.forest,
        &RowOptions {
            folds: &app.tree.folds,
            open_runs: &app.tree.open_runs,
            sort: app.tree.sort,
            view: app.tree.view,
            hits: app.tree.hits.as_deref(),
            preview: app.preview.as_ref(),
            narrowed,
            indent_room: indent,
            // The picture is of files.
            snapshots: app.diagram.is_none(),
            space: &app.space.found.figures,
            hosts: (&failed, &silent),
        },
    );
    if let Some(picture) = &mut app.diagram {
        let charset = app.settings.charset();
        let preview = app.preview.as_ref();
        let ambiguous = &app.tree.summary.ambiguous;
        picture.rebuild(&app.forest, &app.tree.rows, ambiguous, preview, charset);
    }
}

/// Works out anew what the shown plan does to the rows.
pub(super) fn refresh_preview(ui: &mut Ui) {
    let app = &mut ui.app;
    let plans = ui.dialogs.plans().iter();
    let here = plans.map(|plan| (&plan.request, plan.effects.as_slice()));
    let preview = here
        .chain(ui.dialogs.plan_there())
        .map(|(request, effects)| PlanPreview::of(&app.forest, request, effects))
        .reduce(|mut all, one| {
            all.marks.extend(one.marks);
            all.new.extend(one.new);
            all
        })
        .filter(|preview| *preview != PlanPreview::default());
    if app.preview != preview {
        match preview {
            Some(_) => app.leave_cursor(),
            None => app.return_cursor(),
        }
        app.preview = preview;
        app.changed();
    }
}

/// Replaces the images of this machine; those of others stay as they are.
pub(super) fn replace_here(ui: &mut Ui, forest: Arc<Forest>) {
    if ui.app.hosts.list.is_empty() {
        replace_forest(ui, forest);
        return;
    }
    let refresh = &mut ui.app.refresh;
    refresh.here = Some(Arc::clone(&forest));
    // All that was told by now is in it, and what is being made has other images of this machine.
    refresh.is_far_outdated = false;
    refresh.gathering = None;
    let told = ui.app.hosts.told();
    replace_forest(ui, gathered(forest, &told));
}

/// Replaces the forest; folds, marks and the cursor stay with the files they were on.
pub(super) fn replace_forest(ui: &mut Ui, forest: Arc<Forest>) {
    let app = &mut ui.app;
    let old = Arc::clone(&app.forest);
    let same = |id: &NodeId| -> Option<NodeId> {
        let node = old.get(*id)?;
        let found = node
            .file_id()
            .and_then(|file| forest.by_file(file))
            .or_else(|| forest.by_path(&node.path));
        found.map(|node| node.id)
    };
    app.tree.folds = app.tree.folds.iter().filter_map(same).collect();
    app.tree.open_runs = app.tree.open_runs.iter().filter_map(same).collect();
    app.tree.marks = app.tree.marks.iter().filter_map(same).collect();
    app.tree.range = app.tree.range.as_ref().and_then(same);
    // The numbers in it are those of the old forest.
    app.tree.hits = None;
    // What is gone leaves the cursor on what it was built on.
    let nearest = |at: NodeId| old.chain(at).iter().find_map(same);
    app.tree.at = app.tree.at.and_then(nearest);
    if let Some(before) = &mut app.tree.before_plan {
        before.at = before.at.and_then(nearest);
    }
    app.forest = forest;
    app.epoch += 1;
    app.apply_checks();
    app.find_folds();
    refresh_preview(ui);
    ui.app.changed();
}

impl App {
    /// The first and the last row of what the shown plan concerns.
    fn affected_rows(&self) -> Option<(usize, usize)> {
        let images = self.preview.as_ref()?.images();
        let rows = images.filter_map(|id| self.tree.rows.place(id));
        let is_new = |row: &Row| matches!(row.kind, RowKind::New(_) | RowKind::NewSnapshot(_));
        let list = self.tree.rows.list.iter().enumerate();
        let new = list.filter(|(_, row)| is_new(row)).map(|(at, _)| at);
        rows.chain(new).fold(None, |range, row| match range {
            None => Some((row, row)),
            Some((first, last)) => Some((row.min(first), row.max(last))),
        })
    }

    /// Whether all that the shown plan concerns has a row, and so many columns and rows show all of these.
    fn sees_plan(&self, (width, height): (u16, u16)) -> bool {
        let Some(preview) = &self.preview else {
            return true;
        };
        if preview
            .images()
            .any(|id| self.tree.rows.place(id).is_none())
        {
            return false;
        }
        if let Some(picture) = &self.diagram {
            let (columns, rows) = (picture.diagram.width(), picture.diagram.height());
            return columns <= usize::from(width) && rows <= usize::from(height);
        }
        let affected = self.affected_rows();
        affected.is_none_or(|(first, last)| last - first < usize::from(height))
    }

    /// Keeps where the cursor is before it goes through what a plan concerns.
    fn leave_cursor(&mut self) {
        let tree = &mut self.tree;
        if tree.before_plan.is_none() {
            tree.before_plan = Some(BeforePlan {
                at: tree.at,
                inside: tree.inside.clone(),
            });
        }
    }

    /// Puts the cursor back to where it was then.
    fn return_cursor(&mut self) {
        if let Some(before) = self.tree.before_plan.take() {
            self.tree.at = before.at;
            self.tree.inside = before.inside;
        }
    }

    fn is_on_new_row(&self) -> bool {
        let row = self.tree.rows.list.get(self.tree.cursor);
        row.is_some_and(|row| matches!(row.kind, RowKind::New(_)))
    }

    /// Puts the cursor back on its image after rows changed: on the image itself, or the nearest
    /// image below it in its chain that has a row.
    fn find_cursor(&mut self) {
        if let Some(path) = &self.tree.wanted
            && let Some(node) = self.forest.by_path(path)
            && let Some(row) = self.tree.rows.place(node.id)
        {
            self.tree.cursor = row;
            self.tree.at = Some(node.id);
            self.tree.wanted = None;
            return;
        }
        let Some(at) = self.tree.at.filter(|_| self.tree.touched) else {
            return;
        };
        if let Some(id) = &self.tree.inside
            && let Some(node) = self.forest.get(at)
            && let Some(row) = self.tree.rows.snapshot_place(node, id)
        {
            self.tree.cursor = row;
            return;
        }
        if self.tree.inside.is_none() && self.tree.rows.node(self.tree.cursor) == Some(at) {
            return;
        }
        let place = self
            .forest
            .chain(at)
            .into_iter()
            .find_map(|id| self.tree.rows.place(id));
        if let Some(row) = place {
            self.tree.cursor = row;
        }
    }

    /// Puts the cursor on the first hit of a filter that was just typed, as soon as it is known.
    fn find_first_hit(&mut self) {
        if !self.tree.seeks || self.tree.narrowed || self.tree.filter.value().trim().is_empty() {
            return;
        }
        let is_known = !self.waits_for_hits();
        let first = self.tree.rows.hits.first().filter(|_| is_known);
        if let Some(row) = first.and_then(|row| usize::try_from(*row).ok()) {
            self.tree.cursor = row;
        }
        self.tree.seeks &= !is_known;
    }

    /// Tells the forest what is known besides the scan: machines, and what checks have found, as far as the files
    /// are still what they were.
    pub(super) fn apply_checks(&mut self) {
        if let Some(machines) = &self.session.machines
            && !Arc::ptr_eq(machines, self.forest.machines())
        {
            Arc::make_mut(&mut self.forest).note_machines(Arc::clone(machines));
        }
        let session = &mut self.session;
        let has_marks = !session.halves.is_empty() || !session.changed_bases.is_empty();
        let had_marks = std::mem::replace(&mut session.had_marks, has_marks);
        if session.checks.is_empty() && !has_marks && !had_marks {
            return;
        }
        let forest = Arc::make_mut(&mut self.forest);
        forest.note_interrupted(&self.session.halves);
        forest.note_changed_bases(&self.session.changed_bases);
        self.session.checks.retain(|path, checked| {
            let Some(node) = forest.by_path(path) else {
                return false;
            };
            let is_it = match (&node.stat, &checked.stat) {
                (Some(now), Some(then)) => now.holds_the_same(then),
                (now, then) => now == then,
            };
            if !is_it {
                return false;
            }
            let id = node.id;
            if let Ok(check) = &checked.found {
                forest.note_check(id, check);
            }
            true
        });
    }

    /// Folds what was folded in an earlier run, as it is found.
    pub(super) fn find_folds(&mut self) {
        if self.tree.fold_paths.is_empty() {
            return;
        }
        let (forest, folds) = (&self.forest, &mut self.tree.folds);
        self.tree.fold_paths.retain(|path| {
            let found = forest.by_path(path).filter(|node| rows::holds_rows(node));
            found.is_none_or(|node| !folds.insert(node.id))
        });
    }
}
