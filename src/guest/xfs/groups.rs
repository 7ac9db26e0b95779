//! Allocation groups: their headers, the space that is free in them, and the inodes they have.

use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::btree::{Kind, Tree};
use super::checksummed::{Checksummed, damaged};
use super::superblock::Superblock;
use super::volume::Volume;
use crate::error::Result;
use crate::field;

/// `struct xfs_agf`, as far as it is read: what is free.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Agf {
    magicnum: [u8; 4],
    versionnum: U32,
    seqno: U32,
    length: U32,
    pub(super) bno_root: U32,
    pub(super) cnt_root: U32,
    pub(super) rmap_root: U32,
    pub(super) bno_level: U32,
    pub(super) cnt_level: U32,
    pub(super) rmap_level: U32,
    flfirst: U32,
    fllast: U32,
    pub(super) flcount: U32,
    pub(super) freeblks: U32,
    longest: U32,
    pub(super) btreeblks: U32,
    uuid: [u8; 16],
    rmap_blocks: U32,
    refcount_blocks: U32,
    pub(super) refcount_root: U32,
    pub(super) refcount_level: U32,
}

/// `struct xfs_agi`, as far as it is read: inodes.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Agi {
    magicnum: [u8; 4],
    versionnum: U32,
    seqno: U32,
    length: U32,
    count: U32,
    pub(super) root: U32,
    pub(super) level: U32,
    freecount: U32,
    newino: U32,
    dirino: U32,
    unlinked: [U32; 64],
    uuid: [u8; 16],
    crc: U32,
    pad32: U32,
    lsn: [u8; 8],
    pub(super) free_root: U32,
    pub(super) free_level: U32,
}

/// Bytes of `struct xfs_agfl` before its block numbers.
const AGFL_HEADER: usize = 36;

/// A header of a group, in one of its first sectors.
fn header(
    volume: &Volume,
    group: u32,
    sector: u64,
    name: &str,
    magic: [u8; 4],
    common: Checksummed,
) -> Result<(u64, Vec<u8>)> {
    let superblock = &volume.superblock;
    let size = superblock.sector_size;
    let offset = superblock.group_start(group) + sector * u64::from(size);
    let bytes = volume.metadata(offset, usize::try_from(size).unwrap_or_default())?;
    let name = format!("{name} of group {group}");
    if field(&bytes, 0) != magic {
        return Err(damaged(name, offset, "its magic number is wrong"));
    }
    common.verify(superblock, &bytes, &name, offset)?;
    Ok((offset, bytes))
}

impl Agf {
    /// That of a group.
    pub(super) fn read(volume: &Volume, group: u32) -> Result<Self> {
        let (offset, bytes) = header(volume, group, 1, "AGF", *b"XAGF", Checksummed::AGF)?;
        match Self::read_from_prefix(&bytes) {
            Ok((found, _)) if found.seqno == group => Ok(found),
            _ => Err(damaged("AGF", offset, "agf_seqno is of another group")),
        }
    }

    /// The blocks of the list from which trees of the group grow.
    pub(super) fn free_list(&self, volume: &Volume, group: u32) -> Result<Vec<u32>> {
        let (offset, bytes) = header(volume, group, 3, "AGFL", *b"XAFL", Checksummed::AGFL)?;
        let entries = bytes
            .get(AGFL_HEADER..)
            .unwrap_or_default()
            .as_chunks::<4>()
            .0;
        let (first, count) = (self.flfirst.get(), self.flcount.get());
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        if count > entries.len() || first >= entries.len() {
            return Err(damaged("AGFL", offset, "agf_flcount is more than it holds"));
        }
        let circle = entries.iter().cycle().skip(first).take(count);
        Ok(circle.map(|one| u32::from_be_bytes(*one)).collect())
    }
}

