//! What of a layer's data no image shows any more. Asked from the leaves down: an image hides of what it is built on
//! where it holds something itself, and where all that is built on it does.

use std::collections::{HashMap, HashSet};

use crate::forest::{Forest, Node, NodeId, Reads};
use crate::host::Host;
use crate::machines::Part;
use crate::system::on_all_processors;

use super::image_space::ImageSpace;
use super::layer::measure;
use super::ranges::Ranges;

/// Images whose maps are in memory at a time.
const AT_ONCE: usize = 64;

/// An image, and which tree it belongs to.
struct Member {
    node: NodeId,
    root: NodeId,
}

/// Measures all images, each behind what it is built on; none once `go_on` says no.
pub(super) fn measure_all(
    host: &dyn Host,
    forest: &Forest,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<ImageSpace>> {
    let members = in_order(forest);
    let mut found = Vec::with_capacity(members.len());
    // Of each image that others are built on: what all of these hide of it, as far as they were measured.
    let mut hidden: HashMap<NodeId, Ranges> = HashMap::new();
    // From behind: what is built on an image comes before it.
    for members in members.rchunks(AT_ONCE) {
        let measured = on_all_processors(members, |member| {
            let node = forest.get(member.node).filter(|_| go_on());
            node.map(|node| measure(host, forest, node))
        })?;
        for (member, measured) in members.iter().zip(measured).rev() {
            let Some(node) = forest.get(member.node) else {
                continue;
            };
            let by_readers = hidden.remove(&node.id).unwrap_or_default();
            let above = match is_seen_itself(forest, node) {
                true => Ranges::default(),
                false => by_readers,
            };
            if let Some(parent) = node.parent {
                let hides = measured.opaque.union(&above);
                let hides = hides.intersection(&measured.opaque_to_snapshots);
                let joined = match hidden.remove(&parent) {
                    Some(others) => others.intersection(&hides),
                    None => hides,
                };
                hidden.insert(parent, joined);
            }
            let unseen = measured.data.intersection(&above);
            let mut space = measured.space;
            space.hidden = unseen.difference(&measured.in_snapshots).bytes();
            found.push(ImageSpace {
                node: node.id,
                path: node.path.clone(),
                root: member.root,
                space,
            });
        }
    }
    found.reverse();
    Some(found)
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
