//! A machine whose definition says what a disk is built on, and says the same as the headers. Where it says something
//! else, that is `pinned_otherwise`.

use crate::host::printable;
use crate::machines::{Disk, Machine, MachineState};
use crate::ops::{Redefine, Remedy};

use super::finder::{Finder, Found, Subject, editing};
use super::finding::Sure;

pub(super) const FINDER: Finder = Finder {
    name: "pinned",
    why: "libvirt goes by the definition (its backingStore elements) and does not ask the headers: what is rebased, \
          squashed or flattened in the chain does not reach the machine until they are taken out. libvirt writes them \
          itself when it makes a snapshot.",
    look,
};

/// Machines tell of the layers that their definitions name, never of those that a running one has open.
fn look(subject: &Subject<'_>) -> Vec<Found> {
    subject
        .disks()
        .filter_map(|(machine, disk)| agrees(subject, machine, disk))
        .collect()
}

fn agrees(subject: &Subject<'_>, machine: &Machine, disk: &Disk) -> Option<Found> {
    let forest = &subject.context.forest;
    let top = forest
        .meant(&disk.file)
        .filter(|top| subject.covers(&top.path))?;
    // That a disk is built on nothing is no chain.
    if disk.pinned.is_empty() || forest.pin_mismatch(disk).is_some() {
        return None;
    }
    let unpin = Redefine::unpin(machine, disk).filter(|_| machine.state == MachineState::Off);
    let how = match &unpin {
        Some(_) => String::new(),
        None => format!(": with `{}`, while it is off", editing(machine)),
    };
    let text = format!(
        "The machine {} ({}, {}) has the layers below its disk {} in its definition, where they are the same as in the \
         headers. Take them out of it{how}, before that chain is changed.",
        printable(&machine.name),
        machine.product,
        machine.state.name(),
        printable(&disk.target),
    );
    let fixes = unpin.map(Remedy::ask).into_iter().collect();
    Some(Found::of(top, text).but(Sure::Possible).helped_by(fixes))
}
