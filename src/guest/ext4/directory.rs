//! Entries of directories, `struct ext4_dir_entry_2`. Hashed directories are read as the lists they are: to those who
//! do not know of the index, its blocks are empty.

use std::ops::ControlFlow;

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum::crc32c;
use super::error::{damaged, unsupported};
use super::feature::Incompatible;
use super::inline;
use super::inode::{Flag, Inode};
use super::superblock::Superblock;
use super::volume::Volume;
use crate::error::{Error, Result};
use crate::filesystem::{Entry, NodeId, NodeKind};

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    inode: U32,
    rec_len: U16,
    name_len: u8,
    file_type: u8,
}

/// `struct ext4_dir_entry_tail`, which looks like an entry that is not in use.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Tail {
    det_reserved_zero1: U32,
    det_rec_len: U16,
    det_reserved_zero2: u8,
    det_reserved_ft: u8,
    det_checksum: U32,
}

const HEADER: usize = size_of::<Raw>();
const TAIL: usize = size_of::<Tail>();
const TAIL_TYPE: u8 = 0xde;
/// The directory above, in the first four bytes of inline data.
const INLINE_PARENT: usize = 4;
/// Bytes read at once.
const PIECE: u64 = 256 << 10;
/// Entries of one directory.
const MOST_ENTRIES: u64 = 1 << 24;

/// A directory whose blocks are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory {
    pub(super) number: u32,
    pub(super) checksum_seed: Option<u32>,
}

impl From<&Inode> for Directory {
    fn from(inode: &Inode) -> Self {
        Self {
            number: inode.number,
            checksum_seed: inode.checksum_seed,
        }
    }
}

