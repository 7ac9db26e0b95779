//! Which inodes may differ. A block is never written in place: where a block of a tree lies outside of what differs,
//! it and all below it are shared with the other state.

use super::Btrfs;
use super::block::Pointer;
use super::format::{FIRST_FREE, LAST_FREE};
use super::tree::child;
use crate::error::{Error, Result};
use crate::filesystem::NodeId;
use crate::ranges::Ranges;

/// Blocks looked at for one answer. A block that snapshots share is looked at for each of them.
const MOST_BLOCKS: u64 = 1 << 23;

/// The search for one answer.
struct Search<'a> {
    filesystem: &'a Btrfs,
    changed: &'a Ranges,
    /// Blocks of transactions behind this one are looked at wherever they are.
    since: u64,
    blocks_left: u64,
    found: Vec<NodeId>,
}

impl Btrfs {
    /// The inodes of all subvolumes with an item in a block that lies in `changed`, or that a transaction after
    /// `since` wrote.
    pub(super) fn find_candidates(&self, changed: &Ranges, since: u64) -> Result<Vec<NodeId>> {
        let mut search = Search {
            filesystem: self,
            changed,
            since,
            blocks_left: MOST_BLOCKS,
            found: Vec::new(),
        };
        for subvolume in self.subvolumes()? {
            let tree = self.tree(subvolume)?;
            search.look(subvolume, &tree.root)?;
            for key in tree.changes.iter().flat_map(|changes| changes.keys()) {
                search.take(subvolume, key.objectid);
            }
        }
        Ok(search.found)
    }
}

impl Search<'_> {
    /// As deep as the tree has levels.
    fn look(&mut self, subvolume: u64, pointer: &Pointer) -> Result<()> {
        let blocks = &self.filesystem.blocks;
        let len = blocks.nodesize();
        let places = blocks.chunks.places(pointer.logical, len);
        // A place that is not known is an error when it is read.
        let differs = places.is_none_or(|mut places| {
            places.any(|at| self.changed.intersects(&(at..at.saturating_add(len))))
        });
        if !differs && pointer.generation <= self.since {
            return Ok(());
        }
        self.blocks_left = self.blocks_left.checked_sub(1).ok_or(Error::TooMuch {
            what: "blocks of trees that differ",
            most: MOST_BLOCKS,
        })?;
        let block = blocks.read(pointer)?;
        for item in block.items() {
            self.take(subvolume, item.key.objectid.get());
        }
        for index in 0..block.pointers().len() {
            if let Some(child) = child(&block, pointer, index) {
                self.look(subvolume, &child)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, tree: u64, number: u64) {
        let id = NodeId { tree, number };
        if (FIRST_FREE..=LAST_FREE).contains(&number) && self.found.last() != Some(&id) {
            self.found.push(id);
        }
    }
}
