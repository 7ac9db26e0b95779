//! What the system tells of a file, open or not: which one it is, of what kind and how large.

use std::num::NonZeroU16;
use std::time::SystemTime;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// Which file this is, whatever name led to it: device and inode. A block device is told by its own number,
/// since it is the same under every node that was made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct FileId {
    /// Device number, as `stat` gives it, which has no more than 32 bits; above [`FileId::DEVICE_BITS`] of them, which
    /// machine the device is on.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
}

impl FileId {
    /// Stands for the inode of a block device, which no filesystem on a device gives out.
    const OF_DEVICE: u64 = u64::MAX;

    /// Bits that a device's number may have; those above are 0 for a file of this machine.
    pub const DEVICE_BITS: u32 = 48;

    /// The block device of this number (`st_rdev`).
    #[must_use]
    pub fn of_device(number: u64) -> Self {
        Self {
            device: number,
            inode: Self::OF_DEVICE,
        }
    }

    /// The number, if this is a block device of this machine.
    #[must_use]
    pub fn device_number(self) -> Option<u64> {
        (self.inode == Self::OF_DEVICE && self.machine() == 0).then_some(self.device)
    }

    /// The number of the machine that it is on; 0 for this one.
    #[must_use]
    pub fn machine(self) -> u64 {
        self.device >> Self::DEVICE_BITS
    }

    /// The same file of another machine, which is no file of any other; none for one that is said to be on a machine
    /// already.
    #[must_use]
    pub fn on_machine(self, machine: NonZeroU16) -> Option<Self> {
        let number = u64::from(machine.get()) << Self::DEVICE_BITS;
        (self.machine() == 0).then_some(Self {
            device: self.device | number,
            ..self
        })
    }
}

/// What kind of thing a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A symbolic link (only from calls that do not follow links).
    Symlink,
    /// A pipe, a socket, a character device.
    Other,
}

/// What `stat` tells about a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Stat {
    /// Which file it is.
    pub id: FileId,
    /// What kind of thing it is.
    pub kind: FileKind,
    /// Length in bytes. For a block device this is the device's size (0 if the kernel does not
    /// tell).
    pub len: u64,
    /// Bytes allocated on disk (`st_blocks` times 512).
    pub allocated: u64,
    /// Time of the last change of content.
    pub modified: SystemTime,
    /// Time of the last change of anything about the file, also of its attributes (`st_ctime`).
    pub changed: SystemTime,
    /// Permission bits, with set-user-id, set-group-id and sticky (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links.
    pub links: u64,
}

impl Stat {
    /// Whether it is the same file with the same bytes, as far as that can be told without reading them.
    #[must_use]
    pub fn holds_the_same(&self, other: &Self) -> bool {
        (self.id, self.len, self.modified) == (other.id, other.len, other.modified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_machine_is_none_of_this_one() {
        let web = NonZeroU16::new(u16::MAX).unwrap();
        for file in [
            FileId {
                device: 7,
                inode: 9,
            },
            FileId::of_device(0x801),
        ] {
            let there = file.on_machine(web).unwrap();
            assert_ne!(there, file);
            assert_eq!((file.machine(), there.machine()), (0, 0xffff));
            assert_eq!(there.device_number(), None);
            // Nobody says for another which machine he is on.
            assert_eq!(there.on_machine(web), None);
        }
    }
}
