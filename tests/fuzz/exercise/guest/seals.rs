//! Checksums of what is on a disk, so that what was forged gets behind them. ext4 has disks without.

#![allow(clippy::single_range_in_vec_init)] // One range is one part.

use std::ops::Range;

use sha2::{Digest, Sha256};

/// How a checksum is made.
#[derive(Debug, Clone, Copy)]
enum Sum {
    /// CRC32C, little endian.
    Crc32c,
    /// That of LVM2: the CRC of zlib begun with another number and not inverted at the end, little endian.
    Lvm,
    Sha256,
}

impl Sum {
    fn len(self) -> usize {
        match self {
            Self::Crc32c | Self::Lvm => 4,
            Self::Sha256 => 32,
        }
    }

    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Crc32c => crc32c::crc32c(bytes).to_le_bytes().to_vec(),
            Self::Lvm => {
                let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
                let crc = bytes.iter().fold(0xf597_a6cf, |crc, byte| {
                    (0..8).fold(crc ^ u32::from(*byte), step)
                });
                crc.to_le_bytes().to_vec()
            }
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
        }
    }
}

/// A part of a disk with a checksum.
#[derive(Debug)]
pub(super) struct Seal {
    /// Where it is.
    pub(super) range: Range<usize>,
    /// Where in it the checksum is.
    pub(super) place: usize,
    /// What the checksum is over, in order; it counts as zero itself where it is among that.
    over: Vec<Range<usize>>,
    sum: Sum,
}

impl Seal {
    /// A checksum over all of it, itself as zeros.
    fn whole(at: usize, len: usize, place: usize) -> Self {
        Self {
            range: at..at + len,
            place,
            over: vec![0..len],
            sum: Sum::Crc32c,
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
            sum: Sum::Crc32c,
        })
    }

    /// The label of a physical volume of LVM2.
    fn label(at: usize) -> Self {
        Self {
            over: vec![20..512],
            sum: Sum::Lvm,
            ..Self::whole(at, 512, 16)
        }
    }

    /// A metadata area of LVM2: its text, which its header has the checksum of, and that header.
    fn area(bytes: &[u8], at: usize) -> Option<[Self; 2]> {
        let number = |from: usize| {
            let bytes = bytes.get(at + from..at + from + 8)?.try_into().ok()?;
            usize::try_from(u64::from_le_bytes(bytes)).ok()
        };
        let (from, len) = (number(40)?, number(48)?);
        if from > 1 << 20 || len > 1 << 20 {
            return None;
        }
        let text = Self {
            over: vec![from..from + len],
            sum: Sum::Lvm,
            ..Self::whole(at, from + len, 56)
        };
        let header = Self {
            over: vec![4..512],
            sum: Sum::Lvm,
            ..Self::whole(at, 512, 0)
        };
        Some([text, header])
    }

    /// A copy of the header of LUKS of version 2.
    fn luks(bytes: &[u8], at: usize) -> Option<Self> {
        let len = bytes.get(at + 8..at + 16)?.try_into().ok()?;
        let len = usize::try_from(u64::from_be_bytes(len)).ok()?;
        (len <= 4 << 20).then(|| Self {
            sum: Sum::Sha256,
            ..Self::whole(at, len, 448)
        })
    }

    /// The checksum of these bytes, which lie in its range.
    pub(super) fn sum(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes[self.own()].fill(0);
        let parts: Vec<&[u8]> = self.over.iter().map(|part| &bytes[part.clone()]).collect();
        self.sum.of(&parts.concat())
    }

    /// Where in its range the checksum is.
    fn own(&self) -> Range<usize> {
        self.place..self.place + self.sum.len()
    }
}

/// Everything of a disk that has a checksum: what looks like it and whose checksum is right.
pub(super) fn of(bytes: &[u8], sectors: &[usize]) -> Vec<Seal> {
    let fsid = bytes.get((64 << 10) + 32..(64 << 10) + 48);
    let is_btrfs = bytes.get((64 << 10) + 64..(64 << 10) + 72) == Some(b"_BHRfS_M");
    let found = sectors.iter().flat_map(|sector| {
        let at = sector * 512;
        let several: Vec<Seal> = match bytes.get(at..at + 8) {
            Some(b"LABELONE") => vec![Seal::label(at)],
            Some([b'L', b'U', b'K', b'S', 0xba, 0xbe, 0, 2])
            | Some([b'S', b'K', b'U', b'L', 0xba, 0xbe, 0, 2]) => {
                Seal::luks(bytes, at).into_iter().collect()
            }
            _ if bytes.get(at + 4..at + 20) == Some(b" LVM2 x[5A%r0N*>") => {
                Seal::area(bytes, at).into_iter().flatten().collect()
            }
            _ => of_filesystem(bytes, at, fsid.filter(|_| is_btrfs))
                .into_iter()
                .collect(),
        };
        several
    });
    let is_right = |seal: &Seal| {
        let own = bytes.get(seal.range.clone());
        own.is_some_and(|own| own[seal.own()] == seal.sum(own))
    };
    found.filter(is_right).collect()
}

/// What looks like metadata of a filesystem with a checksum; of a Btrfs with this number there is nothing else.
fn of_filesystem(bytes: &[u8], at: usize, btrfs: Option<&[u8]>) -> Option<Seal> {
    if btrfs.is_some() {
        let fsid = btrfs;
        let is_block = at.is_multiple_of(4096) && bytes.get(at + 32..at + 48) == fsid;
        return is_block.then(|| Seal::btrfs(at));
    }
    let block = |place| (at.is_multiple_of(4096)).then(|| Seal::whole(at, 4096, place));
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
}
