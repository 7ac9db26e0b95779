//! A machine whose definition says that a disk is built on something else than its header says.

use std::path::Path;

use crate::forest::{Forest, Node, NodeId};
use crate::host::{printable, shell_quoted};
use crate::machines::{Disk, Machine, NamedFile};

use super::finder::{Finder, Found, Subject};

pub(super) const FINDER: Finder = Finder {
    name: "pinned-otherwise",
    why: "libvirt goes by the definition (its backingStore elements) and does not ask the headers. The machine sees \
          another disk than every program that opens the image by itself, or does not start.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let forest = &subject.context.forest;
    let machines = forest.machines().list().iter();
    let disks = machines.flat_map(|machine| machine.disks.iter().map(move |disk| (machine, disk)));
    let pinned = disks.filter(|(_, disk)| disk.is_pinned());
    pinned
        .filter_map(|(machine, disk)| differs(subject, forest, machine, disk))
        .collect()
}

fn differs(
    subject: &Subject<'_>,
    forest: &Forest,
    machine: &Machine,
    disk: &Disk,
) -> Option<Found> {
    let top = of(forest, &disk.file).filter(|top| subject.covers(&top.path))?;
    let chain = forest.chain(top.id);
    let mut above = top;
    for at in 0..=disk.pinned.len() {
        let below = chain.get(at + 1).and_then(|id| forest.get(*id));
        let said = disk.pinned.get(at);
        let (is_so, said) = match (said, below) {
            (Some(said), Some(below)) => (is(forest, said, below.id), named(&said.path)),
            (Some(said), None) => (false, named(&said.path)),
            (None, Some(_)) => (!disk.pin_ends, "nothing".to_owned()),
            (None, None) => (true, String::new()),
        };
        if !is_so {
            let header = below.map_or_else(|| "nothing".to_owned(), |below| named(&below.path));
            let name = shell_quoted(Path::new(&machine.name));
            let text = format!(
                "The machine {} ({}) has {} built on {said} for its disk {}; its header names {header}. Take the \
                 backingStore elements out of the definition (`virsh edit {name}`) if the header is right.",
                printable(&machine.name),
                machine.product,
                printable(&above.path),
                printable(&disk.target),
            );
            return Some(Found::of(top, text));
        }
        above = below?;
    }
    None
}

/// The image that a machine means.
fn of<'f>(forest: &'f Forest, named: &NamedFile) -> Option<&'f Node> {
    let by_file = named.file.and_then(|file| forest.by_file(file));
    by_file.or_else(|| forest.by_path(&named.path))
}

fn is(forest: &Forest, named: &NamedFile, id: NodeId) -> bool {
    of(forest, named).is_some_and(|node| node.id == id)
}

fn named(path: &Path) -> String {
    printable(path)
}
