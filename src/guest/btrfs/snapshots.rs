//! Snapshots that only one of two states has. A new one is compared with what it is a snapshot of, as that was before;
//! of one that is gone, only what nothing else had is told.

use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, Range};

use super::candidates::{self, Origin};
use super::format::{Key, RootItem, kind};
use super::inode::empty_directory;
use super::subvolumes::root_directory;
use super::tree;
use super::volume::Btrfs;
use crate::error::Result;
use crate::field;
use crate::filesystem::{
    Candidates, Entry, FileExtent, Filesystem, Link, Links, Node, NodeId, Snapshot, Snapshots,
    Summary, Use,
};
use crate::ranges::Ranges;

/// Snapshots of snapshots that are followed.
const MOST_STEPS: usize = 64;

/// How a subvolume is called wherever it is sent.
#[derive(Debug, Clone, Copy)]
struct Uuids {
    own: [u8; 16],
    /// Of what it is a snapshot of; zeros where it is none.
    parent: [u8; 16],
}

impl Btrfs {
    /// The subvolumes by their numbers.
    fn uuids(&self) -> Result<HashMap<u64, Uuids>> {
        let mut found = HashMap::new();
        for id in self.subvolumes()? {
            let keys = Key::new(id, kind::ROOT_ITEM, 0)..=Key::new(id, kind::ROOT_ITEM, u64::MAX);
            self.roots.scan(&self.blocks, keys, &mut |item| {
                found.insert(id, uuids(&item)?);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(found)
    }
}

/// Those that a `ROOT_ITEM` holds. Kernels before 3.6 know none, and leave what others wrote behind.
fn uuids(item: &tree::Item<'_>) -> Result<Uuids> {
    let (stored, rest) = item.read::<RootItem>()?;
    let is_valid = u64::from_le_bytes(field(rest, 0)) == stored.generation.get();
    Ok(match is_valid {
        true => Uuids {
            own: field(rest, 8),
            parent: field(rest, 24),
        },
        false => Uuids {
            own: [0; 16],
            parent: [0; 16],
        },
    })
}

/// The subvolumes of a state by what they are called.
fn by_uuid(all: &HashMap<u64, Uuids>) -> HashMap<[u8; 16], u64> {
    let named = all.iter().filter(|(_, uuids)| uuids.own != [0; 16]);
    named.map(|(id, uuids)| (uuids.own, *id)).collect()
}

/// The older state, with every new snapshot as what it is a snapshot of.
#[derive(Debug)]
struct Older<'a> {
    before: &'a Btrfs,
    new: HashMap<u64, Origin<'a>>,
    gone: HashMap<u64, u64>,
}

/// The snapshots that only one of the states has; none where there are none.
pub(super) fn between<'a>(before: &'a Btrfs, after: &'a Btrfs) -> Result<Option<Snapshots<'a>>> {
    let (was, is) = (before.uuids()?, after.uuids()?);
    let (was_named, is_named) = (by_uuid(&was), by_uuid(&is));
    let (mut new, mut gone, mut told) = (HashMap::new(), HashMap::new(), Vec::new());
    for (id, uuids) in is.iter().filter(|(id, _)| !was.contains_key(id)) {
        let older = older_origin(uuids, &was_named, &is_named, &is);
        let parent = is_named.get(&uuids.parent).copied();
        // One that is new as well was there first: whatever a guest wrote, there is no circle.
        let (filesystem, subvolume) = match (older, parent) {
            (Some(older), _) => (before, older),
            (None, Some(parent)) if parent < *id => (after, parent),
            _ => continue,
        };
        let origin = Origin {
            filesystem,
            subvolume,
        };
        new.insert(*id, origin);
        let of = was_named.get(&uuids.parent).or(parent.as_ref());
        told.push(Snapshot {
            root: root_directory(*id),
            of: root_directory(of.copied().unwrap_or(subvolume)),
            is_gone: false,
        });
    }
    for (id, uuids) in was.iter().filter(|(id, _)| !is.contains_key(id)) {
        if let Some(of) = was_named.get(&uuids.parent).filter(|of| *of < id) {
            gone.insert(*id, *of);
            told.push(Snapshot {
                root: root_directory(*id),
                of: root_directory(*of),
                is_gone: true,
            });
        }
    }
    let older = Older { before, new, gone };
    Ok((!told.is_empty()).then(|| Snapshots {
        before: Box::new(older),
        told,
    }))
}

/// What a new snapshot was in the older state: what it is a snapshot of, or what that is one of.
fn older_origin(
    uuids: &Uuids,
    was: &HashMap<[u8; 16], u64>,
    is: &HashMap<[u8; 16], u64>,
    new: &HashMap<u64, Uuids>,
) -> Option<u64> {
    let mut parent = uuids.parent;
    for _ in 0..MOST_STEPS {
        if let Some(found) = was.get(&parent) {
            return Some(*found);
        }
        parent = new.get(is.get(&parent)?)?.parent;
    }
    None
}

impl<'a> Older<'a> {
    /// Where a node of it is.
    fn place(&self, id: NodeId) -> (&'a Btrfs, NodeId) {
        match self.new.get(&id.tree) {
            Some(origin) => {
                let tree = origin.subvolume;
                (origin.filesystem, NodeId { tree, ..id })
            }
            None => (self.before, id),
        }
    }

    /// What a node that a directory leads to is called there. No snapshot holds the subvolumes of what it is one of.
    fn named(&self, directory: NodeId, id: NodeId) -> NodeId {
        match self.new.get(&directory.tree) {
            Some(origin) if id.tree == origin.subvolume => NodeId {
                tree: directory.tree,
                ..id
            },
            Some(_) => empty_directory(directory.tree, id.tree),
            None => id,
        }
    }

    /// The links to nodes of new snapshots, up to the roots of these.
    fn links_within(&self, mut next: Vec<NodeId>, found: &mut Links) -> Result<()> {
        while let Some(id) = next.pop() {
            if id == root_directory(id.tree) || found.contains_key(&id) {
                continue;
            }
            let (filesystem, there) = self.place(id);
            let links = match filesystem.links_of(there) {
                Err(crate::Error::NotFound(_)) => continue,
                links => links?,
            };
            let named = |link: Link| Link {
                parent: NodeId {
                    tree: id.tree,
                    ..link.parent
                },
                ..link
            };
            let links: Vec<Link> = links.into_iter().map(named).collect();
            next.extend(links.iter().map(|link| link.parent));
            found.insert(id, links);
        }
        Ok(())
    }
}

impl Filesystem for Older<'_> {
    fn summary(&self) -> &Summary {
        self.before.summary()
    }

    fn root(&self) -> NodeId {
        self.before.root()
    }

    fn default_root(&self) -> Result<NodeId> {
        self.before.default_root()
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        let (filesystem, there) = self.place(id);
        Ok(Node {
            id,
            ..filesystem.node(there)?
        })
    }

    fn entries(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let (filesystem, there) = self.place(directory);
        filesystem.entries(there, &mut |entry| {
            let id = self.named(directory, entry.id);
            each(Entry { id, ..entry })
        })
    }

    fn read(&self, file: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (filesystem, there) = self.place(file);
        filesystem.read(there, offset, buf)
    }

    fn link_target(&self, link: NodeId) -> Result<Vec<u8>> {
        let (filesystem, there) = self.place(link);
        filesystem.link_target(there)
    }

    fn extents(&self, id: NodeId) -> Result<Vec<FileExtent>> {
        let (filesystem, there) = self.place(id);
        filesystem.extents(there)
    }

    fn candidates(&self, changed: &Ranges) -> Result<Candidates> {
        self.before.candidates(changed)
    }

    fn candidates_between(
        &self,
        after: &dyn Filesystem,
        changed: &Ranges,
    ) -> Result<Option<Vec<NodeId>>> {
        let after = after.as_any().and_then(|any| any.downcast_ref::<Btrfs>());
        after
            .map(|after| candidates::between(self.before, after, changed, (&self.new, &self.gone)))
            .transpose()
    }

    fn links(&self, wanted: &HashSet<NodeId>) -> Result<Links> {
        let is_within = |id: &&NodeId| self.new.contains_key(&id.tree);
        let plain = wanted.iter().filter(|id| !is_within(id)).copied().collect();
        let mut found = self.before.links(&plain)?;
        let within = wanted.iter().filter(is_within).copied().collect();
        self.links_within(within, &mut found)?;
        Ok(found)
    }

    fn replayed(&self) -> Ranges {
        self.before.replayed()
    }

    fn usage(&self, each: &mut dyn FnMut(Range<u64>, Use) -> Result<()>) -> Result<()> {
        self.before.usage(each)
    }

    fn doubt(&self) -> Result<Option<String>> {
        self.before.doubt()
    }
}
