//! What can go wrong while a guest's disk is read. Each says which filesystem, which structure of it and where.

use std::fmt;

/// Why something of a guest's disk was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image below could not be read.
    #[error(transparent)]
    Image(#[from] qanopy_core::Error),
    /// A structure contradicts its format.
    #[error("{filesystem}: {structure} at byte {offset} of the volume: {problem}")]
    Damaged {
        /// `ext4`, `XFS`.
        filesystem: &'static str,
        /// The specification's name: `superblock`, `inode 12`.
        structure: String,
        /// Where it is, in bytes of the volume.
        offset: u64,
        /// What is wrong with which field.
        problem: String,
    },
    /// A feature that is not read here. Nothing is known of what it covers, which is not the same as nothing there.
    #[error("{filesystem}: {feature} is not read")]
    Unsupported {
        /// `ext4`, `XFS`.
        filesystem: &'static str,
        /// The specification's name of the feature.
        feature: String,
    },
    /// A limit that keeps forged disks from taking all time or memory.
    #[error("{what}: more than {most}")]
    TooMuch {
        /// What there is too much of: `entries of a directory`.
        what: &'static str,
        /// How much is taken at the most.
        most: u64,
    },
    /// No such file.
    #[error("no such file or folder: {0}")]
    NotFound(Printable),
    /// A part of a path is no directory, or what was asked for as a directory is none.
    #[error("not a folder: {0}")]
    NotADirectory(Printable),
    /// What was asked for as a regular file is none.
    #[error("not a regular file: {0}")]
    NotAFile(Printable),
    /// A path leads through more symbolic links than Linux follows.
    #[error("too many symbolic links: {0}")]
    TooManyLinks(Printable),
    /// A folder that more than one name leads to, which no filesystem has: it may hold itself.
    #[error("a folder that another name leads to as well: {0}")]
    SeveralNames(Printable),
    /// The caller asked to stop.
    #[error("stopped")]
    Cancelled,
    /// A file outside the guest could not be written.
    #[error("{path}: {problem}")]
    Host {
        /// Which.
        path: Printable,
        /// What happened.
        problem: String,
    },
}

/// What reading gives.
pub type Result<T> = std::result::Result<T, Error>;

/// A name of a guest's file: bytes, shown without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Printable(pub Vec<u8>);

impl From<&[u8]> for Printable {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&qanopy_core::host::printable_bytes(&self.0))
    }
}

impl fmt::Debug for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
