//! Layers that somebody writes although others are built on them: all that these show changes under them. Who
//! has a file open is `host`'s to find; what is said of it is in `problem_text`.

use std::collections::HashSet;

use super::graph::WrittenUnder;
use super::{Forest, Location, Node, NodeId};
use crate::host::Holder;

/// Commands that keep the images above what they write intact.
const OURS: &str = "qanopy";

/// Who writes a layer that others are built on.
pub(super) fn writer_of(node: &Node) -> Option<&Holder> {
    let mut holders = node.holders.iter();
    holders.find(|holder| holder.locks && holder.writes && holder.command != OURS)
}

impl Forest {
    /// The layer that somebody writes although this image is built on it, or others are.
    #[must_use]
    pub fn written_layer(&self, id: NodeId) -> Option<&Node> {
        self.get(*self.written.get(&id)?)
    }
}

/// Every image whose ground is written, and the layer that is.
pub(super) fn written_under(forest: &Forest) -> WrittenUnder {
    let mut all = WrittenUnder::new();
    for layer in forest.nodes().filter(|node| !node.children.is_empty()) {
        let Some(writer) = writer_of(layer) else {
            continue;
        };
        let above = forest.descendants(layer.id);
        // A machine that writes an image above as well merges that one down: it reads by way of itself.
        let writes_too = |node: &Node| {
            let mut holders = node.holders.iter();
            !writer.is_unseen()
                && holders.any(|holder| holder.pid == writer.pid && holder.locks && holder.writes)
        };
        let own: HashSet<NodeId> = above
            .iter()
            .filter(|id| forest.get(**id).is_some_and(writes_too))
            .flat_map(|id| forest.chain(*id))
            .collect();
        // What is in the trash says so when it is to come back.
        let is_there = |id: &NodeId| {
            let node = forest.get(*id);
            node.is_some_and(|node| node.location != Location::InTrash)
        };
        let harmed = above.into_iter().filter(|id| !own.contains(id));
        let mut harmed = harmed.filter(is_there).peekable();
        if harmed.peek().is_none() {
            continue;
        }
        all.insert(layer.id, layer.id);
        for id in harmed {
            all.entry(id).or_insert(layer.id);
        }
    }
    all
}
