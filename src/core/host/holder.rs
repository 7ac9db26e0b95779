//! A process that has a file open, and how it is told of. Who they are is found out in `holders`.

use std::fmt;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// A process that has a file open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Holder {
    /// Process id; 0 where there is somebody and nobody can see who.
    pub pid: u32,
    /// The command's name, control characters escaped.
    pub command: String,
    /// The name of the virtual machine that it runs (`-name guest=NAME`), control characters escaped.
    pub machine: Option<Box<str>>,
    /// Whether it has the file open for writing.
    pub writes: bool,
    /// Whether it holds image locks on the file, as QEMU and qanopy do for an image in use. A
    /// process that merely reads the file, like `less`, has it open and holds none.
    pub locks: bool,
    /// The machine that it runs on, where that is another one than the file is told of by, on storage that both see.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub host: Option<Box<str>>,
}

impl Holder {
    /// Somebody who holds image locks and cannot be seen: of another user, or on another machine.
    #[must_use]
    pub fn unseen(writes: bool) -> Self {
        Self {
            pid: 0,
            command: String::new(),
            machine: None,
            writes,
            locks: true,
            host: None,
        }
    }

    /// Whether only its locks tell of it.
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.pid == 0
    }
}

/// `machine c2 (qemu-system-x86_64, process 3750)`, `less (process 12)`, `less (process 12 on web)`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, command, .. } = self;
        let (on, host) = match &self.host {
            Some(host) => (" on ", &**host),
            None => ("", ""),
        };
        match &self.machine {
            _ if self.is_unseen() && self.host.is_some() => {
                write!(f, "a process on {host} that cannot be seen")
            }
            _ if self.is_unseen() => f.write_str("a process that cannot be seen from here"),
            Some(machine) => write!(f, "machine {machine} ({command}, process {pid}{on}{host})"),
            None => write!(f, "{command} (process {pid}{on}{host})"),
        }
    }
}
