//! The content of a file: its extents, and what is read from them.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::compression::{Compression, MAX_COMPRESSED};
use super::format::{FileExtentItem, FileExtentPlace, Key, kind, unsupported};
use super::inode::{keys, name};
use super::tree::Item;
use super::volume::Btrfs;
use crate::error::{Error, Result};
use crate::filesystem::{FileExtent, NodeId, NodeKind};

/// Bytes of a symbolic link at the most.
const MAX_LINK: usize = 4096;
/// Extents of a file taken at the most.
const MOST_EXTENTS: usize = 1 << 22;

/// What an `EXTENT_DATA` item says.
#[derive(Debug, Clone)]
pub(super) struct Extent<'a> {
    /// Offset within the file.
    pub(super) file: u64,
    /// Bytes of the file.
    pub(super) len: u64,
    compression: Compression,
    /// Bytes of the whole extent once it is decompressed.
    ram_bytes: u64,
    stored: Stored<'a>,
    /// Where the item is, in bytes of the volume.
    at: u64,
}

#[derive(Debug, Clone)]
enum Stored<'a> {
    /// Within the item.
    Inline(&'a [u8]),
    /// Nowhere: zeros.
    Hole,
    /// Elsewhere.
    Place {
        /// Logical address.
        logical: u64,
        /// Bytes there.
        len: u64,
        /// Where the file's part begins, in bytes of the decompressed extent.
        offset: u64,
        /// Allocated and not written.
        unwritten: bool,
    },
}

impl<'a> Extent<'a> {
    /// Reads an item, whose lengths then fit each other.
    pub(super) fn decode(item: &Item<'a>) -> Result<Self> {
        let (head, rest) = item.read::<FileExtentItem>()?;
        let wrong = |problem: String| Err(item.damaged(problem));
        let Some(compression) = Compression::of_type(head.compression) else {
            return Err(unsupported(format!("compression {}", head.compression)));
        };
        if head.encryption != 0 || head.other_encoding.get() != 0 {
            return Err(unsupported("encryption of files"));
        }
        let ram_bytes = head.ram_bytes.get();
        let mut extent = Extent {
            file: item.key.offset,
            len: ram_bytes,
            compression,
            ram_bytes,
            stored: Stored::Inline(rest),
            at: item.at,
        };
        match head.kind {
            0 if ram_bytes > MAX_COMPRESSED => {
                return wrong(format!("ram_bytes of inline data is {ram_bytes}"));
            }
            0 => return Ok(extent),
            1 | 2 => {}
            other => return wrong(format!("its type is {other}")),
        }
        let (place, _) = Item {
            data: rest,
            ..*item
        }
        .read::<FileExtentPlace>()?;
        let (len, stored) = (place.num_bytes.get(), place.disk_num_bytes.get());
        let (offset, logical) = (place.offset.get(), place.disk_bytenr.get());
        extent.len = len;
        if extent.file.checked_add(len).is_none() || len == 0 {
            return wrong(format!("num_bytes is {len}"));
        }
        if logical == 0 {
            extent.stored = Stored::Hole;
            return Ok(extent);
        }
        // What the file uses lies within what is stored.
        let whole = if compression == Compression::None {
            stored
        } else {
            ram_bytes
        };
        if offset.checked_add(len).is_none_or(|end| end > whole) {
            return wrong(format!(
                "offset {offset} and num_bytes {len} are past {whole}"
            ));
        }
        if compression != Compression::None && ram_bytes.max(stored) > MAX_COMPRESSED {
            return wrong(format!(
                "a compressed extent is {stored} bytes, and {ram_bytes} decompressed"
            ));
        }
        extent.stored = Stored::Place {
            logical,
            len: stored,
            offset,
            unwritten: head.kind == 2,
        };
        Ok(extent)
    }

    /// Whether the item holds the data itself.
    pub(super) const fn is_inline(&self) -> bool {
        matches!(self.stored, Stored::Inline(_))
    }

    /// Whether nothing is stored of it.
    pub(super) const fn is_hole(&self) -> bool {
        matches!(self.stored, Stored::Hole)
    }

    /// Where it is stored: logical address and length; nowhere else where it is inline or a hole.
    pub(super) const fn place(&self) -> Option<(u64, u64)> {
        match self.stored {
            Stored::Place { logical, len, .. } => Some((logical, len)),
            _ => None,
        }
    }

    /// The bytes of the file.
    fn range(&self) -> Range<u64> {
        self.file..self.file.saturating_add(self.len)
    }
}

