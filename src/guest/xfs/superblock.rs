//! The superblock: the geometry of the volume, and which features are in use. Fields are named as in the kernel's
//! `struct xfs_dsb`.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksummed::{Checksummed, damaged};
use crate::block::Source;
use crate::error::{Error, Result};

/// Bytes of a basic block, the unit of disk addresses.
pub(super) const BASIC_BLOCK: u64 = BASIC_BLOCK_LEN as u64;
/// The same, as the length of a slice.
pub(super) const BASIC_BLOCK_LEN: usize = 512;

#[derive(Debug, Clone, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Dsb {
    magicnum: [u8; 4],
    blocksize: U32,
    dblocks: U64,
    rblocks: U64,
    rextents: U64,
    uuid: [u8; 16],
    logstart: U64,
    rootino: U64,
    rbmino: U64,
    rsumino: U64,
    rextsize: U32,
    agblocks: U32,
    agcount: U32,
    rbmblocks: U32,
    logblocks: U32,
    versionnum: U16,
    sectsize: U16,
    inodesize: U16,
    inopblock: U16,
    fname: [u8; 12],
    blocklog: u8,
    sectlog: u8,
    inodelog: u8,
    inopblog: u8,
    agblklog: u8,
    rextslog: u8,
    inprogress: u8,
    imax_pct: u8,
    icount: U64,
    ifree: U64,
    fdblocks: U64,
    frextents: U64,
    uquotino: U64,
    gquotino: U64,
    qflags: U16,
    flags: u8,
    shared_vn: u8,
    inoalignmt: U32,
    unit: U32,
    width: U32,
    dirblklog: u8,
    logsectlog: u8,
    logsectsize: U16,
    logsunit: U32,
    features2: U32,
    bad_features2: U32,
    features_compat: U32,
    features_ro_compat: U32,
    features_incompat: U32,
    features_log_incompat: U32,
    crc: U32,
    spino_align: U32,
    pquotino: U64,
    lsn: U64,
    meta_uuid: [u8; 16],
}

const MAGIC: [u8; 4] = *b"XFSB";
/// `sb_versionnum`: the version, and the bit of names whose case does not count.
const VERSION_NUMBITS: u16 = 0x000f;
const VERSION_BORGBIT: u16 = 0x4000;

const INCOMPAT_FTYPE: u32 = 1 << 0;
const INCOMPAT_SPINODES: u32 = 1 << 1;
const INCOMPAT_META_UUID: u32 = 1 << 2;
/// Of `sb_features_incompat`: those that are read, whether they change what is read or not (ftype, sparse inodes,
/// meta_uuid, bigtime, nrext64, exchange-range, parent, metadir).
const INCOMPAT_READ: u32 = 0x01ef;
/// Of those that are not read, by bit.
const INCOMPAT_NAMES: [(u32, &str); 3] = [
    (1 << 4, "needsrepair"),
    (1 << 9, "zoned"),
    (1 << 10, "zone-gaps"),
];
/// Changes of attributes are logged as such.
const LOG_INCOMPAT_XATTRS: u32 = 1 << 0;
const RO_COMPAT_RMAPBT: u32 = 1 << 1;
const RO_COMPAT_REFLINK: u32 = 1 << 2;
const RO_COMPAT_FINOBT: u32 = 1 << 0;
/// Of `sb_features_ro_compat`: those that are known (finobt, rmapbt, reflink, inobtcount).
const RO_COMPAT_KNOWN: u32 = 0xf;

/// What the superblock says, checked: no shift, product or sum of these runs over.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    /// Bytes of a block: 1 KiB to 64 KiB.
    pub(super) block_size: u32,
    /// Blocks of the data section.
    pub(super) blocks: u64,
    /// Blocks of every allocation group but the last.
    pub(super) group_blocks: u32,
    /// Allocation groups.
    pub(super) groups: u32,
    /// Bits of a block number within its group, where it stands in a number for the whole volume.
    pub(super) group_block_bits: u32,
    /// Bytes of a sector, which the headers of a group take one each of.
    pub(super) sector_size: u32,
    /// Bytes of an inode.
    pub(super) inode_size: u32,
    /// Bits of an inode's number within its block.
    pub(super) inode_bits: u32,
    /// Blocks of a directory block, as a power of two.
    pub(super) directory_block_bits: u32,
    /// The root directory.
    pub(super) root: u64,
    /// Inodes that no directory holds: quotas, real-time bitmap and summary.
    pub(super) internal: Vec<u64>,
    /// The log: its first block, and how many; none where it is on another device.
    pub(super) log: Option<(u64, u32)>,
    /// Features without which it can be read, and which are not known.
    pub(super) unknown_ro_features: u32,
    /// Incompatible features of the log that are not known.
    pub(super) unread_log_features: u32,
    /// What `blkid` prints.
    pub(super) uuid: [u8; 16],
    /// What metadata is marked with.
    pub(super) meta_uuid: [u8; 16],
    /// Its label.
    pub(super) label: Vec<u8>,
    /// Free blocks, as of the last clean unmount.
    pub(super) free: u64,
    /// Entries of directories say what they lead to.
    pub(super) has_ftype: bool,
    /// Inode chunks may lack some of their inodes.
    pub(super) has_sparse_inodes: bool,
    /// The case of names does not count.
    pub(super) ignores_case: bool,
    /// Trees that an allocation group has beside the usual ones.
    pub(super) trees: OptionalTrees,
}

