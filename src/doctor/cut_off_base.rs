//! An overlay that is shorter than what it is built on.

use crate::host::printable;
use crate::ops::Remedy;
use crate::units::size;

use super::finder::{Finder, Found, Subject};
use super::finding::Sure;

pub(super) const FINDER: Finder = Finder {
    name: "cut-off-base",
    why: "The guest does not see the end of the disk below. The last partition, or the second copy of the table of \
          partitions, may lie there.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let forest = &subject.context.forest;
    let shorter = subject.images().filter_map(|node| {
        let base = forest.get(node.parent?)?;
        let (own, below) = (node.virtual_size()?, base.virtual_size()?);
        (own < below).then(|| {
            let (path, base_name) = (printable(&node.path), printable(&base.path));
            let text = format!(
                "{path} is {} long, and {base_name}, which it is built on, {}: {} of it are cut off. An overlay made \
                 without a size is as long as its base.",
                size(own),
                size(below),
                size(below - own)
            );
            Found::of(node, text)
                .but(Sure::Likely)
                .helped_by(vec![Remedy::Branch(base.path.clone())])
        })
    });
    shorter.collect()
}
