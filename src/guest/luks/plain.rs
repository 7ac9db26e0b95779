//! The content of an encrypted volume, decrypted as it is read.

use std::fmt;
use std::sync::Arc;

use qanopy_core::image::SectorCipher;

use crate::block::{BlockSource, Source};
use crate::error::Result;

use super::header::Content;

/// Vectors count sectors in steps of so many bytes, however long they are.
const STEP: u64 = 512;

/// Decrypted content.
pub(super) struct Plain {
    below: Source,
    at: u64,
    len: u64,
    first: u64,
    cipher: Arc<SectorCipher>,
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain")
            .field("below", &self.below)
            .finish_non_exhaustive()
    }
}

impl Plain {
    /// The content of a volume, of which so many bytes are there.
    pub(super) fn new(
        below: Source,
        content: &Content,
        len: u64,
        cipher: Arc<SectorCipher>,
    ) -> Self {
        Self {
            below,
            at: content.at,
            len,
            first: content.first,
            cipher,
        }
    }

    /// Fills `buf`, which begins and ends with a sector, from `at`.
    fn whole(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.below.read_at(self.at.saturating_add(at), buf)?;
        self.cipher
            .decrypt(self.first.saturating_add(at / STEP), buf);
        Ok(())
    }
}

impl BlockSource for Plain {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let there = self.len.saturating_sub(offset).min(buf.len() as u64);
        let (buf, zeros) = buf.split_at_mut(usize::try_from(there).unwrap_or_default());
        zeros.fill(0);
        let sector = self.cipher.sector();
        let within = usize::try_from(offset % sector as u64).unwrap_or_default();
        let start = offset - within as u64;
        if within == 0 && buf.len().is_multiple_of(sector) {
            return self.whole(start, buf);
        }
        // Pieces of a sector are cut out of whole ones.
        let mut whole = vec![0; (within + buf.len()).next_multiple_of(sector)];
        self.whole(start, &mut whole)?;
        buf.copy_from_slice(whole.get(within..within + buf.len()).unwrap_or_default());
        Ok(())
    }
}
