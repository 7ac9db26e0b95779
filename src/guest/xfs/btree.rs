//! Trees of blocks, as free space, inodes and block maps are kept in: blocks with a header, records in leaves, keys
//! and pointers above. Every block is checked, and none is met twice.

use std::collections::HashSet;
use std::ops::Range;

use super::checksummed::{Checksummed, damaged};
use super::volume::Volume;
use crate::error::Result;
use crate::field;

/// The most levels a tree may have (`XFS_BTREE_MAXLEVELS`).
const MAX_LEVELS: u16 = 9;

/// A kind of tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) magic: [u8; 4],
    /// Its pointers are block numbers of the volume rather than of the group.
    pub(super) long: bool,
    /// Bytes of a key.
    pub(super) key: usize,
    /// Bytes of a record.
    pub(super) record: usize,
}

impl Kind {
    pub(super) const FREE_BY_BLOCK: Self = Self::short("bnobt", *b"AB3B", 8, 8);
    pub(super) const FREE_BY_COUNT: Self = Self::short("cntbt", *b"AB3C", 8, 8);
    pub(super) const INODES: Self = Self::short("inobt", *b"IAB3", 4, 16);
    pub(super) const FREE_INODES: Self = Self::short("finobt", *b"FIB3", 4, 16);
    pub(super) const REVERSE_MAP: Self = Self::short("rmapbt", *b"RMB3", 40, 24);
    pub(super) const REFERENCE_COUNTS: Self = Self::short("refcountbt", *b"R3FC", 4, 12);
    pub(super) const BLOCK_MAP: Self = Self {
        name: "bmbt",
        magic: *b"BMA3",
        long: true,
        key: 8,
        record: 16,
    };

    const fn short(name: &'static str, magic: [u8; 4], key: usize, record: usize) -> Self {
        Self {
            name,
            magic,
            long: false,
            key,
            record,
        }
    }

    const fn header(self) -> (usize, Checksummed) {
        if self.long {
            (72, Checksummed::LONG_BTREE)
        } else {
            (56, Checksummed::SHORT_BTREE)
        }
    }

    const fn pointer(self) -> usize {
        if self.long { 8 } else { 4 }
    }
}

/// A tree to walk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    pub(super) kind: Kind,
    /// Its group, or of a block map its inode.
    pub(super) owner: u64,
}

/// A block of a tree.
#[derive(Debug)]
pub(super) struct Block {
    kind: Kind,
    /// Where it is, in bytes of the volume.
    pub(super) offset: u64,
    bytes: Vec<u8>,
    /// 0 in leaves.
    pub(super) level: u16,
    count: usize,
}

impl Block {
    /// The bytes of the volume that it takes.
    pub(super) fn range(&self, volume: &Volume) -> Range<u64> {
        self.offset..self.offset + volume.block_size()
    }

    /// Its records: of leaves.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let size = self.kind.record;
        let body = self.bytes.get(self.kind.header().0..).unwrap_or_default();
        body.chunks_exact(size).take(self.count)
    }

    /// Its keys and the block numbers they lead to: of what is above leaves.
    fn children(&self) -> Vec<Child> {
        let (header, _) = self.kind.header();
        let body = self.bytes.get(header..).unwrap_or_default();
        let most = body.len() / (self.kind.key + self.kind.pointer());
        children(self.kind, body, most, self.count)
    }
}

/// A key and the block it leads to.
#[derive(Debug, Clone)]
pub(super) struct Child {
    /// Its first eight bytes as a number, or four of a key that has no more.
    pub(super) key: u64,
    pub(super) block: u64,
}

/// `count` children from an area of keys, and pointers behind room for `most` of these.
pub(super) fn children(kind: Kind, body: &[u8], most: usize, count: usize) -> Vec<Child> {
    let number = |at: usize, size: usize| match size {
        4 => u64::from(u32::from_be_bytes(field(body, at))),
        _ => u64::from_be_bytes(field(body, at)),
    };
    (0..count.min(most))
        .map(|index| Child {
            key: number(index * kind.key, kind.key),
            block: number(most * kind.key + index * kind.pointer(), kind.pointer()),
        })
        .collect()
}

/// Which children are gone down to, by their keys and the next ones'.
pub(super) type Wanted<'a> = &'a dyn Fn(u64, Option<u64>) -> bool;

