//! Folders of a host that the screen shows beside those of this machine.

use std::ffi::OsString;
use std::path::PathBuf;

use super::destination::Destination;

/// Folders of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarFolders {
    /// The host.
    pub to: Destination,
    /// The folders as they were named.
    pub folders: Vec<PathBuf>,
    /// The words that have them scanned there.
    pub scan: Vec<OsString>,
    /// The words that have told there what is known beside the images, once it is said behind the first of them what.
    pub tell: Vec<OsString>,
    /// The words that have files read there.
    pub read: Vec<OsString>,
}
