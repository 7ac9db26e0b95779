//! What one pass through the inode tables tells: where the blocks of directories are, and the blocks that lie outside
//! of the inodes they belong to. Made once, when it is asked for first.

use std::ops::{ControlFlow, Range};

use super::directory::Directory;
use super::error::damaged;
use super::group::Group;
use super::inode::{Flag, Inode};
use super::visit::{Descend, Run, Visitor};
use super::volume::Volume;
use crate::error::{Error, Result};
use crate::filesystem::NodeKind;

/// Bytes of an inode table read at once.
const PIECE: u32 = 1 << 20;
/// A part of an inode table without inodes in use is passed over where it is that long.
const WINDOW: u32 = 64 << 10;
const MOST_DIRECTORIES: usize = 1 << 22;
const MOST_OUTSIDE: usize = 1 << 22;

/// Blocks of a directory that follow each other on the volume.
#[derive(Debug, Clone, Copy)]
pub(super) struct DirectoryRun {
    pub(super) physical: u64,
    pub(super) len: u64,
    /// Which of [`Index::directories`].
    pub(super) directory: usize,
}

/// A block that an inode has for itself: of its map, or of its extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outside {
    pub(super) block: u64,
    pub(super) inode: u32,
}

/// What the pass found.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// In order of their numbers.
    pub(super) directories: Vec<Directory>,
    /// Where these are, in order of the volume.
    pub(super) runs: Vec<DirectoryRun>,
    /// The directories whose entries are within their records.
    pub(super) inline: Vec<u32>,
    /// In order of the volume.
    pub(super) outside: Vec<Outside>,
    /// Blocks of directories so far.
    blocks: u64,
}

impl Index {
    /// Goes through all inodes that are in use.
    ///
    /// # Errors
    /// When an inode or a map is damaged, there is too much, or the volume cannot be read.
    pub(super) fn of(volume: &Volume) -> Result<Self> {
        let mut index = Self::default();
        for number in 0..volume.superblock.groups {
            let group = volume.group(number)?;
            let in_use = volume.inode_bitmap(number, &group)?;
            volume.each_inode(number, &group, &in_use, &mut |inode| {
                index.add(volume, &inode)
            })?;
        }
        index.runs.sort_unstable_by_key(|run| run.physical);
        index.outside.sort_unstable();
        Ok(index)
    }

    /// Whether an inode is a directory.
    pub(super) fn is_directory(&self, number: u32) -> bool {
        self.directories
            .binary_search_by_key(&number, |directory| directory.number)
            .is_ok()
    }

    fn add(&mut self, volume: &Volume, inode: &Inode) -> Result<()> {
        if inode.attribute_block() != 0 {
            self.add_outside(inode.attribute_block(), inode.number)?;
        }
        let is_directory = inode.kind().ok() == Some(NodeKind::Directory);
        if is_directory {
            if self.directories.len() >= MOST_DIRECTORIES {
                return Err(Error::TooMuch {
                    what: "directories",
                    most: MOST_DIRECTORIES as u64,
                });
            }
            self.directories.push(Directory::from(inode));
            if inode.has(Flag::InlineData) {
                self.inline.push(inode.number);
            }
        }
        if !is_directory && !may_have_map_blocks(inode) {
            return Ok(());
        }
        let blocks = volume.blocks_of(inode)?;
        let mut found = Found {
            map_blocks: Vec::new(),
            runs: Vec::new(),
            is_directory,
            most: volume.superblock.blocks,
        };
        volume.walk_map(inode, 0..blocks, &mut found)?;
        for block in found.map_blocks {
            self.add_outside(block, inode.number)?;
        }
        for run in found.runs.iter().filter(|run| !run.unwritten) {
            let len = run.len.min(blocks - run.logical);
            self.blocks += len;
            if self.blocks > volume.superblock.blocks {
                return Err(inode.damaged("directories have more blocks than the filesystem"));
            }
            self.runs.push(DirectoryRun {
                physical: run.physical,
                len,
                directory: self.directories.len() - 1,
            });
        }
        Ok(())
    }

