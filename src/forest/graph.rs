//! The graph itself: nodes joined by their backing links, and the questions it answers. How it takes
//! in a found file is in `grow`. No I/O happens here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::host::FileId;

use super::grow::Growth;
use super::{Flags, Node, NodeId};

/// All images known, and who is built on whom.
///
/// Whatever order the files came in, the same files make the same forest, but for the numbers of
/// the nodes.
#[derive(Debug, Clone, Default)]
pub struct Forest {
    /// Every node there ever was; the ones that went are in [`Forest::gone`].
    pub(super) nodes: Vec<Node>,
    /// Per node: it was only named by images that have since turned out to name another.
    pub(super) gone: Vec<bool>,
    /// Per node: this or an image above it is held the way QEMU does.
    pub(super) in_use: Vec<bool>,
    /// Nodes without a parent, ordered by path.
    pub(super) tops: Vec<NodeId>,
    /// The members of each loop.
    pub(super) loops: Vec<Vec<NodeId>>,
    pub(super) by_file: HashMap<FileId, NodeId>,
    pub(super) by_path: HashMap<PathBuf, NodeId>,
    pub(super) generation: u64,
    /// What only growing needs.
    pub(super) growth: Growth,
}

impl Forest {
    /// An empty forest.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the changes; equal numbers mean an equal forest. For caches.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many numbers have been given to nodes: every [`NodeId`] of this forest is below it, also
    /// those of nodes that went.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.gone.iter().filter(|gone| !**gone).count()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes().next().is_none()
    }

    /// The node of that number. Numbers come from this forest, so it is there; a foreign one gives none.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&Node> {
        let index = index(id);
        self.nodes
            .get(index)
            .filter(|_| self.gone.get(index) == Some(&false))
    }

    /// All nodes, in the order they came.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes
            .iter()
            .zip(&self.gone)
            .filter(|(_, gone)| !**gone)
            .map(|(node, _)| node)
    }

    /// The node that has this name (as scanned, or as named by an image built on it).
    #[must_use]
    pub fn by_path(&self, path: &Path) -> Option<&Node> {
        self.by_path.get(path).and_then(|id| self.get(*id))
    }

    /// The node of this file.
    #[must_use]
    pub fn by_file(&self, id: FileId) -> Option<&Node> {
        self.by_file.get(&id).and_then(|id| self.get(*id))
    }

    /// The nodes that are built on nothing known, ordered by path. A loop has one root: its first
    /// member in order, so that everything is reached from the roots.
    #[must_use]
    pub fn roots(&self) -> Vec<NodeId> {
        let mut roots = self.tops.clone();
        for members in &self.loops {
            if let Some(first) = members.iter().copied().min_by(|a, b| self.order(*a, *b)) {
                let at = roots.partition_point(|root| self.order(*root, first).is_lt());
                roots.insert(at, first);
            }
        }
        roots
    }

    /// From the node itself down to its root; a loop is cut where it closes.
    #[must_use]
    pub fn chain(&self, id: NodeId) -> Vec<NodeId> {
        let mut chain = Vec::new();
        let mut loop_entry = None;
        let mut next = Some(id);
        while let Some(node) = next.and_then(|id| self.get(id)) {
            if node.in_loop {
                if loop_entry == Some(node.id) {
                    break;
                }
                loop_entry = loop_entry.or(Some(node.id));
            }
            chain.push(node.id);
            next = node.parent;
        }
        chain
    }

    /// Everything built on the node, directly or not, parents before children; without the node.
    #[must_use]
    pub fn descendants(&self, id: NodeId) -> Vec<NodeId> {
        let mut found = Vec::new();
        let mut open = vec![id];
        while let Some(at) = open.pop() {
            if at != id {
                found.push(at);
            }
            if let Some(node) = self.get(at) {
                // Of a loop, only the node asked about can be met twice.
                open.extend(node.children.iter().rev().filter(|child| **child != id));
            }
        }
        found
    }

    /// What a row says at a glance, with what follows from other nodes: an image is in use when any
    /// image above it is.
    #[must_use]
    pub fn flags(&self, id: NodeId) -> Flags {
        let mut flags = self.get(id).map_or(Flags::empty(), Node::own_flags);
        if self.in_use.get(index(id)) == Some(&true) {
            flags.insert(Flags::IN_USE);
        }
        flags
    }

    /// The order of siblings: by path.
    pub(super) fn order(&self, a: NodeId, b: NodeId) -> std::cmp::Ordering {
        let path = |id| self.nodes.get(index(id)).map(|node| node.path.as_path());
        path(a).cmp(&path(b)).then(a.cmp(&b))
    }
}

/// Where a node stands in the lists by number.
pub(super) fn index(id: NodeId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}
