//! Writing many tables: those that lie together in the file go there in one write. What is in them is
//! the caller's.

use crate::image::ImageFile;

use crate::image::error::{OfFile, Result};
use crate::image::internal::part_mut;

/// Bytes gathered at most before they are written.
const MOST: usize = 1 << 20;

/// Bytes on their way to a file.
pub(crate) struct Batch<'a> {
    file: &'a ImageFile,
    offset: u64,
    bytes: Vec<u8>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(file: &'a ImageFile) -> Self {
        Self {
            file,
            offset: 0,
            bytes: Vec::new(),
        }
    }

    /// Has `bytes` written at `offset`; the latest when the batch is flushed.
    pub(crate) fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.room(offset, bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// As [`Batch::put`], with bytes that may still be changed before the next call.
    pub(crate) fn put_mut(&mut self, offset: u64, bytes: &[u8]) -> Result<&mut [u8]> {
        self.put(offset, bytes)?;
        let start = self.bytes.len().saturating_sub(bytes.len());
        let end = self.bytes.len();
        part_mut(&mut self.bytes, start..end).of(self.file)
    }

    fn room(&mut self, offset: u64, len: usize) -> Result<()> {
        let follows = offset == self.offset + self.bytes.len() as u64;
        if !follows || self.bytes.len() + len > MOST {
            self.flush()?;
            self.offset = offset;
        }
        Ok(())
    }

    /// Writes what is left.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if !self.bytes.is_empty() {
            self.file.write_at(
                &self.bytes,
                self.offset,
                format_args!("write tables at {:#x}", self.offset),
            )?;
            self.bytes.clear();
        }
        Ok(())
    }
}