/// Trees of an allocation group that features bring.
#[derive(Debug, Clone, Copy)]
pub(super) struct OptionalTrees {
    pub(super) free_inodes: bool,
    pub(super) reverse_map: bool,
    pub(super) reference_counts: bool,
}

impl Superblock {
    /// The primary superblock; none where there is none.
    ///
    /// # Errors
    /// When it is damaged, or has features that are not read.
    pub(super) fn read(source: &Source) -> Result<Option<Self>> {
        let mut bytes = vec![0; 32 << 10];
        source.read_at(0, &mut bytes)?;
        let Ok((raw, _)) = Dsb::ref_from_prefix(&bytes) else {
            return Ok(None);
        };
        if raw.magicnum != MAGIC {
            return Ok(None);
        }
        let version = raw.versionnum.get() & VERSION_NUMBITS;
        if version != 5 {
            return Err(unsupported(&format!("version {version}")));
        }
        let sector = raw.sectsize.get();
        if !(512..=32768).contains(&sector) || u32::from(sector) != power(raw.sectlog) {
            return Err(wrong("sb_sectsize", sector));
        }
        let whole = bytes.get(..usize::from(sector)).unwrap_or_default();
        Checksummed::SUPERBLOCK.verify_sum(whole, "superblock", 0)?;
        raw.check_features()?;
        raw.check_geometry()?;
        let found = raw.taken();
        let len = source.len();
        if found.total() > len {
            return Err(damaged(
                "superblock",
                0,
                format!(
                    "sb_dblocks: {} bytes, and the volume has {len}",
                    found.total()
                ),
            ));
        }
        Ok(Some(found))
    }
}

fn unsupported(feature: &str) -> Error {
    Error::Unsupported {
        filesystem: "XFS",
        feature: feature.to_owned(),
    }
}

fn wrong(field: &str, value: impl std::fmt::Display) -> Error {
    damaged("superblock", 0, format!("{field} is {value}"))
}

/// Two to the power of a field; 0 where that is more than any of them may be.
fn power(log: u8) -> u32 {
    1_u32.checked_shl(log.into()).unwrap_or(0)
}

impl Dsb {
    fn check_features(&self) -> Result<()> {
        if self.inprogress != 0 {
            return Err(unsupported("a filesystem that mkfs did not finish"));
        }
        let unread = self.features_incompat.get() & !INCOMPAT_READ;
        if unread == 0 {
            return Ok(());
        }
        let bit = unread & unread.wrapping_neg();
        let name = INCOMPAT_NAMES.iter().find(|(one, _)| *one == bit);
        Err(match name {
            Some((_, name)) => unsupported(name),
            None => unsupported(&format!("incompatible feature {bit:#x}")),
        })
    }

    /// As the kernel's `xfs_validate_sb_common`.
    fn check_geometry(&self) -> Result<()> {
        let block = self.blocksize.get();
        if !(1024..=65536).contains(&block) || block != power(self.blocklog) {
            return Err(wrong("sb_blocksize", block));
        }
        let inode = u32::from(self.inodesize.get());
        if !(512..=2048).contains(&inode) || inode > block || inode != power(self.inodelog) {
            return Err(wrong("sb_inodesize", inode));
        }
        if self.inopblog != self.blocklog - self.inodelog {
            return Err(wrong("sb_inopblog", self.inopblog));
        }
        if u32::from(self.sectsize.get()) > block {
            return Err(wrong("sb_sectsize", self.sectsize.get()));
        }
        if self.dirblklog > 6 || u64::from(block) << self.dirblklog > 65536 {
            return Err(wrong("sb_dirblklog", self.dirblklog));
        }
        let (groups, length) = (self.agcount.get(), self.agblocks.get());
        if length < 16 || u32::from(self.agblklog) != 32 - (length - 1).leading_zeros() {
            return Err(wrong("sb_agblklog", self.agblklog));
        }
        let blocks = self.dblocks.get();
        if groups == 0 || blocks.div_ceil(length.into()) != u64::from(groups) {
            return Err(wrong("sb_agcount", groups));
        }
        if blocks > u64::from(u32::MAX) * u64::from(length) || blocks > (1 << 62) >> self.blocklog {
            return Err(wrong("sb_dblocks", blocks));
        }
        // A log lies within one group.
        let (start, log) = (self.logstart.get(), self.logblocks.get());
        let (group, within) = (start >> self.agblklog, start & ((1 << self.agblklog) - 1));
        let end = group
            .saturating_mul(length.into())
            .saturating_add(within)
            .saturating_add(log.into());
        if start != 0 && (log == 0 || within >= u64::from(length) || end > blocks) {
            return Err(wrong("sb_logstart", start));
        }
        Ok(())
    }