impl Btrfs {
    /// Calls `each` for the extents of a file that end behind `from`, in order.
    fn each_extent(
        &self,
        file: NodeId,
        from: u64,
        each: &mut dyn FnMut(Extent<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let tree = self.tree(file.tree)?;
        let (first, last) = keys(file, kind::EXTENT_DATA).into_inner();
        let at = Key::new(file.number, kind::EXTENT_DATA, from);
        let start = tree.last(&self.blocks, first..=at)?.unwrap_or(at);
        tree.scan(&self.blocks, start..=last, &mut |item| {
            let extent = Extent::decode(&item)?;
            if extent.range().end <= from {
                return Ok(ControlFlow::Continue(()));
            }
            each(extent)
        })
    }

    /// As [`crate::Filesystem::read`].
    pub(super) fn read_file(&self, file: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let node = self.inode(file)?;
        if node.kind != NodeKind::File {
            return Err(Error::NotAFile(name(file)));
        }
        self.read_content(file, node.size, offset, buf)
    }

    fn read_content(&self, file: NodeId, size: u64, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = left.min(buf.len());
        let Some(buf) = buf.get_mut(..len) else {
            return Ok(0);
        };
        buf.fill(0);
        if buf.is_empty() {
            return Ok(0);
        }
        let end = offset.saturating_add(len as u64);
        self.each_extent(file, offset, &mut |extent| {
            let range = extent.range();
            if range.start >= end {
                return Ok(ControlFlow::Break(()));
            }
            let (from, to) = (range.start.max(offset), range.end.min(end));
            let into = (usize::try_from(from - offset), usize::try_from(to - offset));
            if let (Ok(first), Ok(last)) = into
                && let Some(part) = buf.get_mut(first..last)
            {
                self.fill(&extent, from - range.start, part)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(len)
    }

    /// Fills `part`, which is zeros, with an extent's bytes from `within` of the file's part on.
    fn fill(&self, extent: &Extent<'_>, within: u64, part: &mut [u8]) -> Result<()> {
        match extent.stored {
            Stored::Hole => Ok(()),
            Stored::Inline(data) => {
                let whole = self.decompress(extent, data)?;
                copy(&whole, within, part);
                Ok(())
            }
            Stored::Place {
                unwritten: true, ..
            } => Ok(()),
            Stored::Place {
                logical, offset, ..
            } if extent.compression == Compression::None => {
                let at = logical.saturating_add(offset).saturating_add(within);
                self.blocks.read_data(at, part, extent.at)
            }
            Stored::Place {
                logical,
                len,
                offset,
                ..
            } => {
                let whole = self.decompressed(extent, logical, len)?;
                copy(&whole, offset.saturating_add(within), part);
                Ok(())
            }
        }
    }

    /// A compressed extent, from those that were read last where it is among them.
    fn decompressed(&self, extent: &Extent<'_>, logical: u64, len: u64) -> Result<Arc<[u8]>> {
        let key = (logical, extent.ram_bytes);
        self.decompressed.get_or(key, || {
            // Both lengths were bounded when the item was read.
            let mut stored = vec![0; usize::try_from(len).unwrap_or_default()];
            self.blocks.read_data(logical, &mut stored, extent.at)?;
            let whole: Arc<[u8]> = self.decompress(extent, &stored)?.into();
            let weight = whole.len();
            Ok((whole, weight))
        })
    }

    fn decompress(&self, extent: &Extent<'_>, stored: &[u8]) -> Result<Vec<u8>> {
        let mut whole = vec![0; usize::try_from(extent.ram_bytes).unwrap_or_default()];
        let sectorsize = usize::try_from(self.superblock.sectorsize).unwrap_or(usize::MAX);
        extent
            .compression
            .decompress(stored, &mut whole, sectorsize)
            .map_err(|problem| {
                let extent_of = format!("extent at byte {} of a file", extent.file);
                super::format::damaged(extent_of, extent.at, problem)
            })?;
        Ok(whole)
    }

    /// As [`crate::Filesystem::link_target`].
    pub(super) fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        let node = self.inode(link)?;
        if node.kind != NodeKind::Symlink {
            return Err(Error::NotFound(name(link)));
        }
        let len = usize::try_from(node.size).ok();
        let Some(len) = len.filter(|len| *len <= MAX_LINK) else {
            return Err(Error::TooMuch {
                what: "bytes of a symbolic link",
                most: MAX_LINK as u64,
            });
        };
        let mut target = vec![0; len];
        self.read_content(link, node.size, 0, &mut target)?;
        Ok(target)
    }

    /// As [`crate::Filesystem::extents`].
    pub(super) fn find_extents(&self, id: NodeId) -> Result<Vec<FileExtent>> {
        let mut found = Vec::new();
        self.inode(id)?;
        self.each_extent(id, 0, &mut |extent| {
            let Stored::Place {
                logical,
                len: stored,
                offset,
                unwritten,
            } = extent.stored
            else {
                return Ok(ControlFlow::Continue(()));
            };
            let (within, stored) = if extent.compression == Compression::None {
                (offset, extent.len)
            } else {
                (0, stored)
            };
            let logical = logical.saturating_add(within);
            let Some(volume) = self.blocks.chunks.place(logical, stored) else {
                let extent_at = format!("extent {logical}");
                return Err(super::format::damaged(
                    extent_at,
                    extent.at,
                    "no chunk has it",
                ));
            };
            if found.len() >= MOST_EXTENTS {
                return Err(Error::TooMuch {
                    what: "extents of a file",
                    most: MOST_EXTENTS as u64,
                });
            }
            found.push(FileExtent {
                file: extent.file,
                volume,
                len: extent.len,
                stored,
                unwritten,
            });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }
}

/// Copies what `whole` has from `at` on; the rest of `part` stays.
fn copy(whole: &[u8], at: u64, part: &mut [u8]) {
    let rest = usize::try_from(at).ok().and_then(|at| whole.get(at..));
    for (to, from) in part.iter_mut().zip(rest.unwrap_or_default()) {
        *to = *from;
    }
}
