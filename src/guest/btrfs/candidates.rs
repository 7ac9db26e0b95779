//! Which inodes may differ. A block is never written in place, so a state alone can only say what it stored where the
//! volume differs; what it lost is seen by looking at the other one as well. All blocks above the leaves are looked at,
//! which are few.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::block::{Block, Pointer};
use super::format::{FIRST_FREE, ItemHeader, Key, LAST_FREE, kind};
use super::inode;
use super::tree::{Item, Tree, child};
use super::volume::Btrfs;
use crate::error::{Error, Result};
use crate::filesystem::NodeId;
use crate::ranges::Ranges;

/// Blocks looked at for one answer. A block that snapshots share is looked at for each of them.
const MOST_BLOCKS: usize = 1 << 22;
/// Inodes in one answer.
const MOST_NODES: usize = 1 << 24;

/// Inodes that were found.
#[derive(Debug, Default)]
struct Found(Vec<NodeId>);

impl Found {
    fn take(&mut self, tree: u64, number: u64) -> Result<()> {
        let id = NodeId { tree, number };
        if !(FIRST_FREE..=LAST_FREE).contains(&number) || self.0.last() == Some(&id) {
            return Ok(());
        }
        if self.0.len() >= MOST_NODES {
            return Err(Error::TooMuch {
                what: "inodes that may differ",
                most: MOST_NODES as u64,
            });
        }
        self.0.push(id);
        Ok(())
    }

    /// Those that the log changes.
    fn take_logged(&mut self, subvolume: u64, tree: &Tree) -> Result<()> {
        let changes = tree.changes.iter();
        for key in changes.flat_map(|changes| changes.keys()) {
            self.take(subvolume, key.objectid)?;
        }
        Ok(())
    }
}

fn too_many_blocks() -> Error {
    Error::TooMuch {
        what: "blocks of trees that may differ",
        most: MOST_BLOCKS as u64,
    }
}

/// Whether a copy of a block lies in `changed`, or no chunk has it.
fn lies_in(filesystem: &Btrfs, pointer: &Pointer, changed: &Ranges) -> bool {
    let len = filesystem.blocks.nodesize();
    let mut is_nowhere = true;
    let differs = filesystem.blocks.places(pointer).any(|at| {
        is_nowhere = false;
        changed.intersects(&(at..at.saturating_add(len)))
    });
    differs || is_nowhere
}

/// Calls `each` for what a block points at.
fn each_child(
    filesystem: &Btrfs,
    pointer: &Pointer,
    each: &mut dyn FnMut(Pointer) -> Result<()>,
) -> Result<()> {
    let block = filesystem.blocks.read(pointer)?;
    (0..block.pointers().len())
        .filter_map(|index| child(&block, pointer, index))
        .try_for_each(each)
}

/// The inodes with an item in a leaf that lies in `changed`.
pub(super) fn stored_in(filesystem: &Btrfs, changed: &Ranges) -> Result<Vec<NodeId>> {
    let mut found = Found::default();
    let mut unchanged = Unchanged::default();
    let mut blocks_left = MOST_BLOCKS;
    for subvolume in filesystem.subvolumes()? {
        let tree = filesystem.tree(subvolume)?;
        found.take_logged(subvolume, &tree)?;
        let mut pointers = vec![tree.root];
        while let Some(pointer) = pointers.pop() {
            if pointer.level == 0 && lies_in(filesystem, &pointer, changed) {
                for item in filesystem.blocks.read(&pointer)?.items() {
                    found.take(subvolume, item.key.objectid.get())?;
                }
            }
            if pointer.level == 0 || unchanged.holds(filesystem, &pointer, changed)? {
                continue;
            }
            blocks_left = blocks_left.checked_sub(1).ok_or_else(too_many_blocks)?;
            each_child(filesystem, &pointer, &mut |child| {
                pointers.push(child);
                Ok(())
            })?;
        }
    }
    Ok(found.0)
}

/// Blocks of level 1 below which no leaf lies in what differs, by name. That such a block itself does not differ says
/// nothing: two states that went on from a third store other leaves in the same places in the same transaction, and
/// then the blocks above them are the same byte by byte.
#[derive(Default)]
struct Unchanged(HashSet<(u64, u64)>);

