//! Prune: which leaves nobody seems to want any more. Choosing among them is the person's;
//! carrying it out is a discard.

use std::cmp::Reverse;
use std::path::PathBuf;
use std::time::Duration;

use crate::forest::{Flags, Location, Node, NodeId};
use crate::host::{Access, FileId, LockProbe, LockSet, during_one_scan};

use super::Context;
use super::framework::format::{listed, name};

/// A leaf that could go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its node in the forest that was asked.
    pub node: NodeId,
    /// Its name.
    pub path: PathBuf,
    /// Time since its content last changed.
    pub age: Duration,
    /// Bytes that come free on disk once the trash is emptied.
    pub frees: u64,
    /// Why it is proposed: half a sentence.
    pub why: String,
}

/// The overlays that nothing is built on, no machine names, no process has open, and nobody changed for
/// `older_than`, and that no tag protects; oldest first. Roots are never proposed: a disk without a backing file is nobody's
/// left-over branch. Neither is what cannot be read to the end of its chain, since why it is broken
/// should be known before it goes.
#[must_use]
pub fn candidates(context: &Context, older_than: Duration) -> Vec<Candidate> {
    during_one_scan(|| spare_leaves(context, older_than))
}

fn spare_leaves(context: &Context, older_than: Duration) -> Vec<Candidate> {
    let now = context.host.now();
    let leaves: Vec<(&Node, FileId, Duration)> = context
        .forest
        .nodes()
        .filter(|node| is_spare_leaf(context, node))
        .filter_map(|node| {
            let stat = node.stat.as_ref()?;
            // A file from the future is as young as can be.
            let age = now.duration_since(stat.modified).unwrap_or_default();
            (age >= older_than).then_some((node, stat.id, age))
        })
        .collect();
    let ids: Vec<FileId> = leaves.iter().map(|(_, id, _)| *id).collect();
    // One pass over all processes; asking for each leaf would be a pass each.
    let held = context.host.holders(&ids);
    let mut candidates: Vec<Candidate> = leaves
        .into_iter()
        .filter(|(_, id, _)| held.get(id).is_none_or(Vec::is_empty))
        .filter_map(|(node, _, age)| Some((node, age, shared_if_free(context, node)?)))
        .map(|(node, age, shared)| Candidate {
            node: node.id,
            path: node.path.clone(),
            age,
            frees: freed_by(node).saturating_sub(shared),
            why: format!(
                "{}, no process uses it, unchanged for {}",
                who_is_built_on(context, node),
                age_text(age)
            ),
        })
        .collect();
    candidates.sort_by(|a, b| (Reverse(a.age), &a.path).cmp(&(Reverse(b.age), &b.path)));
    candidates
}

/// What is wrong with an image should be known before it goes.
pub(super) const BROKEN: Flags = Flags::MISSING_BACKING
    .union(Flags::LOOP)
    .union(Flags::UNREADABLE)
    .union(Flags::UNSUPPORTED)
    .union(Flags::CORRUPT);

/// Bytes that come free on disk once it is discarded and the trash is emptied: none where other names stay.
pub(super) fn freed_by(node: &Node) -> u64 {
    match &node.stat {
        Some(stat) if stat.links <= 1 => stat.allocated,
        _ => 0,
    }
}

fn is_spare_leaf(context: &Context, node: &Node) -> bool {
    let in_the_way = BROKEN | Flags::IN_USE | Flags::INTERRUPTED;
    node.location == Location::Scanned
        && !node.symlink
        && !node.is_wanted()
        && node.info().is_some()
        && node.backing.is_some()
        && context.forest.is_leaf(node)
        && context.forest.uses(node).is_empty()
        && node.holders.is_empty()
        && !context.forest.flags(node.id).intersects(in_the_way)
}

fn who_is_built_on(context: &Context, node: &Node) -> String {
    let trashed: Vec<String> = context
        .forest
        .trashed_children(node)
        .map(|child| name(&child.path))
        .collect();
    if trashed.is_empty() {
        return "nothing is built on it".to_owned();
    }
    format!(
        "only {} is built on it and cannot be restored without it",
        listed(&trashed, 3)
    )
}

/// Locks show users that `/proc` hides: processes of others, machines on a shared filesystem.
pub(super) fn is_locked(context: &Context, node: &Node) -> bool {
    shared_if_free(context, node).is_none()
}

/// Bytes of the file that others have as well (reflinks); none where somebody has locked it: locks show users that
/// `/proc` hides, as processes of others and machines on a shared filesystem.
fn shared_if_free(context: &Context, node: &Node) -> Option<u64> {
    let file = context.host.open(&node.path, Access::Read).ok()?;
    let probe = file.probe_lock(LockSet::ReadWrite).ok()?;
    let is_free = !matches!(probe, LockProbe::Busy(_));
    is_free.then(|| file.shared_bytes(0..u64::MAX).ok().flatten().unwrap_or(0))
}

fn age_text(age: Duration) -> String {
    let hours = age.as_secs() / 3600;
    match hours {
        0 => "less than an hour".to_owned(),
        1..48 => format!("{hours} h"),
        _ => format!("{} days", hours / 24),
    }
}