impl Agi {
    /// That of a group.
    pub(super) fn read(volume: &Volume, group: u32) -> Result<Self> {
        let (offset, bytes) = header(volume, group, 2, "AGI", *b"XAGI", Checksummed::AGI)?;
        match Self::read_from_prefix(&bytes) {
            Ok((found, _)) if found.seqno == group => Ok(found),
            _ => Err(damaged("AGI", offset, "agi_seqno is of another group")),
        }
    }
}

/// Inodes of a chunk (`XFS_INODES_PER_CHUNK`).
const PER_CHUNK: u32 = 64;
/// Inodes that a bit of the mask of holes stands for (`XFS_INODES_PER_HOLEMASK_BIT`).
const PER_HOLE_BIT: u32 = 4;

/// Up to 64 inodes that lie together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    /// The number of the first.
    pub(super) first: u64,
    /// Where its record is, in bytes of the volume.
    pub(super) offset: u64,
    /// Which are stored at all, lowest bit first.
    pub(super) stored: u64,
    /// Which are in use.
    pub(super) used: u64,
}

impl Chunk {
    /// A record of the tree of inodes (`struct xfs_inobt_rec`).
    fn parse(superblock: &Superblock, group: u32, record: &[u8]) -> Option<Self> {
        let within = u32::from_be_bytes(field(record, 0));
        let free = u64::from_be_bytes(field(record, 8));
        let holes = match superblock.has_sparse_inodes {
            true => u16::from_be_bytes(field(record, 4)),
            false => 0,
        };
        let mut stored = 0;
        for bit in (0..16).filter(|bit| holes >> bit & 1 == 0) {
            stored |= 0xf << (bit * PER_HOLE_BIT);
        }
        let first = superblock.inode_number(group, within);
        let last = superblock.inode_number(group, within.checked_add(PER_CHUNK - 1)?);
        let (offset, end) = (
            superblock.inode_offset(first)?,
            superblock.inode_offset(last)?,
        );
        // They follow each other.
        let size = u64::from(superblock.inode_size);
        (end == offset + u64::from(PER_CHUNK - 1) * size).then_some(Self {
            first,
            offset,
            stored,
            used: stored & !free,
        })
    }

    /// The bytes of the volume that it covers.
    pub(super) fn range(&self, superblock: &Superblock) -> std::ops::Range<u64> {
        self.offset..self.offset + u64::from(PER_CHUNK) * u64::from(superblock.inode_size)
    }

    /// The numbers of its inodes that are in use, and where their records are.
    pub(super) fn in_use(&self, superblock: &Superblock) -> impl Iterator<Item = (u64, u64)> {
        let (chunk, size) = (*self, u64::from(superblock.inode_size));
        (0..u64::from(PER_CHUNK))
            .filter(move |slot| chunk.used >> slot & 1 == 1)
            .map(move |slot| (chunk.first + slot, chunk.offset + slot * size))
    }
}

/// The chunks of inodes of a group, in order.
pub(super) fn chunks(volume: &Volume, group: u32) -> Result<Vec<Chunk>> {
    let agi = Agi::read(volume, group)?;
    let tree = Tree {
        kind: Kind::INODES,
        owner: group.into(),
    };
    let mut found: Vec<Chunk> = Vec::new();
    tree.walk_whole(volume, agi.root.get(), agi.level.get(), &mut |block| {
        if block.level > 0 {
            return Ok(());
        }
        for record in block.records() {
            let chunk = Chunk::parse(&volume.superblock, group, record);
            let after = |chunk: &Chunk| {
                let last = found.last();
                last.is_none_or(|last| chunk.first >= last.first + u64::from(PER_CHUNK))
            };
            match chunk.filter(after) {
                Some(chunk) => found.push(chunk),
                None => {
                    let problem = "a record lies outside or is out of order";
                    return Err(damaged(
                        format!("inobt of group {group}"),
                        block.offset,
                        problem,
                    ));
                }
            }
        }
        Ok(())
    })?;
    Ok(found)
}
