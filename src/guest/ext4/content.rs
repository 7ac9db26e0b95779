//! Content of files, and where symbolic links lead to.

use std::ops::{ControlFlow, Range};

use super::error::unsupported;
use super::inline;
use super::inode::{Flag, Inode};
use super::visit::Run;
use super::volume::Volume;
use crate::error::{Error, Result};
use crate::filesystem::{FileExtent, NodeKind};

/// The longest target of a symbolic link.
const MOST_TARGET: u64 = 4096;

impl Volume {
    /// Fills `buf` with a file's content, and says how many bytes that were.
    ///
    /// # Errors
    /// When it is no regular file, is encrypted, is damaged, or cannot be read.
    pub(super) fn read(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if inode.kind()? != NodeKind::File {
            let name = format!("inode {}", inode.number);
            return Err(Error::NotAFile(name.as_bytes().into()));
        }
        self.stored(inode, offset, buf)
    }

    /// Where a symbolic link leads to.
    ///
    /// # Errors
    /// When it is none, is encrypted, is damaged, or cannot be read.
    pub(super) fn target(&self, inode: &Inode) -> Result<Vec<u8>> {
        if inode.kind()? != NodeKind::Symlink {
            return Err(inode.damaged("it is no symbolic link"));
        }
        let size = inode.size(&self.superblock)?;
        if size > MOST_TARGET {
            return Err(inode.damaged(format!("i_size of a symbolic link is {size}")));
        }
        let mut target = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        if self.is_fast_symlink(inode) && !inode.has(Flag::Encrypted) {
            let Some(stored) = inode.raw.i_block.get(..target.len()) else {
                return Err(inode.damaged(format!("i_size of a fast symbolic link is {size}")));
            };
            target.copy_from_slice(stored);
        } else {
            self.stored(inode, 0, &mut target)?;
        }
        Ok(target)
    }

    /// Where the content of an inode is stored.
    ///
    /// # Errors
    /// When its map is damaged or cannot be read.
    pub(super) fn extents(&self, inode: &Inode) -> Result<Vec<FileExtent>> {
        let block = self.superblock.block_bytes();
        let extent = |run: Run| FileExtent {
            file: run.logical * block,
            volume: run.physical * block,
            len: run.len * block,
            stored: run.len * block,
            unwritten: run.unwritten,
        };
        Ok(self.all_runs(inode)?.into_iter().map(extent).collect())
    }

    fn stored(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if inode.has(Flag::Encrypted) {
            return Err(unsupported("encrypt"));
        }
        let size = inode.size(&self.superblock)?;
        let rest = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = rest.min(buf.len());
        let buf = buf.get_mut(..len).unwrap_or_default();
        if len == 0 {
            return Ok(0);
        }
        buf.fill(0);
        if inode.has(Flag::InlineData) {
            let whole = inline::content(inode, size)?;
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            if let Some(part) = from.checked_add(len).and_then(|to| whole.get(from..to)) {
                buf.copy_from_slice(part);
            }
            return Ok(len);
        }
        let block = self.superblock.block_bytes();
        let wanted = offset..offset + len as u64;
        let blocks = wanted.start / block..wanted.end.div_ceil(block);
        self.runs(inode, blocks, |run| {
            let start = run.logical * block;
            let part = start.max(wanted.start)..(start + run.len * block).min(wanted.end);
            if !run.unwritten
                && !part.is_empty()
                && let Some(into) = place(buf, &wanted, &part)
            {
                let from = self.block_offset(run.physical, run.len)? + (part.start - start);
                self.source.read_at(from, into)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(len)
    }
}

/// The bytes of a buffer that holds `whole` of a file where `part` of the file belongs.
fn place<'a>(buf: &'a mut [u8], whole: &Range<u64>, part: &Range<u64>) -> Option<&'a mut [u8]> {
    let from = usize::try_from(part.start - whole.start).ok()?;
    let to = usize::try_from(part.end - whole.start).ok()?;
    buf.get_mut(from..to)
}
