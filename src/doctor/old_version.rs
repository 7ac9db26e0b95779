//! An image of version 2, which most features came after.

use crate::host::printable;
use crate::image::{Amendment, Version};
use crate::ops::{AmendImage, Remedy};

use super::finder::{Finder, Found, Subject};

pub(super) const FINDER: Finder = Finder {
    name: "old-version",
    why: "Images of version 2 (compat=0.10) know no dirty bitmaps for backups, cannot note that a part reads as zeros, \
          and tell nobody that they were not closed cleanly. Every QEMU since 2012 knows version 3.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let old = subject
        .images()
        .filter(|node| node.info().is_some_and(|info| info.version == 2));
    old.map(|node| {
        let amendment = Amendment {
            version: Some(Version::V3),
            ..Amendment::default()
        };
        let image = node.path.clone();
        let text = format!("{} is of version 2 (compat=0.10).", printable(&node.path));
        Found::of(node, text).helped_by(vec![Remedy::ask(AmendImage { image, amendment })])
    })
    .collect()
}
