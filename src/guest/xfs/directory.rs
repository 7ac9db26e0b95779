//! Directories: their entries within the inode, or in directory blocks of one or more blocks each. The hashes by which
//! names are found faster are not read.

use std::ops::ControlFlow;

use super::bmap::Extent;
use super::checksummed::{Checksummed, damaged};
use super::inode::{Format, Inode};
use super::volume::Volume;
use crate::error::{Error, Result};
use crate::field;
use crate::filesystem::{Entry, NodeId, NodeKind};

/// What is called for every entry.
pub(super) type Each<'a> = &'a mut dyn FnMut(Entry<'_>) -> ControlFlow<()>;

/// Where hashes begin in the file that a directory is (`XFS_DIR2_LEAF_OFFSET`).
const LEAF_OFFSET: u64 = 32 << 30;
/// The most directory blocks of a directory that are read: 4 GiB of the usual ones.
const MAX_BLOCKS: u64 = 1 << 20;

const MAGIC_BLOCK: [u8; 4] = *b"XDB3";
const MAGIC_DATA: [u8; 4] = *b"XDD3";
/// Bytes of `struct xfs_dir3_data_hdr`.
const HEADER: usize = 64;
/// What stands in place of an inode's first bytes where there is no entry.
const FREE_TAG: u16 = 0xffff;

/// A directory block: where its bytes are, in order.
#[derive(Debug, Clone)]
pub(super) struct DirectoryBlock {
    /// Runs of the volume; one but for directory blocks of more blocks than one.
    runs: Vec<std::ops::Range<u64>>,
}

impl DirectoryBlock {
    /// Where it begins.
    pub(super) fn offset(&self) -> u64 {
        self.runs.first().map_or(0, |run| run.start)
    }

    fn read(&self, volume: &Volume) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for run in &self.runs {
            let len = usize::try_from(run.end - run.start).unwrap_or_default();
            bytes.append(&mut volume.metadata(run.start, len)?);
        }
        Ok(bytes)
    }

    /// Calls `each` for its entries; says whether that broke off.
    pub(super) fn entries(
        &self,
        volume: &Volume,
        owner: u64,
        each: Each<'_>,
    ) -> Result<ControlFlow<()>> {
        let bytes = self.read(volume)?;
        let name = format!("directory block of inode {owner}");
        Checksummed::DIRECTORY.verify(&volume.superblock, &bytes, &name, self.offset())?;
        let wrong = |problem: &str| damaged(name.as_str(), self.offset(), problem);
        if u64::from_be_bytes(field(&bytes, 40)) != owner {
            return Err(wrong("it belongs to another inode"));
        }
        let end = match field(&bytes, 0) {
            MAGIC_DATA => bytes.len(),
            // Hashes follow its entries, and how many of these there are.
            MAGIC_BLOCK => {
                let tail = bytes.len().saturating_sub(8);
                let count = u32::from_be_bytes(field(&bytes, tail));
                usize::try_from(count)
                    .ok()
                    .and_then(|count| tail.checked_sub(count.checked_mul(8)?))
                    .ok_or_else(|| wrong("it has more hashes than room"))?
            }
            _ => return Err(wrong("its magic number is wrong")),
        };
        let bytes = bytes.get(..end).unwrap_or_default();
        let mut at = HEADER;
        while at < bytes.len() {
            let Some(found) = Record::parse(volume, bytes, at) else {
                return Err(wrong(&format!("its entry at {at} runs over")));
            };
            at += found.len;
            let Some(entry) = found.entry else { continue };
            if is_dots(entry.name) {
                continue;
            }
            if !is_name(entry.name) {
                return Err(wrong("a name has a slash or a null byte"));
            }
            if each(entry).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What is at a place of a directory block: an entry or none, and how long.
struct Record<'a> {
    len: usize,
    entry: Option<Entry<'a>>,
}

impl<'a> Record<'a> {
    /// None where it runs over, or does not say that it begins there.
    fn parse(volume: &Volume, bytes: &'a [u8], at: usize) -> Option<Self> {
        let (len, entry) = if u16::from_be_bytes(field(bytes, at)) == FREE_TAG {
            let len = usize::from(u16::from_be_bytes(field(bytes, at + 2)));
            (len, None)
        } else {
            let has_ftype = volume.superblock.has_ftype;
            let name = at + 9;
            let end = name + usize::from(*bytes.get(at + 8)?);
            let kind = if has_ftype {
                kind(*bytes.get(end)?)
            } else {
                None
            };
            let len = (end + usize::from(has_ftype) + 2 - at).next_multiple_of(8);
            let entry = Entry {
                name: bytes.get(name..end)?,
                id: NodeId::new(u64::from_be_bytes(field(bytes, at))),
                kind,
            };
            (len, Some(entry))
        };
        let end = at.checked_add(len)?;
        let tag = bytes.get(end.checked_sub(2)?..end)?;
        let is_whole = len >= 8 && len % 8 == 0;
        let is_here = u16::from_be_bytes(field(tag, 0)) == u16::try_from(at).ok()?;
        (is_whole && is_here).then_some(Self { len, entry })
    }
}

/// The two entries that are none.
fn is_dots(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

/// Whether Linux takes it as a name.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// What an entry says it leads to (`XFS_DIR3_FT_*`).
const fn kind(value: u8) -> Option<NodeKind> {
    Some(match value {
        1 => NodeKind::File,
        2 => NodeKind::Directory,
        3..=6 => NodeKind::Special,
        7 => NodeKind::Symlink,
        _ => return None,
    })
}

impl Inode {
    fn check_directory(&self) -> Result<()> {
        if self.is(NodeKind::Directory) {
            return Ok(());
        }
        let name = self.name().into_bytes();
        Err(Error::NotADirectory(crate::error::Printable(name)))
    }

    /// Calls `each` for the entries of a directory until it breaks off.
    pub(super) fn entries(&self, volume: &Volume, each: Each<'_>) -> Result<()> {
        self.check_directory()?;
        if self.data().format == Format::Local {
            return self.short_entries(volume, each);
        }
        for block in self.directory_blocks(volume)? {
            if block.entries(volume, self.number, each)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The blocks that hold a directory's entries, in order; none of one whose entries are within the inode.
    pub(super) fn directory_blocks(&self, volume: &Volume) -> Result<Vec<DirectoryBlock>> {
        self.check_directory()?;
        let size = volume.block_size();
        let most = self.size().min(LEAF_OFFSET).div_ceil(size);
        let together = 1 << volume.superblock.directory_block_bits;
        let mut pieces = Pieces {
            together,
            found: Vec::new(),
            missing: 0,
        };
        self.each_extent(volume, 0..most.max(1), &mut |extent| {
            if !pieces.add(extent, size, most) {
                return Err(self.damaged("a directory block has a hole"));
            }
            if pieces.found.len() as u64 > MAX_BLOCKS {
                return Err(Error::TooMuch {
                    what: "directory blocks of a directory",
                    most: MAX_BLOCKS,
                });
            }
            Ok(())
        })?;
        match pieces.missing {
            0 => Ok(pieces.found),
            _ => Err(self.damaged("a directory block is cut off")),
        }
    }

    /// Entries within the inode (`struct xfs_dir2_sf_hdr` and what follows).
    pub(super) fn short_entries(&self, volume: &Volume, each: Each<'_>) -> Result<()> {
        let fork = self.data();
        let len = usize::try_from(self.size()).unwrap_or(usize::MAX);
        let Some(bytes) = fork.bytes.get(..len) else {
            return Err(self.damaged("its entries do not fit into it"));
        };
        let [count, wide] = field(bytes, 0);
        let count = if wide > 0 { wide.max(count) } else { count };
        let number = if wide > 0 { 8 } else { 4 };
        let has_ftype = usize::from(volume.superblock.has_ftype);
        let mut rest = bytes.get(2 + number..).unwrap_or_default();
        for _ in 0..count {
            let name_len = usize::from(rest.first().copied().unwrap_or_default());
            let len = 3 + name_len + has_ftype + number;
            let Some((one, after)) = rest.split_at_checked(len) else {
                return Err(self.damaged("an entry in it runs over"));
            };
            rest = after;
            let (head, target) = one.split_at(len - number);
            let target = match number {
                4 => u64::from(u32::from_be_bytes(field(target, 0))),
                _ => u64::from_be_bytes(field(target, 0)),
            };
            let name = head.get(3..3 + name_len).unwrap_or_default();
            if !is_name(name) {
                return Err(self.damaged("a name in it has a slash or a null byte"));
            }
            let kind = match has_ftype {
                0 => None,
                _ => head.last().and_then(|value| kind(*value)),
            };
            let id = NodeId::new(target);
            if each(Entry { name, id, kind }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Puts directory blocks together of the extents that hold them.
struct Pieces {
    /// Blocks of a directory block.
    together: u64,
    found: Vec<DirectoryBlock>,
    /// Blocks that the last of them still lacks.
    missing: u64,
}

impl Pieces {
    /// Takes an extent up to the block of the file where entries end. False where a directory block has a hole.
    fn add(&mut self, extent: Extent, size: u64, most: u64) -> bool {
        let mut file = extent.file;
        let mut offset = extent.offset;
        let end = extent.end().min(most.next_multiple_of(self.together));
        while file < end && self.found.len() as u64 <= MAX_BLOCKS {
            if self.missing == 0 {
                if !file.is_multiple_of(self.together) {
                    return false;
                }
                self.missing = self.together;
                self.found.push(DirectoryBlock { runs: Vec::new() });
            } else if !(file + self.missing).is_multiple_of(self.together) {
                return false;
            }
            let count = self.missing.min(end - file);
            let run = offset..offset + count * size;
            if let Some(block) = self.found.last_mut() {
                block.runs.push(run.clone());
            }
            file += count;
            offset = run.end;
            self.missing -= count;
        }
        true
    }
}
