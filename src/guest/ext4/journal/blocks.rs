//! The blocks that a transaction is made of: descriptors of the copies that follow them, lists of revoked blocks, and
//! the block that commits it.

use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{Immutable, KnownLayout, Unaligned};

use super::superblock::{Features, Header, Superblock};
use crate::ext4::checksum::crc32c;

/// `journal_block_tag3_t`, with `csum_v3`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Tag3 {
    t_blocknr: U32,
    t_flags: U32,
    t_blocknr_high: U32,
    t_checksum: U32,
}

/// `journal_block_tag_t`; the upper half of the number is there with `64bit` only.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Tag {
    t_blocknr: U32,
    t_checksum: U16,
    t_flags: U16,
}

/// `struct commit_header`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawCommit {
    header: Header,
    h_chksum_type: u8,
    h_chksum_size: u8,
    _h_padding: [u8; 2],
    h_chksum: U32,
    _h_chksum: [u8; 28],
    h_commit_sec: U64,
}

const HEADER: usize = size_of::<Header>();
/// `struct jbd2_journal_block_tail`: a checksum.
const TAIL: usize = 4;
const CHKSUM_AT: usize = 0x10;
/// CRC-32, in `h_chksum_type`.
const CRC32: (u8, u8) = (1, 4);

const ESCAPE: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST_TAG: u32 = 8;

/// What a descriptor says of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TagSaid {
    /// The block of the volume that it is a copy of.
    pub(super) home: u64,
    /// Whether the copy has zeros in place of the magic number that its first bytes happened to be.
    pub(super) escaped: bool,
    /// The checksum of the copy, as far as it is recorded.
    pub(super) checksum: u32,
}

/// The copies that follow a descriptor, in order. At least one, as the kernel reads it.
pub(super) fn tags(superblock: &Superblock, bytes: &[u8]) -> Vec<TagSaid> {
    let features = superblock.features;
    let end = match superblock.checksum_seed {
        Some(_) => bytes.len().saturating_sub(TAIL),
        None => bytes.len(),
    };
    let mut rest = bytes.get(HEADER..end).unwrap_or_default();
    let mut found = Vec::new();
    let len = tag_len(features);
    while let Some((tag, after)) = rest.split_at_checked(len) {
        let (said, flags) = tag_said(features, tag);
        found.push(said);
        let uuid = if flags & SAME_UUID == 0 { 16 } else { 0 };
        rest = after.get(uuid..).unwrap_or_default();
        if flags & LAST_TAG != 0 {
            break;
        }
    }
    found
}

fn tag_len(features: Features) -> usize {
    let of_version_2 = match features.contains(Features::CSUM_V2) {
        true => 2,
        false => 0,
    };
    let of_64bit = match features.contains(Features::BIT64) {
        true => 4,
        false => 0,
    };
    match features.contains(Features::CSUM_V3) {
        true => size_of::<Tag3>(),
        false => size_of::<Tag>() + of_version_2 + of_64bit,
    }
}

fn tag_said(features: Features, bytes: &[u8]) -> (TagSaid, u32) {
    let (low, flags, checksum, high_at) = if features.contains(Features::CSUM_V3) {
        let tag = Tag3::ref_from_prefix(bytes).ok().map(|(tag, _)| tag);
        tag.map_or((0, 0, 0, 0), |tag| {
            let flags = tag.t_flags.get();
            (tag.t_blocknr.get(), flags, tag.t_checksum.get(), 8)
        })
    } else {
        let tag = Tag::ref_from_prefix(bytes).ok().map(|(tag, _)| tag);
        tag.map_or((0, 0, 0, 0), |tag| {
            let (flags, checksum) = (tag.t_flags.get(), tag.t_checksum.get());
            (tag.t_blocknr.get(), flags.into(), checksum.into(), 8)
        })
    };
    let high = match features.contains(Features::BIT64) {
        true => u32::from_be_bytes(crate::field(bytes, high_at)),
        false => 0,
    };
    let said = TagSaid {
        home: u64::from(low) | u64::from(high) << 32,
        escaped: flags & ESCAPE != 0,
        checksum,
    };
    (said, flags)
}

/// Whether a descriptor or a list of revoked blocks has the checksum that it should have.
pub(super) fn has_right_tail(superblock: &Superblock, bytes: &[u8]) -> bool {
    let Some(seed) = superblock.checksum_seed else {
        return true;
    };
    let at = bytes.len().saturating_sub(TAIL);
    let covered = bytes.get(..at).unwrap_or_default();
    let checksum = [covered, &[0; TAIL]].into_iter().fold(seed, crc32c);
    checksum == u32::from_be_bytes(crate::field(bytes, at))
}

/// Whether a copy has the checksum that its tag records.
pub(super) fn has_right_copy(
    superblock: &Superblock,
    sequence: u32,
    recorded: u32,
    copy: &[u8],
) -> bool {
    let Some(seed) = superblock.checksum_seed else {
        return true;
    };
    let checksum = crc32c(crc32c(seed, &sequence.to_be_bytes()), copy);
    let mask = match superblock.features.contains(Features::CSUM_V3) {
        true => u32::MAX,
        false => 0xffff,
    };
    (checksum ^ recorded) & mask == 0
}

