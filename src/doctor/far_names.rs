//! A header whose names lie further inside the file than libvirt reads.

use crate::host::printable;
use crate::ops::{Relink, Remedy};

use super::finder::{Finder, Found, Subject};

pub(super) const FINDER: Finder = Finder {
    name: "far-names",
    why: "libvirt reads the first 33,280 bytes of an image and looks for its base there. What it does not find it takes \
          for an image that is built on nothing, and the guest is not let at the base.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let far = subject.images().filter(|node| {
        node.backing.is_some() && node.info().is_some_and(|info| info.backing_name_is_far)
    });
    far.map(|node| {
        let text = format!(
            "The name of its base ends behind the first 33,280 bytes of {}.",
            printable(&node.path)
        );
        let relink = Relink {
            image: node.path.clone(),
            base: None,
            format: None,
            style: None,
        };
        Found::of(node, text).helped_by(vec![Remedy::ask(relink)])
    })
    .collect()
}
