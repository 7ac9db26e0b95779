//! Which blocks of the volume a file has, by whichever map it is.

use std::ops::{ControlFlow, Range};

use super::inode::{Flag, Inode};
use super::visit::{Descend, Run, Visitor};
use super::volume::Volume;
use super::{extents, indirect};
use crate::error::{Error, Result};
use crate::filesystem::NodeKind;

/// Runs of one file that are held at once.
const MOST_RUNS: u64 = 1 << 20;

/// Takes runs, and asks for every block of the map.
struct Runs<F>(F);

impl<F: FnMut(Run) -> Result<ControlFlow<()>>> Visitor for Runs<F> {
    fn map_block(&mut self, _: u64, _: u32) -> Descend {
        Descend::Into
    }

    fn run(&mut self, run: Run) -> Result<ControlFlow<()>> {
        (self.0)(run)
    }
}

impl Volume {
    /// Tells a visitor of the map of an inode, as far as it is of these logical blocks. An inode without a map has
    /// nothing to tell.
    ///
    /// # Errors
    /// When the map is damaged or cannot be read, and those of the visitor.
    pub(super) fn walk_map(
        &self,
        inode: &Inode,
        wanted: Range<u64>,
        visitor: &mut dyn Visitor,
    ) -> Result<()> {
        if !self.has_map(inode) {
            return Ok(());
        }
        match inode.has(Flag::Extents) {
            true => extents::walk(self, inode, wanted, visitor),
            false => indirect::walk(self, inode, wanted, visitor),
        }
    }

    /// The runs of an inode that overlap these logical blocks, in order.
    ///
    /// # Errors
    /// As [`Volume::walk_map`].
    pub(super) fn runs(
        &self,
        inode: &Inode,
        wanted: Range<u64>,
        each: impl FnMut(Run) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.walk_map(inode, wanted, &mut Runs(each))
    }

    /// All runs of an inode up to its length.
    ///
    /// # Errors
    /// As [`Volume::walk_map`], and when they are more than are held at once.
    pub(super) fn all_runs(&self, inode: &Inode) -> Result<Vec<Run>> {
        let mut found = Vec::new();
        let blocks = self.blocks_of(inode)?;
        self.runs(inode, 0..blocks, |mut run| {
            run.len = run.len.min(blocks - run.logical);
            found.push(run);
            if found.len() as u64 > MOST_RUNS {
                return Err(Error::TooMuch {
                    what: "extents of a file",
                    most: MOST_RUNS,
                });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// How many logical blocks an inode has.
    ///
    /// # Errors
    /// When its size is none that can be.
    pub(super) fn blocks_of(&self, inode: &Inode) -> Result<u64> {
        let size = inode.size(&self.superblock)?;
        Ok(size.div_ceil(self.superblock.block_bytes()))
    }

    /// Whether `i_block` is a map.
    fn has_map(&self, inode: &Inode) -> bool {
        match inode.kind() {
            Ok(NodeKind::File | NodeKind::Directory) => !inode.has(Flag::InlineData),
            Ok(NodeKind::Symlink) => !inode.has(Flag::InlineData) && !self.is_fast_symlink(inode),
            Ok(NodeKind::Special) | Err(_) => false,
        }
    }

    /// Whether `i_block` is where a symbolic link leads to: it has no block but perhaps one of attributes.
    pub(super) fn is_fast_symlink(&self, inode: &Inode) -> bool {
        let superblock = &self.superblock;
        let of_attributes = match inode.attribute_block() {
            0 => 0,
            _ => superblock.block_bytes() * u64::from(superblock.cluster_blocks),
        };
        inode.kind().ok() == Some(NodeKind::Symlink)
            && !inode.has(Flag::InlineData)
            && inode.allocated(superblock) == of_attributes
    }
}
