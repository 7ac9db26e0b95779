//! Inodes, `struct ext4_inode`: where their records are, and what is in them.

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum::crc32c;
use super::error::damaged;
use super::feature::{Incompatible, ReadOnlyCompatible};
use super::superblock::Superblock;
use super::volume::Volume;
use crate::error::{Error, Result};
use crate::filesystem::{NodeId, NodeKind};

/// The 128 bytes that all have.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Raw {
    pub(super) i_mode: U16,
    pub(super) i_uid: U16,
    i_size_lo: U32,
    pub(super) i_atime: U32,
    pub(super) i_ctime: U32,
    pub(super) i_mtime: U32,
    _i_dtime: U32,
    pub(super) i_gid: U16,
    pub(super) i_links_count: U16,
    pub(super) i_blocks_lo: U32,
    i_flags: U32,
    _l_i_version: U32,
    pub(super) i_block: [u8; 60],
    pub(super) i_generation: U32,
    i_file_acl_lo: U32,
    i_size_high: U32,
    _i_obso_faddr: U32,
    pub(super) l_i_blocks_high: U16,
    l_i_file_acl_high: U16,
    pub(super) l_i_uid_high: U16,
    pub(super) l_i_gid_high: U16,
    l_i_checksum_lo: U16,
    _l_i_reserved: U16,
}

/// What follows in larger records, as far as `i_extra_isize` says.
#[derive(Debug, Clone, Copy, Default, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Extra {
    pub(super) i_extra_isize: U16,
    i_checksum_hi: U16,
    pub(super) i_ctime_extra: U32,
    pub(super) i_mtime_extra: U32,
}

/// Bytes that all records have.
pub(super) const OLD_SIZE: usize = 128;
const CHECKSUM_LO_AT: usize = 0x7c;
const CHECKSUM_HI_AT: usize = 0x82;

const _: () = assert!(size_of::<Raw>() == OLD_SIZE);

/// `i_flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    Encrypted = 0x800,
    HugeFile = 0x4_0000,
    Extents = 0x8_0000,
    InlineData = 0x1000_0000,
    Casefold = 0x4000_0000,
}

/// A record, whose checksum was right.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) number: u32,
    /// Where it is, in bytes of the volume.
    pub(super) offset: u64,
    /// All of it.
    pub(super) record: Vec<u8>,
    pub(super) raw: Raw,
    /// What its part of the record holds; zeros past that.
    pub(super) extra: Extra,
    /// What the checksums of its own metadata begin with.
    pub(super) checksum_seed: Option<u32>,
}

impl Inode {
    /// Reads a record. None where the inode is not in use.
    ///
    /// # Errors
    /// When its checksum is wrong.
    pub(super) fn parse(
        superblock: &Superblock,
        number: u32,
        offset: u64,
        record: &[u8],
    ) -> Result<Option<Self>> {
        let Ok((raw, rest)) = Raw::ref_from_prefix(record) else {
            return Err(damaged(structure(number), offset, "it is cut off"));
        };
        if raw.i_links_count.get() == 0 || raw.i_mode.get() == 0 {
            return Ok(None);
        }
        let recorded = Extra::ref_from_prefix(rest).map_or(Extra::default(), |(extra, _)| *extra);
        let extra_len = usize::from(recorded.i_extra_isize.get());
        if extra_len > rest.len() || extra_len % 4 != 0 {
            let what = format!("i_extra_isize is {extra_len}");
            return Err(damaged(structure(number), offset, what));
        }
        let extra = within(recorded, extra_len);
        let checksum_seed = superblock.checksum_seed.map(|seed| {
            let seed = crc32c(seed, &number.to_le_bytes());
            crc32c(seed, &raw.i_generation.get().to_le_bytes())
        });
        if let Some(seed) = checksum_seed {
            let has_high = extra_len >= 4;
            let low = u32::from(raw.l_i_checksum_lo.get());
            let high = u32::from(recorded.i_checksum_hi.get()) << 16;
            let (expected, mask) = match has_high {
                true => (low | high, u32::MAX),
                false => (low, 0xffff),
            };
            if (checksum(seed, record, has_high) ^ expected) & mask != 0 {
                return Err(damaged(structure(number), offset, "i_checksum is wrong"));
            }
        }
        Ok(Some(Self {
            number,
            offset,
            record: record.to_vec(),
            raw: *raw,
            extra,
            checksum_seed,
        }))
    }

    /// What it is of.
    ///
    /// # Errors
    /// When its mode names no kind of file.
    pub(super) fn kind(&self) -> Result<NodeKind> {
        kind(self.raw.i_mode.get())
            .ok_or_else(|| self.damaged(format!("i_mode is {:#o}", self.raw.i_mode.get())))
    }

