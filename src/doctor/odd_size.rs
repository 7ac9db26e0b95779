//! A disk that is no whole number of sectors.

use crate::forest::Content;
use crate::host::printable;
use crate::image::Preallocation;
use crate::ops::{Dependants, NewSize, Remedy, Resize};
use crate::units::grouped;

use super::finder::{Finder, Found, Subject};
use super::finding::Sure;

/// Bytes a sector.
const SECTOR: u64 = 512;

pub(super) const FINDER: Finder = Finder {
    name: "odd-size",
    why: "A guest reads and writes whole sectors of 512 bytes. Some programs leave out the last part of such a disk, some \
          fill it up. A copy that was broken off looks like this as well.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let odd = subject.images().filter_map(|node| {
        let bytes = node.virtual_size()?;
        let whole = bytes.checked_next_multiple_of(SECTOR)?;
        let is_raw = matches!(node.content, Content::Raw);
        (whole != bytes).then(|| {
            let text = format!(
                "The disk in {} is {} bytes long, {} less than whole sectors.",
                printable(&node.path),
                grouped(bytes),
                whole - bytes
            );
            let resize = Resize {
                image: node.path.clone(),
                size: NewSize::To(whole),
                shrink: false,
                preallocation: Preallocation::default(),
                dependants: Dependants::default(),
            };
            // A raw file tells by nothing else how long it was meant to be.
            let sure = if is_raw { Sure::Likely } else { Sure::Certain };
            Found::of(node, text)
                .but(sure)
                .helped_by(vec![Remedy::ask(resize)])
        })
    });
    odd.collect()
}
