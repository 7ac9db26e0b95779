//! A base that was changed under what is built on it, and each image that shows something else since.

use crate::forest::{ChangedBase, Fingerprints};
use crate::host::printable;
use crate::ops::Remedy;
use crate::units;

use super::finder::{Finder, Found, Subject};
use super::finding::Sure;

pub(super) const FINDER: Finder = Finder {
    name: "base-changed",
    why: "An overlay holds only what differs from its base as that was when the overlay was made. Over another base the \
          guest sees a mixture of two disks: files that are cut off, and a filesystem that is damaged. Put the base back \
          as it was, from a backup, before a machine writes these images. Where the base was only copied back or \
          touched, accept it as it is now.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let context = subject.context;
    let Some(dir) = context.state_dir.as_deref() else {
        return Vec::new();
    };
    let changed = Fingerprints::at(dir).changed(&*context.host, &context.forest);
    // What cannot be read is told when it is to be written.
    let changed = changed.unwrap_or_default();
    changed
        .iter()
        .flat_map(|changed| found(subject, changed))
        .collect()
}

fn found(subject: &Subject<'_>, changed: &ChangedBase) -> Vec<Found> {
    let forest = &subject.context.forest;
    let Some(base) = forest.get(changed.base) else {
        return Vec::new();
    };
    let name = printable(&base.path);
    let when = units::utc(changed.modified);
    let sure = match changed.bytes_differ || changed.lengths.is_some() {
        true => Sure::Certain,
        false => Sure::Likely,
    };
    let what = match (changed.lengths, changed.bytes_differ) {
        (Some((then, now)), _) => format!(
            "its length was {}, and is {} now",
            units::size(then),
            units::size(now)
        ),
        (None, true) => "its bytes are others".to_owned(),
        (None, false) => {
            "its time is another one; the samples of its bytes are the same".to_owned()
        }
    };
    let many = units::count(changed.affected.len() as u64, "image");
    let fixes = || vec![Remedy::Accept(base.path.clone())];
    let of_base = subject.covers(&base.path).then(|| {
        let noted = units::utc(changed.noted);
        let text =
            format!("{name} was changed on {when}, with {many} built on it: {what} since {noted}.");
        Found::of(base, text).but(sure).helped_by(fixes())
    });
    let above = changed.affected.iter().filter_map(|id| forest.get(*id));
    let above = above.filter(|node| subject.covers(&node.path));
    let above = above.map(|node| {
        let image = printable(&node.path);
        let text =
            format!("{image} is built on {name}, which was changed on {when}, after it was made.");
        Found::of(node, text).but(sure).helped_by(fixes())
    });
    of_base.into_iter().chain(above).collect()
}
