//! Which machine uses a file, and how: found by the names that machines have for it, and by the file itself.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::host::FileId;

use super::machine::{Disk, Machine, MachineSnapshot, NamedFile};

/// A machine that uses a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use<'m> {
    /// The machine.
    pub machine: &'m Machine,
    /// What the file is to it.
    pub part: Part<'m>,
}

/// What a file is to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'m> {
    /// This disk is read from it, and written to it.
    Disk(&'m Disk),
    /// This disk is built on it, as the definition says: so many layers below.
    Pinned(&'m Disk, usize),
    /// This snapshot had it made, and its removal removes it.
    OwnedBy(&'m MachineSnapshot),
    /// Going back to this snapshot starts from it.
    NeededBy(&'m MachineSnapshot),
}

impl Part<'_> {
    /// Its name, for programs to match on.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Disk(_) => "disk",
            Self::Pinned(..) => "pinned",
            Self::OwnedBy(_) => "snapshot-overlay",
            Self::NeededBy(_) => "snapshot-base",
        }
    }
}

/// What the file is to the machine: `web (libvirt, running): the disk vda`, of another host `web (libvirt on db, running):
/// the disk vda`. Not printable yet.
impl fmt::Display for Use<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.machine, self.part)
    }
}

/// `web (libvirt, running)`, of another host `web (libvirt on db, running)`. Not printable yet.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, product, .. } = self;
        write!(f, "{name} ({product}")?;
        if let Some(host) = &self.host {
            write!(f, " on {host}")?;
        }
        write!(f, ", {})", self.state.name())
    }
}

/// `the disk vda`. Not printable yet.
impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(disk) if disk.read_only => write!(f, "the medium {}", disk.target),
            Self::Disk(disk) => write!(f, "the disk {}", disk.target),
            Self::Pinned(disk, _) => {
                write!(f, "by its definition a layer of the disk {}", disk.target)
            }
            Self::OwnedBy(snapshot) | Self::NeededBy(snapshot) => {
                write!(f, "a file of the snapshot {}", snapshot.name)
            }
        }
    }
}

/// Where a file stands in the list of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Disk(usize),
    Pinned(usize, usize),
    Owned(usize),
    Needed(usize),
}

/// The machines by the files they name.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    by_name: HashMap<PathBuf, Vec<(usize, At)>>,
    by_file: HashMap<FileId, Vec<(usize, At)>>,
}

impl Index {
    pub(super) fn of(machines: &[Machine]) -> Self {
        let mut index = Self::default();
        for (number, machine) in machines.iter().enumerate() {
            for (at, disk) in machine.disks.iter().enumerate() {
                index.note(&disk.file, (number, At::Disk(at)));
                for (layer, file) in disk.pinned.iter().enumerate() {
                    index.note(file, (number, At::Pinned(at, layer)));
                }
            }
            for (at, snapshot) in machine.snapshots.iter().enumerate() {
                let owned = snapshot.owns.iter().map(|file| (file, At::Owned(at)));
                let needed = snapshot.needs.iter().map(|file| (file, At::Needed(at)));
                for (file, at) in owned.chain(needed) {
                    index.note(file, (number, at));
                }
            }
        }
        index
    }

    fn note(&mut self, file: &NamedFile, place: (usize, At)) {
        self.by_name
            .entry(file.path.clone())
            .or_default()
            .push(place);
        if let Some(id) = file.file {
            self.by_file.entry(id).or_default().push(place);
        }
    }

    /// Whether no machine names any file.
    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Which of the machines use the file that goes by these names, in their order.
    pub(super) fn uses<'m, 'n>(
        &self,
        machines: &'m [Machine],
        names: impl IntoIterator<Item = &'n Path>,
        file: Option<FileId>,
    ) -> Vec<Use<'m>> {
        let by_file = file.and_then(|file| self.by_file.get(&file));
        let by_name = names.into_iter().filter_map(|name| self.by_name.get(name));
        let places: BTreeSet<(usize, At)> = by_name.chain(by_file).flatten().copied().collect();
        places
            .into_iter()
            .filter_map(|(number, at)| {
                let machine = machines.get(number)?;
                let part = match at {
                    At::Disk(disk) => Part::Disk(machine.disks.get(disk)?),
                    At::Pinned(disk, layer) => Part::Pinned(machine.disks.get(disk)?, layer),
                    At::Owned(snapshot) => Part::OwnedBy(machine.snapshots.get(snapshot)?),
                    At::Needed(snapshot) => Part::NeededBy(machine.snapshots.get(snapshot)?),
                };
                Some(Use { machine, part })
            })
            .collect()
    }
}