    /// Whether a flag is set.
    pub(super) fn has(&self, flag: Flag) -> bool {
        self.raw.i_flags.get() & flag as u32 != 0
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// When it is longer than any file can be.
    pub(super) fn size(&self, superblock: &Superblock) -> Result<u64> {
        let is_directory = kind(self.raw.i_mode.get()) == Some(NodeKind::Directory);
        // Before large directories, the upper half of a directory's length was an ACL.
        let has_high = !is_directory || superblock.incompatible.contains(Incompatible::LARGEDIR);
        let high = if has_high {
            self.raw.i_size_high.get()
        } else {
            0
        };
        let size = u64::from(self.raw.i_size_lo.get()) | u64::from(high) << 32;
        // Logical blocks are numbers of 32 bits, the last of which is none.
        if size > superblock.block_bytes() * u64::from(u32::MAX) {
            return Err(self.damaged(format!("i_size is {size}")));
        }
        Ok(size)
    }

    /// Bytes of the volume that it takes.
    pub(super) fn allocated(&self, superblock: &Superblock) -> u64 {
        let low = u64::from(self.raw.i_blocks_lo.get());
        if !superblock.read_only.contains(ReadOnlyCompatible::HUGE_FILE) {
            return low * 512;
        }
        let blocks = low | u64::from(self.raw.l_i_blocks_high.get()) << 32;
        match self.has(Flag::HugeFile) {
            true => blocks.saturating_mul(superblock.block_bytes()),
            false => blocks * 512,
        }
    }

    /// The block with its extended attributes; 0 where there is none.
    pub(super) fn attribute_block(&self) -> u64 {
        u64::from(self.raw.i_file_acl_lo.get()) | u64::from(self.raw.l_i_file_acl_high.get()) << 32
    }

    /// An error about its record.
    pub(super) fn damaged(&self, problem: impl Into<String>) -> Error {
        damaged(structure(self.number), self.offset, problem)
    }

    /// An error about a block of its own.
    pub(super) fn damaged_block(
        &self,
        name: &str,
        offset: u64,
        problem: impl Into<String>,
    ) -> Error {
        damaged(
            format!("{name} of {}", structure(self.number)),
            offset,
            problem,
        )
    }
}

fn structure(number: impl std::fmt::Display) -> String {
    format!("inode {number}")
}

/// What a mode says a node is.
pub(super) fn kind(mode: u16) -> Option<NodeKind> {
    match mode & 0xf000 {
        0x8000 => Some(NodeKind::File),
        0x4000 => Some(NodeKind::Directory),
        0xa000 => Some(NodeKind::Symlink),
        0x1000 | 0x2000 | 0x6000 | 0xc000 => Some(NodeKind::Special),
        _ => None,
    }
}

/// The fields that a part of this length holds, the others zero.
fn within(recorded: Extra, len: usize) -> Extra {
    let mut extra = Extra {
        i_extra_isize: recorded.i_extra_isize,
        ..Extra::default()
    };
    if len >= 8 {
        extra.i_ctime_extra = recorded.i_ctime_extra;
    }
    if len >= 12 {
        extra.i_mtime_extra = recorded.i_mtime_extra;
    }
    extra
}

/// Of a record, with its own fields taken as zero.
fn checksum(seed: u32, record: &[u8], has_high: bool) -> u32 {
    let part = |from: usize, to: usize| record.get(from..to).unwrap_or_default();
    let crc = crc32c(seed, part(0, CHECKSUM_LO_AT));
    let crc = crc32c(crc, &[0, 0]);
    let crc = crc32c(crc, part(CHECKSUM_LO_AT + 2, OLD_SIZE));
    if !has_high {
        return crc32c(crc, part(OLD_SIZE, record.len()));
    }
    let crc = crc32c(crc, part(OLD_SIZE, CHECKSUM_HI_AT));
    let crc = crc32c(crc, &[0, 0]);
    crc32c(crc, part(CHECKSUM_HI_AT + 2, record.len()))
}

impl Volume {
    /// The inode that a node stands for.
    ///
    /// # Errors
    /// When it is not in use, is damaged or cannot be read.
    pub(super) fn node_inode(&self, id: NodeId) -> Result<Inode> {
        match u32::try_from(id.number) {
            Ok(number) if id.tree == 0 => self.inode(number),
            _ => Err(missing(id.number)),
        }
    }

    /// An inode by its number.
    ///
    /// # Errors
    /// When it is not in use, is damaged or cannot be read.
    pub(super) fn inode(&self, number: u32) -> Result<Inode> {
        let superblock = &self.superblock;
        if number == 0 || number > superblock.inodes {
            return Err(missing(u64::from(number)));
        }
        let group = self.group((number - 1) / superblock.inodes_per_group)?;
        let within = (number - 1) % superblock.inodes_per_group;
        let offset = group.inode_table * superblock.block_bytes()
            + u64::from(within) * u64::from(superblock.inode_size);
        let len = usize::try_from(superblock.inode_size).unwrap_or(usize::MAX);
        let record = self.metadata(offset, len)?;
        let found = Inode::parse(superblock, number, offset, &record)?;
        found.ok_or_else(|| missing(u64::from(number)))
    }
}

fn missing(number: u64) -> Error {
    Error::NotFound(structure(number).as_bytes().into())
}
