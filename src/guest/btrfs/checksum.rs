//! The checksums of superblocks and tree blocks: all four that the format has.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use sha2::Sha256;
use twox_hash::XxHash64;

/// Which one (`csum_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    Crc32c,
    Xxhash64,
    Sha256,
    Blake2b,
}

/// Bytes that a checksum has room for (`BTRFS_CSUM_SIZE`); what it does not fill is zeros.
pub(super) const CSUM_SIZE: usize = 32;

impl Checksum {
    /// By its number; none for one that is not known.
    pub(super) const fn of_type(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::Crc32c),
            1 => Some(Self::Xxhash64),
            2 => Some(Self::Sha256),
            3 => Some(Self::Blake2b),
            _ => None,
        }
    }

    /// Whether a block that begins with its checksum has the right one.
    pub(super) fn is_right(self, block: &[u8]) -> bool {
        let Some((stored, content)) = block.split_at_checked(CSUM_SIZE) else {
            return false;
        };
        match self {
            Self::Crc32c => stored.starts_with(&crc32c::crc32c(content).to_le_bytes()),
            Self::Xxhash64 => stored.starts_with(&XxHash64::oneshot(0, content).to_le_bytes()),
            Self::Sha256 => stored == Sha256::digest(content).as_slice(),
            Self::Blake2b => stored == Blake2b::<U32>::digest(content).as_slice(),
        }
    }
}

/// The hash of a name, which is the offset in the key of its `DIR_ITEM`: CRC32C from `~1`, not inverted at the end.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    u64::from(!crc32c::crc32c_append(1, name))
}

/// The hash of a link, which is the offset in the key of its `INODE_EXTREF`: CRC32C from the number of the directory.
pub(super) fn link_hash(parent: u64, name: &[u8]) -> u64 {
    let [a, b, c, d, ..] = parent.to_le_bytes();
    u64::from(!crc32c::crc32c_append(
        !u32::from_le_bytes([a, b, c, d]),
        name,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_name_is_the_one_that_is_stored() {
        // As `btrfs inspect-internal dump-tree` shows it of the root tree of every filesystem.
        assert_eq!(name_hash(b"default"), 2_378_154_706);
    }
}
