//! Trouble that an image has because of a layer below it: which layer that is, and how far below. What is
//! wrong with the layer itself is told at the layer.

use std::collections::{HashMap, HashSet};

use crate::host::{Volume, printable, shell_quoted};
use crate::image::Format;

use super::node::index;
use super::{BrokenBelow, Content, Forest, Location, Node, NodeId, Problem, ProblemKind};

impl Forest {
    /// The nearest layer below that keeps an image from being opened; none where all below is well, or the
    /// trouble is the image's own.
    #[must_use]
    pub fn broken_below(&self, id: NodeId) -> Option<BrokenBelow> {
        self.inherited.broken.get(&id).copied()
    }

    /// After the own problems of `changed` were told anew: what follows for the images above. Costs nothing
    /// where nothing is broken.
    pub(super) fn inherit(&mut self, changed: &HashSet<NodeId>) {
        for id in changed {
            if self.breaks_what_is_above(*id) {
                self.inherited.layers.insert(*id);
            } else {
                self.inherited.layers.remove(id);
            }
        }
        if self.inherited.layers.is_empty() && self.inherited.broken.is_empty() {
            return;
        }
        let mut broken = HashMap::new();
        for layer in &self.inherited.layers {
            let Some(node) = self.get(*layer) else {
                continue;
            };
            // Where the file is not there, it is the one to be named.
            let is_gone = |problem: &Problem| {
                matches!(
                    problem.kind,
                    ProblemKind::MissingBacking
                        | ProblemKind::UnreachableBacking
                        | ProblemKind::UnresolvableBacking
                )
            };
            let gone = node.parent.filter(|_| node.problems.iter().any(is_gone));
            let (culprit, mut open) = match gone {
                Some(parent) => (parent, vec![(*layer, 1)]),
                None => (*layer, vec![(*layer, 0)]),
            };
            while let Some((below, distance)) = open.pop() {
                let children = self.get(below).map_or(&[][..], |node| &node.children);
                for child in children {
                    let is_layer = self.inherited.layers.contains(child);
                    // In a circle everyone is above everyone; each has it as its own trouble.
                    if is_layer && self.get(*child).is_some_and(|node| node.in_loop) {
                        continue;
                    }
                    let distance = distance + 1;
                    let found = BrokenBelow {
                        layer: culprit,
                        distance,
                    };
                    // A broken layer is the nearest for those above it.
                    if broken.insert(*child, found).is_none() && !is_layer {
                        open.push((*child, distance));
                    }
                }
            }
        }
        let old = std::mem::replace(&mut self.inherited.broken, broken);
        let mut retold: HashSet<NodeId> = changed.clone();
        let new = &self.inherited.broken;
        let differs = |id: &&NodeId| old.get(*id) != new.get(*id);
        retold.extend(old.keys().filter(differs));
        retold.extend(new.keys().filter(differs));
        // What is said of an image depends on what else is wrong with the layer.
        let of_changed = new.iter().filter(|(_, it)| changed.contains(&it.layer));
        retold.extend(of_changed.map(|(id, _)| id));
        for id in retold {
            let problem = self.inherited_problem(id);
            if let Some(node) = self.nodes.get_mut(index(id)) {
                node.problems
                    .retain(|problem| problem.kind != ProblemKind::BrokenBelow);
                node.problems.extend(problem);
            }
        }
    }

    /// Whether nothing above this image can be opened, by QEMU or by libvirt.
    fn breaks_what_is_above(&self, id: NodeId) -> bool {
        let Some(node) = self.get(id) else {
            return false;
        };
        node.problems.iter().any(|problem| match problem.kind {
            ProblemKind::NoBackingFormat => self.stops_libvirt(id),
            // As raw anything can be read.
            ProblemKind::WrongBackingFormat => node.backing_format() != Some(&Format::Raw),
            kind => breaks(kind),
        })
    }

    /// Whether libvirt refuses a chain for the format that this image does not record: it looks into the
    /// backing file, and goes on if that is built on nothing.
    pub(super) fn stops_libvirt(&self, id: NodeId) -> bool {
        let parent = self.get(id).and_then(|node| self.get(node.parent?));
        parent.is_some_and(|parent| parent.backing.is_some())
    }

