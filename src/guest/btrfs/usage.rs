//! What the bytes of the volume are used for: from the extent tree, which lists all that is allocated.

use std::ops::{ControlFlow, Range};

use super::block::Pointer;
use super::data::Extent;
use super::format::{
    COMPAT_RO_KNOWN, EXTENT_FLAG_TREE_BLOCK, ExtentItem, Key, SUPER_FLAGS_PLAIN, damaged, kind,
    tree_id, unsupported,
};
use super::log;
use super::superblock;
use super::tree::{Item, Tree, child};
use super::volume::Btrfs;
use crate::error::Result;
use crate::filesystem::{Condition, Use};

/// Bytes at the start of a device that nothing is allocated in (`BTRFS_DEVICE_RANGE_RESERVED`).
const RESERVED: u64 = 1 << 20;

/// Runs of the same use that touch, joined before they are told.
struct Runs<'a> {
    filesystem: &'a Btrfs,
    each: &'a mut dyn FnMut(Range<u64>, Use) -> Result<()>,
    /// Logical addresses.
    run: Range<u64>,
    used_for: Use,
}

impl Runs<'_> {
    fn add(&mut self, logical: u64, len: u64, used_for: Use) -> Result<()> {
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
            self.tell()?;
            (self.run, self.used_for) = (logical..end, used_for);
        }
        Ok(())
    }

    fn tell(&mut self) -> Result<()> {
        let len = self.run.end - self.run.start;
        if len == 0 {
            return Ok(());
        }
        let Some(places) = self.filesystem.blocks.chunks.places(self.run.start, len) else {
            let name = format!("extent at {}", self.run.start);
            return Err(damaged(name, 0, "no chunk has it"));
        };
        for at in places {
            (self.each)(at..at.saturating_add(len), self.used_for)?;
        }
        Ok(())
    }
}

impl Btrfs {
    /// As [`crate::Filesystem::usage`].
    pub(super) fn each_use(
        &self,
        each: &mut dyn FnMut(Range<u64>, Use) -> Result<()>,
    ) -> Result<()> {
        let Some(root) = self.find_root(tree_id::EXTENT)? else {
            return Err(unsupported("a root tree without an extent tree"));
        };
        let end = self.blocks.volume.len();
        each(0..end, Use::Free)?;
        // What is at the start is left to boot loaders, of which some use all of it.
        each(0..RESERVED.min(end), Use::Metadata)?;
        for at in superblock::COPIES {
            if at < end {
                each(at..end.min(at + superblock::SIZE), Use::Metadata)?;
            }
        }
        let mut runs = Runs {
            filesystem: self,
            each,
            run: 0..0,
            used_for: Use::Free,
        };
        self.each_allocated(root, &mut |logical, len, used_for| {
            runs.add(logical, len, used_for)
        })?;
        if self.summary.condition == Condition::Replayed {
            self.each_logged(&mut runs)?;
        }
        runs.tell()
    }

    /// Calls `each` for what the extent tree lists: logical address, length and use.
    fn each_allocated(
        &self,
        root: Pointer,
        each: &mut dyn FnMut(u64, u64, Use) -> Result<()>,
    ) -> Result<()> {
        let nodesize = self.blocks.nodesize();
        Tree::new(root).scan(&self.blocks, Key::FIRST..=Key::LAST, &mut |item| {
            match item.key.kind {
                kind::METADATA_ITEM => each(item.key.objectid, nodesize, Use::Metadata)?,
                kind::EXTENT_ITEM => {
                    let (extent, _) = item.read::<ExtentItem>()?;
                    let used_for = match extent.flags.get() & EXTENT_FLAG_TREE_BLOCK {
                        0 => Use::FileData,
                        _ => Use::Metadata,
                    };
                    each(item.key.objectid, item.key.offset, used_for)?;
                }
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// As [`crate::Filesystem::doubt`].
    pub(super) fn doubt_of_extents(&self) -> Result<Option<String>> {
        let raw = &self.superblock.raw;
        if self.superblock.at != superblock::COPIES[0] {
            return Ok(Some("its first superblock is damaged".to_owned()));
        }
        if raw.num_devices.get() != 1 {
            return Ok(Some("it is one of several devices".to_owned()));
        }
        let flags = raw.flags.get() & !SUPER_FLAGS_PLAIN;
        if flags != 0 {
            return Ok(Some(format!(
                "its superblock has flags {flags:#x}: an error, or a seed for others"
            )));
        }
        let unknown = raw.compat_ro_flags.get() & !COMPAT_RO_KNOWN;
        if unknown != 0 {
            return Ok(Some(format!("compat_ro_flags {unknown:#x} is not known")));
        }
        let Some(root) = self.find_root(tree_id::EXTENT)? else {
            return Err(unsupported("a root tree without an extent tree"));
        };
        let (mut used, mut end) = (0_u64, 0);
        let mut overlaps = false;
        self.each_allocated(root, &mut |logical, len, _| {
            overlaps |= logical < end;
            end = logical.saturating_add(len);
            used = used.saturating_add(len);
            Ok(())
        })?;
        let told = raw.bytes_used.get();
        Ok((overlaps || used != told).then(|| {
            format!("its records contradict each other: bytes_used is {told}, and the extent tree has {used}")
        }))
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
            runs.add(pointer.logical, self.blocks.nodesize(), Use::Journal)?;
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
                    runs.add(logical, len, Use::FileData)?;
                }
            }
        }
        Ok(())
    }
}
