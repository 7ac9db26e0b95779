//! Folders that a user who runs machines cannot pass, and files that this user cannot open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::forest::{Location, Node};
use crate::host::{Permission, Stat, User, printable, shell_quoted};
use crate::machines::Part;
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
    let mut obstacles = Obstacles::default();
    disks.for_each(|disk| obstacles.look(subject, disk, &user));
    let folders = obstacles.folders.iter();
    folders
        .filter_map(|(path, barrier)| Some(told(path, barrier.as_ref()?, &user)))
        .collect()
}

/// What keeps a user from running a machine on any leaf of the forest.
pub(super) fn look_as(subject: &Subject<'_>, user: &User) -> Vec<Finding> {
    let mut obstacles = Obstacles::default();
    let leaves = subject
        .images()
        .filter(|node| subject.context.forest.is_leaf(node));
    leaves.for_each(|leaf| obstacles.look(subject, leaf, user));
    let all = obstacles.folders.iter().chain(&obstacles.files);
    let found = all.filter_map(|(path, barrier)| Some(told(path, barrier.as_ref()?, user)));
    found
        .map(|found| found.named(FINDER.name, FINDER.why))
        .collect()
}

/// Why not, and how many disks need it.
struct Barrier {
    permission: Permission,
    stat: Stat,
    disks: u64,
}

/// All that stands in the way; none for what was looked at and stands in nobody's.
#[derive(Default)]
struct Obstacles {
    folders: BTreeMap<PathBuf, Option<Barrier>>,
    files: BTreeMap<PathBuf, Option<Barrier>>,
}

impl Obstacles {
    /// What stands in the way to a disk: it is written, and read with all below it.
    fn look(&mut self, subject: &Subject<'_>, disk: &Node, user: &User) {
        let forest = &subject.context.forest;
        let chain = forest.chain(disk.id);
        for layer in chain.iter().filter_map(|id| forest.get(*id)) {
            let is_there = matches!(layer.location, Location::Scanned | Location::OutsideScan);
            let Some(place) = is_there
                .then(|| subject.context.host.canonical(&layer.path).ok())
                .flatten()
            else {
                continue;
            };
            let permission = if layer.id == disk.id {
                Permission::ReadWrite
            } else {
                Permission::Read
            };
            for folder in place.ancestors().skip(1) {
                ask(&mut self.folders, subject, folder, Permission::Search, user);
            }
            ask(&mut self.files, subject, &place, permission, user);
        }
    }
}

/// Asks once of each file.
fn ask(
    known: &mut BTreeMap<PathBuf, Option<Barrier>>,
    subject: &Subject<'_>,
    path: &Path,
    permission: Permission,
    user: &User,
) {
    if let Some(known) = known.get_mut(path) {
        if let Some(barrier) = known {
            barrier.disks += 1;
        }
        return;
    }
    let barrier = subject.context.host.stat(path).ok().and_then(|stat| {
        let may = user.may(permission, path, &stat).unwrap_or(true);
        (!may).then_some(Barrier {
            permission,
            stat,
            disks: 1,
        })
    });
    known.insert(path.to_path_buf(), barrier);
}

fn told(path: &Path, barrier: &Barrier, user: &User) -> Found {
    let (name, file) = (printable(&user.name), printable(path));
    let (does, right) = match barrier.permission {
        Permission::Search => ("pass the folder", "x"),
        Permission::Read => ("read", "r"),
        Permission::ReadWrite => ("read and write", "rw"),
    };
    let text = format!(
        "The user {name} may not {does} {file} (mode {:04o}, owner {}), needed for {}. \
         `setfacl -m u:{name}:{right} {}` lets this user and nobody else.",
        barrier.stat.mode,
        barrier.stat.uid,
        count(barrier.disks, "disk"),
        shell_quoted(path)
    );
    Found::at(path, text)
}