/// The blocks of a list of revoked ones; none where the list is longer than its block.
pub(super) fn revoked(superblock: &Superblock, bytes: &[u8]) -> Option<Vec<u64>> {
    let count = u32::from_be_bytes(crate::field(bytes, HEADER));
    let end = usize::try_from(count).ok()?;
    let tail = superblock.checksum_seed.map_or(0, |_| TAIL);
    let list = bytes.get(HEADER + 4..end.max(HEADER + 4));
    let list = list.filter(|_| end <= bytes.len().saturating_sub(tail))?;
    Some(match superblock.features.contains(Features::BIT64) {
        true => {
            let (numbers, _) = list.as_chunks::<8>();
            numbers.iter().map(|it| u64::from_be_bytes(*it)).collect()
        }
        false => {
            let (numbers, _) = list.as_chunks::<4>();
            numbers
                .iter()
                .map(|it| u64::from(u32::from_be_bytes(*it)))
                .collect()
        }
    })
}

/// What a commit block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Commit {
    /// Whether its checksums are right.
    pub(super) is_right: bool,
    /// When it was written, in seconds since 1970.
    pub(super) seconds: u64,
}

/// Reads a commit block. `sum` is the CRC-32 of its transaction, where that is recorded.
pub(super) fn commit(superblock: &Superblock, bytes: &[u8], sum: Option<u32>) -> Commit {
    let Ok((raw, _)) = RawCommit::ref_from_prefix(bytes) else {
        return Commit {
            is_right: false,
            seconds: 0,
        };
    };
    let recorded = raw.h_chksum.get();
    let of_itself = superblock.checksum_seed.is_none_or(|seed| {
        let before = bytes.get(..CHKSUM_AT).unwrap_or_default();
        let after = bytes.get(CHKSUM_AT + 4..).unwrap_or_default();
        [before, &[0; 4], after].into_iter().fold(seed, crc32c) == recorded
    });
    let kind = (raw.h_chksum_type, raw.h_chksum_size);
    let of_transaction = sum
        .is_none_or(|sum| (kind == CRC32 && sum == recorded) || (kind == (0, 0) && recorded == 0));
    Commit {
        is_right: of_itself && of_transaction,
        seconds: raw.h_commit_sec.get(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(features: Features) -> Superblock {
        Superblock {
            features,
            sums_transactions: false,
            checksum_seed: None,
            log: 1..10,
            fast_commits: None,
            start: 1,
            sequence: 1,
        }
    }

    fn block(parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.extend(parts.concat());
        bytes.resize(1024, 0);
        bytes
    }

    #[test]
    fn tags_of_every_form_are_read() {
        let said = |home, escaped, checksum| TagSaid {
            home,
            escaped,
            checksum,
        };
        // The first of each is followed by a UUID.
        let old = block(&[
            &[0, 0, 0, 7, 0, 0, 0, 1],
            &[9; 16],
            &[0, 0, 0, 8, 0, 0, 0, 10],
        ]);
        assert_eq!(
            tags(&superblock(Features::empty()), &old),
            [said(7, true, 0), said(8, false, 0)]
        );
        let wide = block(&[
            &[0, 0, 0, 7, 0, 5, 0, 0, 0, 0, 0, 1],
            &[9; 16],
            &[0, 0, 0, 8, 0, 6, 0, 10, 0, 0, 0, 0],
        ]);
        assert_eq!(
            tags(&superblock(Features::BIT64), &wide),
            [said(1 << 32 | 7, false, 5), said(8, false, 6)]
        );
        let second = block(&[
            &[0, 0, 0, 7, 0, 5, 0, 2, 0, 0, 0, 1, 0xff, 0xff],
            &[0, 0, 0, 8, 0, 6, 0, 10, 0, 0, 0, 0, 0xff, 0xff],
        ]);
        assert_eq!(
            tags(&superblock(Features::BIT64 | Features::CSUM_V2), &second),
            [said(1 << 32 | 7, false, 5), said(8, false, 6)]
        );
        let third = block(&[&[0, 0, 0, 7, 0, 0, 0, 11, 0, 0, 0, 1, 1, 2, 3, 4]]);
        assert_eq!(
            tags(&superblock(Features::BIT64 | Features::CSUM_V3), &third),
            [said(1 << 32 | 7, true, 0x0102_0304)]
        );
    }

    #[test]
    fn a_list_of_revoked_blocks_ends_where_it_says() {
        let list = block(&[&[0, 0, 0, 24], &[0, 0, 0, 1, 0, 0, 0, 2], &[0xff; 8]]);
        let narrow = superblock(Features::REVOKE);
        assert_eq!(revoked(&narrow, &list), Some(vec![1, 2]));
        let wide = superblock(Features::REVOKE | Features::BIT64);
        assert_eq!(revoked(&wide, &list), Some(vec![1 << 32 | 2]));
        let too_long = block(&[&[0, 0, 8, 0]]);
        assert_eq!(revoked(&narrow, &too_long), None);
        assert_eq!(revoked(&narrow, &block(&[])), Some(Vec::new()));
    }
}
