//! The order in which every picture shows the forest: each root, then what is built on it, parents
//! before children. A loop is entered at its root and cut where it closes.

use std::collections::{HashMap, HashSet};

use crate::forest::{Forest, NodeId};

/// One place in that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) id: NodeId,
    /// Which place its parent has; none for a root.
    pub(super) parent: Option<usize>,
    /// Which child of its parent it is, from 0.
    pub(super) index: usize,
    /// How many children of its parent are shown.
    pub(super) siblings: usize,
    /// How many children are shown.
    pub(super) children: usize,
}

impl Position {
    pub(super) fn is_last(&self) -> bool {
        self.index + 1 == self.siblings
    }
}

pub(super) fn order(forest: &Forest) -> Vec<Position> {
    let mut places = Vec::with_capacity(forest.len());
    for root in forest.shown_roots() {
        let mut open = vec![(root, None, 0, 1)];
        while let Some((id, parent, index, siblings)) = open.pop() {
            let Some(node) = forest.get(id) else { continue };
            let at = places.len();
            // The loop's link back to its root is not followed.
            let children = node.children.iter().filter(|child| **child != root);
            let count = children.clone().count();
            for (i, child) in children.enumerate().collect::<Vec<_>>().into_iter().rev() {
                open.push((*child, Some(at), i, count));
            }
            places.push(Position {
                id,
                parent,
                index,
                siblings,
                children: count,
            });
        }
    }
    places
}

/// The places of the images that `is_wanted`, and of what these are built on.
pub(super) fn order_to(forest: &Forest, is_wanted: &dyn Fn(NodeId) -> bool) -> Vec<Position> {
    let all = order(forest);
    let mut leads = HashSet::new();
    // Parents come before children.
    for (at, place) in all.iter().enumerate().rev() {
        if is_wanted(place.id) || leads.contains(&at) {
            leads.insert(at);
            leads.extend(place.parent);
        }
    }
    let mut siblings: HashMap<Option<usize>, usize> = HashMap::new();
    let mut new_places = HashMap::new();
    let mut shown = Vec::with_capacity(leads.len());
    for (at, place) in all.iter().enumerate().filter(|(at, _)| leads.contains(at)) {
        new_places.insert(at, shown.len());
        let parent = place.parent.and_then(|old| new_places.get(&old).copied());
        // A root has no other beside it.
        let index = siblings.entry(parent).or_default();
        let (index, is_root) = (std::mem::replace(index, *index + 1), parent.is_none());
        shown.push(Position {
            parent,
            index: if is_root { 0 } else { index },
            ..*place
        });
    }
    for (at, place) in shown.iter_mut().enumerate() {
        let count = |parent| siblings.get(&parent).copied().unwrap_or_default();
        place.siblings = place.parent.map_or(1, |parent| count(Some(parent)));
        place.children = count(Some(at));
    }
    shown
}
