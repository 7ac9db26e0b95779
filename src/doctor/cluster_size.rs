//! Clusters whose size works against copy-on-write.

use crate::host::printable;
use crate::units;

use super::finder::{Finder, Found, Subject};
use super::finding::Sure;

/// Subclusters a cluster (`extended_l2`).
const SUBCLUSTERS: u64 = 32;
/// What guests and filesystems write at least.
const BLOCK: u64 = 4 << 10;
/// Clusters of this size and more are larger than anybody gets without asking for them.
const LARGE: u64 = 256 << 10;

pub(super) const FINDER: Finder = Finder {
    name: "cluster-size",
    why: "The first write to a cluster of an overlay copies the whole cluster from below, or with subclusters \
          (extended_l2) one part of 32. Large clusters make each small write slow and the overlay large; parts of less \
          than 4 KiB make the tables longer and each write needs its neighbours. QEMU advises subclusters with clusters \
          of 128 KiB.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let unfit = subject.images().filter_map(|node| {
        let info = node.info()?;
        let name = printable(&node.path);
        let size = info.cluster_size;
        let words = match info.extended_l2 {
            true if size / SUBCLUSTERS < BLOCK => format!(
                "{name} has subclusters of {} each, less than the {} that guests write.",
                units::size(size / SUBCLUSTERS),
                units::size(BLOCK)
            ),
            false if size >= LARGE && node.backing.is_some() => format!(
                "{name} is an overlay with clusters of {}: each first write to one copies that much.",
                units::size(size)
            ),
            _ => return None,
        };
        let helps = "A copy made by `convert --extended-l2 --cluster-size 128K` has neither.";
        Some(Found::of(node, format!("{words} {helps}")).but(Sure::Possible))
    });
    unfit.collect()
}
