//! The graph itself: nodes joined by their backing links, and the questions it answers. How it takes
//! in a found file is in `insert`. No I/O happens here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thin_vec::ThinVec;

use crate::host::FileId;
use crate::machines::Machines;

use super::broken_below::Inherited;
use super::edges::Edges;
use super::growth::Growth;
use super::node::index;
use super::table::Table;
use super::{Backing, Flags, Location, Node, NodeId, ScannedFile};

/// By image, the layer that is written: itself, or one it is built on.
pub(super) type WrittenUnder = HashMap<NodeId, NodeId>;

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
    /// Images that somebody writes, or writes under.
    pub(super) written: WrittenUnder,
    /// Nodes without a parent, ordered by path.
    pub(super) tops: ThinVec<NodeId>,
    /// The members of each loop.
    pub(super) loops: Vec<Vec<NodeId>>,
    /// By the file that a node's `stat` tells.
    pub(super) by_file: Table<NodeId>,
    /// By the file, where a node's `stat` is not known yet: it was only named, and the scan will meet it.
    pub(super) awaited: HashMap<FileId, NodeId>,
    /// By the name that a node shows.
    pub(super) by_path: Table<NodeId>,
    /// By every other name, met by the scan or recorded by an image built on it.
    pub(super) by_other_name: HashMap<PathBuf, NodeId>,
    /// Who reads what besides the links to parents.
    pub(super) edges: Edges,
    /// Who cannot be opened for what is below.
    pub(super) inherited: Inherited,
    /// The machines that are noted.
    pub(super) machines: Arc<Machines>,
    /// Those of other hosts.
    pub(super) far_machines: Arc<Machines>,
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
        self.named(path).and_then(|id| self.get(id))
    }

    /// The node of this file.
    #[must_use]
    pub fn by_file(&self, id: FileId) -> Option<&Node> {
        self.of_file(id).and_then(|id| self.get(id))
    }

    /// Every name that is known of a node: those met by the scan, and those recorded by images built on it,
    /// which may have gone by now.
    #[must_use]
    pub fn names(&self, node: &Node) -> Vec<PathBuf> {
        let own = std::iter::once(&node.path).chain(&node.other_names);
        let recorded = self.by_other_name.iter();
        let recorded = recorded.filter(|(_, id)| **id == node.id);
        let mut names: Vec<PathBuf> = own.chain(recorded.map(|(path, _)| path)).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The path that the backing name of a node leads to; none if it has none, or one that does not lead to
    /// a local file.
    #[must_use]
    pub fn leads_to<'a>(&'a self, node: &'a Node) -> Option<&'a Path> {
        let link = node.backing.as_deref()?;
        let shown = || {
            let end = node.parent.filter(|_| link.leads_to_a_path());
            Some(self.path_of(end?))
        };
        link.path.as_deref().or_else(shown)
    }

    /// The backing link of a node, with its path where it keeps none of its own.
    pub(super) fn whole_link(&self, node: &Node) -> Option<Box<Backing>> {
        let mut link = node.backing.clone()?;
        if link.path.is_none() {
            link.path = self.leads_to(node).map(Box::from);
        }
        Some(link)
    }

    /// What a scan found when it met the file of a node, but for who has it open.
    #[must_use]
    pub fn found(&self, node: &Node) -> ScannedFile {
        ScannedFile {
            path: node.path.clone(),
            symlink: node.symlink,
            stat: node.stat.clone(),
            content: node.content.clone(),
            backing: self.whole_link(node),
            also: self.also_reads(node.id).to_vec(),
            holders: Vec::new(),
            annotation: node.annotation.clone(),
            sharing: node.sharing.clone(),
        }
    }

    /// The nodes that are built on nothing known, ordered by path. A loop has one root: its first
    /// member in order, so that everything is reached from the roots.
    #[must_use]
    pub fn roots(&self) -> Vec<NodeId> {
        let mut roots = self.tops.to_vec();
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
        if self.broken_below(id).is_some() {
            flags.insert(Flags::BROKEN_BELOW);
        }
        if flags.intersects(Flags::ACTIVE | Flags::FROZEN)
            && let Some(node) = self.get(id)
        {
            // What is in the trash is not there for anybody who looks at the picture, and what is read by
            // other ways than a child's is frozen all the same.
            let is_leaf = self.is_leaf(node);
            flags.set(Flags::FROZEN, !is_leaf);
            flags.set(
                Flags::ACTIVE,
                is_leaf
                    && node.location != Location::InTrash
                    && (flags.contains(Flags::ACTIVE) || node.stat.is_some()),
            );
        }
        flags.set(Flags::WRITTEN_UNDER, self.written.contains_key(&id));
        flags
    }

    /// The images built on a node that are not in the trash, ordered by path.
    pub fn live_children<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Node> {
        let children = node.children.iter().filter_map(|id| self.get(*id));
        children.filter(|child| !child.is_in_trash())
    }

    /// The images built on a node that are in the trash, ordered by path.
    pub fn trashed_children<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Node> {
        let children = node.children.iter().filter_map(|id| self.get(*id));
        children.filter(|child| child.is_in_trash())
    }

    /// Whether nothing is built on a node, in whatever way, but what is in the trash.
    #[must_use]
    pub fn is_leaf(&self, node: &Node) -> bool {
        self.live_children(node).next().is_none() && !self.is_read_otherwise(node)
    }

    /// The roots that a picture shows: a tree of which all is in the trash stands in none.
    #[must_use]
    pub fn shown_roots(&self) -> Vec<NodeId> {
        let is_met = |id: &NodeId| {
            let node = self.get(*id);
            node.is_some_and(|node| node.location == Location::Scanned)
        };
        let mut roots = self.roots();
        roots.retain(|root| {
            let is_shown = |node: &Node| {
                // Most trees are told by their roots.
                let has_live = self.live_children(node).next().is_some();
                has_live || node.children.is_empty() && !node.is_in_trash()
            };
            is_met(root)
                || self.get(*root).is_some_and(is_shown)
                || self.descendants(*root).iter().any(is_met)
        });
        roots
    }

    /// The order of siblings: by path.
    pub(super) fn order(&self, a: NodeId, b: NodeId) -> std::cmp::Ordering {
        let path = |id| self.nodes.get(index(id)).map(|node| node.path.as_path());
        path(a).cmp(&path(b)).then(a.cmp(&b))
    }
}
