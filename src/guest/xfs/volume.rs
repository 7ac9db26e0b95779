//! The volume that metadata and content are read from, and what every block of metadata begins with: a magic number,
//! a checksum, the UUID of the filesystem, its own place and its owner.

use super::checksummed::{Checksummed, damaged};
use super::superblock::{BASIC_BLOCK, Superblock};
use crate::block::{BlockSource, Source};
use crate::cache::{CHUNK, Chunks};
use crate::error::Result;
use crate::field;

/// Bytes of metadata that are held.
const HELD: usize = 8 << 20;

impl Checksummed {
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
            metadata: Chunks::new(source.clone(), CHUNK, HELD),
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
