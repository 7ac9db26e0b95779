//! The superblock, `struct ext4_super_block`, and the features it names.

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum::crc32c;
use super::error::{damaged, unsupported};
use super::feature::{Compatible, Incompatible, ReadOnlyCompatible};
use crate::error::{Error, Result};

/// Where it is on the volume.
pub(super) const AT: u64 = 1024;
/// Its length.
pub(super) const LEN: usize = 1024;

const MAGIC: u16 = 0xef53;
/// The inode size of revision 0, which records none.
const OLD_INODE_SIZE: u16 = 128;
/// The first inode of revision 0 that is not reserved.
const OLD_FIRST_INODE: u32 = 11;
/// Descriptor size without `64bit`.
const OLD_DESCRIPTOR_SIZE: u16 = 32;
/// Block groups of a filesystem: 128 TiB of them with blocks of 4 KiB.
const MOST_GROUPS: u64 = 1 << 20;

/// As it is on disk. What is not read has a name with an underscore.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    s_inodes_count: U32,
    s_blocks_count_lo: U32,
    _s_r_blocks_count_lo: U32,
    s_free_blocks_count_lo: U32,
    _s_free_inodes_count: U32,
    s_first_data_block: U32,
    s_log_block_size: U32,
    s_log_cluster_size: U32,
    s_blocks_per_group: U32,
    s_clusters_per_group: U32,
    s_inodes_per_group: U32,
    _s_mtime: U32,
    s_wtime: U32,
    _s_mnt_count: [u8; 4],
    s_magic: U16,
    s_state: U16,
    _s_errors: [u8; 16],
    s_rev_level: U32,
    _s_def_resuid: U32,
    s_first_ino: U32,
    s_inode_size: U16,
    _s_block_group_nr: U16,
    s_feature_compat: U32,
    s_feature_incompat: U32,
    s_feature_ro_compat: U32,
    s_uuid: [u8; 16],
    s_volume_name: [u8; 16],
    _s_last_mounted: [u8; 70],
    s_reserved_gdt_blocks: U16,
    _s_journal_uuid: [u8; 16],
    s_journal_inum: U32,
    _s_journal_dev: U32,
    s_last_orphan: U32,
    _s_hash_seed: [u8; 18],
    s_desc_size: U16,
    _s_default_mount_opts: U32,
    s_first_meta_bg: U32,
    _s_mkfs_time: [u8; 72],
    s_blocks_count_hi: U32,
    _s_r_blocks_count_hi: U32,
    s_free_blocks_count_hi: U32,
    _s_min_extra_isize: [u8; 25],
    s_checksum_type: u8,
    _s_encryption_level: [u8; 30],
    s_error_count: U32,
    _s_first_error_time: [u8; 180],
    s_backup_bgs: [U32; 2],
    _s_encrypt_algos: [u8; 28],
    s_checksum_seed: U32,
    s_wtime_hi: u8,
    _s_mtime_hi: [u8; 391],
    s_checksum: U32,
}

const _: () = assert!(size_of::<Raw>() == LEN);

/// What the superblock says, checked.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) compatible: Compatible,
    pub(super) incompatible: Incompatible,
    pub(super) read_only: ReadOnlyCompatible,
    pub(super) block_size: u32,
    /// How many blocks there are.
    pub(super) blocks: u64,
    /// `s_state`: whether it was unmounted, and without errors.
    pub(super) state: u16,
    /// The first of the inodes that wait for being removed; 0 where there is none.
    pub(super) last_orphan: u32,
    /// Errors that the kernel met and that no check has mended.
    pub(super) error_count: u32,
    /// Free blocks, as of the last time it was written.
    pub(super) free_blocks: u64,
    pub(super) first_data_block: u64,
    pub(super) blocks_per_group: u32,
    /// Blocks of a cluster: more than 1 with `bigalloc` only.
    pub(super) cluster_blocks: u32,
    pub(super) clusters_per_group: u32,
    pub(super) groups: u32,
    pub(super) inodes: u32,
    pub(super) inodes_per_group: u32,
    pub(super) inode_size: u32,
    /// The first inode that is not reserved.
    pub(super) first_inode: u32,
    pub(super) descriptor_size: u32,
    pub(super) first_meta_bg: u32,
    pub(super) reserved_gdt_blocks: u16,
    /// The groups that hold copies of it, with `sparse_super2`.
    pub(super) backup_groups: [u32; 2],
    /// The inode of its journal; 0 where that is on another device.
    pub(super) journal_inode: u32,
    pub(super) uuid: [u8; 16],
    pub(super) label: Vec<u8>,
    /// When it was written last, in seconds since 1970.
    pub(super) written: u64,
    /// What checksums of metadata begin with; none without `metadata_csum`.
    pub(super) checksum_seed: Option<u32>,
}

