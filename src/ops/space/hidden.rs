//! What of a layer's data no image shows any more. Asked from the leaves down: an image hides of what it is built on
//! where it holds something itself, and where all that is built on it does.

use std::collections::{HashMap, HashSet};

use crate::forest::{Forest, Node, NodeId, Reads};
use crate::machines::Part;
use crate::system::on_all_processors;

use super::super::Context;
use super::image_space::ImageSpace;
use super::layer::{measure, read_data};
use super::measured::Measured;
use super::query::SpaceQuery;
use super::ranges::Ranges;

/// Images whose maps are in memory at a time.
const AT_ONCE: usize = 64;

/// An image, and which tree it belongs to.
struct Member {
    node: NodeId,
    root: NodeId,
}

/// Measures all images, and gives them, each behind what it is built on; none once the query says to stop. `hears` is
/// told of some of them at a time, from behind.
pub(super) fn measure_all(
    context: &Context,
    query: &SpaceQuery<'_>,
    is_here: &(dyn Fn(&Node) -> bool + Sync),
    hears: &mut dyn FnMut(&[ImageSpace]),
) -> Option<Vec<ImageSpace>> {
    let forest = context.forest.as_ref();
    let members = in_order(forest);
    let mut found = Vec::with_capacity(members.len());
    let mut hidden = Hidden::default();
    // From behind: what is built on an image comes before it.
    for members in members.rchunks(AT_ONCE) {
        let measured = on_all_processors(members, |member| {
            let node = forest.get(member.node).filter(|_| !query.until.is_over())?;
            let measured = measure(context, node, query);
            let is_read = query.reads && measured.space.unread.is_none() && is_here(node);
            let read = is_read.then(|| read_data(context, node, query));
            // What was stopped tells nothing of the image.
            (!query.until.is_over()).then_some((measured, read))
        })?;
        let first = found.len();
        for (member, (measured, read)) in members.iter().zip(measured).rev() {
            let Some(node) = forest.get(member.node) else {
                continue;
            };
            let mut space = measured.space.clone();
            space.hidden = hidden.of(forest, node, &measured);
            space.read = read;
            if is_here(node) {
                found.push(ImageSpace {
                    node: node.id,
                    path: node.path.clone(),
                    root: member.root,
                    space,
                });
            }
        }
        hears(found.get(first..).unwrap_or_default());
    }
    found.reverse();
    Some(found)
}

/// Of each image that others are built on: what all of these hide of it, as far as they were measured.
#[derive(Debug, Default)]
struct Hidden(HashMap<NodeId, Ranges>);

impl Hidden {
    /// Bytes of an image's data that no image shows any more; what it hides itself is noted down.
    fn of(&mut self, forest: &Forest, node: &Node, measured: &Measured) -> u64 {
        let by_readers = self.0.remove(&node.id).unwrap_or_default();
        let above = match is_seen_itself(forest, node) {
            true => Ranges::default(),
            false => by_readers,
        };
        if let Some(parent) = node.parent {
            let hides = measured.opaque.union(&above);
            let hides = hides.intersection(&measured.opaque_to_snapshots);
            let joined = match self.0.remove(&parent) {
                Some(others) => others.intersection(&hides),
                None => hides,
            };
            self.0.insert(parent, joined);
        }
        let unseen = measured.data.intersection(&above);
        unseen.difference(&measured.in_snapshots).bytes()
    }
}

/// Every image, tree by tree, parents before children.
fn in_order(forest: &Forest) -> Vec<Member> {
    let mut members = Vec::new();
    let mut met: HashSet<NodeId> = HashSet::new();
    for root in forest.roots() {
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            let Some(node) = forest.get(id).filter(|_| met.insert(id)) else {
                continue;
            };
            members.push(Member { node: id, root });
            open.extend(node.children.iter().rev());
        }
    }
    members
}

/// Whether somebody sees this very image, or may: then nothing that it holds is hidden.
fn is_seen_itself(forest: &Forest, node: &Node) -> bool {
    let readers = forest.readers(node.id);
    let mut by_chain = readers.iter();
    readers.is_empty()
        || node.in_loop
        || !by_chain.all(|reader| reader.how == Reads::Backing)
        || forest
            .uses(node)
            .iter()
            .any(|used| matches!(used.part, Part::Disk(_) | Part::NeededBy(_)))
}
