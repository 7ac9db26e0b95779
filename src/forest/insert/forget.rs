//! Images that leave the forest although nobody says that their files are gone: those of another machine.

use std::collections::HashSet;

use crate::forest::node::index;
use crate::forest::{Content, Forest, Node, NodeId};

impl Forest {
    /// Forgets images, with the numbers of the others as they are. No image that stays may be built on one that goes.
    pub(in crate::forest) fn forget(&mut self, goes: impl Fn(&Self, &Node) -> bool) {
        let gone = self.nodes().filter(|node| goes(self, node));
        let gone: HashSet<NodeId> = gone.map(|node| node.id).collect();
        for id in &gone {
            self.forget_name(*id);
            self.forget_file(*id);
            self.forget_shown_name_of(*id);
            self.edges.set(*id, Vec::new());
            self.growth.names.remove(id);
            self.growth.overruled.remove(id);
        }
        let stays = |id: &NodeId| !gone.contains(id);
        self.by_other_name.retain(|_, id| stays(id));
        self.awaited.retain(|_, id| stays(id));
        self.written.retain(|id, _| stays(id));
        self.tops.retain(|id| stays(id));
        self.loops.retain(|members| members.iter().all(stays));
        self.growth.missing.retain(|_, ids| {
            ids.retain(stays);
            !ids.is_empty()
        });
        let bases = gone.iter().filter_map(|id| self.get(*id)?.parent);
        let bases: HashSet<NodeId> = bases.filter(stays).collect();
        for base in &bases {
            self.list_mut(Some(*base)).retain(|id| !gone.contains(id));
        }
        for id in &gone {
            let at = index(*id);
            let Some(node) = self.nodes.get_mut(at) else {
                continue;
            };
            if let Some(file) = node.file_id() {
                self.growth.claims.remove(&file);
            }
            // Its number is all that is left of it.
            node.content = Content::Unopened;
            node.children.clear();
            node.parent = None;
            node.backing = None;
            node.stat = None;
            node.holders.clear();
            if let Some(gone) = self.gone.get_mut(at) {
                *gone = true;
            }
            if let Some(in_use) = self.in_use.get_mut(at) {
                *in_use = false;
            }
        }
        self.generation += 1;
        if !bases.is_empty() {
            self.growth.dirty.extend(bases);
            self.growth.relinked = true;
            self.settle();
        }
    }
}
