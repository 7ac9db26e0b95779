//! The chain of the selected image, walked once when it is selected: a chain may have thousands of layers,
//! and each frame shows a few of them.

use crate::forest::{Forest, Node, NodeId};

/// The chain, and what it amounts to.
#[derive(Debug, Default)]
pub struct SelectedChain {
    /// The layers, from the image itself down to its root.
    pub ids: Vec<NodeId>,
    /// Their bytes on disk.
    pub total: u64,
    /// Those of the largest one.
    pub most: u64,
    /// Whether the links run in a circle, so that there is no root.
    pub is_circle: bool,
    /// The forest's epoch and generation, and the image.
    of: Option<(u64, u64, NodeId)>,
}

impl SelectedChain {
    /// Walks the chain of an image, unless it is the one known.
    pub(super) fn follow(&mut self, forest: &Forest, epoch: u64, at: Option<NodeId>) {
        let Some(id) = at else {
            *self = Self::default();
            return;
        };
        let of = Some((epoch, forest.generation(), id));
        if self.of == of {
            return;
        }
        let ids = forest.chain(id);
        let bytes = |id: &NodeId| forest.get(*id).and_then(Node::size_on_disk);
        let bytes = || ids.iter().filter_map(bytes);
        let root = ids.last().and_then(|id| forest.get(*id));
        *self = Self {
            total: bytes().fold(0, u64::saturating_add),
            most: bytes().max().unwrap_or(0),
            is_circle: root.is_some_and(|root| root.in_loop || root.parent.is_some()),
            of,
            ids,
        };
    }
}
