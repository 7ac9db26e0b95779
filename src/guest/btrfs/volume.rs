//! A Btrfs that was opened: what is known of the whole. What its items mean is the business of other files.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::block::Blocks;
use super::superblock::Super;
use super::tree::{Changes, Tree};
use crate::cache::Cache;
use crate::filesystem::Summary;

/// Trees of subvolumes whose roots are kept.
pub(super) const KEPT_TREES: usize = 1024;
/// Bytes of decompressed extents that are kept.
pub(super) const KEPT_EXTENTS: usize = 1 << 20;

/// A Btrfs that was opened.
pub(super) struct Btrfs {
    pub(super) superblock: Super,
    pub(super) blocks: Blocks,
    /// The tree that names all others.
    pub(super) roots: Tree,
    pub(super) summary: Summary,
    /// What the log puts into the trees of subvolumes, by their numbers.
    pub(super) logged: HashMap<u64, Arc<Changes>>,
    pub(super) trees: Cache<u64, Tree>,
    /// By logical address and length once decompressed.
    pub(super) decompressed: Cache<(u64, u64), Arc<[u8]>>,
}

impl fmt::Debug for Btrfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btrfs")
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}

impl Btrfs {
    /// What the log puts into the tree of a subvolume.
    pub(super) fn changes_of(&self, subvolume: u64) -> Option<Arc<Changes>> {
        self.logged.get(&subvolume).cloned()
    }
}
