//! The log as a ring of basic blocks. Each begins with the cycle that it was written in, so that the place where the
//! number steps back is where the next record would be written: the head.

use super::trouble::{Tried, Trouble};
use crate::block::Source;
use crate::field;
use crate::xfs::superblock::{BASIC_BLOCK, BASIC_BLOCK_LEN, Superblock};

/// What a header of a record begins with, in place of the cycle (`XLOG_HEADER_MAGIC_NUM`).
pub(super) const HEADER_MAGIC: u32 = 0xfeed_babe;
/// Blocks that records take which are written at once (`XLOG_TOTAL_REC_SHIFT`).
const WRITTEN_AT_ONCE: u64 = 4096;
/// Blocks read at once while cycles are looked at.
const READ_AT_ONCE: u64 = 128;

/// The log within the volume.
#[derive(Debug)]
pub(super) struct Ring<'a> {
    source: &'a Source,
    base: u64,
    /// How many basic blocks it has.
    pub(super) blocks: u64,
}

impl<'a> Ring<'a> {
    /// None where it is on another device.
    pub(super) fn new(source: &'a Source, superblock: &Superblock) -> Option<Self> {
        let (first, count) = superblock.log?;
        let base = superblock.offset_of(first, count.into())?;
        let blocks = u64::from(count) * u64::from(superblock.block_size) / BASIC_BLOCK;
        (blocks > 1).then_some(Self {
            source,
            base,
            blocks,
        })
    }

    /// Blocks from one forward to another.
    pub(super) fn distance(&self, from: u64, to: u64) -> u64 {
        (to % self.blocks + self.blocks - from % self.blocks) % self.blocks
    }

    /// A block so many before or behind another.
    pub(super) fn back(&self, from: u64, count: u64) -> u64 {
        (from % self.blocks + self.blocks - count % self.blocks) % self.blocks
    }

    /// Blocks from one on, round the end.
    pub(super) fn read(&self, first: u64, count: u64) -> Tried<Vec<u8>> {
        let first = first % self.blocks;
        let count = count.min(self.blocks);
        let len = usize::try_from(count * BASIC_BLOCK).unwrap_or_default();
        let mut bytes = vec![0; len];
        let until_end = usize::try_from((self.blocks - first) * BASIC_BLOCK).unwrap_or(len);
        let (now, round) = bytes.split_at_mut(until_end.min(len));
        self.source.read_at(self.base + first * BASIC_BLOCK, now)?;
        self.source.read_at(self.base, round)?;
        Ok(bytes)
    }

    fn cycle(&self, block: u64) -> Tried<u32> {
        Ok(cycle_of(&self.read(block, 1)?))
    }

    /// Where the next record would be written; none in a log that was never written.
    pub(super) fn head(&self) -> Tried<Option<u64>> {
        let first = self.cycle(0)?;
        if first == 0 {
            return Ok(None);
        }
        let end = self.blocks - 1;
        let last = self.cycle(end)?;
        // What a block before the head has, that was to be written and was not.
        let (head, missed) = if last == first {
            (self.blocks, last.wrapping_sub(1))
        } else {
            (self.first_of(last, end)?, last)
        };
        let scanned = WRITTEN_AT_ONCE.min(self.blocks);
        if head >= scanned || last == 0 {
            let from = head.saturating_sub(scanned);
            let found = self.find(from, head, missed)?;
            return Ok(Some(found.unwrap_or(head) % self.blocks));
        }
        let from = self.blocks - (scanned - head);
        let found = match self.find(from, self.blocks, missed.wrapping_sub(1))? {
            Some(found) => Some(found),
            None => self.find(0, head, missed)?,
        };
        Ok(Some(found.unwrap_or(head) % self.blocks))
    }

    /// The first block of this cycle, which the last has and the first has not.
    fn first_of(&self, cycle: u32, last: u64) -> Tried<u64> {
        let (mut below, mut at) = (0, last);
        while at - below > 1 {
            let middle = below + (at - below) / 2;
            if self.cycle(middle)? == cycle {
                at = middle;
            } else {
                below = middle;
            }
        }
        Ok(at)
    }

    /// The first block of this cycle from one up to another.
    fn find(&self, from: u64, to: u64, cycle: u32) -> Result<Option<u64>, Trouble> {
        let mut at = from;
        while at < to {
            let count = READ_AT_ONCE.min(to - at);
            let bytes = self.read(at, count)?;
            let blocks = bytes.as_chunks::<BASIC_BLOCK_LEN>().0;
            for (number, block) in (at..).zip(blocks) {
                if cycle_of(block) == cycle {
                    return Ok(Some(number));
                }
            }
            at += count;
        }
        Ok(None)
    }
}

/// The cycle that a block was written in.
fn cycle_of(block: &[u8]) -> u32 {
    match u32::from_be_bytes(field(block, 0)) {
        HEADER_MAGIC => u32::from_be_bytes(field(block, 4)),
        cycle => cycle,
    }
}
