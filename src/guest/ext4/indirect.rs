//! Block maps of ext2 and ext3: `i_block` with blocks of block numbers behind it, up to three deep.

use std::ops::{ControlFlow, Range};

use super::inode::Inode;
use super::visit::{Descend, Run, Seen, Visitor};
use super::volume::Volume;
use crate::error::Result;

/// Blocks that the inode itself names.
const DIRECT: u64 = 12;

/// A walk through one map.
struct Walk<'a> {
    volume: &'a Volume,
    inode: &'a Inode,
    wanted: Range<u64>,
    seen: Seen,
    /// Told of when what follows is known not to belong to it.
    pending: Option<Run>,
}

/// Tells of an inode's blocks among these logical ones.
///
/// # Errors
/// When the map is damaged or cannot be read, and those of the visitor.
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
        pending: None,
    };
    let per_block = volume.superblock.block_bytes() / 4;
    let (numbers, _) = inode.raw.i_block.as_chunks::<4>();
    let mut first = 0;
    for (at, number) in (0..).zip(numbers) {
        // Of the blocks below this number: so many deep, and so many logical ones.
        let depth = u32::try_from((at + 1_u64).saturating_sub(DIRECT)).unwrap_or(u32::MAX);
        let span = per_block.saturating_pow(depth);
        let number = u32::from_le_bytes(*number);
        if walk.number(number, first, depth, visitor)?.is_break() {
            return Ok(());
        }
        first += span;
    }
    let _ = walk.flush(visitor)?;
    Ok(())
}

impl Walk<'_> {
    /// A block number, with this many levels of such numbers below it.
    fn number(
        &mut self,
        number: u32,
        first: u64,
        depth: u32,
        visitor: &mut dyn Visitor,
    ) -> Result<ControlFlow<()>> {
        let per_block = self.volume.superblock.block_bytes() / 4;
        let span = per_block.saturating_pow(depth);
        let end = first.saturating_add(span);
        if number == 0 || end <= self.wanted.start || first >= self.wanted.end {
            return Ok(ControlFlow::Continue(()));
        }
        let block = u64::from(number);
        let Some(below) = depth.checked_sub(1) else {
            return self.data(block, first, visitor);
        };
        let Ok(offset) = self.volume.block_offset(block, 1) else {
            return Err(self
                .inode
                .damaged(format!("i_block leads to block {block}")));
        };
        self.seen.one(&self.volume.superblock, offset)?;
        if visitor.map_block(block, below) == Descend::Past {
            return Ok(ControlFlow::Continue(()));
        }
        let bytes = self.volume.block(block)?;
        let span = per_block.saturating_pow(below);
        let (numbers, _) = bytes.as_chunks::<4>();
        let skipped = self.wanted.start.saturating_sub(first) / span;
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        for (at, number) in (0..).zip(numbers).skip(skipped) {
            let first = first + at * span;
            if first >= self.wanted.end {
                break;
            }
            let number = u32::from_le_bytes(*number);
            let flow = self.number(number, first, below, visitor)?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn data(
        &mut self,
        physical: u64,
        logical: u64,
        visitor: &mut dyn Visitor,
    ) -> Result<ControlFlow<()>> {
        if let Some(run) = &mut self.pending
            && run.logical + run.len == logical
            && run.physical + run.len == physical
        {
            run.len += 1;
            return Ok(ControlFlow::Continue(()));
        }
        if !self.volume.superblock.has_blocks(physical, 1) {
            return Err(self
                .inode
                .damaged(format!("i_block leads to block {physical}")));
        }
        let flow = self.flush(visitor)?;
        self.pending = Some(Run {
            logical,
            physical,
            len: 1,
            unwritten: false,
        });
        Ok(flow)
    }

    fn flush(&mut self, visitor: &mut dyn Visitor) -> Result<ControlFlow<()>> {
        match self.pending.take() {
            // Its first block was looked at; whether its last is one as well is so here.
            Some(run) if !self.volume.superblock.has_blocks(run.physical, run.len) => {
                let end = run.physical + run.len;
                Err(self.inode.damaged(format!("i_block leads to block {end}")))
            }
            Some(run) => visitor.run(run),
            None => Ok(ControlFlow::Continue(())),
        }
    }
}
