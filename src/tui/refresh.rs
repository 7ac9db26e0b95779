//! How what is shown is kept in line with the disk.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::forest::Forest;
use crate::host::{FileId, Holder};

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
    /// What it has found so far, where that replaces the images of this machine when it is done.
    pub fresh: Option<Forest>,
    /// Whether what it finds is shown at once.
    pub is_shown: bool,
}

/// How what is shown is kept in line with the disk.
#[derive(Debug, Default)]
pub struct Refresh {
    /// The scan.
    pub scan: Scan,
    /// The images of this machine alone, where those of others are shown too.
    pub(super) here: Option<Arc<Forest>>,
    /// Whether a host has told other images than those that are shown of it.
    pub(super) is_far_outdated: bool,
    /// The question whose answer will be the images of all machines.
    pub(super) gathering: Option<QueryId>,
    /// Which files of hosts processes have open, as far as that is told and not yet shown.
    pub(super) far_held: Option<HashMap<FileId, Vec<Holder>>>,
    /// Files that changed while they could not be looked at.
    pub(super) changed_files: HashSet<PathBuf>,
    /// The question whose answer will replace the forest by one that was looked at again.
    pub(super) refreshing: Option<QueryId>,
    /// How changes on the disk are noticed.
    pub watching: Watching,
    /// Whether files were found since rows were last laid out.
    pub(super) unsettled: bool,
}

impl Refresh {
    /// A host tells more of what is shown at once: a forest that is made meanwhile, of what was told before, lacks it.
    pub(super) fn told_meanwhile(&mut self) {
        self.is_far_outdated |= self.gathering.is_some();
    }
}