    fn taken(&self) -> Superblock {
        let has = |bit| self.features_incompat.get() & bit != 0;
        let also = |bit| self.features_ro_compat.get() & bit != 0;
        let internal = [
            self.rbmino,
            self.rsumino,
            self.uquotino,
            self.gquotino,
            self.pquotino,
        ];
        let label = self.fname.split(|byte| *byte == 0).next();
        Superblock {
            block_size: self.blocksize.get(),
            blocks: self.dblocks.get(),
            group_blocks: self.agblocks.get(),
            groups: self.agcount.get(),
            group_block_bits: self.agblklog.into(),
            sector_size: self.sectsize.get().into(),
            inode_size: self.inodesize.get().into(),
            inode_bits: self.inopblog.into(),
            directory_block_bits: self.dirblklog.into(),
            root: self.rootino.get(),
            internal: internal
                .iter()
                .map(|one| one.get())
                .filter(|one| *one != 0 && *one != u64::MAX)
                .collect(),
            log: (self.logstart.get() != 0).then(|| (self.logstart.get(), self.logblocks.get())),
            unknown_ro_features: self.features_ro_compat.get() & !RO_COMPAT_KNOWN,
            unread_log_features: self.features_log_incompat.get() & !LOG_INCOMPAT_XATTRS,
            uuid: self.uuid,
            meta_uuid: if has(INCOMPAT_META_UUID) {
                self.meta_uuid
            } else {
                self.uuid
            },
            label: label.unwrap_or_default().to_vec(),
            free: self.fdblocks.get(),
            has_ftype: has(INCOMPAT_FTYPE),
            has_sparse_inodes: has(INCOMPAT_SPINODES),
            ignores_case: self.versionnum.get() & VERSION_BORGBIT != 0,
            trees: OptionalTrees {
                free_inodes: also(RO_COMPAT_FINOBT),
                reverse_map: also(RO_COMPAT_RMAPBT),
                reference_counts: also(RO_COMPAT_REFLINK),
            },
        }
    }
}

/// Where things are.
impl Superblock {
    /// Bytes of the data section.
    pub(super) fn total(&self) -> u64 {
        self.blocks * u64::from(self.block_size)
    }

    /// Blocks of a group, of which the last may have fewer.
    pub(super) fn blocks_of(&self, group: u32) -> u64 {
        let length = u64::from(self.group_blocks);
        self.blocks
            .saturating_sub(u64::from(group) * length)
            .min(length)
    }

    /// Byte of the volume that a group begins at.
    pub(super) fn group_start(&self, group: u32) -> u64 {
        u64::from(group) * u64::from(self.group_blocks) * u64::from(self.block_size)
    }

    /// The number of a block within its group as one for the whole volume (`XFS_AGB_TO_FSB`).
    pub(super) fn block_number(&self, group: u32, within: u32) -> u64 {
        (u64::from(group) << self.group_block_bits) | u64::from(within)
    }

    /// The group of a block number, and the block within it; none where there is no such block.
    pub(super) fn split(&self, block: u64) -> Option<(u32, u32)> {
        let group = u32::try_from(block >> self.group_block_bits).ok()?;
        let within = u32::try_from(block & ((1 << self.group_block_bits) - 1)).ok()?;
        (group < self.groups && u64::from(within) < self.blocks_of(group))
            .then_some((group, within))
    }

    /// The byte of the volume that `count` blocks begin at, all of which are in one group; none where they are not.
    pub(super) fn offset_of(&self, block: u64, count: u64) -> Option<u64> {
        let (group, within) = self.split(block)?;
        let end = u64::from(within).checked_add(count)?;
        (end <= self.blocks_of(group))
            .then(|| self.group_start(group) + u64::from(within) * u64::from(self.block_size))
    }

    /// The byte of the volume that an inode's record begins at; none where there can be none.
    pub(super) fn inode_offset(&self, number: u64) -> Option<u64> {
        let slot = number & ((1 << self.inode_bits) - 1);
        let block = self.offset_of(number >> self.inode_bits, 1)?;
        Some(block + slot * u64::from(self.inode_size))
    }

    /// The number of an inode from that within its group (`XFS_AGINO_TO_INO`).
    pub(super) fn inode_number(&self, group: u32, within: u32) -> u64 {
        (u64::from(group) << (self.group_block_bits + self.inode_bits)) | u64::from(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        assert_eq!(std::mem::offset_of!(Dsb, agblklog), 124);
        assert_eq!(std::mem::offset_of!(Dsb, features_incompat), 216);
        assert_eq!(std::mem::offset_of!(Dsb, crc), 224);
        assert_eq!(size_of::<Dsb>(), 264);
    }
}
