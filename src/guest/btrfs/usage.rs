//! What the bytes of the volume are used for: from the extent tree, which lists all that is allocated.

use std::ops::{ControlFlow, Range};

use super::Btrfs;
use super::format::{EXTENT_FLAG_TREE_BLOCK, ExtentItem, Key, kind, tree_id, unsupported};
use super::superblock;
use super::tree::Tree;
use crate::error::Result;
use crate::filesystem::Use;

/// Runs of the same use that touch, joined before they are told.
struct Runs<'a> {
    filesystem: &'a Btrfs,
    each: &'a mut dyn FnMut(Range<u64>, Use),
    /// Logical addresses.
    run: Range<u64>,
    used_for: Use,
}

impl Runs<'_> {
    fn add(&mut self, logical: u64, len: u64, used_for: Use) {
        let end = logical.saturating_add(len);
        // Runs stay within their chunk, where they are in one piece.
        let joined = self.run.start..end;
        let chunks = &self.filesystem.blocks.chunks;
        let touches = self.run.end == logical && self.used_for == used_for;
        if touches
            && chunks
                .place(joined.start, joined.end - joined.start)
                .is_some()
        {
            self.run = joined;
        } else {
            self.tell();
            (self.run, self.used_for) = (logical..end, used_for);
        }
    }

    fn tell(&mut self) {
        let len = self.run.end - self.run.start;
        let places = self.filesystem.blocks.chunks.places(self.run.start, len);
        if len > 0 {
            for at in places.into_iter().flatten() {
                (self.each)(at..at.saturating_add(len), self.used_for);
            }
        }
    }
}

impl Btrfs {
    /// As [`crate::Filesystem::usage`].
    pub(super) fn each_use(&self, each: &mut dyn FnMut(Range<u64>, Use)) -> Result<()> {
        let Some(root) = self.find_root(tree_id::EXTENT)? else {
            return Err(unsupported("a root tree without an extent tree"));
        };
        let end = self.blocks.volume.len();
        each(0..end, Use::Free);
        // What is before the first superblock is left to boot loaders.
        each(0..superblock::COPIES[0], Use::Metadata);
        for at in superblock::COPIES {
            if at < end {
                each(at..end.min(at + superblock::SIZE), Use::Metadata);
            }
        }
        let mut runs = Runs {
            filesystem: self,
            each,
            run: 0..0,
            used_for: Use::Free,
        };
        let nodesize = self.blocks.nodesize();
        Tree::new(root).scan(&self.blocks, Key::FIRST..=Key::LAST, &mut |item| {
            match item.key.kind {
                kind::METADATA_ITEM => runs.add(item.key.objectid, nodesize, Use::Metadata),
                kind::EXTENT_ITEM => {
                    let (extent, _) = item.read::<ExtentItem>()?;
                    let is_metadata = extent.flags.get() & EXTENT_FLAG_TREE_BLOCK != 0;
                    let used_for = if is_metadata {
                        Use::Metadata
                    } else {
                        Use::FileData
                    };
                    runs.add(item.key.objectid, item.key.offset, used_for);
                }
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        runs.tell();
        Ok(())
    }
}
