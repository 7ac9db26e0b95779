//! Why an image could not be opened, read, written or created: a kind a face can match on, and the
//! file it happened to.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use crate::host::{Conflict, io_text, printable};
use crate::image::{Encryption, Format};
use crate::qcow2::FormatError;

/// An error of the image floor: what happened to which file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", printable(.path.as_os_str()))]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// What happened.
    #[source]
    pub kind: ErrorKind,
}

/// What can happen to an image.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// A call to the system failed.
    #[error("cannot {action}: {}", io_text(.source))]
    Io {
        /// What was tried: `open`, `read at 0x1000`.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// The header or a table breaks the format's rules.
    #[error("{0}")]
    Format(#[from] FormatError),
    /// The file is not qcow2, and was said to be.
    #[error("is not a qcow2 image: it does not begin like one")]
    NotQcow2,
    /// A table entry cannot be right.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// The guest's bytes are encrypted, and nobody gave a passphrase.
    #[error("its content is encrypted with LUKS, and no passphrase was given for it")]
    Locked,
    /// The guest's bytes are encrypted, and no key slot opens.
    #[error(
        "its content is encrypted with LUKS, and the passphrase given opens none of its key slots"
    )]
    WrongPassphrase,
    /// The guest's bytes are encrypted in a way that is not understood.
    #[error("its content is encrypted ({}), which is not read or written here", match .0 {
        Encryption::Aes => "legacy AES",
        Encryption::Luks => "LUKS",
    })]
    Encrypted(Encryption),
    /// Incompatible features nobody here knows.
    #[error("needs features that are not known here: {}", .0.join(", "))]
    UnknownFeatures(Vec<String>),
    /// A format known by name only.
    #[error("is of format {}, whose content is not read here", printable(.0.name()))]
    UnsupportedFormat(Format),
    /// The dirty bit is set: reference counts may be wrong.
    #[error("is marked dirty (it was not closed properly): it has to be repaired first")]
    Dirty,
    /// The corrupt bit is set.
    #[error("is marked corrupt: it has to be repaired first")]
    CorruptBit,
    /// Reference counts of so many bits cannot count what is there.
    #[error("has more that leads to one cluster than its refcounts of {0} bits can count")]
    TooManyReferences(u32),
    /// A check found that the metadata cannot be trusted for writing.
    #[error("has {0} corruptions in its tables: it has to be repaired first")]
    Corruptions(u64),
    /// Its snapshot table keeps QEMU from opening it.
    #[error("cannot be opened, by QEMU neither: {why}. {}", if *.mends {
        "A repair mends that, and keeps every snapshot"
    } else {
        "`qemu-img check -r all` opens it again, without the snapshots that it cannot read: keep a copy first"
    })]
    SnapshotTable {
        /// What is wrong with it.
        why: String,
        /// Whether a repair here makes it right.
        mends: bool,
    },
    /// What it records of dirty bitmaps keeps QEMU from opening it.
    #[error(
        "cannot be opened, by QEMU neither: {0}. A repair mends that, and leaves what the guest sees"
    )]
    Bitmaps(String),
    /// The image it is built on is not there or may not be followed.
    #[error("the file it is built on cannot be followed: {0}")]
    Backing(String),
    /// It names a file that lies outside the folders that may be looked in.
    #[error("names {}, which lies outside the folders looked in", printable(.0.as_os_str()))]
    OutsideRoots(PathBuf),
    /// Following backing links came back to an image already met.
    #[error("its backing links run in a circle")]
    Loop,
    /// More layers than are followed.
    #[error("its chain is longer than {0} images")]
    TooDeep(usize),
    /// A write would have hit the image's own tables.
    #[error(
        "refused to write guest data at host offset {offset:#x}: {what} is there; the image is corrupt"
    )]
    Overlap {
        /// Which table.
        what: &'static str,
        /// Where, in bytes.
        offset: u64,
    },
    /// A bound of the format, or of the memory that is used, does not allow it: too large, too long, too many.
    #[error("{0}")]
    Limit(String),
    /// What is asked does not go together with an image of this kind, version or with these features.
    #[error("{0}")]
    Unsupported(String),
    /// It has no internal snapshot or dirty bitmap of that name.
    #[error("{0}")]
    NoSuch(String),
    /// It has something of that name already.
    #[error("{0}")]
    Taken(String),
    /// It is not what it was any more, so what was saved of it does not fit.
    #[error("{0}")]
    Changed(String),
    /// A fault of this program: what was not written by then is not written.
    #[error("{0}")]
    Internal(#[from] crate::image::internal::Fault),
    /// The caller asked to stop.
    #[error("stopped as asked")]
    Cancelled,
}

