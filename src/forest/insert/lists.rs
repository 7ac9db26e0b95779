//! The lists of overlays of each node, kept in the order of names.

use std::collections::HashSet;

use thin_vec::ThinVec;

use crate::forest::node::index;
use crate::forest::{Forest, NodeId};

impl Forest {
    /// Takes a node out of its parent's list of children.
    pub(super) fn leave_list(&mut self, id: NodeId) {
        let parent = self.nodes.get(index(id)).and_then(|node| node.parent);
        let list = self.list(parent);
        if let Ok(at) = list.binary_search_by(|other| self.order(*other, id)) {
            self.list_mut(parent).remove(at);
        }
    }

    pub(super) fn list(&self, parent: Option<NodeId>) -> &[NodeId] {
        match parent {
            None => &self.tops,
            Some(parent) => self
                .nodes
                .get(index(parent))
                .map_or(&[], |node| &node.children),
        }
    }

    pub(super) fn list_mut(&mut self, parent: Option<NodeId>) -> &mut ThinVec<NodeId> {
        match parent.map(index) {
            Some(at) if at < self.nodes.len() => &mut self.nodes[at].children,
            _ => &mut self.tops,
        }
    }

    /// Puts the new members into the lists of children, which are kept in order.
    pub(super) fn merge_lists(&mut self) {
        for (parent, mut added) in std::mem::take(&mut self.growth.unlisted) {
            added.retain(|id| self.get(*id).is_some_and(|node| node.parent == parent));
            added.sort_unstable_by(|a, b| self.order(*a, *b));
            added.dedup();
            let mut old = self.list(parent);
            let mut merged = ThinVec::with_capacity(old.len() + added.len());
            for id in added {
                let at = old.partition_point(|other| self.order(*other, id).is_lt());
                let (before, after) = old.split_at(at);
                merged.extend_from_slice(before);
                old = after;
                if old.first() != Some(&id) {
                    merged.push(id);
                }
            }
            merged.extend_from_slice(old);
            *self.list_mut(parent) = merged;
        }
    }

    /// Nodes that were only named, and are so no longer, go.
    pub(super) fn drop_deserted(&mut self) {
        for id in std::mem::take(&mut self.growth.deserted) {
            let Some(node) = self.get(id) else { continue };
            if node.location.is_met() || !node.children.is_empty() {
                continue;
            }
            self.leave_list(id);
            if let Some(gone) = self.gone.get_mut(index(id)) {
                *gone = true;
            }
            self.forget_file(id);
        }
    }

    /// The nodes built on one, also those that are not in its list yet, in no order.
    pub(super) fn members(&self, id: NodeId) -> HashSet<NodeId> {
        let unlisted = self.growth.unlisted.get(&Some(id));
        let unlisted = unlisted.into_iter().flatten().copied();
        let members = self.list(Some(id)).iter().copied().chain(unlisted);
        members
            .filter(|member| {
                self.get(*member)
                    .is_some_and(|node| node.parent == Some(id))
            })
            .collect()
    }
}
