//! What follows from a change of what is known: rows, cursor and scroll position are brought in line, folds
//! and marks stay with their files, what checks have found stays with the images it was found in.

use std::sync::Arc;

use crate::forest::{Forest, NodeId};
use crate::tui::app::{App, LARGE};
use crate::tui::filter::Filter;
use crate::tui::layout;
use crate::tui::plan_preview::PlanPreview;
use crate::tui::rows::{self, RowKind, Rows, Wish};
use crate::tui::summary::Summary;

impl App {
    /// Brings rows, cursor and scroll position in line with what they are made from. Costs nothing
    /// when nothing of that changed.
    pub(super) fn settle(&mut self) {
        let layout = layout::of(self);
        let room = usize::from(layout.images.width).saturating_sub(2) * 2 / 5;
        let built = (
            self.epoch,
            self.forest.generation(),
            self.tree.version,
            room,
        );
        let state = (self.epoch, self.forest.generation());
        if self.tree.summary_of != Some(state) {
            self.tree.summary = Summary::of(&self.forest);
            self.tree.summary_of = Some(state);
        }
        if self.tree.built != Some(built) {
            let filter = Filter::parse(self.tree.filter.value());
            if filter.is_empty() {
                self.tree.hits = None;
            } else if self.forest.len() <= LARGE {
                let hits = filter.hits(&self.forest, self.now());
                self.tree.hits = Some(Arc::new(hits));
            }
            self.tree.rows = Rows::build(
                &self.forest,
                &Wish {
                    folds: &self.tree.folds,
                    open_runs: &self.tree.open_runs,
                    sort: self.tree.sort,
                    view: self.tree.view,
                    hits: self.tree.hits.as_deref(),
                    preview: self.preview.as_ref(),
                    indent_room: room,
                    // The picture is of files.
                    snapshots: self.picture.is_none(),
                },
            );
            self.tree.builds += 1;
            self.tree.built = Some(built);
            self.find_cursor();
            if let Some(picture) = &mut self.picture {
                let charset = self.settings.charset();
                let preview = self.preview.as_ref();
                let ambiguous = &self.tree.summary.ambiguous;
                picture.rebuild(&self.forest, &self.tree.rows, ambiguous, preview, charset);
            }
        }
        let last = self.tree.rows.list.len().saturating_sub(1);
        self.tree.cursor = self.tree.cursor.min(last);
        let height = usize::from(layout.rows()).max(1);
        let most = self.tree.rows.list.len().saturating_sub(height);
        if let Some((first, last)) = self.affected_rows() {
            // All that a plan changes, or as much of it as fits below and with the cursor.
            self.tree.top = if last - first < height {
                first.min(self.tree.top.max((last + 1).saturating_sub(height)))
            } else {
                first.max(self.tree.cursor.saturating_sub(height / 3))
            };
        }
        self.tree.top = self
            .tree
            .top
            .min(self.tree.cursor)
            .max((self.tree.cursor + 1).saturating_sub(height))
            .min(most);
        let at = self.tree.rows.node(self.tree.cursor);
        if self.tree.at != at && !self.is_on_new_row() {
            self.tree.at = at;
            self.detail_scroll = 0;
            self.health_cursor = 0;
        }
        self.layers.follow(&self.forest, self.epoch, self.tree.at);
        self.tree.inside = self.snapshot().map(|snapshot| snapshot.id.clone());
        if let Some(picture) = &mut self.picture {
            picture.follow(self.tree.cursor, layout.picture());
        }
    }

    /// The first and the last row that the shown plan changes.
    fn affected_rows(&self) -> Option<(usize, usize)> {
        let marks = &self.preview.as_ref()?.marks;
        let rows = marks.keys().filter_map(|id| self.tree.rows.place(*id));
        rows.fold(None, |range, row| match range {
            None => Some((row, row)),
            Some((first, last)) => Some((row.min(first), row.max(last))),
        })
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

    /// Replaces the forest; folds, marks and the cursor stay with the files they were on.
    pub(super) fn replace_forest(&mut self, forest: Arc<Forest>) {
        let old = Arc::clone(&self.forest);
        let same = |id: &NodeId| -> Option<NodeId> {
            let node = old.get(*id)?;
            let found = node
                .file_id()
                .and_then(|file| forest.by_file(file))
                .or_else(|| forest.by_path(&node.path));
            found.map(|node| node.id)
        };
        self.tree.folds = self.tree.folds.iter().filter_map(same).collect();
        self.tree.open_runs = self.tree.open_runs.iter().filter_map(same).collect();
        self.tree.marks = self.tree.marks.iter().filter_map(same).collect();
        self.tree.range = self.tree.range.as_ref().and_then(same);
        // The numbers in it are those of the old forest.
        self.tree.hits = None;
        self.tree.at = self.tree.at.as_ref().and_then(|at| {
            // What is gone leaves the cursor on what it was built on.
            old.chain(*at).iter().find_map(same)
        });
        self.forest = forest;
        self.epoch += 1;
        self.apply_checks();
        self.find_folds();
        self.refresh_preview();
        self.changed();
    }

    /// Tells the forest what checks have found, as far as the files are still what they were.
    pub(super) fn apply_checks(&mut self) {
        if self.checks.is_empty() && self.halves.is_empty() && !self.had_halves {
            return;
        }
        let forest = Arc::make_mut(&mut self.forest);
        forest.note_interrupted(&self.halves);
        self.had_halves = !self.halves.is_empty();
        self.checks.retain(|path, checked| {
            let Some(node) = forest.by_path(path) else {
                return false;
            };
            if node.stat != checked.stat {
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

    /// Works out anew what the shown plan does to the rows.
    pub(super) fn refresh_preview(&mut self) {
        let plans = self.mode.plans().iter();
        let preview = plans
            .map(|plan| PlanPreview::of(&self.forest, &plan.request, &plan.effects))
            .reduce(|mut all, one| {
                all.marks.extend(one.marks);
                all.new.extend(one.new);
                all
            })
            .filter(|preview| *preview != PlanPreview::default());
        if self.preview != preview {
            self.preview = preview;
            self.changed();
        }
    }
}