/// What is called for each entry.
type Each<'a> = &'a mut dyn FnMut(Entry<'_>) -> ControlFlow<()>;

impl Directory {
    /// The entries of a block, which lies at this byte of the volume.
    ///
    /// # Errors
    /// When its checksum is wrong, or an entry cannot be one.
    pub(super) fn block(
        self,
        superblock: &Superblock,
        offset: u64,
        bytes: &[u8],
        each: Each<'_>,
    ) -> Result<ControlFlow<()>> {
        if let Some(seed) = self.checksum_seed
            && let Some((covered, tail)) = bytes.split_at_checked(bytes.len().saturating_sub(TAIL))
            && let Ok((tail, _)) = Tail::ref_from_prefix(tail)
            && tail.det_reserved_zero1.get() == 0
            && usize::from(tail.det_rec_len.get()) == TAIL
            && tail.det_reserved_zero2 == 0
            && tail.det_reserved_ft == TAIL_TYPE
            && !is_index(bytes, superblock.block_len())
            && crc32c(seed, covered) != tail.det_checksum.get()
        {
            return Err(self.wrong(offset, "det_checksum is wrong".to_owned()));
        }
        self.list(superblock, offset, bytes, each)
    }

    /// Entries one after the other, the last of which ends where the bytes do.
    fn list(
        self,
        superblock: &Superblock,
        offset: u64,
        bytes: &[u8],
        each: Each<'_>,
    ) -> Result<ControlFlow<()>> {
        let with_type = superblock.incompatible.contains(Incompatible::FILETYPE);
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = offset + (bytes.len() - rest.len()) as u64;
            let Ok((raw, after)) = Raw::ref_from_prefix(rest) else {
                return Err(self.wrong(at, "an entry is cut off".to_owned()));
            };
            let len = entry_len(raw.rec_len.get(), superblock.block_len());
            let name_len = usize::from(raw.name_len);
            let Some(next) = rest.get(len..).filter(|_| {
                len.is_multiple_of(4)
                    && len >= HEADER
                    && (raw.inode.get() == 0 || len >= HEADER + name_len)
            }) else {
                return Err(self.wrong(at, format!("rec_len is {len}")));
            };
            rest = next;
            let number = raw.inode.get();
            let name = after.get(..name_len).unwrap_or_default();
            if number == 0 || name == b"." || name == b".." {
                continue;
            }
            if number > superblock.inodes {
                return Err(self.wrong(at, format!("an entry leads to inode {number}")));
            }
            if name.is_empty() || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
                return Err(self.wrong(at, "a name is empty or has a slash".to_owned()));
            }
            let entry = Entry {
                name,
                id: NodeId::new(u64::from(number)),
                kind: kind(raw.file_type).filter(|_| with_type),
            };
            if each(entry).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The entries within a record.
    ///
    /// # Errors
    /// When these cannot be entries.
    pub(super) fn inline(
        self,
        superblock: &Superblock,
        inode: &Inode,
        each: Each<'_>,
    ) -> Result<ControlFlow<()>> {
        let (first, second) = inline::parts(inode)?;
        let first = first.get(INLINE_PARENT..).unwrap_or_default();
        for part in [first, second] {
            if self.list(superblock, inode.offset, part, each)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn wrong(self, offset: u64, problem: String) -> Error {
        let structure = format!("directory inode {}", self.number);
        damaged(structure, offset, problem)
    }
}

/// Whether the entries of a block say that all of it is one that is not in use, or `..` up to its end, as they do in
/// blocks of the index. Such a block may still end with the tail that it had before.
fn is_index(bytes: &[u8], block: usize) -> bool {
    let len = |at: usize| {
        let raw = Raw::ref_from_prefix(bytes.get(at..)?).ok()?.0;
        Some((raw.inode.get(), entry_len(raw.rec_len.get(), block)))
    };
    match len(0) {
        Some((0, first)) if first == block => true,
        Some((_, first)) => len(first).is_some_and(|(_, second)| first + second == block),
        None => false,
    }
}

/// In a block of 64 KiB, an entry can be longer than 16 bits tell; these use the two lowest, which are zero otherwise.
fn entry_len(recorded: u16, block: usize) -> usize {
    let len = usize::from(recorded);
    if block <= usize::from(u16::MAX) {
        return len;
    }
    match recorded {
        0 | u16::MAX => block,
        _ => (len & !3) | (len & 3) << 16,
    }
}

fn kind(file_type: u8) -> Option<NodeKind> {
    match file_type {
        1 => Some(NodeKind::File),
        2 => Some(NodeKind::Directory),
        3..=6 => Some(NodeKind::Special),
        7 => Some(NodeKind::Symlink),
        _ => None,
    }
}

impl Volume {
    /// Calls `each` for the entries of a directory.
    ///
    /// # Errors
    /// When it is none, its names are encrypted, it is damaged, or it cannot be read.
    pub(super) fn entries(&self, inode: &Inode, each: Each<'_>) -> Result<()> {
        if inode.kind()? != NodeKind::Directory {
            let name = format!("inode {}", inode.number);
            return Err(Error::NotADirectory(name.as_bytes().into()));
        }
        if inode.has(Flag::Encrypted) {
            return Err(unsupported("encrypt"));
        }
        let mut left = MOST_ENTRIES;
        let mut too_many = false;
        let mut counted = |entry: Entry<'_>| {
            too_many = left == 0;
            left = left.saturating_sub(1);
            match too_many {
                true => ControlFlow::Break(()),
                false => each(entry),
            }
        };
        let directory = Directory::from(inode);
        if inode.has(Flag::InlineData) {
            let _ = directory.inline(&self.superblock, inode, &mut counted)?;
        } else {
            self.entries_in_blocks(inode, directory, &mut counted)?;
        }
        if too_many {
            return Err(Error::TooMuch {
                what: "entries of a directory",
                most: MOST_ENTRIES,
            });
        }
        Ok(())
    }

    fn entries_in_blocks(&self, inode: &Inode, directory: Directory, each: Each<'_>) -> Result<()> {
        let block = self.superblock.block_bytes();
        let most = (PIECE / block).max(1);
        let mut buf = Vec::new();
        let blocks = self.blocks_of(inode)?;
        self.runs(inode, 0..blocks, |run| {
            let len = run.len.min(blocks - run.logical);
            let mut done = 0;
            while done < len && !run.unwritten {
                let count = most.min(len - done);
                let offset = self.block_offset(run.physical + done, count)?;
                buf.resize(usize::try_from(count * block).unwrap_or(usize::MAX), 0);
                self.source.read_at(offset, &mut buf)?;
                let pieces = buf.chunks_exact(self.superblock.block_len());
                for (at, bytes) in (0..).zip(pieces) {
                    let offset = offset + at * block;
                    let flow = directory.block(&self.superblock, offset, bytes, each)?;
                    if flow.is_break() {
                        return Ok(flow);
                    }
                }
                done += count;
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}
