//! What follows from the links along whole chains: which run in a circle, and what is in use.

use crate::forest::node::index;
use crate::forest::{Forest, NodeId};

impl Forest {
    /// The number all nodes joined to this one share.
    pub(super) fn representative(&mut self, id: NodeId) -> u32 {
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
    pub(super) fn join(&mut self, id: NodeId, parent: NodeId) {
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
    pub(super) fn spread_use(&mut self, id: NodeId) {
        let mut next = Some(id);
        while let Some(id) = next {
            match self.in_use.get_mut(index(id)) {
                Some(in_use) if !*in_use => *in_use = true,
                _ => break,
            }
            next = self.nodes.get(index(id)).and_then(|node| node.parent);
        }
    }

    /// Finds the loops and what is in use from nothing, after a link was changed.
    pub(super) fn rejoin(&mut self) {
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
