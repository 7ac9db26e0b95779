//! An image that others are built on, and that everybody may write.

use crate::forest::Node;
use crate::host::{FileKind, printable};
use crate::ops::{Protect, Remedy};

use super::finder::{Finder, Found, Subject};

/// The permission bit that lets everybody write.
const BY_OTHERS: u32 = 0o002;

pub(super) const FINDER: Finder = Finder {
    name: "writable-base",
    why: "Whoever writes an image that others are built on changes all of them, and nothing in the format keeps anybody \
          from it. Everybody on this machine may write this one. An image that nobody may write can still be read, and \
          built on.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let forest = &subject.context.forest;
    let mode = |node: &Node| {
        let stat = node.stat.as_ref()?;
        (stat.kind == FileKind::Regular).then_some(stat.mode)
    };
    let frozen = subject.images().filter(|node| !forest.is_leaf(node));
    frozen
        .filter_map(|node| {
            let mode = mode(node).filter(|mode| mode & BY_OTHERS != 0)?;
            let text = format!(
                "Others are built on {}, and everybody may write it (mode {mode:04o}).",
                printable(&node.path)
            );
            let image = node.path.clone();
            let protect = Protect { image, mode: None };
            Some(Found::of(node, text).helped_by(vec![Remedy::ask(protect)]))
        })
        .collect()
}