impl Tree {
    /// The block of the volume that a pointer means.
    fn number(self, volume: &Volume, pointer: u64) -> Option<u64> {
        if self.kind.long {
            return Some(pointer);
        }
        let group = u32::try_from(self.owner).ok()?;
        let within = u32::try_from(pointer).ok()?;
        Some(volume.superblock.block_number(group, within))
    }

    fn read(self, volume: &Volume, pointer: u64, level: u16) -> Result<Block> {
        let kind = self.kind;
        let place = self
            .number(volume, pointer)
            .and_then(|block| volume.superblock.offset_of(block, 1));
        let Some(offset) = place else {
            let problem = format!("block {pointer} lies outside");
            return Err(damaged(self.name(), 0, problem));
        };
        let size = usize::try_from(volume.block_size()).unwrap_or_default();
        let bytes = volume.metadata(offset, size)?;
        let wrong = |problem: &str| damaged(self.name(), offset, problem);
        if field(&bytes, 0) != kind.magic {
            return Err(wrong("its magic number is wrong"));
        }
        let (header, common) = kind.header();
        common.verify(&volume.superblock, &bytes, &self.name(), offset)?;
        let owner = if kind.long {
            u64::from_be_bytes(field(&bytes, 56))
        } else {
            u64::from(u32::from_be_bytes(field(&bytes, 48)))
        };
        if owner != self.owner {
            return Err(wrong("it belongs to another owner"));
        }
        if u16::from_be_bytes(field(&bytes, 4)) != level {
            return Err(wrong("its level is not that below its parent"));
        }
        let count = usize::from(u16::from_be_bytes(field(&bytes, 6)));
        let one = match level {
            0 => kind.record,
            _ => kind.key + kind.pointer(),
        };
        if count > size.saturating_sub(header) / one {
            return Err(wrong("it has more records than room"));
        }
        Ok(Block {
            kind,
            offset,
            bytes,
            level,
            count,
        })
    }

    fn name(self) -> String {
        if self.kind.long {
            format!("{} of inode {}", self.kind.name, self.owner)
        } else {
            format!("{} of group {}", self.kind.name, self.owner)
        }
    }

    /// Calls `each` for the blocks below `roots`, which are at `level`, in order: leaves left to right, each after
    /// what is above it. Only `wanted` children are gone down to.
    pub(super) fn walk(
        self,
        volume: &Volume,
        roots: Vec<Child>,
        level: u16,
        wanted: Wanted<'_>,
        each: &mut dyn FnMut(&Block) -> Result<()>,
    ) -> Result<()> {
        if level >= MAX_LEVELS {
            return Err(damaged(self.name(), 0, format!("{level} levels")));
        }
        let mut met = HashSet::new();
        let mut rest = Vec::new();
        push(&mut rest, roots, level, wanted);
        while let Some((pointer, level)) = rest.pop() {
            if !met.insert(pointer) {
                let problem = format!("block {pointer} is in it twice");
                return Err(damaged(self.name(), 0, problem));
            }
            let block = self.read(volume, pointer, level)?;
            each(&block)?;
            if let Some(below) = level.checked_sub(1) {
                push(&mut rest, block.children(), below, wanted);
            }
        }
        Ok(())
    }

    /// As [`Tree::walk`], of a tree whose root is a block of its own.
    pub(super) fn walk_whole(
        self,
        volume: &Volume,
        root: u32,
        levels: u32,
        each: &mut dyn FnMut(&Block) -> Result<()>,
    ) -> Result<()> {
        let level = u16::try_from(levels).unwrap_or(MAX_LEVELS + 1);
        let Some(level) = level.checked_sub(1) else {
            return Err(damaged(self.name(), 0, "no level"));
        };
        let root = Child {
            key: 0,
            block: root.into(),
        };
        self.walk(volume, vec![root], level, &|_, _| true, each)
    }
}

/// Adds the children that are wanted, so that the first of them comes next.
fn push(rest: &mut Vec<(u64, u16)>, children: Vec<Child>, level: u16, wanted: Wanted<'_>) {
    let nexts = children.iter().skip(1).map(|one| Some(one.key));
    let mut found: Vec<_> = children
        .iter()
        .zip(nexts.chain([None]))
        .filter(|(one, next)| wanted(one.key, *next))
        .map(|(one, _)| (one.block, level))
        .collect();
    found.reverse();
    rest.append(&mut found);
}
