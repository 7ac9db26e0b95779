//! Reading content of files.

use super::inode::Inode;
use super::volume::Volume;
use crate::error::{Error, Printable, Result};
use crate::filesystem::NodeKind;

impl Inode {
    /// Fills `buf` from a byte of the file on, and says how many bytes that were.
    pub(super) fn content(&self, volume: &Volume, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if !self.is(NodeKind::File) {
            return Err(Error::NotAFile(Printable(self.name().into_bytes())));
        }
        let rest = self.size().saturating_sub(offset);
        let len = buf.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        let Some(buf) = buf.get_mut(..len) else {
            return Ok(0);
        };
        buf.fill(0);
        let (size, end) = (volume.block_size(), offset.saturating_add(len as u64));
        if buf.is_empty() {
            return Ok(0);
        }
        self.each_extent(volume, offset / size..end.div_ceil(size), &mut |extent| {
            if extent.unwritten {
                return Ok(());
            }
            let start = extent.file.saturating_mul(size);
            let stop = extent.end().saturating_mul(size);
            let from = start.max(offset);
            let to = stop.min(end);
            let part = usize::try_from(from - offset)
                .ok()
                .zip(usize::try_from(to.saturating_sub(offset)).ok())
                .and_then(|(from, to)| buf.get_mut(from..to));
            match part {
                Some(part) => volume.source.read_at(extent.offset + (from - start), part),
                None => Ok(()),
            }
        })?;
        Ok(len)
    }
}
