//! Extent trees, `struct ext4_extent_header` and what follows it.

use std::ops::{ControlFlow, Range};

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum::crc32c;
use super::inode::Inode;
use super::visit::{Descend, Run, Seen, Visitor};
use super::volume::Volume;
use crate::error::{Error, Result};

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    eh_magic: U16,
    eh_entries: U16,
    eh_max: U16,
    eh_depth: U16,
    _eh_generation: U32,
}

/// `struct ext4_extent_idx`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Index {
    ei_block: U32,
    ei_leaf_lo: U32,
    ei_leaf_hi: U16,
    _ei_unused: U16,
}

/// `struct ext4_extent`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Extent {
    ee_block: U32,
    ee_len: U16,
    ee_start_hi: U16,
    ee_start_lo: U32,
}

const MAGIC: u16 = 0xf30a;
/// Of headers and of entries.
const ENTRY: usize = 12;
/// Levels of index blocks, the one in the inode among them.
const MOST_DEPTH: u16 = 5;
/// The longest written extent; longer ones are that much longer than an unwritten one.
const LONGEST: u16 = 1 << 15;

const BLOCK: &str = "extent block";

/// A walk through one tree.
struct Walk<'a> {
    volume: &'a Volume,
    inode: &'a Inode,
    wanted: Range<u64>,
    seen: Seen,
    /// Where the last extent ended.
    end: u64,
}

/// Tells of an inode's extents that overlap these logical blocks.
///
/// # Errors
/// When the tree is damaged or cannot be read, and those of the visitor.
pub(super) fn walk(
    volume: &Volume,
    inode: &Inode,
    wanted: Range<u64>,
    visitor: &mut dyn Visitor,
) -> Result<()> {
    let mut walk = Walk {
        volume,
        inode,
        wanted,
        seen: Seen::default(),
        end: 0,
    };
    let root = &inode.raw.i_block;
    let all = 0..u64::from(u32::MAX) + 1;
    let offset = inode.offset + 0x28;
    let _ = walk.node(root, offset, None, &all, visitor)?;
    Ok(())
}

impl Walk<'_> {
    /// A node, its part of the logical blocks being `keys`. Only the root has any depth.
    fn node(
        &mut self,
        bytes: &[u8],
        offset: u64,
        depth: Option<u16>,
        keys: &Range<u64>,
        visitor: &mut dyn Visitor,
    ) -> Result<ControlFlow<()>> {
        let (depth, entries) = self.entries(bytes, offset, depth)?;
        let Some(below) = depth.checked_sub(1) else {
            return self.leaf(entries, offset, keys, visitor);
        };
        let wrong = |what: String| self.wrong(offset, what);
        let Ok(entries) = <[Index]>::ref_from_bytes(entries) else {
            return Err(wrong("its entries are cut off".to_owned()));
        };
        let mut before = None;
        for (at, entry) in entries.iter().enumerate() {
            let start = u64::from(entry.ei_block.get());
            let end = entries
                .get(at + 1)
                .map_or(keys.end, |next| u64::from(next.ei_block.get()));
            if start < keys.start || end > keys.end || before.is_some_and(|before| start <= before)
            {
                return Err(self.wrong(offset, format!("ei_block of entry {at} is {start}")));
            }
            before = Some(start);
            if end <= self.wanted.start || start >= self.wanted.end {
                continue;
            }
            let block = u64::from(entry.ei_leaf_lo.get()) | u64::from(entry.ei_leaf_hi.get()) << 32;
            let child = self.volume.block_offset(block, 1)?;
            self.seen.one(&self.volume.superblock, child)?;
            if visitor.map_block(block, u32::from(below)) == Descend::Past {
                continue;
            }
            let bytes = self.volume.block(block)?;
            let flow = self.node(&bytes, child, Some(below), &(start..end), visitor)?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The depth of a node, and the bytes of its entries.
    fn entries<'b>(
        &self,
        bytes: &'b [u8],
        offset: u64,
        expected: Option<u16>,
    ) -> Result<(u16, &'b [u8])> {
        let wrong = |what: String| self.wrong(offset, what);
        let Ok((header, rest)) = Header::ref_from_prefix(bytes) else {
            return Err(wrong("it is cut off".to_owned()));
        };
        if header.eh_magic.get() != MAGIC {
            return Err(wrong(format!("eh_magic is {:#x}", header.eh_magic)));
        }
        let depth = header.eh_depth.get();
        if depth > MOST_DEPTH || expected.is_some_and(|expected| depth != expected) {
            return Err(wrong(format!("eh_depth is {depth}")));
        }
        let (count, room) = (header.eh_entries.get(), header.eh_max.get());
        let room_bytes = usize::from(room) * ENTRY;
        if count > room || room_bytes > rest.len() || (count == 0 && depth > 0) {
            return Err(wrong(format!("eh_entries is {count}, of {room}")));
        }
        // The root has the checksum of its inode.
        if let (Some(seed), Some(_)) = (self.inode.checksum_seed, expected) {
            let covered = bytes.get(..ENTRY + room_bytes).unwrap_or_default();
            let recorded = u32::from_le_bytes(crate::field(bytes, ENTRY + room_bytes));
            if crc32c(seed, covered) != recorded {
                return Err(wrong("et_checksum is wrong".to_owned()));
            }
        }
        let entries = rest.get(..usize::from(count) * ENTRY);
        Ok((depth, entries.unwrap_or_default()))
    }

    fn leaf(
        &mut self,
        entries: &[u8],
        offset: u64,
        keys: &Range<u64>,
        visitor: &mut dyn Visitor,
    ) -> Result<ControlFlow<()>> {
        let Ok(entries) = <[Extent]>::ref_from_bytes(entries) else {
            return Err(self.wrong(offset, "its entries are cut off".to_owned()));
        };
        for (at, entry) in entries.iter().enumerate() {
            let recorded = entry.ee_len.get();
            let (len, unwritten) = match recorded > LONGEST {
                true => (recorded - LONGEST, true),
                false => (recorded, false),
            };
            let logical = u64::from(entry.ee_block.get());
            let end = logical + u64::from(len);
            if len == 0 || logical < keys.start || logical < self.end || end > keys.end {
                let what = format!("ee_block of entry {at} is {logical}, ee_len {recorded}");
                return Err(self.wrong(offset, what));
            }
            self.end = end;
            if end <= self.wanted.start {
                continue;
            }
            if logical >= self.wanted.end {
                return Ok(ControlFlow::Break(()));
            }
            let start_hi = u64::from(entry.ee_start_hi.get()) << 32;
            let run = Run {
                logical,
                physical: u64::from(entry.ee_start_lo.get()) | start_hi,
                len: u64::from(len),
                unwritten,
            };
            if !self.volume.superblock.has_blocks(run.physical, run.len) {
                let what = format!("ee_start of entry {at} is {}", run.physical);
                return Err(self.wrong(offset, what));
            }
            if visitor.run(run)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn wrong(&self, offset: u64, what: String) -> Error {
        self.inode.damaged_block(BLOCK, offset, what)
    }
}
