//! What the bytes of the volume are used for: from the extent tree, which lists all that is allocated.

use std::ops::{ControlFlow, Range};

use super::block::Pointer;
use super::data::Extent;
use super::format::{EXTENT_FLAG_TREE_BLOCK, ExtentItem, Key, kind, tree_id, unsupported};
use super::log;
use super::superblock;
use super::tree::{Item, Tree, child};
use super::volume::Btrfs;
use crate::error::Result;
use crate::filesystem::{Condition, Use};

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
        if self.summary.condition == Condition::Replayed {
            self.each_logged(&mut runs)?;
        }
        runs.tell();
        Ok(())
    }

    /// What only the log knows of: its own blocks, and what it puts into files.
    fn each_logged(&self, runs: &mut Runs<'_>) -> Result<()> {
        let logs = log::logs(self)?.into_iter().map(|(_, log)| log);
        let mut pointers: Vec<Pointer> = log::log_roots(self)
            .into_iter()
            .chain(logs)
            .map(|tree| tree.root)
            .collect();
        while let Some(pointer) = pointers.pop() {
            runs.add(pointer.logical, self.blocks.nodesize(), Use::Journal);
            if pointer.level > 0 {
                let block = self.blocks.read(&pointer)?;
                let children = 0..block.pointers().len();
                pointers.extend(children.filter_map(|index| child(&block, &pointer, index)));
            }
        }
        for (key, put) in self.logged.values().flat_map(|changes| changes.iter()) {
            if let (kind::EXTENT_DATA, Some(put)) = (key.kind, put) {
                let (key, data, at) = (*key, put.data.as_slice(), put.at);
                if let Some((logical, len)) = Extent::decode(&Item { key, data, at })?.place() {
                    runs.add(logical, len, Use::FileData);
                }
            }
        }
        Ok(())
    }
}
