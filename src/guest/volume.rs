//! A volume of a guest's disk: its name, where it is, what is on it.

use std::fmt;

use crate::block::Place;
use crate::error::Error;
use crate::ranges::Ranges;
use crate::readers::OpenFilesystem;

/// Which volume of a disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeName {
    /// The disk as a whole, which has no partitions.
    Disk,
    /// A partition by its number.
    Partition(u32),
    /// A logical volume of LVM2: the volume group, and the volume in it. Both are checked to be plain words.
    Logical {
        /// The volume group.
        group: String,
        /// The volume in it.
        name: String,
    },
}

/// As in a path: `disk`, `p1`; a logical volume as below `/dev/mapper`, where hyphens of its names are doubled:
/// `group-name`, `my--group-name`.
impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => f.write_str("disk"),
            Self::Partition(number) => write!(f, "p{number}"),
            Self::Logical { group, name } => {
                let doubled = |word: &str| word.replace('-', "--");
                write!(f, "{}-{}", doubled(group), doubled(name))
            }
        }
    }
}

/// What is on a volume.
#[derive(Debug)]
pub enum Content {
    /// A filesystem that is read here.
    Filesystem(OpenFilesystem),
    /// An encrypted volume that was not opened.
    Locked {
        /// `LUKS1`, `LUKS2`.
        kind: &'static str,
        /// Whether passphrases were tried, and none of them opens it.
        is_wrong: bool,
    },
    /// A physical volume of this volume group, whose logical volumes are told by themselves.
    Physical(String),
    /// Something else that has a name.
    Named(&'static str),
    /// A filesystem that cannot be read, and why.
    Failed(Error),
    /// Nothing that is known; or nothing at all.
    Unknown {
        /// Whether the places that formats begin at are all zeros.
        is_empty: bool,
    },
}

/// How a volume is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// `LUKS1`, `LUKS2`.
    pub kind: &'static str,
    /// Tells its key from any other.
    pub(crate) key: Vec<u8>,
}

/// A volume of a disk.
#[derive(Debug)]
pub struct Volume {
    /// Which.
    pub name: VolumeName,
    /// How it is encrypted, if it is and was opened: then all else is told of what is in it.
    pub encryption: Option<Encryption>,
    /// Where it is on the disk. Of a logical volume that is not read, all that it may depend on, in no order.
    pub place: Place,
    /// Its length in bytes.
    pub len: u64,
    /// What is on it.
    pub content: Content,
}

impl Volume {
    /// The bytes of this volume that can differ from an older state of it, where `changed` are those of the disk:
    /// a volume may have been moved to bytes that did not change.
    #[must_use]
    pub fn changed_since(&self, older: &Self, changed: &Ranges) -> Ranges {
        let mut own = self.place.from_disk(changed);
        own.extend(&older.place.from_disk(changed));
        own.extend(&self.place.moved_from(&older.place));
        if self.encryption != older.encryption {
            own.insert(0..self.len);
        }
        own
    }
}

/// What is said of an encrypted volume that was not opened.
#[must_use]
pub fn locked(kind: &str, is_wrong: bool) -> String {
    let why = match is_wrong {
        true => "the passphrase that was given does not open it",
        false => "its passphrase is needed",
    };
    format!("{kind}, encrypted: {why}")
}
