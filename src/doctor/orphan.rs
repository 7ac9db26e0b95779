//! An image that no machine, no chain and no process needs, among others that are needed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::forest::{Flags, Forest, Node};
use crate::host::printable;
use crate::ops::{Remedy, Request};
use crate::units::{age, size};

use super::finder::{Finder, Found, Subject};
use super::finding::Sure;

/// What was changed since is nobody's left-over.
const UNCHANGED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) const FINDER: Finder = Finder {
    name: "orphan",
    why: "Other images in its folder are the disks of machines; this one is no machine's, nothing is built on it, and no \
          process has it open. It may be what a machine that is gone has left. Whether somebody still wants it only a \
          person knows.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let forest = &subject.context.forest;
    if forest.machines().use_nothing() {
        return Vec::new();
    }
    let folders: BTreeSet<&Path> = subject
        .images()
        .filter(|node| !forest.uses(node).is_empty())
        .filter_map(|node| node.path.parent())
        .collect();
    let sure = match forest.machines().unasked() {
        [] => Sure::Likely,
        _ => Sure::Possible,
    };
    let now = subject.context.host.now();
    let orphans = subject
        .images()
        .filter(|node| node.path.parent().is_some_and(|dir| folders.contains(dir)))
        .filter(|node| is_needed_by_nobody(forest, node));
    orphans
        .filter_map(|node| {
            let stat = node.stat.as_ref()?;
            let unchanged = now.duration_since(stat.modified).ok()?;
            (unchanged >= UNCHANGED).then(|| {
                let text = format!(
                    "No machine, no image and no process needs {}, which is unchanged for {} and takes {}.",
                    printable(&node.path),
                    age(unchanged),
                    size(stat.allocated)
                );
                let discard = Request::discard(vec![node.path.clone()]);
                Found::of(node, text)
                    .but(sure)
                    .helped_by(vec![Remedy::ask(discard)])
            })
        })
        .collect()
}

fn is_needed_by_nobody(forest: &Forest, node: &Node) -> bool {
    !node.symlink
        && !node.is_wanted()
        && node.info().is_some()
        && node.problems.is_empty()
        && node.holders.is_empty()
        && forest.is_leaf(node)
        && forest.uses(node).is_empty()
        && !forest.flags(node.id).contains(Flags::IN_USE)
}
