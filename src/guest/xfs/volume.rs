//! The volume that metadata and content are read from, and what every block of metadata begins with: a magic number,
//! a checksum, the UUID of the filesystem, its own place and its owner.

use super::superblock::{BASIC_BLOCK, Superblock};
use crate::block::{BlockSource, Source};
use crate::cache::Chunks;
use crate::error::{Error, Result};
use crate::field;

/// Bytes of metadata that are held.
const HELD: usize = 8 << 20;

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

    /// Fails where the checksum is wrong, or it is not what belongs there.
    pub(super) fn verify(
        self,
        superblock: &Superblock,
        bytes: &[u8],
        structure: &str,
        offset: u64,
    ) -> Result<()> {
        self.verify_sum(bytes, structure, offset)?;
        if field(bytes, self.uuid) != superblock.meta_uuid {
            return Err(damaged(
                structure,
                offset,
                "its UUID is not the filesystem's",
            ));
        }
        match self.blkno {
            Some(at) if u64::from_be_bytes(field(bytes, at)) != offset / BASIC_BLOCK => {
                Err(damaged(structure, offset, "it belongs to another place"))
            }
            _ => Ok(()),
        }
    }
}

/// The volume with its log replayed.
#[derive(Debug)]
pub(super) struct Volume {
    /// What the superblock says.
    pub(super) superblock: Superblock,
    /// Content of files is read from here.
    pub(super) source: Source,
    metadata: Chunks,
}

impl Volume {
    pub(super) fn new(source: Source, superblock: Superblock) -> Self {
        Self {
            superblock,
            metadata: Chunks::new(source.clone(), HELD),
            source,
        }
    }

    /// Bytes of a block.
    pub(super) fn block_size(&self) -> u64 {
        self.superblock.block_size.into()
    }

    /// Bytes of metadata, at most 64 KiB of which chunks near it are read with.
    pub(super) fn metadata(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.metadata.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}
