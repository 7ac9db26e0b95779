//! Machines of a host: what travels of them, and what is believed of it. A host tells of its own machines, whose files
//! are its own files and whose connections are its own.

use std::ffi::OsStr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::far::{Name, believed_path, believed_sentence};
use crate::host::{FileId, printable};
use crate::machines::{
    Disk, Machine, MachineSnapshot, MachineState, NamedFile, Unasked, place_on, product_named,
};

/// Machines of one host at most.
const MOST_MACHINES: usize = 100_000;
/// Files that all of them name together.
const MOST_FILES: usize = 1_000_000;
/// Disks, layers, snapshots or checkpoints of one of them.
const MOST_LISTED: usize = 10_000;
/// Bytes of a name.
const MOST_WORD: usize = 256;

/// A machine as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SentMachine {
    product: String,
    place: String,
    name: String,
    id: Option<String>,
    state: SentState,
    disks: Vec<SentDisk>,
    pub(super) snapshots: Vec<SentSnapshot>,
    checkpoints: Vec<String>,
    managed_by: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SentState {
    Running,
    Saved,
    Off,
    Unknown,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SentDisk {
    target: String,
    file: SentFile,
    format: Option<String>,
    pinned: Vec<SentFile>,
    pin_ends: bool,
    read_only: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SentFile {
    path: Name,
    file: Option<FileId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SentSnapshot {
    name: String,
    owns: Vec<SentFile>,
    needs: Vec<SentFile>,
}

/// What could not be asked, as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SentUnasked {
    product: String,
    place: String,
    why: String,
}

impl SentMachine {
    pub(super) fn of(machine: Machine) -> Self {
        Self {
            product: machine.product.to_owned(),
            place: machine.place,
            name: machine.name,
            id: machine.id,
            state: SentState::of(machine.state),
            disks: machine.disks.into_iter().map(SentDisk::of).collect(),
            snapshots: machine
                .snapshots
                .into_iter()
                .map(SentSnapshot::of)
                .collect(),
            checkpoints: machine.checkpoints,
            managed_by: machine.managed_by,
        }
    }
}

impl SentState {
    fn of(state: MachineState) -> Self {
        match state {
            MachineState::Running => Self::Running,
            MachineState::Saved => Self::Saved,
            MachineState::Off => Self::Off,
            MachineState::Unknown => Self::Unknown,
        }
    }

    fn state(self) -> MachineState {
        match self {
            Self::Running => MachineState::Running,
            Self::Saved => MachineState::Saved,
            Self::Off => MachineState::Off,
            Self::Unknown => MachineState::Unknown,
        }
    }
}

impl SentDisk {
    fn of(disk: Disk) -> Self {
        Self {
            target: disk.target,
            file: SentFile::of(disk.file),
            format: disk.format,
            pinned: disk.pinned.into_iter().map(SentFile::of).collect(),
            pin_ends: disk.pin_ends,
            read_only: disk.read_only,
        }
    }
}

impl SentFile {
    fn of(named: NamedFile) -> Self {
        Self {
            path: Name::of(named.path),
            file: named.file,
        }
    }
}

impl SentSnapshot {
    fn of(snapshot: MachineSnapshot) -> Self {
        Self {
            name: snapshot.name,
            owns: snapshot.owns.into_iter().map(SentFile::of).collect(),
            needs: snapshot.needs.into_iter().map(SentFile::of).collect(),
        }
    }
}

impl SentUnasked {
    pub(super) fn of(unasked: Unasked) -> Self {
        Self {
            product: unasked.product.to_owned(),
            place: unasked.place,
            why: unasked.why,
        }
    }
}

/// The host that tells of its machines.
#[derive(Debug)]
pub(super) struct Host {
    name: Arc<str>,
    number: NonZeroU16,
    machines: usize,
    files: usize,
}

impl Host {
    pub(super) fn new(name: &str, number: NonZeroU16) -> Self {
        Self {
            name: name.into(),
            number,
            machines: 0,
            files: 0,
        }
    }

    /// The machine; none of a product that nobody knows, and none past so many machines and files.
    pub(super) fn machine(&mut self, machine: SentMachine) -> Option<Machine> {
        let product = product_named(&machine.product)?;
        self.machines += 1;
        (self.machines <= MOST_MACHINES).then_some(())?;
        let disks = machine.disks.into_iter().take(MOST_LISTED);
        let disks: Vec<Disk> = disks.filter_map(|disk| self.disk(disk)).collect();
        let snapshots = machine.snapshots.into_iter().take(MOST_LISTED);
        let snapshots = snapshots.map(|snapshot| MachineSnapshot {
            name: word(&snapshot.name),
            owns: self.files(snapshot.owns),
            needs: self.files(snapshot.needs),
        });
        Some(Machine {
            product,
            snapshots: snapshots.collect(),
            host: Some(Arc::clone(&self.name)),
            place: place_on(&self.name, &word(&machine.place)),
            name: word(&machine.name),
            id: machine.id.as_deref().map(word),
            state: machine.state.state(),
            disks,
            checkpoints: machine
                .checkpoints
                .iter()
                .take(MOST_LISTED)
                .map(|name| word(name))
                .collect(),
            managed_by: machine.managed_by.as_deref().map(believed_sentence),
        })
    }

    /// What could not be asked, and where.
    pub(super) fn unasked(&mut self, unasked: &SentUnasked) -> Option<Unasked> {
        self.machines += 1;
        (self.machines <= MOST_MACHINES).then_some(())?;
        Some(Unasked {
            product: product_named(&unasked.product)?,
            place: place_on(&self.name, &believed_sentence(&unasked.place)),
            why: believed_sentence(&unasked.why),
        })
    }

    /// A disk; none whose file is none of the host's.
    fn disk(&mut self, disk: SentDisk) -> Option<Disk> {
        Some(Disk {
            target: word(&disk.target),
            file: self.file(disk.file)?,
            format: disk.format.as_deref().map(word),
            pinned: self.files(disk.pinned),
            pin_ends: disk.pin_ends,
            read_only: disk.read_only,
        })
    }

    fn files(&mut self, files: Vec<SentFile>) -> Vec<NamedFile> {
        let files = files.into_iter().take(MOST_LISTED);
        files.filter_map(|file| self.file(file)).collect()
    }

    fn file(&mut self, named: SentFile) -> Option<NamedFile> {
        self.files += 1;
        (self.files <= MOST_FILES).then_some(())?;
        Some(NamedFile {
            path: believed_path(&self.name, Path::new(&named.path.name()))?,
            file: named.file.and_then(|file| file.on_machine(self.number)),
        })
    }
}

/// A name that acts on no terminal, as much of it as a name may have.
fn word(text: &str) -> String {
    let mut end = text.len().min(MOST_WORD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    printable(OsStr::new(text.get(..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Fact, Intake, line};
    use crate::forest::far::MOST_LINE;
    use crate::ops::is_defined_by_service;

    fn named(path: &str) -> NamedFile {
        NamedFile {
            path: path.into(),
            file: Some(FileId {
                device: 1,
                inode: 7,
            }),
        }
    }

    fn disk(path: &str) -> Disk {
        Disk {
            target: "vda".to_owned(),
            file: named(path),
            format: Some("qcow2".to_owned()),
            pinned: vec![named("/srv/base")],
            pin_ends: true,
            read_only: false,
        }
    }

    fn machine(place: &str, disks: Vec<Disk>) -> Machine {
        Machine {
            product: "libvirt",
            host: None,
            place: place.to_owned(),
            name: "db".to_owned(),
            id: Some("0b6b".to_owned()),
            state: MachineState::Saved,
            disks,
            snapshots: vec![MachineSnapshot {
                name: "s".to_owned(),
                owns: vec![named("/srv/s")],
                needs: vec![named("/srv/a")],
            }],
            checkpoints: vec!["c".to_owned()],
            managed_by: Some("Vagrant (/lab)".to_owned()),
        }
    }

    /// What is taken of these lines of the host `web`.
    fn taken(bytes: &[u8]) -> Vec<Fact> {
        let mut intake = Intake::new("web", NonZeroU16::new(3).unwrap());
        intake.feed(bytes).unwrap()
    }

    fn told(machine: Machine) -> Option<Machine> {
        let bytes = line(Fact::Machine(Box::new(machine))).unwrap();
        match taken(&bytes).pop()? {
            Fact::Machine(machine) => Some(*machine),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_machine_arrives_with_the_names_that_its_files_have_here() {
        let mut sent = machine("qemu:///system", vec![disk("/srv/a")]);
        let taken = told(sent.clone()).unwrap();
        for file in sent.files_mut() {
            file.path = believed_path("web", &file.path).unwrap();
            file.file = file
                .file
                .and_then(|file| file.on_machine(NonZeroU16::new(3).unwrap()));
        }
        sent.host = Some("web".into());
        sent.place = "web:qemu:///system".to_owned();
        assert_eq!(taken, sent);
        assert!(is_defined_by_service(&taken));
        assert_eq!(taken.to_string(), "db (libvirt on web, saved)");
    }

    #[test]
    fn a_machine_has_no_files_but_those_of_its_host() {
        let mut sent = machine("qemu:///system", Vec::new());
        for path in ["/../etc/passwd", "relative", "db:/srv/a", "", "/a\0b"] {
            sent.disks.push(disk(path));
        }
        sent.disks.push(disk("/srv/a"));
        // A number that is another machine's is none of its own.
        let far = FileId {
            device: 1,
            inode: 7,
        };
        sent.disks[5].file.file = far.on_machine(NonZeroU16::new(9).unwrap());
        let taken = told(sent).unwrap();
        let [only] = &taken.disks[..] else {
            panic!("{taken:?}")
        };
        assert_eq!(only.file.path, Path::new("web:/srv/a"));
        assert!(
            only.file.file.is_none_or(|file| file.machine() == 3),
            "{only:?}"
        );
    }

    #[test]
    fn a_place_that_reads_as_one_of_another_machine_is_never_asked() {
        for place in [
            "///system",
            "db:qemu:///system",
            "//x",
            "an-alias",
            "x qemu:///system",
        ] {
            for host in ["web", "qemu"] {
                let mut intake = Intake::new(host, NonZeroU16::MIN);
                let sent = Fact::Machine(Box::new(machine(place, Vec::new())));
                let taken = intake.feed(&line(sent).unwrap()).unwrap();
                let [Fact::Machine(taken)] = &taken[..] else {
                    panic!("{taken:?}")
                };
                assert!(!is_defined_by_service(taken), "{host} {place}");
            }
        }
    }

    #[test]
    fn names_of_machines_act_on_no_terminal_and_have_an_end() {
        let mut sent = machine("qemu:///system", vec![disk("/srv/a")]);
        sent.name = "a\u{1b}[31m".to_owned();
        sent.disks[0].target = "\u{202e}".repeat(2000);
        sent.managed_by = Some("x".repeat(5000));
        let taken = told(sent).unwrap();
        assert_eq!(taken.name, "a\\u{1b}[31m");
        assert!(taken.disks[0].target.len() <= 16 * MOST_WORD);
        assert!(!taken.disks[0].target.contains('\u{202e}'));
        assert!(taken.managed_by.unwrap().len() <= 1000);
        let unasked = Unasked {
            product: "libvirt",
            place: "qemu:///system".to_owned(),
            why: "no\u{7}".to_owned(),
        };
        let facts = taken_of(unasked);
        assert_eq!(facts, "libvirt (web:qemu:///system): no\\u{7}");
    }

    fn taken_of(unasked: Unasked) -> String {
        match taken(&line(Fact::Unasked(unasked)).unwrap()).pop() {
            Some(Fact::Unasked(unasked)) => unasked.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_line_cannot_hold_is_told_without_its_snapshots() {
        let mut sent = machine("qemu:///system", vec![disk("/srv/a")]);
        let files: Vec<NamedFile> = (0..60_000)
            .map(|at| named(&format!("/srv/{at:030}")))
            .collect();
        sent.snapshots[0].needs = files;
        let bytes = line(Fact::Machine(Box::new(sent.clone()))).unwrap();
        assert!(!bytes.is_empty() && bytes.len() < MOST_LINE);
        let taken = told(sent).unwrap();
        assert!(taken.snapshots.is_empty() && !taken.disks.is_empty());
    }

    #[test]
    fn a_host_names_so_many_machines_and_files_and_no_more() {
        let mut host = Host::new("web", NonZeroU16::MIN);
        let one = SentMachine::of(machine("qemu:///system", vec![disk("/srv/a")]));
        host.machines = MOST_MACHINES - 1;
        assert!(host.machine(one.clone()).is_some());
        assert!(host.machine(one.clone()).is_none());
        let mut host = Host::new("web", NonZeroU16::MIN);
        host.files = MOST_FILES;
        assert!(host.machine(one.clone()).unwrap().disks.is_empty());
        let mut many = one.clone();
        many.disks = vec![one.disks[0].clone(); MOST_LISTED + 1];
        let mut host = Host::new("web", NonZeroU16::MIN);
        assert_eq!(host.machine(many).unwrap().disks.len(), MOST_LISTED);
        let mut other = one;
        other.product = "no such product".to_owned();
        assert!(host.machine(other).is_none());
    }

    #[test]
    fn hostile_lines_of_machines_are_errors_and_no_panic() {
        for bytes in [
            b"{\"machine\":7}\n".as_slice(),
            b"{\"machine\":{\"name\":\"a\"}}\n",
            b"{\"unasked\":[]}\n",
            b"{\"machine\":{\"product\":\"libvirt\",\"place\":\"\",\"name\":\"\",\"id\":null,\"state\":\"flying\",\"disks\":[],\"snapshots\":[],\"checkpoints\":[],\"managed_by\":null}}\n",
        ] {
            assert!(Intake::new("web", NonZeroU16::MIN).feed(bytes).is_err());
        }
    }
}
