//! How what is shown is kept in line with the disk.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::forest::Forest;

use super::msg::Watching;
use super::query::QueryId;

/// A scan that runs, or the last one that did.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// The newest scan's number.
    pub query_id: QueryId,
    /// Whether it still runs.
    pub running: bool,
    /// Whether something changed meanwhile, so that another one has to follow.
    pub again: bool,
    /// Files looked at so far.
    pub looked_at: u64,
    /// Places that could not be looked at, each as a sentence.
    pub unreadable: Vec<String>,
    /// What a further scan has found so far; it replaces the forest when it is done.
    pub fresh: Option<Forest>,
}

/// How what is shown is kept in line with the disk.
#[derive(Debug, Default)]
pub struct Refresh {
    /// The scan.
    pub scan: Scan,
    /// Files that changed while they could not be looked at.
    pub(super) changed_files: HashSet<PathBuf>,
    /// The question whose answer will replace the forest by one that was looked at again.
    pub(super) refreshing: Option<QueryId>,
    /// How changes on the disk are noticed.
    pub watching: Watching,
    /// Whether files were found since rows were last laid out.
    pub(super) unsettled: bool,
}
