//! Images that are copies of one another.

use std::collections::BTreeMap;

use crate::forest::{Node, sampled};
use crate::host::{FileKind, printable};
use crate::units;

use super::finder::{Finder, Found, Subject};
use super::finding::Sure;

/// Smaller ones are not worth a word.
const WORTH: u64 = 1 << 20;

pub(super) const FINDER: Finder = Finder {
    name: "same-content",
    why: "A copy takes the room once more, and what is put right in one of them stays wrong in the other. One image with \
          an overlay for each user holds the same in one place. Whether they are the same to the last byte is for \
          `compare` to say.",
    look,
};

/// Only files of one length are looked into, and of those a few pieces.
fn look(subject: &Subject<'_>) -> Vec<Found> {
    let mut by_length: BTreeMap<u64, Vec<&Node>> = BTreeMap::new();
    for node in subject.images() {
        let stat = node.stat.as_ref();
        // What shares its blocks with another (`cp --reflink`) costs nothing, and counts as allocated all the same.
        let stat = stat.filter(|stat| stat.kind == FileKind::Regular && stat.allocated >= WORTH);
        if let Some(stat) = stat {
            by_length.entry(stat.len).or_default().push(node);
        }
    }
    let mut found = Vec::new();
    for (length, nodes) in by_length.into_iter().filter(|(_, nodes)| nodes.len() > 1) {
        let mut by_samples: BTreeMap<String, Vec<&Node>> = BTreeMap::new();
        for node in nodes {
            if let Ok(samples) = sampled(&*subject.context.host, &node.path, length) {
                by_samples.entry(samples).or_default().push(node);
            }
        }
        for mut same in by_samples.into_values() {
            same.sort_by_key(|node| (node.stat.as_ref().map(|stat| stat.modified), &node.path));
            found.extend(copies(&same));
        }
    }
    found
}

/// Every image but the first, the oldest, which the others are copies of.
fn copies(same: &[&Node]) -> Vec<Found> {
    let Some((first, others)) = same.split_first() else {
        return Vec::new();
    };
    let copy = |node: &&Node| {
        let taken = node.stat.as_ref().map_or(0, |stat| stat.allocated);
        let text = format!(
            "{} ({} on disk) seems to be a copy of {}.",
            printable(&node.path),
            units::size(taken),
            printable(&first.path)
        );
        Found::of(node, text).but(Sure::Possible)
    };
    others.iter().map(copy).collect()
}
