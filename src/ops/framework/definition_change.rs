//! What changes in the definitions of machines along with files, as values: a disk of a domain, its element before and
//! after. What plans and carries it out is in `redefine`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::printable;
use crate::machines::{Defined, Disk, Machine};

use super::absolute;
use super::format::{name, shown};

/// A disk of a domain that libvirt's service defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DomainDisk {
    /// The connection: `qemu:///system`.
    pub connection: String,
    /// The domain's UUID.
    pub id: String,
    /// The domain's name.
    pub machine: String,
    /// The disk, by the name that the machine has for it.
    pub target: String,
}

/// What a disk's definition needs, so that a machine goes on with what it is to have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::ops) struct Cure {
    pub(in crate::ops) disk: DomainDisk,
    /// The file it is now.
    pub(in crate::ops) file: PathBuf,
    pub(in crate::ops) step: Step,
    /// The format of the file that a step leads to, where it may be another one.
    pub(in crate::ops) format: Option<String>,
    /// Whether the layers that are pinned below the disk are those below the new file as well.
    pub(in crate::ops) keeps_pin: bool,
    /// The file whose content the machine has no longer then; none where it goes on with what it had.
    pub(in crate::ops) loses: Option<PathBuf>,
}

/// What happens to a disk's definition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Its layers are no longer named.
    Unpin,
    /// They are named again.
    Pin,
    /// It is this file instead of that one.
    Source {
        /// The file it was.
        from: PathBuf,
        /// The file it is to be.
        to: PathBuf,
    },
}

/// A disk's element before and after. What is secret in a definition is never part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionChange {
    /// Of which disk.
    pub disk: DomainDisk,
    /// The file that the disk is before.
    pub file: PathBuf,
    /// What happens.
    pub step: Step,
    /// The element as it was.
    pub before: String,
    /// And as it is to be.
    pub after: String,
}

/// Which definitions an operation changes besides its files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::ops) enum Redefines {
    /// None: what would need it is refused.
    #[default]
    Nothing,
    /// Those of machines that would be harmed otherwise.
    AsNeeded,
    /// These, each unless it is done already.
    These(Vec<DefinitionChange>),
}

/// That a file shows what another one shows, once the operation is through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) struct Successor {
    pub(in crate::ops) from: PathBuf,
    pub(in crate::ops) to: PathBuf,
    pub(in crate::ops) format: Option<String>,
    /// Whether it is built on the very layers the other one is built on.
    pub(in crate::ops) keeps_layers: bool,
}

/// A change of a definition that is planned.
#[derive(Debug, Clone)]
pub struct Redefinition {
    /// What.
    pub change: DefinitionChange,
    /// The whole definition when it was planned.
    pub(in crate::ops) digest: [u8; 32],
    is_done: Arc<AtomicBool>,
}

impl fmt::Display for Redefinition {
    /// `web (qemu:///system): its disk vda is /vm/b instead of /vm/a`. Not printable yet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.change.disk, self.change.step)
    }
}

impl fmt::Display for DomainDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}), disk {}",
            self.machine, self.connection, self.target
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unpin => {
                f.write_str("<backingStore> taken out, so that the headers say what it is built on")
            }
            Self::Pin => f.write_str("<backingStore> put back as it was"),
            Self::Source { from, to } => {
                write!(f, "source {} -> {}", printable(from), printable(to))
            }
        }
    }
}

impl Redefinition {
    /// Whether the definition says so already.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    pub(in crate::ops) fn set_done(&self, is_done: bool) {
        self.is_done.store(is_done, Ordering::Release);
    }

    pub(in crate::ops) fn of(change: DefinitionChange, defined: &Defined, is_done: bool) -> Self {
        Self {
            change,
            digest: digest(defined),
            is_done: Arc::new(AtomicBool::new(is_done)),
        }
    }
}

/// A number for all that a definition says.
pub(in crate::ops) fn digest(defined: &Defined) -> [u8; 32] {
    Sha256::digest(defined.text.as_bytes()).into()
}

impl DefinitionChange {
    /// The file that the disk is afterwards.
    pub(in crate::ops) fn left_as(&self) -> PathBuf {
        match &self.step {
            Step::Source { to, .. } => to.clone(),
            Step::Unpin | Step::Pin => self.file.clone(),
        }
    }

    /// What takes it back.
    pub(in crate::ops) fn reversed(&self) -> Self {
        let step = match &self.step {
            Step::Unpin => Step::Pin,
            Step::Pin => Step::Unpin,
            Step::Source { from, to } => Step::Source {
                from: to.clone(),
                to: from.clone(),
            },
        };
        let file = match &step {
            Step::Source { from, .. } => from.clone(),
            Step::Unpin | Step::Pin => self.file.clone(),
        };
        Self {
            disk: self.disk.clone(),
            file,
            step,
            before: self.after.clone(),
            after: self.before.clone(),
        }
    }
}

/// What takes all of these back.
pub(in crate::ops) fn reversed(changes: &[DefinitionChange]) -> Vec<DefinitionChange> {
    changes
        .iter()
        .rev()
        .map(DefinitionChange::reversed)
        .collect()
}

/// Whether libvirt's service told of it.
#[must_use]
pub fn is_defined_by_service(machine: &Machine) -> bool {
    let connection = machine.connection_there().unwrap_or_default();
    let is_asked = |scheme: &str| connection.starts_with(scheme);
    machine.product == "libvirt" && ["qemu:", "qemu+unix:"].into_iter().any(is_asked)
}

/// The disk of a domain whose definition libvirt's service changes.
pub(in crate::ops) fn domain_disk(machine: &Machine, disk: &Disk) -> Option<DomainDisk> {
    let is_asked = is_defined_by_service(machine);
    Some(DomainDisk {
        connection: machine.place.clone(),
        id: machine.id.clone().filter(|_| is_asked)?,
        machine: machine.name.clone(),
        target: disk.target.clone(),
    })
}

/// A file as the source of a definition: in full.
pub(in crate::ops) fn successor(from: &Path, to: &Path, format: Option<String>) -> Successor {
    Successor {
        from: absolute::path(from),
        to: absolute::path(to),
        format,
        keeps_layers: false,
    }
}

/// In a few words for a label: `web: its disk vda is b.qcow2 then`.
pub(in crate::ops) fn label(cure: &Cure) -> String {
    let (machine, target) = (printable(&cure.disk.machine), printable(&cure.disk.target));
    match &cure.step {
        Step::Source { to, .. } => {
            let then = format!("the disk {target} of {machine} is {} then", shown(to));
            match &cure.loses {
                Some(file) => format!("{then}, without what {} holds", name(file)),
                None => then,
            }
        }
        Step::Unpin | Step::Pin => {
            format!("take <backingStore> out of the disk {target} of {machine}")
        }
    }
}