impl Unchanged {
    /// Whether a block is one of them.
    fn holds(&mut self, filesystem: &Btrfs, pointer: &Pointer, changed: &Ranges) -> Result<bool> {
        if pointer.level != 1 || self.0.contains(&name(pointer)) {
            return Ok(pointer.level == 1);
        }
        let mut differs = false;
        each_child(filesystem, pointer, &mut |leaf| {
            differs |= lies_in(filesystem, &leaf, changed);
            Ok(())
        })?;
        if !differs {
            self.0.insert(name(pointer));
        }
        Ok(!differs)
    }
}

/// A subvolume of one of the states.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) filesystem: &'a Btrfs,
    pub(super) subvolume: u64,
}

/// Snapshots that only the newer state has, with what they are snapshots of; and those that only the older one has.
pub(super) type Snapshots<'a> = (&'a HashMap<u64, Origin<'a>>, &'a HashMap<u64, u64>);

/// The inodes of which two states do not have the same items.
pub(super) fn between(
    before: &Btrfs,
    after: &Btrfs,
    changed: &Ranges,
    (new, gone): Snapshots<'_>,
) -> Result<Vec<NodeId>> {
    let (mut found, mut unchanged) = (Found::default(), Unchanged::default());
    let (was, is): (BTreeSet<u64>, BTreeSet<u64>) = (
        before.subvolumes()?.into_iter().collect(),
        after.subvolumes()?.into_iter().collect(),
    );
    for subvolume in was.union(&is) {
        let subvolume = *subvolume;
        let states = [(before, &was), (after, &is)];
        let mut sides = Vec::new();
        let own = states
            .into_iter()
            .filter(|(_, all)| all.contains(&subvolume));
        let own = own.map(|(filesystem, _)| (filesystem, subvolume));
        let origin = new.get(&subvolume);
        let origin = origin.map(|origin| (origin.filesystem, origin.subvolume));
        let origin = origin.or_else(|| Some((before, *gone.get(&subvolume)?)));
        for (filesystem, own) in origin.into_iter().chain(own) {
            let tree = filesystem.tree(own)?;
            found.take_logged(subvolume, &tree)?;
            sides.push((filesystem, tree.root));
        }
        if origin.is_some() {
            // Its own directory is told, though it may be as that of its origin.
            found.take(subvolume, FIRST_FREE)?;
        }
        match sides[..] {
            [(before, was), (after, is)] => {
                let (was, is) = differing_leaves(
                    Side::new(before, was),
                    Side::new(after, is),
                    changed,
                    &mut unchanged,
                )?;
                compare(subvolume, was, is, &mut found)?;
            }
            // A subvolume that came or went has nothing to share.
            _ => {
                for (filesystem, root) in sides {
                    let all = Key::FIRST..=Key::LAST;
                    Tree::new(root).scan(&filesystem.blocks, all, &mut |item| {
                        found.take(subvolume, item.key.objectid)?;
                        Ok(ControlFlow::Continue(()))
                    })?;
                }
            }
        }
    }
    Ok(found.0)
}

/// Blocks of one level of a state's tree that the other state may not have, in order.
struct Side<'a> {
    filesystem: &'a Btrfs,
    level: u8,
    pointers: Vec<Pointer>,
}

impl<'a> Side<'a> {
    fn new(filesystem: &'a Btrfs, root: Pointer) -> Self {
        Self {
            filesystem,
            level: root.level,
            pointers: vec![root],
        }
    }

    /// What these blocks point at.
    fn go_down(&mut self) -> Result<()> {
        let mut below = Vec::new();
        for pointer in &self.pointers {
            each_child(self.filesystem, pointer, &mut |child| {
                if below.len() >= MOST_BLOCKS {
                    return Err(too_many_blocks());
                }
                below.push(child);
                Ok(())
            })?;
        }
        (self.pointers, self.level) = (below, self.level.saturating_sub(1));
        Ok(())
    }

    /// By what a block is known in both states.
    fn names(&self) -> HashSet<(u64, u64)> {
        self.pointers.iter().map(name).collect()
    }
}

fn name(pointer: &Pointer) -> (u64, u64) {
    (pointer.logical, pointer.generation)
}

