//! A volume with its superblock: what all parts of the reader read from.

use super::error::damaged;
use super::superblock::{self, Superblock};
use crate::block::{BlockSource, Source};
use crate::cache::{CHUNK, Chunks};
use crate::error::Result;

/// Metadata kept in memory, in bytes: the inode tables and map blocks of what is looked at.
const CACHE: usize = 8 << 20;

/// The bytes of a volume, and how they are laid out.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) source: Source,
    chunks: Chunks,
    pub(super) superblock: Superblock,
}

impl Volume {
    /// A volume with an ext filesystem; none where it has none.
    ///
    /// # Errors
    /// When its superblock is damaged, has a feature that is not read, or cannot be read.
    pub(super) fn open(source: &Source) -> Result<Option<Self>> {
        let mut bytes = vec![0; superblock::LEN];
        source.read_at(superblock::AT, &mut bytes)?;
        let found = Superblock::parse(&bytes, source.len())?;
        Ok(found.map(|superblock| Self {
            source: source.clone(),
            chunks: Chunks::new(source.clone(), CHUNK, CACHE),
            superblock,
        }))
    }

    /// Bytes of metadata, which are kept for a while together with what lies around them.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn metadata(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.chunks.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// A block of metadata, kept likewise.
    ///
    /// # Errors
    /// When there is no such block, or the source cannot be read.
    pub(super) fn block(&self, number: u64) -> Result<Vec<u8>> {
        let offset = self.block_offset(number, 1)?;
        self.metadata(offset, self.superblock.block_len())
    }

    /// Where these blocks are, in bytes of the volume.
    ///
    /// # Errors
    /// When they are not all of the filesystem.
    pub(super) fn block_offset(&self, start: u64, len: u64) -> Result<u64> {
        let size = self.superblock.block_bytes();
        if self.superblock.has_blocks(start, len) {
            return Ok(start * size);
        }
        let at = start.saturating_mul(size);
        Err(damaged(
            "block number",
            at,
            format!("there is no block {start}"),
        ))
    }
}
