//! Which rows there are, which of them the cursor is on, and which images are marked.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use tui_input::Input;

use crate::forest::NodeId;

use super::filter::Hits;
use super::order::{Sort, View};
use super::query::QueryId;
use super::rows::Rows;
use super::summary::Summary;

/// The rows, the cursor in them, and what they are made from.
#[derive(Debug, Default)]
pub struct Tree {
    /// The rows as last built.
    pub rows: Rows,
    /// What there is to say of the forest as a whole.
    pub summary: Summary,
    /// The forest's epoch and generation when that was found out.
    pub(super) summary_of: Option<(u64, u64)>,
    /// The row under the cursor.
    pub cursor: usize,
    /// The first row shown.
    pub top: usize,
    /// The image under the cursor, to find it again when rows change.
    pub at: Option<NodeId>,
    /// The ID of the image's internal snapshot, where that is what the cursor is on.
    pub inside: Option<Vec<u8>>,
    /// Whether a key was pressed: until then the cursor stays on top while rows come in.
    pub touched: bool,
    /// A file to go to as soon as it is there.
    pub wanted: Option<PathBuf>,
    /// Images whose children are hidden.
    pub folds: HashSet<NodeId>,
    /// Straight runs shown in full.
    pub open_runs: HashSet<NodeId>,
    /// Marked images.
    pub marks: HashSet<NodeId>,
    /// Where a range of marks begins.
    pub range: Option<NodeId>,
    /// The order.
    pub sort: Sort,
    /// Which images at all.
    pub view: View,
    /// Folds remembered from an earlier run whose images have not been found yet.
    pub fold_paths: HashSet<PathBuf>,
    /// The filter line.
    pub filter: Input,
    /// What the filter line asks for, where a worker has found that out.
    pub hits: Option<Arc<Hits>>,
    /// What a worker was asked about last.
    pub(super) hits_of: Option<HitsOf>,
    /// The number of that question.
    pub(super) hits_query_id: QueryId,
    /// Whether it is answered.
    pub(super) hits_known: bool,
    /// Whether the filter was typed on, so that the cursor goes to its first hit.
    pub(super) seeks: bool,
    /// Whether only what the shown plan concerns has rows, since not all of that would be seen else.
    pub narrowed: bool,
    /// Where the cursor was before it went through what a plan concerns.
    pub(super) before_plan: Option<BeforePlan>,
    /// Counts changes of whatever the rows are made from, apart from the forest.
    pub version: u64,
    pub(super) built: Option<Built>,
}

/// What a filter's hits are found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HitsOf {
    /// The filter line.
    pub(super) line: String,
    /// The forest's epoch and generation.
    pub(super) forest: (u64, u64),
    /// What was measured of the space, by its version.
    pub(super) space: u64,
    /// What was found inside images, likewise.
    pub(super) insides: u64,
}

/// The image and the snapshot in it that the cursor was on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BeforePlan {
    pub(super) at: Option<NodeId>,
    pub(super) inside: Option<Vec<u8>>,
}

/// What rows are made from: while it stays the same, they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Built {
    /// The forest's epoch and generation.
    pub(super) forest: (u64, u64),
    /// [`Tree::version`].
    pub(super) version: u64,
    /// Cells that connectors may take.
    pub(super) indent: usize,
    /// Columns and rows of what is seen, while a plan is shown.
    pub(super) seen: Option<(u16, u16)>,
}

/// In a forest larger than this the filter is worked out by a worker.
pub(crate) const LARGE: usize = 4000;
