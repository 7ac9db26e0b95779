//! A machine whose definition says that a disk is built on something else than its header says.

use std::path::Path;

use crate::host::printable;
use crate::machines::{Disk, Machine};
use crate::ops::{Redefine, Remedy};

use super::finder::{Finder, Found, Subject, editing};

pub(super) const FINDER: Finder = Finder {
    name: "pinned-otherwise",
    why: "libvirt goes by the definition (its backingStore elements) and does not ask the headers. The machine sees \
          another disk than every program that opens the image by itself, or does not start.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    subject
        .disks()
        .filter_map(|(machine, disk)| differs(subject, machine, disk))
        .collect()
}

fn differs(subject: &Subject<'_>, machine: &Machine, disk: &Disk) -> Option<Found> {
    let forest = &subject.context.forest;
    let top = forest
        .meant(&disk.file)
        .filter(|top| subject.covers(&top.path))?;
    let mismatch = forest.pin_mismatch(disk)?;
    let named = |path: Option<&Path>| path.map_or_else(|| "nothing".to_owned(), printable);
    let unpin = Redefine::unpin(machine, disk).map(Remedy::ask);
    // Where the service was not asked, the person is the one who asks it.
    let how = match &unpin {
        Some(_) => String::new(),
        None => format!(" (`{}`)", editing(machine)),
    };
    let text = format!(
        "The machine {} ({}) has {} built on {} for its disk {}; its header names {}. Take the backingStore elements \
         out of the definition{how} if the header is right.",
        printable(&machine.name),
        machine.product,
        printable(&mismatch.image),
        named(mismatch.defined.as_deref()),
        printable(&disk.target),
        named(mismatch.recorded.as_deref()),
    );
    Some(Found::of(top, text).helped_by(unpin.into_iter().collect()))
}