    /// Whether the format that it does not record is all that is wrong with a layer.
    #[must_use]
    pub fn stops_only_libvirt(&self, layer: &Node) -> bool {
        let mut kinds = layer.problems.iter().map(|problem| problem.kind);
        kinds
            .clone()
            .any(|kind| kind == ProblemKind::NoBackingFormat)
            && kinds.all(|kind| kind == ProblemKind::NoBackingFormat || !breaks(kind))
    }

    fn inherited_problem(&self, id: NodeId) -> Option<Problem> {
        let found = self.broken_below(id)?;
        let node = self.get(id).filter(|node| !node.is_in_trash())?;
        let layer = self.get(found.layer)?;
        let (name, below) = (printable(&node.path), printable(&layer.path));
        let how_far = match found.distance {
            1 => "which it is built on".to_owned(),
            n => format!("{n} layers below it"),
        };
        let has = |kind| layer.problems.iter().any(|problem| problem.kind == kind);
        let volume = Volume::of_node(&layer.path);
        let missing = layer.location == Location::Missing;
        let message = if let (true, Some(volume)) = (missing, volume) {
            format!(
                "{name} cannot be opened: {below}, {how_far}, is a logical volume that is not activated: \
                 `lvchange -ay {}`.",
                shell_quoted(volume.full_name())
            )
        } else if missing {
            format!(
                "{name} cannot be opened: {below}, {how_far}, is not there. Put it back, or relink the image \
                 that names it."
            )
        } else if layer.location == Location::Elsewhere || layer.location == Location::OutsideScan {
            format!(
                "{name} cannot be opened: {below}, {how_far}, cannot be looked at. Relink the image that names \
                 it."
            )
        } else if has(ProblemKind::Loop) {
            format!(
                "{name} cannot be opened: {below}, {how_far}, is part of a circle of backing files. Point one \
                 image of the circle at what it was made from."
            )
        } else if self.stops_only_libvirt(layer) {
            let recorded = layer.backing.as_deref().map(|link| printable(link.name()));
            format!(
                "libvirt starts no guest on {name}: {below}, {how_far}, does not record the format of its backing \
                 file (\"format of backing image '{}' of image '{below}' was not specified in the image \
                 metadata\"). It has to be recorded there.",
                recorded.unwrap_or_default()
            )
        } else {
            let what = match &layer.content {
                Content::Unreadable(_) => "cannot be read",
                Content::Damaged(_) => "is damaged",
                _ if has(ProblemKind::Truncated) => "ends too early",
                _ => "cannot be opened",
            };
            format!(
                "{name} cannot be opened: {below}, {how_far}, {what}. What helps is told there."
            )
        };
        Some(Problem {
            kind: ProblemKind::BrokenBelow,
            message,
        })
    }
}

/// Whether no program can open what is built on an image that has this.
fn breaks(kind: ProblemKind) -> bool {
    match kind {
        ProblemKind::Unreadable
        | ProblemKind::Damaged
        | ProblemKind::Truncated
        | ProblemKind::Unopenable
        | ProblemKind::MissingBacking
        | ProblemKind::UnreachableBacking
        | ProblemKind::UnresolvableBacking
        | ProblemKind::Loop
        | ProblemKind::MissingDataFile
        | ProblemKind::WrongBackingFormat => true,
        // Only libvirt minds this.
        ProblemKind::NoBackingFormat => true,
        ProblemKind::CorruptBit
        | ProblemKind::DirtyBit
        | ProblemKind::LeakedClusters
        | ProblemKind::CorruptClusters
        | ProblemKind::UnknownFeature
        | ProblemKind::BrokenBelow
        | ProblemKind::WrittenUnder
        | ProblemKind::DirectoryDependentDataFile
        | ProblemKind::DirectoryDependentBacking
        | ProblemKind::Interrupted { .. }
        | ProblemKind::BaseChanged { .. }
        | ProblemKind::BackingSize => false,
    }
}
