//! Files that were being made when a crash came.

use crate::host::printable;
use crate::ops::{Remedy, RemoveLeftovers, leftovers};
use crate::units::size;

use super::finder::{Finder, Found, Subject};

pub(super) const FINDER: Finder = Finder {
    name: "half-made",
    why: "A file gets its name when it is whole. The program that was making this one has ended before that, so nobody \
          needs it, and it takes space.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let left = leftovers(subject.context.host.as_ref(), &subject.folders());
    let left = left.into_iter().filter(|one| !one.runs);
    left.map(|one| {
        let text = format!(
            "{} was left half made by a program that has ended, and takes {}.",
            printable(&one.path),
            size(one.bytes)
        );
        let files = vec![one.path.clone()];
        Found::at(&one.path, text).helped_by(vec![Remedy::ask(RemoveLeftovers { files })])
    })
    .collect()
}
