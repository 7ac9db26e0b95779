//! A machine whose definition says another format of a disk than its bytes look like.

use crate::forest::FormatMismatch;
use crate::host::printable;
use crate::machines::{Disk, Machine};

use super::finder::{Finder, Found, Subject, editing};

pub(super) const FINDER: Finder = Finder {
    name: "format-differs",
    why: "The machine reads the file as its definition says. An image that is read as raw shows its own header as the \
          first sector of the disk, and nothing that it holds; and what a guest wrote to a raw disk must never be \
          opened as an image, since it can name any file.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    subject
        .disks()
        .filter_map(|(machine, disk)| differs(subject, machine, disk))
        .collect()
}

fn differs(subject: &Subject<'_>, machine: &Machine, disk: &Disk) -> Option<Found> {
    let node = subject.context.forest.meant(&disk.file);
    let node = node.filter(|node| subject.covers(&node.path))?;
    let FormatMismatch { said, seen } = FormatMismatch::of(machine, disk, node)?;
    let (said, seen) = (printable(said.name()), printable(seen.name()));
    let text = format!(
        "The machine {} ({}) reads {} as {said} for its disk {}, and it looks like {seen}. If it was made as {seen}, \
         change the definition (`{}`); if it was made as {said}, its guest wrote that.",
        printable(&machine.name),
        machine.product,
        printable(&node.path),
        printable(&disk.target),
        editing(machine),
    );
    Some(Found::of(node, text))
}