impl Superblock {
    /// Reads it from its 1,024 bytes; none where there is no magic number. `volume` is how many bytes the volume has.
    ///
    /// # Errors
    /// When it contradicts itself or the volume's length, or names a feature that is not read.
    pub(super) fn parse(bytes: &[u8], volume: u64) -> Result<Option<Self>> {
        let Ok((raw, _)) = Raw::ref_from_prefix(bytes) else {
            return Ok(None);
        };
        if raw.s_magic.get() != MAGIC {
            return Ok(None);
        }
        let incompatible = Incompatible::from_bits_retain(raw.s_feature_incompat.get());
        let read_only = ReadOnlyCompatible::from_bits_retain(raw.s_feature_ro_compat.get());
        if let Some(feature) = incompatible.not_read() {
            return Err(unsupported(feature));
        }
        let with_checksums = read_only.contains(ReadOnlyCompatible::METADATA_CSUM);
        if with_checksums {
            if raw.s_checksum_type != 1 {
                return Err(unsupported(format!(
                    "s_checksum_type {}",
                    raw.s_checksum_type
                )));
            }
            let covered = bytes.get(..LEN - 4).unwrap_or_default();
            if crc32c(u32::MAX, covered) != raw.s_checksum.get() {
                return Err(problem(LEN - 4, "s_checksum is wrong"));
            }
        }
        let found = raw.checked(incompatible, read_only, volume)?;
        Ok(Some(found))
    }

    /// The block where a group begins.
    pub(super) fn group_start(&self, group: u32) -> u64 {
        self.first_data_block + u64::from(group) * u64::from(self.blocks_per_group)
    }

    /// Blocks of a group; fewer in the last.
    pub(super) fn group_blocks(&self, group: u32) -> u32 {
        let rest = self.blocks.saturating_sub(self.group_start(group));
        u32::try_from(rest)
            .unwrap_or(u32::MAX)
            .min(self.blocks_per_group)
    }

    /// Whether a group begins with a copy of the superblock and of the group descriptors.
    pub(super) fn has_copy(&self, group: u32) -> bool {
        let is_power = |base: u32| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        };
        if self.compatible.contains(Compatible::SPARSE_SUPER2) {
            group == 0 || self.backup_groups.contains(&group)
        } else {
            group <= 1
                || !self.read_only.contains(ReadOnlyCompatible::SPARSE_SUPER)
                || [3, 5, 7].into_iter().any(is_power)
        }
    }

    /// Group descriptors in a block.
    pub(super) fn descriptors_per_block(&self) -> u32 {
        self.block_size / self.descriptor_size
    }

    /// A block's size, for offsets.
    pub(super) fn block_bytes(&self) -> u64 {
        u64::from(self.block_size)
    }

    /// A block's size, for memory.
    pub(super) fn block_len(&self) -> usize {
        usize::try_from(self.block_size).unwrap_or(usize::MAX)
    }

    /// Whether these blocks are among those of the filesystem.
    pub(super) fn has_blocks(&self, start: u64, len: u64) -> bool {
        start >= self.first_data_block
            && start.checked_add(len).is_some_and(|end| end <= self.blocks)
    }
}

/// What is wrong with the field at this byte of the superblock.
fn problem(at: usize, what: impl Into<String>) -> Error {
    damaged("superblock", AT + at as u64, what)
}

