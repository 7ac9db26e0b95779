//! Directories: their entries in order, one entry by its name, and the names that an inode has.

use std::ops::ControlFlow;

use super::checksum::name_hash;
use super::format::{DirItem, InodeExtref, InodeRef, Key, kind};
use super::inode::{empty_directory, is_empty_directory, keys, name as node_name};
use super::subvolumes::{is_subvolume, root_directory};
use super::tree::Item;
use super::volume::Btrfs;
use crate::error::{Error, Result};
use crate::filesystem::{Entry, Link, NodeId, NodeKind};

/// An entry as it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) location: Key,
    pub(super) kind: Option<NodeKind>,
    /// The kind as a number.
    pub(super) raw_kind: u8,
    pub(super) name: &'a [u8],
}

impl Btrfs {
    /// Fails where a node is no directory.
    fn directory(&self, id: NodeId) -> Result<()> {
        match self.inode(id)?.is_directory() {
            true => Ok(()),
            false => Err(Error::NotADirectory(node_name(id))),
        }
    }

    /// As [`crate::Filesystem::entries`].
    pub(super) fn each_entry(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.directory(directory)?;
        if is_empty_directory(directory) {
            return Ok(());
        }
        let tree = self.tree(directory.tree)?;
        let keys = keys(directory, kind::DIR_INDEX);
        tree.scan(&self.blocks, keys, &mut |item| {
            let mut flow = ControlFlow::Continue(());
            each_stored(&item, &mut |stored| {
                if let Some(id) = self.leads_to(&item, directory, &stored)? {
                    flow = each(Entry {
                        name: stored.name,
                        id,
                        kind: stored.kind,
                    });
                }
                Ok(flow)
            })?;
            Ok(flow)
        })
    }

    /// As [`crate::Filesystem::lookup`], by the hash of the name.
    pub(super) fn find_entry(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        self.directory(directory)?;
        if is_empty_directory(directory) {
            return Ok(None);
        }
        let key = Key::new(directory.number, kind::DIR_ITEM, name_hash(name));
        let tree = self.tree(directory.tree)?;
        let found = tree.get(&self.blocks, key, |item| {
            let mut found = None;
            each_stored(&item, &mut |stored| {
                if stored.name == name {
                    found = self.leads_to(&item, directory, &stored)?;
                    return Ok(ControlFlow::Break(()));
                }
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(found)
        })?;
        Ok(found.flatten())
    }

    /// The node that an entry leads to.
    fn leads_to(
        &self,
        item: &Item<'_>,
        directory: NodeId,
        entry: &Stored<'_>,
    ) -> Result<Option<NodeId>> {
        let number = entry.location.objectid;
        match entry.location.kind {
            kind::INODE_ITEM => Ok(Some(NodeId {
                tree: directory.tree,
                number,
            })),
            kind::ROOT_ITEM if is_subvolume(number) => {
                let is_here = self.is_linked(directory, entry.name, number)?;
                Ok(Some(match is_here && self.find_root(number)?.is_some() {
                    true => root_directory(number),
                    false => empty_directory(directory.tree, number),
                }))
            }
            other => Err(item.damaged(format!("location.type is {other}"))),
        }
    }

    /// The entries that lead to a node, by its back references.
    pub(super) fn links_of(&self, id: NodeId) -> Result<Vec<Link>> {
        let mut found = Vec::new();
        if is_empty_directory(id) {
            return Ok(found);
        }
        if id == root_directory(id.tree) {
            return Ok(self.subvolume_link(id.tree)?.into_iter().collect());
        }
        let (first, _) = keys(id, kind::INODE_REF).into_inner();
        let (_, last) = keys(id, kind::INODE_EXTREF).into_inner();
        self.tree(id.tree)?
            .scan(&self.blocks, first..=last, &mut |item| {
                each_name(&item, &mut |parent, _, name| {
                    found.push(Link {
                        parent: NodeId {
                            tree: id.tree,
                            number: parent,
                        },
                        name: name.to_vec(),
                    });
                })?;
                Ok(ControlFlow::Continue(()))
            })?;
        Ok(found)
    }
}

/// Calls `each` for the entries of a `DIR_ITEM` or `DIR_INDEX`: more than one where names have the same hash.
pub(super) fn each_stored<'a>(
    item: &Item<'a>,
    each: &mut dyn FnMut(Stored<'a>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut rest = *item;
    while !rest.data.is_empty() {
        let (entry, after) = rest.read::<DirItem>()?;
        let (len, data) = (
            usize::from(entry.name_len.get()),
            usize::from(entry.data_len.get()),
        );
        let Some((name, after)) = after.split_at_checked(len) else {
            return Err(item.damaged("a name ends outside"));
        };
        let Some((_, after)) = after.split_at_checked(data) else {
            return Err(item.damaged("the data of a name ends outside"));
        };
        if is_no_name(name) {
            return Err(item.damaged("no file can have its name"));
        }
        let location = entry.location.get();
        let kind = node_kind(entry.kind);
        let stored = Stored {
            location,
            kind,
            raw_kind: entry.kind,
            name,
        };
        if each(stored)?.is_break() {
            return Ok(());
        }
        rest.data = after;
    }
    Ok(())
}

/// What a path would take for something else.
fn is_no_name(name: &[u8]) -> bool {
    matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// Calls `each` for the parent, the index and the name in each part of an `INODE_REF` or `INODE_EXTREF`.
pub(super) fn each_name<'a>(
    item: &Item<'a>,
    each: &mut dyn FnMut(u64, u64, &'a [u8]),
) -> Result<()> {
    let mut rest = *item;
    while !rest.data.is_empty() {
        let (parent, index, len, after) = if item.key.kind == kind::INODE_REF {
            let (stored, after) = rest.read::<InodeRef>()?;
            (
                item.key.offset,
                stored.index.get(),
                stored.name_len.get(),
                after,
            )
        } else {
            let (stored, after) = rest.read::<InodeExtref>()?;
            let parent = stored.parent_objectid.get();
            (parent, stored.index.get(), stored.name_len.get(), after)
        };
        let Some((name, after)) = after.split_at_checked(len.into()) else {
            return Err(item.damaged("a name ends outside"));
        };
        if is_no_name(name) && name != b".." {
            return Err(item.damaged("no file can have its name"));
        }
        each(parent, index, name);
        rest.data = after;
    }
    Ok(())
}

/// What an entry says that it leads to (`BTRFS_FT_`). The highest bit says that it is encrypted.
const fn node_kind(kind: u8) -> Option<NodeKind> {
    match kind & 0x7f {
        1 => Some(NodeKind::File),
        2 => Some(NodeKind::Directory),
        3..=6 => Some(NodeKind::Special),
        7 => Some(NodeKind::Symlink),
        _ => None,
    }
}
