//! The lists of overlays of each node, kept in the order of names; and circles, which are put at the top level.

use thin_vec::ThinVec;

use crate::forest::graph::index;
use crate::forest::{Forest, NodeId, problem_text};

impl Forest {
    /// Takes a node out of its parent's list of children.
    pub(in crate::forest) fn leave_list(&mut self, id: NodeId) {
        let parent = self.nodes.get(index(id)).and_then(|node| node.parent);
        let list = self.list(parent);
        if let Ok(at) = list.binary_search_by(|other| self.order(*other, id)) {
            self.list_mut(parent).remove(at);
        }
    }

    pub(in crate::forest) fn list(&self, parent: Option<NodeId>) -> &[NodeId] {
        match parent {
            None => &self.tops,
            Some(parent) => self
                .nodes
                .get(index(parent))
                .map_or(&[], |node| &node.children),
        }
    }

    pub(in crate::forest) fn list_mut(&mut self, parent: Option<NodeId>) -> &mut ThinVec<NodeId> {
        match parent.map(index) {
            Some(at) if at < self.nodes.len() => &mut self.nodes[at].children,
            _ => &mut self.tops,
        }
    }

    /// The number all nodes joined to this one share.
    pub(in crate::forest) fn representative(&mut self, id: NodeId) -> u32 {
        let joined = &mut self.growth.joined;
        let mut at = id.0;
        loop {
            let above = joined.get(at as usize).copied().unwrap_or(at);
            if above == at {
                return at;
            }
            let next = joined.get(above as usize).copied().unwrap_or(above);
            if let Some(slot) = joined.get_mut(at as usize) {
                *slot = next;
            }
            at = next;
        }
    }

    /// Notes a new link; marks the members if it closes a loop.
    pub(in crate::forest) fn join(&mut self, id: NodeId, parent: NodeId) {
        let (a, b) = (self.representative(id), self.representative(parent));
        if a != b {
            if let Some(slot) = self.growth.joined.get_mut(a as usize) {
                *slot = b;
            }
            return;
        }
        let mut members = vec![id];
        let mut next = Some(parent);
        while let Some(at) = next.filter(|at| *at != id) {
            members.push(at);
            next = self.nodes.get(index(at)).and_then(|node| node.parent);
        }
        for member in &members {
            if let Some(node) = self.nodes.get_mut(index(*member)) {
                node.in_loop = true;
            }
            self.growth.dirty.insert(*member);
        }
        self.loops.push(members);
    }

    /// Marks a node and everything below it as in use.
    pub(in crate::forest) fn spread_use(&mut self, id: NodeId) {
        let mut next = Some(id);
        while let Some(id) = next {
            match self.in_use.get_mut(index(id)) {
                Some(in_use) if !*in_use => *in_use = true,
                _ => break,
            }
            next = self.nodes.get(index(id)).and_then(|node| node.parent);
        }
    }

    /// Brings everything that follows from the links up to date.
    pub(in crate::forest) fn settle(&mut self) {
        self.merge_lists();
        self.drop_deserted();
        if std::mem::take(&mut self.growth.relinked) {
            self.rejoin();
        }
        let dirty = std::mem::take(&mut self.growth.dirty);
        for id in &dirty {
            if self.get(*id).is_some() {
                let problems = problem_text::problems_of(self, *id);
                if let Some(node) = self.nodes.get_mut(index(*id)) {
                    node.problems = problems;
                }
            }
        }
        self.inherit(&dirty);
        self.generation += 1;
    }

    /// Puts the new members into the lists of children, which are kept in order.
    pub(in crate::forest) fn merge_lists(&mut self) {
        for (parent, mut added) in std::mem::take(&mut self.growth.pending) {
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
    pub(in crate::forest) fn drop_deserted(&mut self) {
        for id in std::mem::take(&mut self.growth.deserted) {
            let Some(node) = self.get(id) else { continue };
            if node.whereabouts.is_met() || !node.children.is_empty() {
                continue;
            }
            self.leave_list(id);
            if let Some(gone) = self.gone.get_mut(index(id)) {
                *gone = true;
            }
            self.forget_file(id);
        }
    }

    /// Finds the loops and what is in use from nothing, after a link was changed.
    pub(in crate::forest) fn rejoin(&mut self) {
        for members in std::mem::take(&mut self.loops) {
            self.growth.dirty.extend(members);
        }
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.growth.joined = (0..count).collect();
        self.in_use = vec![false; self.nodes.len()];
        for node in &mut self.nodes {
            node.in_loop = false;
        }
        for id in (0..count).map(NodeId) {
            let Some(node) = self.get(id) else { continue };
            let held = node.holders.iter().any(|holder| holder.locks);
            if let Some(parent) = node.parent {
                self.join(id, parent);
            }
            if held {
                self.spread_use(id);
            }
        }
    }
}
