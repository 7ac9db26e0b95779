//! Checksums of what is on a disk, so that what was forged gets behind them. ext4 has disks without.

#![allow(clippy::single_range_in_vec_init)] // One range is one part.

use std::ops::Range;

/// A part of a disk with a CRC32C of four bytes, little endian.
#[derive(Debug)]
pub(super) struct Seal {
    /// Where it is.
    pub(super) range: Range<usize>,
    /// Where in it the checksum is.
    pub(super) place: usize,
    /// What the checksum is over, in order; it counts as zero itself where it is among that.
    over: Vec<Range<usize>>,
}

impl Seal {
    /// A checksum over all of it, itself as zeros.
    fn whole(at: usize, len: usize, place: usize) -> Self {
        Self {
            range: at..at + len,
            place,
            over: vec![0..len],
        }
    }

    /// A tree block or superblock of Btrfs: over all behind the checksum.
    fn btrfs(at: usize) -> Self {
        Self {
            over: vec![32..4096],
            ..Self::whole(at, 4096, 0)
        }
    }

    /// A record of the log of an XFS: its headers, of which the first says how many there are, and its bytes.
    fn record(bytes: &[u8], at: usize) -> Option<Self> {
        let number = |from: usize| {
            let bytes = bytes.get(at + from..at + from + 4)?.try_into().ok()?;
            usize::try_from(u32::from_be_bytes(bytes)).ok()
        };
        let (len, size) = (number(12)?, number(320)?);
        if len > 1 << 20 || size > 1 << 20 {
            return None;
        }
        let headers = size.div_ceil(32 << 10).max(1);
        let mut over = vec![0..328];
        for further in 1..len.div_ceil(32 << 10) {
            over.push(further * 512..further * 512 + 260);
        }
        over.push(headers * 512..headers * 512 + len);
        Some(Self {
            range: at..at + headers * 512 + len,
            place: 32,
            over,
        })
    }

    /// The checksum of these bytes, which lie in its range.
    pub(super) fn sum(&self, bytes: &[u8]) -> [u8; 4] {
        let own = self.place..self.place + 4;
        let mut sum = 0;
        for part in &self.over {
            if part.contains(&own.start) {
                sum = crc32c::crc32c_append(sum, &bytes[part.start..own.start]);
                sum = crc32c::crc32c_append(sum, &[0; 4]);
                sum = crc32c::crc32c_append(sum, &bytes[own.end..part.end]);
            } else {
                sum = crc32c::crc32c_append(sum, &bytes[part.clone()]);
            }
        }
        sum.to_le_bytes()
    }
}

/// Everything of a disk that has a checksum: what looks like it and whose checksum is right.
pub(super) fn of(bytes: &[u8], sectors: &[usize]) -> Vec<Seal> {
    let fsid = bytes.get((64 << 10) + 32..(64 << 10) + 48);
    let is_btrfs = bytes.get((64 << 10) + 64..(64 << 10) + 72) == Some(b"_BHRfS_M");
    let found = sectors.iter().filter_map(|sector| {
        let at = sector * 512;
        if is_btrfs {
            let is_block = at % 4096 == 0 && bytes.get(at + 32..at + 48) == fsid;
            return is_block.then(|| Seal::btrfs(at));
        }
        let block = |place| (at % 4096 == 0).then(|| Seal::whole(at, 4096, place));
        match bytes.get(at..at + 4)? {
            b"XFSB" => Some(Seal::whole(at, 512, 224)),
            b"XAGF" => Some(Seal::whole(at, 512, 216)),
            b"XAGI" => Some(Seal::whole(at, 512, 312)),
            b"XAFL" => Some(Seal::whole(at, 512, 32)),
            b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"R3FC" | b"RMB3" => block(52),
            b"BMA3" => block(64),
            b"XDB3" | b"XDD3" | b"XDF3" => block(4),
            b"XSLM" => block(12),
            [b'I', b'N', ..] => Some(Seal::whole(at, 512, 100)),
            [0xfe, 0xed, 0xba, 0xbe] => Seal::record(bytes, at),
            // Leaves and nodes of directories: the magic number is behind the pointers to their neighbours.
            _ if matches!(
                bytes.get(at + 8..at + 10)?,
                [0x3d, 0xf1 | 0xff | 0xeb | 0xee] | [0x3e, 0xbe]
            ) =>
            {
                block(12)
            }
            _ => None,
        }
    });
    let is_right = |seal: &Seal| {
        let own = bytes.get(seal.range.clone());
        own.is_some_and(|own| own[seal.place..seal.place + 4] == seal.sum(own))
    };
    found.filter(is_right).collect()
}
