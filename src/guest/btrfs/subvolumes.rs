//! The subvolumes, snapshots among them: where their trees begin, what they are called and which is mounted by default.

use std::ops::ControlFlow;

use super::block::Pointer;
use super::checksum::name_hash;
use super::format::{
    DirItem, FIRST_FREE, Key, LAST_FREE, MAX_LEVEL, RootItem, RootRef, kind, tree_id,
};
use super::tree::{Item, Tree};
use super::volume::Btrfs;
use crate::error::{Error, Printable, Result};
use crate::filesystem::{Link, NodeId};

/// Subvolumes taken at the most.
const MOST: usize = 1 << 20;

/// Whether a number may be that of a subvolume.
pub(super) fn is_subvolume(id: u64) -> bool {
    id == tree_id::FS || (FIRST_FREE..=LAST_FREE).contains(&id)
}

/// The root that a `ROOT_ITEM` holds; none of a subvolume that is deleted.
pub(super) fn root(item: &Item<'_>) -> Result<Option<Pointer>> {
    let (stored, _) = item.read::<RootItem>()?;
    if stored.refs.get() == 0 {
        return Ok(None);
    }
    pointer(item).map(Some)
}

/// The root that a `ROOT_ITEM` holds, whether it is in use or not.
pub(super) fn pointer(item: &Item<'_>) -> Result<Pointer> {
    let (root, _) = item.read::<RootItem>()?;
    if root.level >= MAX_LEVEL {
        return Err(item.damaged(format!("level is {}", root.level)));
    }
    Ok(Pointer {
        logical: root.bytenr.get(),
        generation: root.generation.get(),
        level: root.level,
        first: None,
        end: None,
        at: item.at,
    })
}

/// The root directory of a subvolume.
pub(super) const fn root_directory(subvolume: u64) -> NodeId {
    NodeId {
        tree: subvolume,
        number: FIRST_FREE,
    }
}

impl Btrfs {
    /// The root of a tree that the root tree names; none where it does not, or where it is deleted.
    pub(super) fn find_root(&self, id: u64) -> Result<Option<Pointer>> {
        let keys = Key::new(id, kind::ROOT_ITEM, 0)..=Key::new(id, kind::ROOT_ITEM, u64::MAX);
        // The offset is the transaction that made a snapshot.
        match self.roots.last(&self.blocks, keys)? {
            Some(key) => Ok(self
                .roots
                .get(&self.blocks, key, |item| root(&item))?
                .flatten()),
            None => Ok(None),
        }
    }

    /// The tree of a subvolume.
    pub(super) fn tree(&self, subvolume: u64) -> Result<Tree> {
        if let Some(tree) = self.trees.get(subvolume) {
            return Ok(tree);
        }
        let root = match is_subvolume(subvolume) {
            true => self.find_root(subvolume)?,
            false => None,
        };
        let Some(root) = root else {
            let name = format!("subvolume {subvolume}");
            return Err(Error::NotFound(Printable(name.into_bytes())));
        };
        let tree = Tree {
            changes: self.changes_of(subvolume),
            ..Tree::new(root)
        };
        self.trees.put(subvolume, tree.clone(), 1);
        Ok(tree)
    }

    /// The numbers of all subvolumes and snapshots that are not deleted.
    pub(super) fn subvolumes(&self) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        let mut take = |item: Item<'_>| -> Result<ControlFlow<()>> {
            if item.key.kind == kind::ROOT_ITEM && root(&item)?.is_some() {
                if found.len() >= MOST {
                    return Err(Error::TooMuch {
                        what: "subvolumes",
                        most: MOST as u64,
                    });
                }
                found.push(item.key.objectid);
            }
            Ok(ControlFlow::Continue(()))
        };
        let item = |id: u64, offset| Key::new(id, kind::ROOT_ITEM, offset);
        let top = item(tree_id::FS, 0)..=item(tree_id::FS, u64::MAX);
        self.roots.scan(&self.blocks, top, &mut take)?;
        let others = item(FIRST_FREE, 0)..=item(LAST_FREE, u64::MAX);
        self.roots.scan(&self.blocks, others, &mut take)?;
        found.dedup();
        Ok(found)
    }

    /// Where a subvolume is met as a directory; none of the top-level one, and of one that is not linked.
    pub(super) fn subvolume_link(&self, subvolume: u64) -> Result<Option<Link>> {
        let key = |parent| Key::new(subvolume, kind::ROOT_BACKREF, parent);
        let mut found = None;
        self.roots
            .scan(&self.blocks, key(0)..=key(u64::MAX), &mut |item| {
                let (dirid, name) = root_ref(&item)?;
                found = Some(Link {
                    parent: NodeId {
                        tree: item.key.offset,
                        number: dirid,
                    },
                    name: name.to_vec(),
                });
                Ok(ControlFlow::Break(()))
            })?;
        Ok(found)
    }

    /// Whether a directory's entry for a subvolume is where that is. In a snapshot of the subvolume around it, the
    /// entry is there as well, and leads to an empty directory.
    pub(super) fn is_linked(&self, directory: NodeId, name: &[u8], subvolume: u64) -> Result<bool> {
        let key = Key::new(directory.tree, kind::ROOT_REF, subvolume);
        let found = self.roots.get(&self.blocks, key, |item| {
            let (dirid, stored) = root_ref(&item)?;
            Ok(dirid == directory.number && stored == name)
        })?;
        Ok(found.unwrap_or(false))
    }

    /// The subvolume that is mounted where no other is asked for: the top-level one unless another was set.
    pub(super) fn default_subvolume(&self) -> Result<u64> {
        let directory = self.superblock.raw.root_dir_objectid.get();
        let key = Key::new(directory, kind::DIR_ITEM, name_hash(b"default"));
        let found = self.roots.get(&self.blocks, key, |item| {
            let (entry, _) = item.read::<DirItem>()?;
            Ok(entry.location.get())
        })?;
        Ok(found
            .filter(|key| key.kind == kind::ROOT_ITEM && is_subvolume(key.objectid))
            .map_or(tree_id::FS, |key| key.objectid))
    }
}

/// The directory and the name of a `ROOT_REF` or `ROOT_BACKREF`.
fn root_ref<'a>(item: &Item<'a>) -> Result<(u64, &'a [u8])> {
    let (stored, rest) = item.read::<RootRef>()?;
    let name = rest.get(..usize::from(stored.name_len.get()));
    let name = name.ok_or_else(|| item.damaged("its name ends outside"))?;
    Ok((stored.dirid.get(), name))
}
