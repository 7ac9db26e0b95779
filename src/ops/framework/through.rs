//! The machine by which an operation is done while it runs: that it has the files open is no reason against it.

use crate::machines::Machine;

/// A machine that runs, and does what is asked itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) struct Through {
    /// The number of its process.
    pub(in crate::ops) pid: u32,
    /// Its UUID as libvirt knows it, where libvirt runs it.
    pub(in crate::ops) id: Option<String>,
}

impl Through {
    /// Whether that is this machine.
    pub(in crate::ops) fn is(&self, machine: &Machine) -> bool {
        match &self.id {
            Some(id) => machine.id.as_ref() == Some(id),
            None => machine.place == format!("process {}", self.pid),
        }
    }
}
