//! By which names and by which file a node is found.

use std::collections::HashMap;
use std::path::Path;

use crate::host::FileId;

use super::node::index;
use super::{Forest, Node, NodeId};

impl Forest {
    /// The number that goes by a name, also of a node that went.
    pub(super) fn named(&self, path: &Path) -> Option<NodeId> {
        let is_it = |id: &NodeId| self.path_of(*id) == path;
        let shown = self.by_path.get(path, is_it);
        shown.or_else(|| self.by_other_name.get(path)).copied()
    }

    /// Notes that a node goes by the name it shows.
    pub(super) fn note_shown_name(&mut self, id: NodeId) {
        let path = self.path_of(id).to_path_buf();
        self.note_name(&path, id);
    }

    /// Notes that a node goes by a name; whichever went by it before does so no longer.
    pub(super) fn note_name(&mut self, path: &Path, id: NodeId) {
        if self.named(path) == Some(id) {
            return;
        }
        self.forget_shown_name(path);
        if self.path_of(id) == path {
            self.by_other_name.remove(path);
            let key_of = |id: &NodeId| path_of(&self.nodes, *id);
            self.by_path.insert(&path, id, key_of);
        } else {
            self.by_other_name.insert(path.to_path_buf(), id);
        }
    }

    /// Before a node shows another name: it goes by the one it has shown all the same.
    pub(super) fn keep_name(&mut self, id: NodeId, new: &Path) {
        let path = self.path_of(id).to_path_buf();
        if path != new && self.named(&path) == Some(id) {
            self.forget_shown_name(&path);
            self.by_other_name.insert(path, id);
        }
    }

    /// A node goes by the name it shows no longer.
    pub(super) fn forget_shown_name_of(&mut self, id: NodeId) {
        let path = self.path_of(id).to_path_buf();
        self.by_path.remove(&path, |known| *known == id);
    }

    fn forget_shown_name(&mut self, path: &Path) {
        let nodes = &self.nodes;
        self.by_path.remove(path, |id| path_of(nodes, *id) == path);
    }

    /// The number of the node of a file, also of one that went.
    pub(super) fn of_file(&self, file: FileId) -> Option<NodeId> {
        let is_it = |id: &NodeId| file_of(&self.nodes, *id) == Some(file);
        let known = self.by_file.get(&file, is_it);
        known.or_else(|| self.awaited.get(&file)).copied()
    }

    /// Notes that a node that was only named is of this file.
    pub(super) fn await_file(&mut self, id: NodeId, file: FileId) {
        match file_of(&self.nodes, id) {
            Some(_) => self.note_file(id),
            None => {
                self.awaited.insert(file, id);
            }
        }
    }

    /// Notes whose file a node's is, as its `stat` tells.
    pub(super) fn note_file(&mut self, id: NodeId) {
        let Some(file) = file_of(&self.nodes, id) else {
            return;
        };
        let nodes = &self.nodes;
        self.awaited.remove(&file);
        if self.awaited.is_empty() {
            // Its room as well: most files are named before they are met.
            self.awaited = HashMap::new();
        }
        self.by_file
            .remove(&file, |id| file_of(nodes, *id) == Some(file));
        let key_of = |id: &NodeId| file_of(nodes, *id).unwrap_or(file);
        self.by_file.insert(&file, id, key_of);
    }

    /// A node's file is another from now on, or none.
    pub(super) fn forget_file(&mut self, id: NodeId) {
        if let Some(file) = file_of(&self.nodes, id) {
            self.by_file.remove(&file, |known| *known == id);
        }
    }

    pub(super) fn path_of(&self, id: NodeId) -> &Path {
        path_of(&self.nodes, id)
    }
}

fn path_of(nodes: &[Node], id: NodeId) -> &Path {
    let node = nodes.get(index(id));
    node.map_or(Path::new(""), |node| node.path.as_path())
}

fn file_of(nodes: &[Node], id: NodeId) -> Option<FileId> {
    nodes.get(index(id)).and_then(Node::file_id)
}
