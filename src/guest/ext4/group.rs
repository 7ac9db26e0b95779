//! Descriptors of block groups, `struct ext4_group_desc`.

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum::{crc16, crc32c};
use super::error::damaged;
use super::feature::{Incompatible, ReadOnlyCompatible};
use super::superblock::Superblock;
use super::volume::Volume;
use crate::error::Result;

/// The first 32 bytes, which all have.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    bg_block_bitmap_lo: U32,
    bg_inode_bitmap_lo: U32,
    bg_inode_table_lo: U32,
    bg_free_blocks_count_lo: U16,
    _bg_free_inodes_count_lo: U16,
    _bg_used_dirs_count_lo: U16,
    bg_flags: U16,
    _bg_exclude_bitmap_lo: U32,
    bg_block_bitmap_csum_lo: U16,
    bg_inode_bitmap_csum_lo: U16,
    _bg_itable_unused_lo: U16,
    bg_checksum: U16,
}

/// The 32 bytes after them, with `64bit`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHigh {
    bg_block_bitmap_hi: U32,
    bg_inode_bitmap_hi: U32,
    bg_inode_table_hi: U32,
    bg_free_blocks_count_hi: U16,
    _bg_free_inodes_count_hi: U16,
    _bg_used_dirs_count_hi: U16,
    _bg_itable_unused_hi: U16,
    _bg_exclude_bitmap_hi: U32,
    bg_block_bitmap_csum_hi: U16,
    bg_inode_bitmap_csum_hi: U16,
    _bg_reserved: U32,
}

/// Where the checksum is.
const CHECKSUM_AT: usize = 0x1e;
const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;

/// What a descriptor says, checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    pub(super) free_clusters: u32,
    /// Whether the bitmap of inodes was never written: none is in use.
    pub(super) without_inodes: bool,
    /// Whether the bitmap of blocks was never written: only what every group has is in use.
    pub(super) without_block_bitmap: bool,
    block_bitmap_checksum: u32,
    inode_bitmap_checksum: u32,
}

/// The block that holds the descriptors of this group and its neighbours.
fn descriptors_at(superblock: &Superblock, group: u32) -> u64 {
    let block = group / superblock.descriptors_per_block();
    if !superblock.incompatible.contains(Incompatible::META_BG) || block < superblock.first_meta_bg
    {
        let superblock_at = u64::from(superblock.block_size == 1024);
        return superblock_at + 1 + u64::from(block);
    }
    let first = block.saturating_mul(superblock.descriptors_per_block());
    let mut copy = u64::from(superblock.has_copy(first));
    if superblock.block_size == 1024 && first == 0 && superblock.first_data_block == 0 {
        copy += 1;
    }
    superblock.group_start(first) + copy
}

impl Volume {
    /// The descriptor of a group.
    ///
    /// # Errors
    /// When its checksum is wrong, it leads out of the volume, or it cannot be read.
    pub(super) fn group(&self, group: u32) -> Result<Group> {
        let superblock = &self.superblock;
        let size = superblock.descriptor_size;
        let within = u64::from(group % superblock.descriptors_per_block()) * u64::from(size);
        let offset = descriptors_at(superblock, group) * superblock.block_bytes() + within;
        let bytes = self.metadata(offset, usize::try_from(size).unwrap_or(usize::MAX))?;
        let wrong = |what: String| damaged(format!("group descriptor {group}"), offset, what);
        let Ok((raw, rest)) = Raw::ref_from_prefix(&bytes) else {
            return Err(wrong("it is cut off".to_owned()));
        };
        let with_checksums = superblock.read_only.has_group_checksums();
        if with_checksums && checksum(superblock, group, &bytes) != raw.bg_checksum.get() {
            return Err(wrong("bg_checksum is wrong".to_owned()));
        }
        let high = RawHigh::ref_from_prefix(rest).ok().map(|(high, _)| high);
        let wide = |lo: U32, hi: fn(&RawHigh) -> U32| {
            u64::from(lo.get()) | high.map_or(0, |high| u64::from(hi(high).get())) << 32
        };
        let narrow = |lo: U16, hi: fn(&RawHigh) -> U16| {
            u32::from(lo.get()) | high.map_or(0, |high| u32::from(hi(high).get())) << 16
        };
        let has = |flag: u16| with_checksums && raw.bg_flags.get() & flag != 0;
        let found = Group {
            block_bitmap: wide(raw.bg_block_bitmap_lo, |high| high.bg_block_bitmap_hi),
            inode_bitmap: wide(raw.bg_inode_bitmap_lo, |high| high.bg_inode_bitmap_hi),
            inode_table: wide(raw.bg_inode_table_lo, |high| high.bg_inode_table_hi),
            free_clusters: narrow(raw.bg_free_blocks_count_lo, |high| {
                high.bg_free_blocks_count_hi
            }),
            without_inodes: has(INODE_UNINIT),
            without_block_bitmap: has(BLOCK_UNINIT),
            block_bitmap_checksum: narrow(raw.bg_block_bitmap_csum_lo, |high| {
                high.bg_block_bitmap_csum_hi
            }),
            inode_bitmap_checksum: narrow(raw.bg_inode_bitmap_csum_lo, |high| {
                high.bg_inode_bitmap_csum_hi
            }),
        };
        let table_blocks = self.inode_table_bytes().div_ceil(superblock.block_bytes());
        let places = [
            ("bg_block_bitmap", found.block_bitmap, 1),
            ("bg_inode_bitmap", found.inode_bitmap, 1),
            ("bg_inode_table", found.inode_table, table_blocks),
        ];
        for (name, start, len) in places {
            if !superblock.has_blocks(start, len) {
                return Err(wrong(format!("{name} is {start}, which is no block")));
            }
        }
        Ok(found)
    }

