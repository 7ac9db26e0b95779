//! Looking through the tables of images: what they say of damage and leaks becomes a problem of the image, and what
//! lies behind its end a finding here.

use std::path::PathBuf;
use std::sync::Arc;

use crate::forest::NodeId;
use crate::host::printable;
use crate::image::Check;
use crate::ops::{Context, Remedy, RepairAction, RepairImage, check_each};
use crate::units::size;

use super::finder::{Found, Subject};
use super::finding::Finding;

/// The name of what is found here.
pub(super) const PAST_END: &str = "past-end";
const WHY: &str = "These bytes belong to nothing that the image knows of: something was appended to the file, or space was \
                   given up behind which nothing is left. They take room on the disk, and every copy carries them along.";

/// QEMU itself leaves a little behind where it gives up clusters.
const LEAST: u64 = 1 << 20;

/// Looks through the tables of all images that the person asks about, but for those that a process writes or that cannot
/// be read. No byte of a guest is read.
#[must_use]
pub fn look_through(context: &mut Context) -> Vec<Finding> {
    let subject = Subject::of(context);
    let images = subject.images().filter(|node| node.info().is_some());
    let (ids, paths): (Vec<NodeId>, Vec<PathBuf>) =
        images.map(|node| (node.id, node.path.clone())).unzip();
    let checked = ids.into_iter().zip(check_each(&*context.host, &paths));
    let checked: Vec<(NodeId, Check)> = checked
        .filter_map(|(id, check)| Some((id, check.ok()?)))
        .collect();
    let forest = Arc::make_mut(&mut context.forest);
    for (id, check) in &checked {
        forest.note_check(*id, check);
    }
    let found = checked.iter().filter_map(|(id, check)| {
        let node = context.forest.get(*id)?;
        let bytes = check.trailing_bytes();
        (bytes >= LEAST && check.corruptions == 0).then(|| {
            let text = format!(
                "{} goes on for {} behind the last cluster in use.",
                printable(&node.path),
                size(bytes)
            );
            let repair = RepairImage {
                image: node.path.clone(),
                action: RepairAction::All,
            };
            let fixes = vec![Remedy::ask(repair)];
            Found::of(node, text).helped_by(fixes).named(PAST_END, WHY)
        })
    });
    found.collect()
}
