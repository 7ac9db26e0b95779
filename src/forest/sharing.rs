//! How a file is seen that several machines see. When what two of them tell of is the same file is `shared_id`'s business.

use std::path::{Path, PathBuf};

/// How a file of shared storage is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// The name that the storage has for it, the same wherever it is mounted: `nas:/export/a.qcow2`.
    pub name: Box<Path>,
    /// Whether its inode number is the server's, and the same on every machine.
    pub keeps_inodes: bool,
    /// Whether the machine that tells of it may not write there.
    pub is_read_only: bool,
    /// Its names on the other machines that see it, each with the machine's before it: `web:/srv/a.qcow2`; in the order of
    /// the machines.
    pub seen_as: Vec<PathBuf>,
}