    fn add_outside(&mut self, block: u64, inode: u32) -> Result<()> {
        if self.outside.len() >= MOST_OUTSIDE {
            return Err(Error::TooMuch {
                what: "map blocks",
                most: MOST_OUTSIDE as u64,
            });
        }
        self.outside.push(Outside { block, inode });
        Ok(())
    }
}

/// Whether the map in `i_block` leads to map blocks, as far as can be seen without walking it.
fn may_have_map_blocks(inode: &Inode) -> bool {
    let map = &inode.raw.i_block;
    match inode.has(Flag::Extents) {
        // `eh_depth`.
        true => crate::field::<2>(map, 6) != [0, 0],
        false => crate::field::<12>(map, 48) != [0; 12],
    }
}

/// The map blocks of an inode, and of a directory its own as well.
struct Found {
    map_blocks: Vec<u64>,
    runs: Vec<Run>,
    is_directory: bool,
    /// Runs at the most.
    most: u64,
}

impl Visitor for Found {
    fn map_block(&mut self, block: u64, below: u32) -> Descend {
        self.map_blocks.push(block);
        match self.is_directory || below > 0 {
            true => Descend::Into,
            false => Descend::Past,
        }
    }

    fn run(&mut self, run: Run) -> Result<ControlFlow<()>> {
        if self.is_directory {
            if self.runs.len() as u64 >= self.most {
                return Err(damaged("directory", 0, "it has too many blocks"));
            }
            self.runs.push(run);
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Volume {
    /// Calls `each` for the inodes of a group that the bitmap says are in use.
    fn each_inode(
        &self,
        number: u32,
        group: &Group,
        in_use: &[u8],
        each: &mut dyn FnMut(Inode) -> Result<()>,
    ) -> Result<()> {
        let size = self.superblock.inode_size;
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        let table = group.inode_table * self.superblock.block_bytes();
        let mut bytes = Vec::new();
        for part in parts(in_use, self.superblock.inodes_per_group, size) {
            let offset = table + u64::from(part.start) * u64::from(size);
            let count = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
            bytes.resize(count.saturating_mul(len), 0);
            self.source.read_at(offset, &mut bytes)?;
            for (index, record) in part.clone().zip(bytes.chunks_exact(len)) {
                if !is_set(in_use, index) {
                    continue;
                }
                let inode = self.first_inode(number) + index;
                let offset = table + u64::from(index) * u64::from(size);
                if let Some(inode) = Inode::parse(&self.superblock, inode, offset, record)? {
                    each(inode)?;
                }
            }
        }
        Ok(())
    }

    /// The number of a group's first inode.
    pub(super) fn first_inode(&self, group: u32) -> u32 {
        group
            .saturating_mul(self.superblock.inodes_per_group)
            .saturating_add(1)
    }
}

/// Whether a bit of a bitmap is set.
pub(super) fn is_set(bitmap: &[u8], index: u32) -> bool {
    let byte = usize::try_from(index / 8).unwrap_or(usize::MAX);
    bitmap
        .get(byte)
        .is_some_and(|byte| byte & (1 << (index % 8)) != 0)
}

/// The parts of an inode table to read: windows with an inode in use, up to the last such inode.
fn parts(in_use: &[u8], inodes: u32, size: u32) -> Vec<Range<u32>> {
    let window = (WINDOW / size).max(1);
    let most = (PIECE / size).max(window);
    let mut found: Vec<Range<u32>> = Vec::new();
    let mut start = 0;
    while start < inodes {
        let end = start.saturating_add(window).min(inodes);
        let last = (start..end).rev().find(|index| is_set(in_use, *index));
        if let Some(last) = last {
            match found.last_mut() {
                Some(part) if part.end == start && end - part.start <= most => part.end = last + 1,
                _ => found.push(start..last + 1),
            }
        }
        start = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_without_inodes_in_use_are_passed_over() {
        let mut bitmap = vec![0; 1024];
        assert!(parts(&bitmap, 8192, 256).is_empty());
        for index in [0, 255, 256, 300, 1000, 8191] {
            bitmap[index / 8] |= 1 << (index % 8);
        }
        assert_eq!(parts(&bitmap, 8192, 256), [0..301, 768..1001, 7936..8192]);
        assert_eq!(parts(&[0xff; 1024], 8192, 256), [0..4096, 4096..8192]);
    }
}
