//! A machine as its product knows it. Texts are as they are written down there: they are made printable where
//! they are shown.

use std::path::PathBuf;
use std::sync::Arc;

use crate::host::FileId;

use super::elsewhere::host_and_connection;

/// A machine that is defined, or runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The product, by its name in the table of products.
    pub product: &'static str,
    /// The other host that it is on; none where that is this machine.
    pub host: Option<Arc<str>>,
    /// Where the product has it from: a connection (`qemu:///system`), a file, a process. On another host with its name
    /// before it.
    pub place: String,
    /// Its name.
    pub name: String,
    /// Its UUID, where it has one.
    pub id: Option<String>,
    /// What it does.
    pub state: MachineState,
    /// Its disks, and media in its drives.
    pub disks: Vec<Disk>,
    /// Its snapshots that have files of their own.
    pub snapshots: Vec<MachineSnapshot>,
    /// Its checkpoints, each a dirty bitmap in its disks.
    pub checkpoints: Vec<String>,
    /// The product that had it defined, and where: `Vagrant (/home/anna/lab)`. None where that is [`Self::product`].
    pub managed_by: Option<String>,
}

impl Machine {
    /// The format as which it opens one of its disks, whatever the bytes look like; none where nothing says it.
    #[must_use]
    pub fn format_of<'m>(&self, disk: &'m Disk) -> Option<&'m str> {
        // What libvirt has where a definition says nothing.
        let unsaid = matches!(self.product, "libvirt" | "GNOME Boxes").then_some("raw");
        disk.format.as_deref().or(unsaid)
    }

    /// The connection that it is asked of, as that is called on the host that it is on. What another host names
    /// and is no connection of its own is none.
    #[must_use]
    pub fn connection_there(&self) -> Option<&str> {
        let Some(host) = &self.host else {
            return Some(&self.place);
        };
        let (named, connection) = host_and_connection(&self.place)?;
        (**host == *named).then_some(connection)
    }
}

/// What a machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineState {
    /// It runs, or is paused.
    Running,
    /// It is off, and its memory is kept in a file (a managed save): it goes on with just the disks it had.
    Saved,
    /// It is off.
    Off,
    /// Nobody could tell.
    Unknown,
}

impl MachineState {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Saved => "saved",
            Self::Off => "off",
            Self::Unknown => "unknown",
        }
    }
}

/// A file by the name that a machine has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// The name, absolute.
    pub path: PathBuf,
    /// Which file that was when machines were asked for, links followed; none if there was none.
    pub file: Option<FileId>,
}

impl NamedFile {
    /// A file of which only the name is known so far.
    #[must_use]
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file: None,
        }
    }
}

/// A disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The name the machine has for it: `vda`, `scsi0`.
    pub target: String,
    /// What it is read from and written to.
    pub file: NamedFile,
    /// Its format, as the definition says.
    pub format: Option<String>,
    /// What it is built on by the definition, nearest first, whatever its header says (`<backingStore>`).
    pub pinned: Vec<NamedFile>,
    /// Whether by the definition nothing is below the last of these (an empty `<backingStore/>`).
    pub pin_ends: bool,
    /// Whether the machine never writes it.
    pub read_only: bool,
}

impl Disk {
    /// A disk that is written, and of which nothing is pinned.
    #[must_use]
    pub(super) fn new(target: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            file: NamedFile::new(path),
            format: None,
            pinned: Vec::new(),
            pin_ends: false,
            read_only: false,
        }
    }

    /// Whether its definition says what it is built on, so that its header is not asked.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.pin_ends || !self.pinned.is_empty()
    }
}

/// A snapshot of a machine that has files of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSnapshot {
    /// Its name.
    pub name: String,
    /// The overlays that were made for it: deleting the snapshot removes them.
    pub owns: Vec<NamedFile>,
    /// The files that it froze: going back to it starts from them.
    pub needs: Vec<NamedFile>,
}

impl Machine {
    /// A machine without disks so far.
    pub(super) fn new(
        product: &'static str,
        place: impl Into<String>,
        name: impl Into<String>,
        state: MachineState,
    ) -> Self {
        Self {
            product,
            host: None,
            place: place.into(),
            name: name.into(),
            id: None,
            state,
            disks: Vec::new(),
            snapshots: Vec::new(),
            checkpoints: Vec::new(),
            managed_by: None,
        }
    }

    /// Every file that it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut NamedFile> {
        let disks = self
            .disks
            .iter_mut()
            .flat_map(|disk| std::iter::once(&mut disk.file).chain(&mut disk.pinned));
        let snapshots = self
            .snapshots
            .iter_mut()
            .flat_map(|snapshot| snapshot.owns.iter_mut().chain(&mut snapshot.needs));
        disks.chain(snapshots)
    }
}
