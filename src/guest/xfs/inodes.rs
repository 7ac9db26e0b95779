//! All inodes: which numbers are in use, which of them lie where the volume changed, and reading them in the order of
//! the disk.

use std::ops::Range;
use std::sync::Arc;

use super::groups::{self, Chunk};
use super::inode::{self, Inode};
use super::volume::Volume;
use crate::cache::Cache;
use crate::error::Result;
use crate::filesystem::{NodeId, NodeKind};
use crate::ranges::Ranges;

/// Bytes of lists of chunks that are held.
const HELD: usize = 16 << 20;
/// Bytes of inodes that are read at once.
const AT_ONCE: usize = 1 << 20;

/// The chunks of inodes of every group, as far as they were asked for.
#[derive(Debug)]
pub(super) struct Inodes {
    groups: Cache<u32, Arc<[Chunk]>>,
}

impl Inodes {
    pub(super) fn new() -> Self {
        Self {
            groups: Cache::new(HELD),
        }
    }

    fn chunks(&self, volume: &Volume, group: u32) -> Result<Arc<[Chunk]>> {
        self.groups.get_or(group, || {
            let found = groups::chunks(volume, group)?;
            let weight = size_of_val(found.as_slice());
            Ok((found.into(), weight))
        })
    }

    /// Whether an inode is in use by the records of its group.
    pub(super) fn is_used(&self, volume: &Volume, number: u64) -> Result<bool> {
        let superblock = &volume.superblock;
        let Some((group, _)) = superblock.split(number >> superblock.inode_bits) else {
            return Ok(false);
        };
        let chunks = self.chunks(volume, group)?;
        let next = chunks.partition_point(|chunk| chunk.first <= number);
        let chunk = next.checked_sub(1).and_then(|last| chunks.get(last));
        Ok(chunk.is_some_and(|chunk| {
            let slot = number - chunk.first;
            slot < 64 && chunk.used >> slot & 1 == 1
        }))
    }

    /// The inodes in use whose records lie in these bytes.
    pub(super) fn within(&self, volume: &Volume, changed: &Ranges) -> Result<Vec<NodeId>> {
        let superblock = &volume.superblock;
        let size = u64::from(superblock.inode_size);
        let mut found = Vec::new();
        for group in 0..superblock.groups {
            let start = superblock.group_start(group);
            let end = start + superblock.blocks_of(group) * volume.block_size();
            if !changed.intersects(&(start..end)) {
                continue;
            }
            for chunk in self.chunks(volume, group)?.iter() {
                if !changed.intersects(&chunk.range(superblock)) {
                    continue;
                }
                let touched = chunk
                    .in_use(superblock)
                    .filter(|(_, at)| changed.intersects(&(*at..at + size)))
                    .filter(|(number, _)| !superblock.internal.contains(number));
                found.extend(touched.map(|(number, _)| NodeId::new(number)));
            }
        }
        Ok(found)
    }

    /// Calls `each` for runs of the volume that hold inodes of a group, in use or not.
    pub(super) fn each_chunk(
        &self,
        volume: &Volume,
        group: u32,
        each: &mut dyn FnMut(Range<u64>) -> Result<()>,
    ) -> Result<()> {
        let size = u64::from(volume.superblock.inode_size);
        for chunk in self.chunks(volume, group)?.iter() {
            let mut rest = chunk.stored;
            while rest != 0 {
                let from = rest.trailing_zeros();
                let count = (rest >> from).trailing_ones();
                let start = chunk.offset + u64::from(from) * size;
                each(start..start + u64::from(count) * size)?;
                let taken = u64::MAX.checked_shr(64 - count).unwrap_or(0) << from;
                rest &= !taken;
            }
        }
        Ok(())
    }

    /// Calls `each` for the inodes in use of a group, all or those of a kind, in the order of the disk.
    pub(super) fn each(
        &self,
        volume: &Volume,
        group: u32,
        of: Option<NodeKind>,
        each: &mut dyn FnMut(Inode) -> Result<()>,
    ) -> Result<()> {
        let superblock = &volume.superblock;
        let chunks = self.chunks(volume, group)?;
        let mut rest: &[Chunk] = &chunks;
        let mut bytes = Vec::new();
        while let Some(first) = rest.first() {
            // As many as follow each other, up to a bound.
            let mut end = first.offset;
            let together = rest.iter().take_while(|chunk| {
                let range = chunk.range(superblock);
                let goes_on = range.start == end && range.end - first.offset <= AT_ONCE as u64;
                end = if goes_on { range.end } else { end };
                goes_on
            });
            let (now, after) = rest.split_at(together.count().max(1));
            rest = after;
            end = end.max(first.range(superblock).end);
            bytes.resize(usize::try_from(end - first.offset).unwrap_or_default(), 0);
            volume.source.read_at(first.offset, &mut bytes)?;
            let size = usize::try_from(superblock.inode_size).unwrap_or_default();
            for (number, offset) in now.iter().flat_map(|chunk| chunk.in_use(superblock)) {
                let at = usize::try_from(offset - first.offset).unwrap_or_default();
                let record = bytes.get(at..at + size).unwrap_or_default();
                if of.is_some() && inode::kind_of(record) != of {
                    continue;
                }
                if let Some(inode) = Inode::parse(superblock, number, offset, record)? {
                    each(inode)?;
                }
            }
        }
        Ok(())
    }
}