    /// How many blocks are free, as the descriptors say; none where one is damaged.
    pub(super) fn free_blocks(&self) -> Option<u64> {
        let mut clusters = 0;
        for number in 0..self.superblock.groups {
            clusters += u64::from(self.group(number).ok()?.free_clusters);
        }
        Some(clusters * u64::from(self.superblock.cluster_blocks))
    }

    /// Bytes of a group's inode table.
    pub(super) fn inode_table_bytes(&self) -> u64 {
        u64::from(self.superblock.inodes_per_group) * u64::from(self.superblock.inode_size)
    }

    /// Which inodes of a group are in use: a bit each, the first in the lowest bit of the first byte.
    ///
    /// # Errors
    /// When its checksum is wrong or it cannot be read.
    pub(super) fn inode_bitmap(&self, number: u32, group: &Group) -> Result<Vec<u8>> {
        if group.without_inodes {
            return Ok(Vec::new());
        }
        let bits = self.superblock.inodes_per_group;
        let found = (group.inode_bitmap, group.inode_bitmap_checksum);
        self.bitmap(number, "inode bitmap", bits, found)
    }

    /// Which clusters of a group are in use, likewise; none where that was never written.
    ///
    /// # Errors
    /// When its checksum is wrong or it cannot be read.
    pub(super) fn block_bitmap(&self, number: u32, group: &Group) -> Result<Option<Vec<u8>>> {
        if group.without_block_bitmap {
            return Ok(None);
        }
        let bits = self.superblock.clusters_per_group;
        let found = (group.block_bitmap, group.block_bitmap_checksum);
        self.bitmap(number, "block bitmap", bits, found).map(Some)
    }

    fn bitmap(
        &self,
        number: u32,
        name: &str,
        bits: u32,
        (block, expected): (u64, u32),
    ) -> Result<Vec<u8>> {
        let offset = block * self.superblock.block_bytes();
        let len = usize::try_from(bits / 8).unwrap_or(usize::MAX);
        let bytes = self.metadata(offset, len)?;
        if let Some(seed) = self.superblock.checksum_seed {
            // Without the upper halves of the descriptor, there is room for half of it.
            let mask = match self.superblock.descriptor_size {
                ..64 => 0xffff,
                _ => u32::MAX,
            };
            if (crc32c(seed, &bytes) ^ expected) & mask != 0 {
                let structure = format!("{name} of group {number}");
                return Err(damaged(structure, offset, "its checksum is wrong"));
            }
        }
        Ok(bytes)
    }
}

fn checksum(superblock: &Superblock, group: u32, bytes: &[u8]) -> u16 {
    let before = bytes.get(..CHECKSUM_AT).unwrap_or_default();
    let after = bytes.get(CHECKSUM_AT + 2..).unwrap_or_default();
    let number = group.to_le_bytes();
    if superblock
        .read_only
        .contains(ReadOnlyCompatible::METADATA_CSUM)
    {
        let seed = superblock.checksum_seed.unwrap_or_default();
        let parts = [&number[..], before, &[0, 0], after];
        let crc = parts.into_iter().fold(seed, crc32c);
        let [low, high, ..] = crc.to_le_bytes();
        return u16::from_le_bytes([low, high]);
    }
    let parts = [&superblock.uuid[..], &number, before, after];
    parts.into_iter().fold(u16::MAX, crc16)
}
