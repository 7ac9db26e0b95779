//! Folders that a user who runs machines cannot pass, and files that this user cannot open.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::forest::Node;
use crate::host::{Permission, User, printable, shell_quoted};
use crate::machines::Part;
use crate::ops::{MissingPermission, Permit, PermitScope, Remedy, missing_permissions};
use crate::units::count;

use super::finder::{Finder, Found, Subject};
use super::finding::Finding;

/// The names that the user has by which libvirt runs QEMU.
const RUNS_QEMU: [&str; 2] = ["libvirt-qemu", "qemu"];

pub(super) const FINDER: Finder = Finder {
    name: "not-permitted",
    why: "A machine is run by a user of its own, who needs the right to pass every folder on the way and to read every \
          layer of the chain. Without it the machine does not start, although all files are there.",
    look,
};

/// For the disks of libvirt's system machines, who are run by a user that is known. libvirt gives that user the files
/// when it starts a machine, and never the folders.
fn look(subject: &Subject<'_>) -> Vec<Found> {
    let forest = &subject.context.forest;
    let is_run_by_it = |node: &&Node| {
        let uses = forest.uses(node);
        uses.iter().any(|one| {
            let is_disk = matches!(one.part, Part::Disk(_));
            is_disk && one.machine.place == "qemu:///system"
        })
    };
    let mut disks = subject.images().filter(is_run_by_it).peekable();
    if disks.peek().is_none() {
        return Vec::new();
    }
    let known = RUNS_QEMU.iter();
    let mut known = known.filter_map(|name| User::named(name).ok().flatten());
    let Some(user) = known.next() else {
        return Vec::new();
    };
    found(subject, disks, &user, PermitScope::Folders)
}

/// What keeps a user from running a machine on any leaf of the forest.
pub(super) fn look_as(subject: &Subject<'_>, user: &User) -> Vec<Finding> {
    let forest = &subject.context.forest;
    let leaves = subject.images().filter(|node| forest.is_leaf(node));
    let found = found(subject, leaves, user, PermitScope::All).into_iter();
    found
        .map(|found| found.named(FINDER.name, FINDER.why))
        .collect()
}

/// All of it is put right by one plan.
fn found<'n>(
    subject: &Subject<'_>,
    disks: impl Iterator<Item = &'n Node>,
    user: &User,
    scope: PermitScope,
) -> Vec<Found> {
    let missing = missing_permissions(subject.context, user, disks, scope);
    let disks = missing.iter().flat_map(|missing| &missing.disks);
    let disks: BTreeSet<&PathBuf> = disks.collect();
    let permit = Permit::run(user, disks.into_iter().cloned().collect(), scope);
    let missing = missing.iter();
    missing
        .map(|missing| told(missing, user).helped_by(vec![Remedy::ask(permit.clone())]))
        .collect()
}

fn told(missing: &MissingPermission, user: &User) -> Found {
    let (name, file) = (printable(&user.name), printable(&missing.path));
    let (does, right) = match missing.permission {
        Permission::Search => ("pass the folder", "x"),
        Permission::Read => ("read", "r"),
        Permission::ReadWrite => ("read and write", "rw"),
    };
    let text = format!(
        "The user {name} may not {does} {file} (mode {:04o}, owner {}), needed for {}. \
         `setfacl -m u:{name}:{right} {}` lets this user and nobody else.",
        missing.stat.mode,
        missing.stat.uid,
        count(missing.disks.len(), "disk"),
        shell_quoted(&missing.path)
    );
    Found::at(&missing.path, text)
}