/// The leaves that the two states do not share.
fn differing_leaves<'a>(
    mut before: Side<'a>,
    mut after: Side<'a>,
    changed: &Ranges,
    unchanged: &mut Unchanged,
) -> Result<(Side<'a>, Side<'a>)> {
    loop {
        if before.level == after.level && before.level <= 1 {
            let in_after = after.names();
            let mut shared: HashSet<(u64, u64)> = HashSet::new();
            for pointer in &before.pointers {
                let is_shared = in_after.contains(&name(pointer))
                    && is_in_one_place(&before, &after, pointer)?
                    && !lies_in(before.filesystem, pointer, changed)
                    && (before.level == 0
                        || unchanged.holds(before.filesystem, pointer, changed)?);
                if is_shared {
                    shared.insert(name(pointer));
                }
            }
            for side in [&mut before, &mut after] {
                side.pointers
                    .retain(|pointer| !shared.contains(&name(pointer)));
            }
            if before.level == 0 {
                return Ok((before, after));
            }
        }
        let level = before.level.max(after.level);
        for side in [&mut before, &mut after] {
            if side.level == level {
                side.go_down()?;
            }
        }
    }
}

/// Whether both states have a block, and what it points at, in the same place.
fn is_in_one_place(before: &Side<'_>, after: &Side<'_>, pointer: &Pointer) -> Result<bool> {
    let (was, is) = (&before.filesystem.blocks, &after.filesystem.blocks);
    let mut is_one = was.places(pointer).eq(is.places(pointer));
    if is_one && pointer.level > 0 {
        each_child(before.filesystem, pointer, &mut |child| {
            is_one &= was.places(&child).eq(is.places(&child));
            Ok(())
        })?;
    }
    Ok(is_one)
}

/// The items of leaves, one after another.
struct Items<'a> {
    side: Side<'a>,
    /// The leaf after the one that is read.
    next: usize,
    leaf: Option<Arc<Block>>,
    index: usize,
}

impl<'a> Items<'a> {
    const fn new(side: Side<'a>) -> Self {
        Self {
            side,
            next: 0,
            leaf: None,
            index: 0,
        }
    }

    /// The item that is next.
    fn peek(&mut self) -> Result<Option<Item<'_>>> {
        while self.header().is_none() {
            let Some(pointer) = self.side.pointers.get(self.next) else {
                return Ok(None);
            };
            self.leaf = Some(self.side.filesystem.blocks.read(pointer)?);
            (self.next, self.index) = (self.next + 1, 0);
        }
        Ok(self
            .leaf
            .as_ref()
            .zip(self.header())
            .map(|(leaf, item)| Item {
                key: item.key.get(),
                data: leaf.data(item),
                at: leaf.place(item),
            }))
    }

    fn header(&self) -> Option<&ItemHeader> {
        self.leaf.as_ref()?.items().get(self.index)
    }
}

/// Takes the inodes whose items differ.
fn compare(subvolume: u64, before: Side<'_>, after: Side<'_>, found: &mut Found) -> Result<()> {
    let (mut before, mut after) = (Items::new(before), Items::new(after));
    loop {
        let (was, is) = (before.peek()?, after.peek()?);
        let (key, both) = match (&was, &is) {
            (None, None) => return Ok(()),
            (Some(one), None) | (None, Some(one)) => (one.key, false),
            (Some(was), Some(is)) => (was.key.min(is.key), was.key == is.key),
        };
        let is_same = both
            && was
                .as_ref()
                .zip(is.as_ref())
                .is_some_and(|(was, is)| same(was, is));
        if !is_same {
            found.take(subvolume, key.objectid)?;
        }
        let steps = [was, is].map(|item| item.is_some_and(|item| item.key == key));
        for (items, step) in [&mut before, &mut after].into_iter().zip(steps) {
            items.index += usize::from(step);
        }
    }
}

/// Whether two items of one key say the same, apart from what changes by reading a file.
fn same(was: &Item<'_>, is: &Item<'_>) -> bool {
    if was.data == is.data {
        return true;
    }
    if was.key.kind != kind::INODE_ITEM {
        return false;
    }
    match (inode::counted(was), inode::counted(is)) {
        (Ok(was), Ok(is)) => was == is,
        _ => false,
    }
}
