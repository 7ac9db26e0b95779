//! In which order the items of a log are replayed.

use std::collections::HashMap;
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::super::format::{InodeItem, kind};
use super::super::inode::{is_directory, is_file, keys};
use super::super::subvolumes::is_subvolume;
use super::super::tree::{Changes, Item, Put};
use super::super::volume::Btrfs;
use super::items::{Log, MOST_BYTES, logs, of_kind, read};
use super::settle::settle;
use super::state::{State, node};
use super::{extents, names};
use crate::error::Result;

/// What the logs change, by subvolume.
pub(crate) fn replay(filesystem: &Btrfs) -> Result<HashMap<u64, Arc<Changes>>> {
    let mut changes = HashMap::new();
    let mut room = MOST_BYTES;
    for (subvolume, tree) in logs(filesystem)? {
        let log = read(filesystem, &tree, &mut room)?;
        let root = match is_subvolume(subvolume) {
            true => filesystem.find_root(subvolume)?,
            false => None,
        };
        // One that was deleted since needs no log.
        if let Some(root) = root {
            let mut state = State::new(filesystem, root);
            replay_one(&mut state, &log)?;
            changes.insert(subvolume, Arc::new(state.changes));
        }
    }
    Ok(changes)
}

/// Inodes first, then what their directories lost and got, then all else.
fn replay_one(state: &mut State<'_>, log: &Log) -> Result<()> {
    let mut ignored = Vec::new();
    for item in of_kind(log, kind::INODE_ITEM) {
        let (inode, _) = item.read::<InodeItem>()?;
        // A file that has no name yet: it goes away when the filesystem is mounted.
        if inode.nlink.get() == 0 {
            ignored.push(item.key.objectid);
            continue;
        }
        replay_inode(state, log, &item, inode)?;
    }
    let log: Log = log
        .iter()
        .filter(|(key, _)| ignored.binary_search(&key.objectid).is_err())
        .map(|(key, put)| (*key, put.clone()))
        .collect();
    for item in of_kind(&log, kind::DIR_INDEX) {
        names::replay_entry(state, &log, &item)?;
    }
    for kind in [kind::INODE_REF, kind::INODE_EXTREF] {
        for item in of_kind(&log, kind) {
            names::replay_links(state, &item)?;
        }
    }
    for item in of_kind(&log, kind::XATTR_ITEM) {
        state.put(item.key, item.into())?;
    }
    for item in of_kind(&log, kind::EXTENT_DATA) {
        extents::replay(state, &item)?;
    }
    settle(state)
}

/// An inode itself, and what of it is gone.
fn replay_inode(
    state: &mut State<'_>,
    log: &Log,
    item: &Item<'_>,
    logged: &InodeItem,
) -> Result<()> {
    let number = item.key.objectid;
    for (key, _) in state.items(keys(node(number), kind::XATTR_ITEM))? {
        if !log.contains_key(&key) {
            state.take_out(key)?;
        }
    }
    let before = state.inode(number)?;
    if is_directory(logged) {
        names::remove_what_went(state, log, number)?;
    }
    let mut inode = *logged;
    if let Some(before) = before {
        // Only that it is there was logged, not what it is like; its size where it has one.
        if logged.generation.get() == 0 {
            inode = before;
            if is_file(logged) && is_file(&before) && logged.size.get() != 0 {
                inode.size = logged.size;
            }
        }
    }
    state.put(
        item.key,
        Put {
            data: inode.as_bytes().to_vec(),
            at: item.at,
        },
    )?;
    state.touch(number);
    if is_file(&inode) {
        let end = state.align(inode.size.get());
        extents::drop(state, number, end..u64::MAX)?;
    }
    Ok(())
}
