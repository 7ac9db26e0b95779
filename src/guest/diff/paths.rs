//! Paths from the root, from the links to nodes.

use std::collections::{HashMap, HashSet};

use crate::filesystem::{Filesystem, Link, Links, NodeId};

/// Directories above a file at the most; Linux allows no path that has more.
const MOST_DEPTH: usize = 2048;

/// The paths of nodes of one state, put together from links.
#[derive(Debug)]
pub(super) struct Paths {
    root: NodeId,
    links: Links,
    directories: HashMap<NodeId, Option<Vec<u8>>>,
}

impl Paths {
    pub(super) fn new(filesystem: &dyn Filesystem, links: Links) -> Self {
        let root = filesystem.root();
        Self {
            root,
            links,
            directories: HashMap::from([(root, Some(Vec::new()))]),
        }
    }

    /// Has a directory that is linked nowhere be at a path.
    pub(super) fn put(&mut self, directory: NodeId, path: Vec<u8>) {
        self.directories.insert(directory, Some(path));
    }

    /// All links to a node that are known.
    pub(super) fn links(&self, id: NodeId) -> &[Link] {
        self.links.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The path of an entry; none where its directory is not linked.
    pub(super) fn of(&mut self, link: &Link) -> Option<Vec<u8>> {
        let folder = self.directory(link.parent)?;
        Some(joined(&folder, &link.name))
    }

    /// The path of a directory, which has one link.
    pub(super) fn directory(&mut self, id: NodeId) -> Option<Vec<u8>> {
        let mut way: Vec<(NodeId, Vec<u8>)> = Vec::new();
        let mut met = HashSet::new();
        let mut at = id;
        let mut path = loop {
            if let Some(known) = self.directories.get(&at) {
                break known.clone();
            }
            let link = self.links.get(&at).and_then(|links| links.first());
            match link {
                Some(link) if way.len() < MOST_DEPTH && met.insert(at) && at != self.root => {
                    way.push((at, link.name.clone()));
                    at = link.parent;
                }
                _ => break None,
            }
        };
        for (id, name) in way.into_iter().rev() {
            path = path.map(|path| joined(&path, &name));
            self.directories.insert(id, path.clone());
        }
        path
    }
}

/// The path of a name in a folder.
pub(super) fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        name.to_vec()
    } else {
        [folder, b"/", name].concat()
    }
}
