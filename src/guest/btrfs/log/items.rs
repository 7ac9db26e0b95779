//! The trees of the logs and their items.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::super::block::Pointer;
use super::super::format::{Key, kind, tree_id};
use super::super::subvolumes::pointer;
use super::super::tree::{Item, Put, Tree};
use super::super::volume::Btrfs;
use crate::error::{Error, Result};

/// Bytes of items in all logs together that are replayed.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// The items of one log.
pub(super) type Log = BTreeMap<Key, Put>;

/// The tree of the logs.
pub(crate) fn log_roots(filesystem: &Btrfs) -> Option<Tree> {
    let superblock = &filesystem.superblock;
    let logical = superblock.raw.log_root.get();
    (logical != 0).then(|| {
        Tree::new(Pointer {
            logical,
            // It belongs to the transaction that was not finished.
            generation: superblock.raw.generation.get().saturating_add(1),
            level: superblock.raw.log_root_level,
            first: None,
            end: None,
            at: superblock.at,
        })
    })
}

/// The trees of the logs, by subvolume.
pub(crate) fn logs(filesystem: &Btrfs) -> Result<Vec<(u64, Tree)>> {
    let mut found = Vec::new();
    if let Some(roots) = log_roots(filesystem) {
        let key = |offset| Key::new(tree_id::LOG, kind::ROOT_ITEM, offset);
        let keys = key(0)..=key(u64::MAX);
        roots.scan(&filesystem.blocks, keys, &mut |item| {
            found.push((item.key.offset, Tree::new(pointer(&item)?)));
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(found)
}

/// The items of a log. They take `room`, a number of bytes, which is less by that then.
pub(super) fn read(filesystem: &Btrfs, tree: &Tree, room: &mut usize) -> Result<Log> {
    let mut log = Log::new();
    let all = Key::FIRST..=Key::LAST;
    tree.scan(&filesystem.blocks, all, &mut |item| {
        let len = item.data.len() + size_of::<Key>();
        *room = room.checked_sub(len).ok_or(Error::TooMuch {
            what: "bytes of the log tree",
            most: MOST_BYTES as u64,
        })?;
        log.insert(item.key, item.into());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(log)
}

/// The items of one kind.
pub(super) fn of_kind(log: &Log, kind: u8) -> impl Iterator<Item = Item<'_>> {
    let of_kind = log.iter().filter(move |(key, _)| key.kind == kind);
    of_kind.map(|(key, put)| put.item(*key))
}
