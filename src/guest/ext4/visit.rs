//! What walking the map of a file's blocks gives, whichever kind of map it is.

use std::ops::ControlFlow;

use super::error::damaged;
use super::superblock::Superblock;
use crate::error::{Error, Result};

/// Blocks of a file that follow each other on the volume too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first, counted from the start of the file.
    pub(super) logical: u64,
    /// The first, counted from the start of the volume.
    pub(super) physical: u64,
    pub(super) len: u64,
    /// Allocated and not written.
    pub(super) unwritten: bool,
}

/// Whether to read a block of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Descend {
    Into,
    Past,
}

/// Is told of a map, in order of the file.
pub(super) trait Visitor {
    /// A block of the map itself, with levels of such blocks below it.
    fn map_block(&mut self, block: u64, below: u32) -> Descend;

    /// Blocks of the file. The walk ends when it breaks off.
    ///
    /// # Errors
    /// What the visitor will not take.
    fn run(&mut self, run: Run) -> Result<ControlFlow<()>>;
}

/// Map blocks of one file.
const MOST_MAP_BLOCKS: u64 = 1 << 23;

/// Counts map blocks, none of which a true map has twice.
#[derive(Debug, Default)]
pub(super) struct Seen(u64);

impl Seen {
    /// One more.
    ///
    /// # Errors
    /// When these are more than the filesystem has blocks, or than are read.
    pub(super) fn one(&mut self, superblock: &Superblock, offset: u64) -> Result<()> {
        self.0 += 1;
        if self.0 > superblock.blocks {
            let what = "it has more blocks than the filesystem";
            return Err(damaged("map of a file", offset, what));
        }
        if self.0 > MOST_MAP_BLOCKS {
            return Err(Error::TooMuch {
                what: "map blocks of a file",
                most: MOST_MAP_BLOCKS,
            });
        }
        Ok(())
    }
}
