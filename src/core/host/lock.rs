//! What to lock in an image and what came of it. The calls themselves are in `ofd`.

use std::fmt;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::holder::Holder;

/// First byte of "I use permission n".
pub(super) const USES: u64 = 100;
/// First byte of "I allow nobody else permission n".
pub(super) const FORBIDS: u64 = 200;
/// "I use write".
pub(super) const WRITES: u64 = USES + 1;

/// Whether `first..=last` touches a byte of QEMU's image locks.
pub(super) fn is_image_lock(first: u64, last: u64) -> bool {
    let within = |base: u64| first <= base + 3 && last >= base;
    within(USES) || within(FORBIDS)
}

/// Which of QEMU's lock bytes to take (QEMU's `file-posix`, observed with 10.0.2). Byte `100 + n`
/// says "I use permission n", byte `200 + n` says "I allow nobody else permission n", where n is
/// 0 consistent-read, 1 write, 2 write-unchanged, 3 resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum LockSet {
    /// As QEMU opens an image read-write: 100 101 103 and 201 203.
    ReadWrite,
    /// As QEMU opens an image read-only, and every backing file: 100 and 201 203. Held on a file
    /// it makes QEMU refuse to write the file and lets it read.
    ReadOnly,
}

impl LockSet {
    /// The permissions this opener uses.
    pub(super) fn used(self) -> &'static [u8] {
        match self {
            LockSet::ReadWrite => &[0, 1, 3],
            LockSet::ReadOnly => &[0],
        }
    }

    /// The permissions this opener allows nobody else.
    pub(super) fn forbidden(self) -> &'static [u8] {
        &[1, 3]
    }
}

/// The answer to a wish for a lock.
#[derive(Debug)]
pub enum Lock {
    /// Held, until this guard is dropped.
    Held(LockGuard),
    /// Somebody else's use of the file forbids it.
    Busy(Conflict),
    /// The filesystem knows no open-file-description locks.
    Unsupported,
}

/// The answer to a question about a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum LockProbe {
    /// It could be taken.
    Free,
    /// Somebody else's use of the file forbids it.
    Busy(Conflict),
    /// The filesystem knows no open-file-description locks.
    Unsupported,
}

/// What others hold of QEMU's image locks on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum LocksSeen {
    /// Nothing.
    Free,
    /// They read it, or a file built on it.
    Read,
    /// They write it.
    Written,
    /// The filesystem knows no such locks.
    Unknown,
}

/// Why a lock cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Conflict {
    /// Whether somebody else writes the file (holds byte 101).
    pub writer: bool,
    /// Who holds the file, as far as `/proc` shows: those that hold image locks, or, if none of
    /// them can be seen, everybody who has it open. Empty when the holder belongs to another user
    /// or another machine.
    pub holders: Vec<Holder>,
}

/// Keeps a lock; what it needs to release is inside.
pub struct LockGuard {
    /// Dropped to release.
    _release: Option<Box<dyn Send + Sync>>,
}

impl LockGuard {
    /// A guard that drops `release` when the lock is to go.
    #[must_use]
    pub fn new(release: Option<Box<dyn Send + Sync>>) -> Self {
        Self { _release: release }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockGuard")
    }
}
