//! Directories: an index by name, in the record as long as it is small, and in blocks of its own.
//!
//! The blocks are read in the order they are stored in and not as the tree they are, so that none is read twice whatever
//! it says.

use std::ops::ControlFlow;

use super::error::{Checked, not_a_directory};
use super::file::{File, INDEX_NAME, extents};
use super::fixup;
use super::names::FileName;
use super::record::{Reference, kind};
use super::{FIRST_USER, Ntfs};
use crate::error::{Error, Result};
use crate::field;

/// Bytes of an index at the most.
const MOST_INDEX: u64 = 1 << 30;

/// Bytes of an index read together.
const PIECE: u64 = 60 << 10;

/// An entry of a directory.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) file: Reference,
    pub(super) name: FileName,
}

impl Ntfs {
    /// Calls `each` for what a directory names, 8.3 names that stand beside others included. The files of NTFS itself
    /// are left out.
    ///
    /// # Errors
    /// When it is no directory, is damaged, or cannot be read.
    pub(super) fn named(
        &self,
        directory: &File,
        each: &mut dyn FnMut(&Named) -> ControlFlow<()>,
    ) -> Result<()> {
        let root = directory.find(kind::INDEX_ROOT, INDEX_NAME);
        let (Some(root), true) = (root, directory.is_directory) else {
            return Err(not_a_directory(directory.number));
        };
        let root = self.value(directory, root, 64 << 10)?;
        let wrong = |problem: String| directory.damaged(format!("index: {problem}"));
        let header = root.get(16..).unwrap_or_default();
        if entries(header, each).map_err(wrong)?.is_break() {
            return Ok(());
        }
        let Some(blocks) = directory.find(kind::INDEX_ALLOCATION, INDEX_NAME) else {
            return Ok(());
        };
        let Some(blocks) = extents(blocks) else {
            return Err(wrong("its blocks are resident".to_owned()));
        };
        let block_size = u32::from_le_bytes(field(&root, 8));
        if !block_size.is_power_of_two() || !(512..=64 << 10).contains(&block_size) {
            return Err(wrong(format!("index_block_size is {block_size}")));
        }
        if blocks.size > MOST_INDEX {
            return Err(Error::TooMuch {
                what: "bytes of a directory",
                most: MOST_INDEX,
            });
        }
        let Some(bitmap) = directory.find(kind::BITMAP, INDEX_NAME) else {
            return Err(wrong("no bitmap says which blocks are used".to_owned()));
        };
        let bitmap = self.value(directory, bitmap, MOST_INDEX / 512 / 8)?;
        let block_size = u64::from(block_size);
        let per_piece = (PIECE / block_size).max(1) * block_size;
        let mut at = 0;
        let mut piece = Vec::new();
        while at < blocks.size {
            let len = per_piece.min(blocks.size - at);
            piece.resize(usize::try_from(len).unwrap_or_default(), 0);
            self.read_clusters(&self.metadata, directory, blocks, at, &mut piece)?;
            let whole = usize::try_from(block_size).unwrap_or(usize::MAX);
            for (number, block) in (at / block_size..).zip(piece.chunks_exact_mut(whole)) {
                if !is_set(&bitmap, number) {
                    continue;
                }
                let in_block = |problem| wrong(format!("block {number} {problem}"));
                fixup::apply(block, *b"INDX").map_err(in_block)?;
                let header = block.get(24..).unwrap_or_default();
                if entries(header, each).map_err(in_block)?.is_break() {
                    return Ok(());
                }
            }
            at += len;
        }
        Ok(())
    }
}

/// Whether a bit is set, the lowest of the first byte being number 0.
pub(super) fn is_set(bitmap: &[u8], number: u64) -> bool {
    usize::try_from(number / 8)
        .ok()
        .and_then(|at| bitmap.get(at))
        .is_some_and(|byte| byte >> (number % 8) & 1 == 1)
}

/// Calls `each` for the entries after an index header (`INDEX_HDR`).
fn entries(
    header: &[u8],
    each: &mut dyn FnMut(&Named) -> ControlFlow<()>,
) -> Checked<ControlFlow<()>> {
    let at = |at| usize::try_from(u32::from_le_bytes(field(header, at))).unwrap_or(usize::MAX);
    let (first, used) = (at(0), at(4));
    let mut rest = header
        .get(first..used)
        .ok_or_else(|| format!("has entries from byte {first} to {used}"))?;
    loop {
        if rest.len() < 16 {
            return Err("has entries without an end".to_owned());
        }
        let len = usize::from(u16::from_le_bytes(field(rest, 8)));
        let key_len = usize::from(u16::from_le_bytes(field(rest, 10)));
        let flags = u16::from_le_bytes(field(rest, 12));
        // The last entry has no key.
        if flags & 2 != 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let key = rest.get(16..16 + key_len).filter(|_| len >= 16 + key_len);
        let name = key.and_then(FileName::parse);
        let name = name.ok_or_else(|| format!("has an entry of {len} bytes"))?;
        let named = Named {
            file: Reference::new(u64::from_le_bytes(field(rest, 0))),
            name,
        };
        let is_entry =
            named.file.number >= FIRST_USER && !matches!(&named.name.name[..], b"" | b"." | b"..");
        if is_entry && each(&named).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        rest = rest.get(len..).unwrap_or_default();
    }
}
