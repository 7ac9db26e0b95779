//! The links of all images besides those of children to parents.

use std::collections::HashMap;
use std::path::Path;

use crate::host::FileId;

use super::{Backing, BackingState, Edge, NodeId, Reads};

/// The links besides those of children to parents: few images have any.
#[derive(Debug, Clone, Default)]
pub(super) struct Edges {
    /// Per image.
    pub(super) of: HashMap<NodeId, Box<[Edge]>>,
    /// Who reads a file.
    pub(super) by_file: HashMap<FileId, Vec<NodeId>>,
}

impl Edges {
    /// What an image reads besides its backing file.
    pub(super) fn of(&self, id: NodeId) -> &[Edge] {
        self.of.get(&id).map_or(&[], |edges| edges)
    }

    /// Sets what an image reads besides its backing file.
    pub(super) fn set(&mut self, id: NodeId, mut edges: Vec<Edge>) {
        if edges.is_empty() && !self.of.contains_key(&id) {
            return;
        }
        for edge in self.of.remove(&id).unwrap_or_default() {
            if let Some(readers) = self.by_file.get_mut(&edge.file) {
                readers.retain(|reader| *reader != id);
                if readers.is_empty() {
                    self.by_file.remove(&edge.file);
                }
            }
        }
        edges.sort_unstable();
        edges.dedup();
        for edge in &edges {
            let readers = self.by_file.entry(edge.file).or_default();
            if !readers.contains(&id) {
                readers.push(id);
            }
        }
        if !edges.is_empty() {
            self.of.insert(id, edges.into());
        }
    }
}

/// The edge that the backing link of one of an image's names makes, where its shown name leads elsewhere.
pub(super) fn by_other_name(shown: Option<&Backing>, link: &Backing) -> Option<Edge> {
    let BackingState::Present(file) = link.state else {
        return None;
    };
    if shown.map(|link| &link.state) == Some(&BackingState::Present(file)) {
        return None;
    }
    Some(Edge {
        how: if link.is_understood() {
            Reads::OtherName
        } else {
            Reads::NotUnderstood
        },
        path: link.path.clone().unwrap_or_else(|| Path::new("").into()),
        file,
    })
}