impl ErrorKind {
    /// Whether a repair makes the image right.
    #[must_use]
    pub fn is_mended_by_repair(&self) -> bool {
        matches!(
            self,
            Self::Corruptions(_)
                | Self::CorruptBit
                | Self::Dirty
                | Self::SnapshotTable { mends: true, .. }
                | Self::Bitmaps(_)
        )
    }

    /// A name for programs to match on, which stays whatever becomes of the sentences.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Io { source, .. } => Self::name_of_io(source),
            Self::Format(_) => "malformed",
            Self::NotQcow2 => "not-qcow2",
            Self::Damaged(_) => "damaged",
            Self::Locked => "passphrase-needed",
            Self::WrongPassphrase => "wrong-passphrase",
            Self::Encrypted(_) => "unsupported-encryption",
            Self::UnknownFeatures(_) => "unknown-features",
            Self::UnsupportedFormat(_) => "unsupported-format",
            Self::Dirty => "dirty",
            Self::CorruptBit => "marked-corrupt",
            Self::TooManyReferences(_) => "too-many-references",
            Self::Corruptions(_) => "corruptions",
            Self::SnapshotTable { .. } => "snapshot-table",
            Self::Bitmaps(_) => "bitmaps",
            Self::Backing(_) => "backing",
            Self::OutsideRoots(_) => "outside-roots",
            Self::Loop => "loop",
            Self::TooDeep(_) => "too-deep",
            Self::Overlap { .. } => "metadata-overlap",
            Self::Limit(_) => "limit",
            Self::Unsupported(_) => "unsupported",
            Self::NoSuch(_) => "not-found",
            Self::Taken(_) => "already-exists",
            Self::Changed(_) => "stale",
            Self::Internal(_) => "internal",
            Self::Cancelled => "cancelled",
        }
    }

    /// The same of a call that failed.
    #[must_use]
    pub fn name_of_io(error: &io::Error) -> &'static str {
        match error.kind() {
            io::ErrorKind::NotFound => "not-found",
            io::ErrorKind::PermissionDenied => "permission-denied",
            io::ErrorKind::AlreadyExists => "already-exists",
            io::ErrorKind::StorageFull => "no-space",
            _ => "io",
        }
    }
}

/// Who uses a file, as a sentence.
#[must_use]
pub fn in_use(conflict: &Conflict) -> String {
    let who: Vec<String> = conflict
        .holders
        .iter()
        .filter(|holder| !holder.is_unseen())
        .map(ToString::to_string)
        .collect();
    let how = if conflict.writer {
        "is in use"
    } else {
        "is in use for reading"
    };
    if who.is_empty() {
        format!("{how} by a process that cannot be seen from here")
    } else {
        format!("{how} by {}", who.join(", "))
    }
}

/// Results of the image floor.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error about `path`.
    #[must_use]
    pub fn new(path: impl AsRef<Path>, kind: impl Into<ErrorKind>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
            kind: kind.into(),
        }
    }

    /// A failed call about `path`.
    #[must_use]
    pub fn io(path: impl AsRef<Path>, action: impl Into<String>, source: io::Error) -> Self {
        Self::new(
            path,
            ErrorKind::Io {
                action: action.into(),
                source,
            },
        )
    }
}

/// Turns a failed call into an error that names the file.
pub(crate) trait IoContext<T> {
    /// Names the file and what was tried.
    fn at(self, path: &Path, action: impl Display) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, path: &Path, action: impl Display) -> Result<T> {
        self.map_err(|source| Error::io(path, action.to_string(), source))
    }
}

/// Names the file that was worked on.
pub(crate) trait OfFile<T> {
    /// The fault as an error about `path`.
    fn of(self, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> OfFile<T> for std::result::Result<T, super::internal::Fault> {
    fn of(self, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|fault| Error::new(path, fault))
    }
}
