//! A machine whose definition names a file that is not there.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::forest::Node;
use crate::host::printable;
use crate::machines::{Disk, Machine};
use crate::ops::{Redefine, Remedy, Restore, trash};

use super::finder::{Finder, Found, Subject};

pub(super) const FINDER: Finder = Finder {
    name: "machine-disk-gone",
    why: "The machine does not start until all files that its definition names are there. They were moved, discarded, \
          or merged into others.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let context = subject.context;
    let host = context.host.as_ref();
    let mut all = Vec::new();
    let mut trashed: Option<Vec<trash::Entry>> = None;
    for (machine, disk, file) in files(subject) {
        let is_gone = |error: std::io::Error| error.kind() == ErrorKind::NotFound;
        if !subject.covers(&file.path) || !host.stat(&file.path).is_err_and(is_gone) {
            continue;
        }
        let what = match file.path == disk.file.path {
            true => format!("reads its disk {} from", printable(&disk.target)),
            false => format!("has as a layer of its disk {}", printable(&disk.target)),
        };
        let text = format!(
            "The machine {} ({}, {}) {what} {}, which is not there.",
            printable(&machine.name),
            machine.product,
            machine.state.name(),
            printable(&file.path)
        );
        let trashed = trashed.get_or_insert_with(|| {
            trash::list(host, context.state_dir.as_deref(), subject.named())
        });
        let in_trash = trashed
            .iter()
            .filter(|entry| entry.files.iter().any(|kept| kept.original == file.path));
        let restores = in_trash.map(|entry| {
            Remedy::ask(Restore {
                entries: vec![entry.name.clone()],
            })
        });
        let mut helps: Vec<Remedy> = restores.collect();
        if file.path == disk.file.path {
            let found = candidates(subject, disk).into_iter();
            let redefines = found.filter_map(|path| Redefine::source(machine, disk, &path));
            helps.extend(redefines.map(Remedy::ask));
        }
        all.push(Found::at(&file.path, text).helped_by(helps));
    }
    all
}

/// The images that the disk may be: of its name and its format, which nothing is built on and no machine has.
fn candidates(subject: &Subject<'_>, disk: &Disk) -> Vec<PathBuf> {
    let forest = &subject.context.forest;
    let format = |node: &Node| node.format().map(|format| format.name().to_owned());
    let may_be_it = |node: &&Node| {
        node.path.file_name() == disk.file.path.file_name()
            && (disk.format.is_none() || format(node) == disk.format)
            && forest.is_leaf(node)
            && forest.uses(node).is_empty()
    };
    let found = subject.images().filter(may_be_it);
    found.map(|node| node.path.clone()).collect()
}

/// Every file that is a disk of a machine, or a layer of one by its definition.
fn files<'c>(
    subject: &Subject<'c>,
) -> impl Iterator<Item = (&'c Machine, &'c Disk, &'c crate::machines::NamedFile)> {
    subject.disks().flat_map(|(machine, disk)| {
        let files = std::iter::once(&disk.file).chain(&disk.pinned);
        files.map(move |file| (machine, disk, file))
    })
}
