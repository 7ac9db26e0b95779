//! The journal's own superblock, `struct journal_superblock_s`. All of a journal is big-endian.

use bitflags::bitflags;
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::error::{Error, Result};
use crate::ext4::checksum::crc32c;
use crate::ext4::error::damaged;

/// What every block of a journal that is not a copy begins with, `journal_header_t`.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) h_magic: U32,
    pub(super) h_blocktype: U32,
    pub(super) h_sequence: U32,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    header: Header,
    s_blocksize: U32,
    s_maxlen: U32,
    s_first: U32,
    s_sequence: U32,
    s_start: U32,
    _s_errno: U32,
    s_feature_compat: U32,
    s_feature_incompat: U32,
    _s_feature_ro_compat: U32,
    s_uuid: [u8; 16],
    _s_nr_users: [u8; 16],
    s_checksum_type: u8,
    _s_padding2: [u8; 3],
    s_num_fc_blks: U32,
    _s_head: [u8; 164],
    s_checksum: U32,
    _s_users: [u8; 768],
}

/// Its length.
const LEN: usize = 1024;
const CHECKSUM_AT: usize = 0xfc;

const _: () = assert!(size_of::<Raw>() == LEN);

pub(super) const MAGIC: u32 = 0xc03b_3998;
const VERSION_1: u32 = 3;
const VERSION_2: u32 = 4;
/// CRC32C.
const CHECKSUM_TYPE: u8 = 4;
/// `s_feature_compat`: a CRC-32 of whole transactions.
const COMPAT_CHECKSUM: u32 = 1;
/// The area for fast commits where its length is not recorded.
const DEFAULT_FC_BLOCKS: u32 = 256;
/// Blocks that an area for fast commits leaves to the log.
const LEAST_BLOCKS: u32 = 1024;

bitflags! {
    /// `s_feature_incompat`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct Features: u32 {
        const REVOKE = 0x1;
        const BIT64 = 0x2;
        const ASYNC_COMMIT = 0x4;
        const CSUM_V2 = 0x8;
        const CSUM_V3 = 0x10;
        const FAST_COMMIT = 0x20;
    }
}

/// What it says, checked.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) features: Features,
    /// Whether commit blocks hold a CRC-32 of their transaction.
    pub(super) sums_transactions: bool,
    /// What checksums begin with; none without `csum_v2` or `csum_v3`.
    pub(super) checksum_seed: Option<u32>,
    /// The first block of the log, and the one after its last.
    pub(super) log: std::ops::Range<u32>,
    /// The first block for fast commits, if there are some.
    pub(super) fast_commits: Option<u32>,
    /// Where the first transaction begins; 0 where the log is empty.
    pub(super) start: u32,
    /// The number of that transaction.
    pub(super) sequence: u32,
}

impl Superblock {
    /// Reads it. `offset` is where it is on the volume, `blocks` how many the journal's file has.
    ///
    /// # Errors
    /// When it contradicts itself or the filesystem, or names a feature that is not known.
    pub(super) fn parse(bytes: &[u8], offset: u64, blocks: u64) -> Result<Self> {
        let wrong = |at: usize, what: String| wrong(offset + at as u64, what);
        let Ok((raw, _)) = Raw::ref_from_prefix(bytes) else {
            return Err(wrong(0, "it is cut off".to_owned()));
        };
        let kind = raw.header.h_blocktype.get();
        if raw.header.h_magic.get() != MAGIC || ![VERSION_1, VERSION_2].contains(&kind) {
            return Err(wrong(0, format!("h_magic is {:#x}", raw.header.h_magic)));
        }
        let of_version_2 = |field: U32| if kind == VERSION_2 { field.get() } else { 0 };
        let features = Features::from_bits_retain(of_version_2(raw.s_feature_incompat));
        let unknown = features.difference(Features::all()).bits();
        if unknown != 0 {
            return Err(wrong(
                0x28,
                format!("s_feature_incompat {unknown:#x} is not known"),
            ));
        }
        if u64::from(raw.s_blocksize.get()) != bytes.len() as u64 {
            return Err(wrong(0xc, format!("s_blocksize is {}", raw.s_blocksize)));
        }
        let checksum_seed = features
            .intersects(Features::CSUM_V2 | Features::CSUM_V3)
            .then(|| crc32c(u32::MAX, &raw.s_uuid));
        if checksum_seed.is_some() {
            let part = |from: usize, to: usize| bytes.get(from..to).unwrap_or_default();
            let parts = [part(0, CHECKSUM_AT), &[0; 4], part(CHECKSUM_AT + 4, LEN)];
            let checksum = parts.into_iter().fold(u32::MAX, crc32c);
            if raw.s_checksum_type != CHECKSUM_TYPE || raw.s_checksum.get() != checksum {
                return Err(wrong(CHECKSUM_AT, "s_checksum is wrong".to_owned()));
            }
        }
        let (first, end) = (raw.s_first.get(), raw.s_maxlen.get());
        if first == 0 || first >= end || u64::from(end) > blocks {
            return Err(wrong(0x10, format!("s_first is {first}, s_maxlen {end}")));
        }
        let mut log = first..end;
        let mut fast_commits = None;
        if features.contains(Features::FAST_COMMIT) {
            let blocks = match of_version_2(raw.s_num_fc_blks) {
                0 => DEFAULT_FC_BLOCKS,
                blocks => blocks,
            };
            if let Some(rest) = end.checked_sub(blocks).filter(|rest| *rest >= LEAST_BLOCKS) {
                log.end = rest;
            }
            fast_commits = log.end.checked_add(1).filter(|at| *at < end);
        }
        let start = raw.s_start.get();
        if start != 0 && !log.contains(&start) {
            return Err(wrong(0x1c, format!("s_start is {start}")));
        }
        Ok(Self {
            features,
            sums_transactions: of_version_2(raw.s_feature_compat) & COMPAT_CHECKSUM != 0,
            checksum_seed,
            log,
            fast_commits,
            start,
            sequence: raw.s_sequence.get(),
        })
    }
}

fn wrong(offset: u64, what: String) -> Error {
    damaged("journal superblock", offset, what)
}
