//! Structures with a checksum, and what is said of one that is damaged.

use crate::error::{Error, Result};
use crate::field;

/// A structure that contradicts its format.
pub(super) fn damaged(
    structure: impl Into<String>,
    offset: u64,
    problem: impl Into<String>,
) -> Error {
    Error::Damaged {
        filesystem: "XFS",
        structure: structure.into(),
        offset,
        problem: problem.into(),
    }
}

/// Where the common fields are in a kind of metadata.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checksummed {
    /// The checksum, CRC32C over all with zeros in its place.
    pub(super) crc: usize,
    /// The UUID.
    pub(super) uuid: usize,
    /// Its own disk address, in basic blocks.
    pub(super) blkno: Option<usize>,
    /// The number that it last reached the log with.
    pub(super) lsn: usize,
}

impl Checksummed {
    pub(super) const SUPERBLOCK: Self = Self::new(224, 32, None, 240);
    pub(super) const AGF: Self = Self::new(216, 64, None, 208);
    pub(super) const AGI: Self = Self::new(312, 296, None, 320);
    pub(super) const AGFL: Self = Self::new(32, 8, None, 24);
    /// Blocks of trees within a group.
    pub(super) const SHORT_BTREE: Self = Self::new(52, 32, Some(16), 24);
    /// Blocks of trees across groups.
    pub(super) const LONG_BTREE: Self = Self::new(64, 40, Some(24), 32);
    /// Directory blocks that hold entries, or free space of such.
    pub(super) const DIRECTORY: Self = Self::new(4, 24, Some(8), 16);
    /// Blocks of hashes of directories and attributes.
    pub(super) const DA_BLOCK: Self = Self::new(12, 32, Some(16), 24);
    pub(super) const SYMLINK: Self = Self::new(12, 16, Some(40), 48);

    const fn new(crc: usize, uuid: usize, blkno: Option<usize>, lsn: usize) -> Self {
        Self {
            crc,
            uuid,
            blkno,
            lsn,
        }
    }

    /// The checksum that these bytes should have.
    pub(super) fn sum(self, bytes: &[u8]) -> u32 {
        let before = bytes.get(..self.crc).unwrap_or_default();
        let after = bytes.get(self.crc + 4..).unwrap_or_default();
        let sum = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
        crc32c::crc32c_append(sum, after)
    }

    /// Fails where the checksum is wrong.
    pub(super) fn verify_sum(self, bytes: &[u8], structure: &str, offset: u64) -> Result<()> {
        if self.sum(bytes) == u32::from_le_bytes(field(bytes, self.crc)) {
            return Ok(());
        }
        Err(damaged(structure, offset, "its checksum is wrong"))
    }
}
