//! The order in which every picture shows the forest: each root, then what is built on it, parents
//! before children. A loop is entered at its root and cut where it closes.

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