impl Raw {
    fn checked(
        &self,
        incompatible: Incompatible,
        read_only: ReadOnlyCompatible,
        volume: u64,
    ) -> Result<Superblock> {
        let with_64bit = incompatible.contains(Incompatible::BIT64);
        let log = self.s_log_block_size.get();
        if log > 6 {
            return Err(problem(0x18, format!("s_log_block_size is {log}")));
        }
        let block_size = 1024_u32 << log;
        let both = |lo: U32, hi: U32| {
            let hi = if with_64bit { u64::from(hi.get()) } else { 0 };
            u64::from(lo.get()) | hi << 32
        };
        let blocks = both(self.s_blocks_count_lo, self.s_blocks_count_hi);
        let free_blocks = both(self.s_free_blocks_count_lo, self.s_free_blocks_count_hi);
        if blocks
            .checked_mul(u64::from(block_size))
            .is_none_or(|bytes| bytes > volume)
        {
            let what = format!("s_blocks_count is {blocks}, more than the volume has");
            return Err(problem(4, what));
        }
        let first_data_block = u64::from(self.s_first_data_block.get());
        if first_data_block >= blocks || first_data_block > 1 {
            let what = format!("s_first_data_block is {first_data_block}");
            return Err(problem(0x14, what));
        }
        let (cluster_blocks, clusters_per_group) = self.clusters(read_only, log)?;
        let blocks_per_group = self.s_blocks_per_group.get();
        let inodes_per_group = self.s_inodes_per_group.get();
        if blocks_per_group == 0
            || !clusters_per_group.is_multiple_of(8)
            || u64::from(clusters_per_group) * u64::from(cluster_blocks)
                != u64::from(blocks_per_group)
            || clusters_per_group > 8 * block_size
        {
            let what = format!("s_blocks_per_group is {blocks_per_group}");
            return Err(problem(0x20, what));
        }
        let groups = (blocks - first_data_block).div_ceil(u64::from(blocks_per_group));
        if groups > MOST_GROUPS {
            return Err(Error::TooMuch {
                what: "block groups",
                most: MOST_GROUPS,
            });
        }
        let groups = u32::try_from(groups).unwrap_or(u32::MAX);
        let inodes = self.s_inodes_count.get();
        if inodes_per_group == 0
            || !inodes_per_group.is_multiple_of(8)
            || inodes_per_group > 8 * block_size
            || u64::from(inodes) > u64::from(inodes_per_group) * u64::from(groups)
        {
            let what = format!("s_inodes_per_group is {inodes_per_group}, of {inodes} inodes");
            return Err(problem(0x28, what));
        }
        let (inode_size, first_inode) = match self.s_rev_level.get() {
            0 => (OLD_INODE_SIZE, OLD_FIRST_INODE),
            _ => (self.s_inode_size.get(), self.s_first_ino.get()),
        };
        let inode_size = u32::from(inode_size);
        if !inode_size.is_power_of_two()
            || inode_size < u32::from(OLD_INODE_SIZE)
            || inode_size > block_size
        {
            return Err(problem(0x58, format!("s_inode_size is {inode_size}")));
        }
        let descriptor_size = match with_64bit {
            true => u32::from(self.s_desc_size.get()),
            false => u32::from(OLD_DESCRIPTOR_SIZE),
        };
        if !descriptor_size.is_power_of_two()
            || (with_64bit && descriptor_size < 64)
            || descriptor_size > block_size
        {
            return Err(problem(0xfe, format!("s_desc_size is {descriptor_size}")));
        }
        let checksum_seed = read_only
            .contains(ReadOnlyCompatible::METADATA_CSUM)
            .then(|| match incompatible.contains(Incompatible::CSUM_SEED) {
                true => self.s_checksum_seed.get(),
                false => crc32c(u32::MAX, &self.s_uuid),
            });
        let label = self.s_volume_name.split(|byte| *byte == 0).next();
        Ok(Superblock {
            compatible: Compatible::from_bits_retain(self.s_feature_compat.get()),
            incompatible,
            read_only,
            block_size,
            blocks,
            state: self.s_state.get(),
            last_orphan: self.s_last_orphan.get(),
            error_count: self.s_error_count.get(),
            free_blocks,
            first_data_block,
            blocks_per_group,
            cluster_blocks,
            clusters_per_group,
            groups,
            inodes,
            inodes_per_group,
            inode_size,
            first_inode,
            descriptor_size,
            first_meta_bg: self.s_first_meta_bg.get(),
            reserved_gdt_blocks: self.s_reserved_gdt_blocks.get(),
            backup_groups: self.s_backup_bgs.map(U32::get),
            journal_inode: self.s_journal_inum.get(),
            uuid: self.s_uuid,
            label: label.unwrap_or_default().to_vec(),
            written: u64::from(self.s_wtime.get()) | u64::from(self.s_wtime_hi) << 32,
            checksum_seed,
        })
    }

    /// Blocks of a cluster, and clusters of a group.
    fn clusters(&self, read_only: ReadOnlyCompatible, log: u32) -> Result<(u32, u32)> {
        if !read_only.contains(ReadOnlyCompatible::BIGALLOC) {
            return Ok((1, self.s_blocks_per_group.get()));
        }
        let log_cluster = self.s_log_cluster_size.get();
        // Up to 512 MiB, as `mke2fs` makes them.
        if log_cluster < log || log_cluster > 19 {
            let what = format!("s_log_cluster_size is {log_cluster}");
            return Err(problem(0x1c, what));
        }
        Ok((1 << (log_cluster - log), self.s_clusters_per_group.get()))
    }
}
