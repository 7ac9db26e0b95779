//! A tree: its items in order of their keys, with what the log tree has in their place.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::block::{Block, Blocks, Pointer};
use super::format::{InodeItem, Key, damaged};
use crate::error::{Error, Result};

/// An item of a tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) key: Key,
    pub(super) data: &'a [u8],
    /// Where its data is stored, in bytes of the volume.
    pub(super) at: u64,
}

impl<'a> Item<'a> {
    /// The structure that its data begins with, and what follows.
    pub(super) fn read<T>(&self) -> Result<(&'a T, &'a [u8])>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned,
    {
        T::ref_from_prefix(self.data).map_err(|_| self.damaged("it is too short"))
    }

    /// What is wrong with it.
    pub(super) fn damaged(&self, problem: impl std::fmt::Display) -> Error {
        damaged(self.key, self.at, problem)
    }
}

/// An item that replaying the log puts into a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) data: Vec<u8>,
    pub(super) at: u64,
}

impl From<&Item<'_>> for Put {
    fn from(item: &Item<'_>) -> Self {
        Self {
            data: item.data.to_vec(),
            at: item.at,
        }
    }
}

impl From<Item<'_>> for Put {
    fn from(item: Item<'_>) -> Self {
        Self::from(&item)
    }
}

impl Put {
    pub(super) const fn item(&self, key: Key) -> Item<'_> {
        Item {
            key,
            data: self.data.as_slice(),
            at: self.at,
        }
    }

    /// The inode it holds.
    pub(super) fn inode(&self, key: Key) -> Result<InodeItem> {
        InodeItem::read_from_prefix(&self.data)
            .map(|(inode, _)| inode)
            .map_err(|_| self.item(key).damaged("it is too short"))
    }
}

/// Items that are put into a tree, or taken out of it where there is none.
pub(super) type Changes = BTreeMap<Key, Option<Put>>;

/// A tree by its root.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) root: Pointer,
    pub(super) changes: Option<Arc<Changes>>,
}

impl Tree {
    pub(super) const fn new(root: Pointer) -> Self {
        Self {
            root,
            changes: None,
        }
    }

    fn view<'a>(&'a self, blocks: &'a Blocks) -> View<'a> {
        View {
            blocks,
            root: &self.root,
            changes: self.changes.as_deref(),
        }
    }

    /// As [`View::scan`].
    pub(super) fn scan(
        &self,
        blocks: &Blocks,
        keys: RangeInclusive<Key>,
        each: &mut Each<'_>,
    ) -> Result<()> {
        self.view(blocks).scan(keys, each)
    }

    /// As [`View::get`].
    pub(super) fn get<T>(
        &self,
        blocks: &Blocks,
        key: Key,
        each: impl FnOnce(Item<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.view(blocks).get(key, each)
    }

    /// As [`View::last`].
    pub(super) fn last(&self, blocks: &Blocks, keys: RangeInclusive<Key>) -> Result<Option<Key>> {
        self.view(blocks).last(keys)
    }
}

/// What is called for items, until it breaks off.
type Each<'a> = dyn FnMut(Item<'_>) -> Result<ControlFlow<()>> + 'a;

/// A tree as it is stored, with changes to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) blocks: &'a Blocks,
    pub(super) root: &'a Pointer,
    pub(super) changes: Option<&'a Changes>,
}

