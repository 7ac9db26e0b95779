//! Entries of directories that a log has come and go. An entry is three items: `DIR_INDEX`, which lists it, `DIR_ITEM`,
//! by which it is found, and a back reference in the inode that it leads to.

use std::ops::ControlFlow;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U64};

use super::super::checksum::{link_hash, name_hash};
use super::super::directory::{each_name, each_stored};
use super::super::format::{DirItem, DirLogItem, DiskKey, InodeRef, Key, kind};
use super::super::inode::keys;
use super::super::tree::{Item, Put};
use super::items::Log;
use super::state::{State, node};
use crate::error::Result;

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    location: Key,
    kind: u8,
    name: Vec<u8>,
}

impl Entry {
    fn all(item: &Item<'_>) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        each_stored(item, &mut |stored| {
            found.push(Self {
                location: stored.location,
                kind: stored.raw_kind,
                name: stored.name.to_vec(),
            });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    fn bytes(&self, generation: u64, into: &mut Vec<u8>) -> Option<()> {
        let head = DirItem {
            location: DiskKey {
                objectid: U64::new(self.location.objectid),
                kind: self.location.kind,
                offset: U64::new(self.location.offset),
            },
            transid: U64::new(generation),
            data_len: U16::new(0),
            name_len: U16::new(u16::try_from(self.name.len()).ok()?),
            kind: self.kind,
        };
        into.extend_from_slice(head.as_bytes());
        into.extend_from_slice(&self.name);
        Some(())
    }
}

/// The entry at an index of a directory; none where there is none.
fn at_index(state: &State<'_>, directory: u64, index: u64) -> Result<Option<Entry>> {
    let key = Key::new(directory, kind::DIR_INDEX, index);
    let found = state.view().get(key, |item| Entry::all(&item))?;
    Ok(found.and_then(|entries| entries.into_iter().next()))
}

/// The entry of a name, and its index, which is that of the back reference; of a subvolume none. None where there is
/// no such entry.
fn by_name(state: &State<'_>, directory: u64, name: &[u8]) -> Result<Option<(Option<u64>, Entry)>> {
    let key = Key::new(directory, kind::DIR_ITEM, name_hash(name));
    let entries = state.view().get(key, |item| Entry::all(&item))?;
    let mut entries = entries.unwrap_or_default().into_iter();
    let Some(entry) = entries.find(|entry| entry.name == name) else {
        return Ok(None);
    };
    let mut index = None;
    if entry.location.kind == kind::INODE_ITEM {
        let (first, _) = keys(node(entry.location.objectid), kind::INODE_REF).into_inner();
        let (_, last) = keys(node(entry.location.objectid), kind::INODE_EXTREF).into_inner();
        for (key, put) in state.items(first..=last)? {
            each_name(&put.item(key), &mut |parent, at, stored| {
                if (parent, stored) == (directory, name) {
                    index = Some(at);
                }
            })?;
        }
    }
    Ok(Some((index, entry)))
}

/// Takes an entry out, with what leads back to it.
fn unlink(state: &mut State<'_>, directory: u64, index: u64, entry: &Entry) -> Result<()> {
    // What is a subvolume is no matter of the log.
    if entry.location.kind != kind::INODE_ITEM {
        return Ok(());
    }
    state.take_out(Key::new(directory, kind::DIR_INDEX, index))?;
    let key = Key::new(directory, kind::DIR_ITEM, name_hash(&entry.name));
    if let Some(put) = state.item(key)? {
        let mut left = Entry::all(&put.item(key))?;
        left.retain(|other| other.name != entry.name);
        put_entries(state, key, &left, put.at)?;
    }
    let number = entry.location.objectid;
    for key in [
        Key::new(number, kind::INODE_REF, directory),
        Key::new(
            number,
            kind::INODE_EXTREF,
            link_hash(directory, &entry.name),
        ),
    ] {
        remove_link(state, key, directory, &entry.name)?;
    }
    state.touch(directory);
    state.touch(number);
    Ok(())
}

fn put_entries(state: &mut State<'_>, key: Key, entries: &[Entry], at: u64) -> Result<()> {
    let mut data = Vec::new();
    let generation = state.generation();
    for entry in entries {
        let whole = entry.bytes(generation, &mut data);
        whole.ok_or_else(|| super::super::format::damaged(key, at, "a name is too long"))?;
    }
    if data.is_empty() {
        state.take_out(key)
    } else {
        state.put(key, Put { data, at })
    }
}

/// Takes one name out of a back reference.
fn remove_link(state: &mut State<'_>, key: Key, directory: u64, name: &[u8]) -> Result<()> {
    let Some(put) = state.item(key)? else {
        return Ok(());
    };
    let mut left = Vec::new();
    let mut rest = put.data.as_slice();
    each_name(&put.item(key), &mut |parent, _, stored| {
        let head = match key.kind {
            kind::INODE_REF => size_of::<InodeRef>(),
            _ => size_of::<super::super::format::InodeExtref>(),
        };
        if let Some((part, after)) = rest.split_at_checked(head + stored.len()) {
            if (parent, stored) != (directory, name) {
                left.extend_from_slice(part);
            }
            rest = after;
        }
    })?;
    if left.is_empty() {
        state.take_out(key)
    } else {
        state.put(key, Put { data: left, ..put })
    }
}

/// Puts an entry in; its back reference only where it has none yet.
fn link(
    state: &mut State<'_>,
    directory: u64,
    index: u64,
    entry: Entry,
    at: u64,
    leads_back: bool,
) -> Result<()> {
    let key = Key::new(directory, kind::DIR_INDEX, index);
    put_entries(state, key, std::slice::from_ref(&entry), at)?;
    let number = entry.location.objectid;
    if !leads_back {
        let key = Key::new(number, kind::INODE_REF, directory);
        let put = state.item(key)?;
        let mut data = put.map_or_else(Vec::new, |put| put.data);
        let head = InodeRef {
            index: U64::new(index),
            name_len: U16::new(u16::try_from(entry.name.len()).unwrap_or_default()),
        };
        data.extend_from_slice(head.as_bytes());
        data.extend_from_slice(&entry.name);
        state.put(key, Put { data, at })?;
    }
    let key = Key::new(directory, kind::DIR_ITEM, name_hash(&entry.name));
    let mut entries = match state.item(key)? {
        Some(put) => Entry::all(&put.item(key))?,
        None => Vec::new(),
    };
    entries.push(entry);
    put_entries(state, key, &entries, at)?;
    state.touch(directory);
    state.touch(number);
    Ok(())
}

/// Takes out the entries that a log says to be gone: those in a range of indices that was logged as a whole, without
/// being in the log.
pub(super) fn remove_what_went(state: &mut State<'_>, log: &Log, directory: u64) -> Result<()> {
    let ranges = log.range(keys(node(directory), kind::DIR_LOG_INDEX));
    for (key, put) in ranges {
        let (range, _) = put.item(*key).read::<DirLogItem>()?;
        let index = |at| Key::new(directory, kind::DIR_INDEX, at);
        for (key, put) in state.items(index(key.offset)..=index(range.end.get()))? {
            let logged = match log.get(&key) {
                Some(put) => Entry::all(&put.item(key))?,
                None => Vec::new(),
            };
            for entry in Entry::all(&put.item(key))? {
                if !logged.iter().any(|other| other.name == entry.name) {
                    unlink(state, directory, key.offset, &entry)?;
                }
            }
        }
    }
    Ok(())
}

/// Takes out all entries of a directory.
pub(super) fn remove_all(state: &mut State<'_>, directory: u64) -> Result<()> {
    for (key, put) in state.items(keys(node(directory), kind::DIR_INDEX))? {
        for entry in Entry::all(&put.item(key))? {
            unlink(state, directory, key.offset, &entry)?;
        }
    }
    Ok(())
}

/// An entry that was logged with its directory.
pub(super) fn replay_entry(state: &mut State<'_>, log: &Log, item: &Item<'_>) -> Result<()> {
    let (directory, index) = (item.key.objectid, item.key.offset);
    for entry in Entry::all(item)? {
        let number = entry.location.objectid;
        let both = state.inode(directory)?.is_some() && state.inode(number)?.is_some();
        if entry.location.kind != kind::INODE_ITEM || !both {
            continue;
        }
        let there = at_index(state, directory, index)?;
        if there.as_ref() == Some(&entry) {
            continue;
        }
        match by_name(state, directory, &entry.name)? {
            Some((Some(at), other)) if other.location != entry.location => {
                unlink(state, directory, at, &other)?;
            }
            Some(_) => continue,
            None => {}
        }
        if let Some(other) = at_index(state, directory, index)? {
            unlink(state, directory, index, &other)?;
        }
        // Where the inode was logged as well, its own back reference says the same.
        if !has_link(log, number, directory, &entry.name)? {
            link(state, directory, index, entry, item.at, false)?;
        }
    }
    Ok(())
}

/// Whether a log has a back reference.
fn has_link(log: &Log, number: u64, directory: u64, name: &[u8]) -> Result<bool> {
    let mut found = false;
    for key in [
        Key::new(number, kind::INODE_REF, directory),
        Key::new(number, kind::INODE_EXTREF, link_hash(directory, name)),
    ] {
        if let Some(put) = log.get(&key) {
            each_name(&put.item(key), &mut |parent, _, stored| {
                found |= (parent, stored) == (directory, name);
            })?;
        }
    }
    Ok(found)
}

/// The back references of an inode that were logged, with the entries that they lead to.
pub(super) fn replay_links(state: &mut State<'_>, item: &Item<'_>) -> Result<()> {
    let number = item.key.objectid;
    let Some(inode) = state.inode(number)? else {
        return Ok(());
    };
    let mut logged = Vec::new();
    each_name(item, &mut |parent, index, name| {
        logged.push((parent, index, name.to_vec()));
    })?;
    // Names that it lost in the same directory.
    let mut lost = Vec::new();
    if let Some(put) = state.item(item.key)? {
        each_name(&put.item(item.key), &mut |parent, index, name| {
            let is_kept = logged
                .iter()
                .any(|(other, _, stored)| (*other, &stored[..]) == (parent, name));
            if !is_kept {
                lost.push((parent, index, name.to_vec()));
            }
        })?;
    }
    for (parent, index, name) in lost {
        if let Some(entry) = at_index(state, parent, index)?
            && entry.name == name
            && entry.location.objectid == number
        {
            unlink(state, parent, index, &entry)?;
        }
    }
    for (parent, index, name) in logged {
        // The root directory of the subvolume leads back to itself.
        if parent == number || state.inode(parent)?.is_none() {
            continue;
        }
        let entry = Entry {
            location: Key::new(number, kind::INODE_ITEM, 0),
            kind: entry_kind(inode.mode.get()),
            name,
        };
        if at_index(state, parent, index)?.as_ref() == Some(&entry) {
            continue;
        }
        match by_name(state, parent, &entry.name)? {
            Some((Some(at), other)) => unlink(state, parent, at, &other)?,
            Some((None, _)) => continue,
            None => {}
        }
        if let Some(other) = at_index(state, parent, index)? {
            unlink(state, parent, index, &other)?;
        }
        link(state, parent, index, entry, item.at, true)?;
    }
    state.put(item.key, item.into())?;
    state.touch(number);
    Ok(())
}

/// What an entry says that it leads to (`BTRFS_FT_`), by `st_mode`.
const fn entry_kind(mode: u32) -> u8 {
    match mode >> 12 {
        0o10 => 1,
        0o04 => 2,
        0o02 => 3,
        0o06 => 4,
        0o01 => 5,
        0o14 => 6,
        0o12 => 7,
        _ => 0,
    }
}
