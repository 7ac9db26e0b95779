//! The machine by which an operation is done while it runs: that it runs, and has the files open, is no reason against
//! it. Whatever else it needs of them is.

use std::path::PathBuf;

use crate::machines::{Machine, Part};

/// A machine that runs, and does what is asked itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) struct Through {
    /// The number of its process.
    pub(in crate::ops) pid: u32,
    /// Its UUID as libvirt knows it, where libvirt runs it.
    pub(in crate::ops) id: Option<String>,
    /// The file of the disk that is another one afterwards, in its definition as well.
    pub(in crate::ops) switches: Option<PathBuf>,
}

impl Through {
    /// Whether that is this machine.
    pub(in crate::ops) fn is(&self, machine: &Machine) -> bool {
        match &self.id {
            Some(id) => machine.id.as_ref() == Some(id),
            None => machine.place == format!("process {}", self.pid),
        }
    }

    /// Whether the machine sees to it itself that it goes on with that part.
    pub(in crate::ops) fn sees_to(&self, part: Part<'_>) -> bool {
        match part {
            // What it was started with names nothing afterwards: the plan says what it has to be started with.
            _ if self.id.is_none() => true,
            // Its definition pins nothing afterwards.
            Part::Pinned(..) => true,
            Part::Disk(disk) => self.switches.as_ref() == Some(&disk.file.path),
            Part::OwnedBy(_) | Part::NeededBy(_) => false,
        }
    }
}