impl View<'_> {
    /// Calls `each` for the items of these keys, in order.
    pub(super) fn scan(&self, keys: RangeInclusive<Key>, each: &mut Each<'_>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let put = self.changes.map(|changes| changes.range(keys.clone()));
        let mut put = put.into_iter().flatten().peekable();
        let stored = scan(self.blocks, self.root, &keys, &mut |item| {
            while let Some((key, value)) = put.next_if(|(key, _)| **key <= item.key) {
                if call(each, *key, value.as_ref())?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                if *key == item.key {
                    return Ok(ControlFlow::Continue(()));
                }
            }
            each(item)
        })?;
        if stored.is_break() {
            return Ok(());
        }
        for (key, value) in put {
            if call(each, *key, value.as_ref())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Calls `each` for the item of a key, and gives what it gives; none where there is no such item.
    pub(super) fn get<T>(
        &self,
        key: Key,
        each: impl FnOnce(Item<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let (mut each, mut found) = (Some(each), None);
        self.scan(key..=key, &mut |item| {
            if let Some(each) = each.take() {
                found = Some(each(item)?);
            }
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// The last key of `keys` that the tree has.
    pub(super) fn last(&self, keys: RangeInclusive<Key>) -> Result<Option<Key>> {
        if keys.is_empty() {
            return Ok(None);
        }
        let mut end = *keys.end();
        let stored = loop {
            match last(self.blocks, self.root, end)?.filter(|key| keys.contains(key)) {
                Some(key) if self.is_taken_out(key) => match key.before() {
                    Some(before) => end = before,
                    None => break None,
                },
                other => break other,
            }
        };
        let put = self.changes.map(|changes| changes.range(keys).rev());
        let mut put = put.into_iter().flatten();
        let put = put.find(|(_, value)| value.is_some());
        Ok(stored.max(put.map(|(key, _)| *key)))
    }

    fn is_taken_out(&self, key: Key) -> bool {
        let changes = self.changes;
        changes.is_some_and(|changes| matches!(changes.get(&key), Some(None)))
    }
}

fn call(each: &mut Each<'_>, key: Key, value: Option<&Put>) -> Result<ControlFlow<()>> {
    match value {
        Some(Put { data, at }) => each(Item { key, data, at: *at }),
        None => Ok(ControlFlow::Continue(())),
    }
}

/// What the pointer at `index` of a block leads to.
pub(super) fn child(block: &Block, of: &Pointer, index: usize) -> Option<Pointer> {
    let pointers = block.pointers();
    let pointer = pointers.get(index)?;
    let next = pointers.get(index.checked_add(1)?);
    Some(Pointer {
        logical: pointer.blockptr.get(),
        generation: pointer.generation.get(),
        level: of.level.checked_sub(1)?,
        first: Some(pointer.key.get()),
        end: next.map(|next| next.key.get()).or(of.end),
        at: block.at,
    })
}

/// As deep as the tree has levels, since each block is one below the other.
fn scan(
    blocks: &Blocks,
    pointer: &Pointer,
    keys: &RangeInclusive<Key>,
    each: &mut Each<'_>,
) -> Result<ControlFlow<()>> {
    let block = blocks.read(pointer)?;
    let items = block.items();
    let first = items.partition_point(|item| item.key.get() < *keys.start());
    for item in items.iter().skip(first) {
        let key = item.key.get();
        if key > *keys.end() {
            return Ok(ControlFlow::Continue(()));
        }
        let (data, at) = (block.data(item), block.place(item));
        if each(Item { key, data, at })?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    let pointers = block.pointers();
    let first = pointers
        .partition_point(|one| one.key.get() <= *keys.start())
        .saturating_sub(1);
    for (index, one) in pointers.iter().enumerate().skip(first) {
        if one.key.get() > *keys.end() {
            break;
        }
        if let Some(child) = child(&block, pointer, index)
            && scan(blocks, &child, keys, each)?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The last key up to `end`.
fn last(blocks: &Blocks, root: &Pointer, end: Key) -> Result<Option<Key>> {
    let mut pointer = *root;
    loop {
        let block = blocks.read(&pointer)?;
        if pointer.level == 0 {
            let items = block.items();
            let after = items.partition_point(|item| item.key.get() <= end);
            let item = after.checked_sub(1).and_then(|at| items.get(at));
            return Ok(item.map(|item| item.key.get()));
        }
        let pointers = block.pointers();
        let after = pointers.partition_point(|one| one.key.get() <= end);
        let Some(child) = after
            .checked_sub(1)
            .and_then(|index| child(&block, &pointer, index))
        else {
            return Ok(None);
        };
        pointer = child;
    }
}
