//! A subvolume while a log is replayed into it: its tree, what was put in and taken out so far, and which inodes have
//! to be counted again in the end.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::{ControlFlow, RangeInclusive};

use super::super::block::Pointer;
use super::super::format::{InodeItem, Key, damaged, kind};
use super::super::tree::{Changes, Put, View};
use super::super::volume::Btrfs;
use crate::error::{Error, Result};
use crate::filesystem::NodeId;

/// Items put in or taken out at the most.
const MOST_CHANGES: usize = 1 << 20;
/// Items looked at on the way at the most.
const MOST_STEPS: usize = 1 << 23;

/// A subvolume that a log is replayed into.
pub(super) struct State<'a> {
    filesystem: &'a Btrfs,
    root: Pointer,
    pub(super) changes: Changes,
    /// Inodes whose links, size and bytes have to be counted in the end.
    pub(super) touched: BTreeSet<u64>,
    steps_left: Cell<usize>,
}

/// An inode as nodes are called; which subvolume it is in makes no difference here.
pub(super) const fn node(number: u64) -> NodeId {
    NodeId { tree: 0, number }
}

impl<'a> State<'a> {
    pub(super) const fn new(filesystem: &'a Btrfs, root: Pointer) -> Self {
        Self {
            filesystem,
            root,
            changes: Changes::new(),
            touched: BTreeSet::new(),
            steps_left: Cell::new(MOST_STEPS),
        }
    }

    /// The tree as it is now.
    pub(super) fn view(&self) -> View<'_> {
        View {
            blocks: &self.filesystem.blocks,
            root: &self.root,
            changes: Some(&self.changes),
        }
    }

    /// The items of these keys as they are now.
    pub(super) fn items(&self, keys: RangeInclusive<Key>) -> Result<Vec<(Key, Put)>> {
        let mut found = Vec::new();
        self.view().scan(keys, &mut |item| {
            let left = self.steps_left.get().checked_sub(1);
            self.steps_left.set(left.ok_or_else(too_much)?);
            found.push((item.key, item.into()));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// The item of a key as it is now.
    pub(super) fn item(&self, key: Key) -> Result<Option<Put>> {
        self.view().get(key, |item| Ok(item.into()))
    }

    /// An inode as it is now; none where there is none.
    pub(super) fn inode(&self, number: u64) -> Result<Option<InodeItem>> {
        let key = Key::new(number, kind::INODE_ITEM, 0);
        self.item(key)?.map(|put| put.inode(key)).transpose()
    }

    /// Puts an item in. One that no block has room for is refused, as by the kernel.
    pub(super) fn put(&mut self, key: Key, put: Put) -> Result<()> {
        if put.data.len() as u64 > self.filesystem.blocks.nodesize() {
            return Err(damaged(key, put.at, "no block has room for it"));
        }
        self.change(key, Some(put))
    }

    pub(super) fn take_out(&mut self, key: Key) -> Result<()> {
        self.change(key, None)
    }

    fn change(&mut self, key: Key, put: Option<Put>) -> Result<()> {
        if self.changes.len() >= MOST_CHANGES {
            return Err(too_much());
        }
        self.changes.insert(key, put);
        Ok(())
    }

    /// Has links, size and bytes of an inode be counted in the end.
    pub(super) fn touch(&mut self, number: u64) {
        self.touched.insert(number);
    }

    /// `size` up to whole blocks.
    pub(super) fn align(&self, size: u64) -> u64 {
        let block = u64::from(self.filesystem.superblock.sectorsize);
        size.checked_next_multiple_of(block).unwrap_or(u64::MAX)
    }

    /// The transaction that the log belongs to.
    pub(super) fn generation(&self) -> u64 {
        let generation = self.filesystem.superblock.raw.generation.get();
        generation.saturating_add(1)
    }
}

fn too_much() -> Error {
    Error::TooMuch {
        what: "items that the log tree changes",
        most: MOST_CHANGES as u64,
    }
}
