//! What is on a volume that no reader here knows, by its magic number: it is named, so that nobody takes it for empty.

use crate::block::BlockSource;
use crate::error::Result;

/// A format: its name, its magic number, and where in the volume that is (`blkid` knows the same).
struct Format {
    name: &'static str,
    magic: &'static [u8],
    at: u64,
}

const fn format(name: &'static str, magic: &'static [u8], at: u64) -> Format {
    Format { name, magic, at }
}

/// The name of a swap space that a suspended system is in.
pub(crate) const SUSPENDED: &str = "suspended system (hibernation)";
/// Its magic number, in place of that of swap space.
pub(crate) const SUSPENDED_MAGIC: &[u8; 9] = b"S1SUSPEND";
/// Where in the swap space that is.
pub(crate) const SUSPENDED_AT: u64 = 4086;

static FORMATS: [Format; 23] = [
    format("BitLocker (encrypted)", b"-FVE-FS-", 3),
    format(
        "LVM2 physical volume with a damaged label",
        b"LABELONE",
        512,
    ),
    format("swap", b"SWAPSPACE2", 4086),
    format("swap", b"SWAP-SPACE", 4086),
    format(SUSPENDED, SUSPENDED_MAGIC, SUSPENDED_AT),
    format("Linux RAID", &[0xfc, 0x4e, 0x2b, 0xa9], 4096),
    format(
        "bcache",
        &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca],
        4096 + 24,
    ),
    format(
        "bcachefs",
        &[0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9],
        4096 + 24,
    ),
    format("F2FS", &[0x10, 0x20, 0xf5, 0xf2], 1024),
    format("ReiserFS", b"ReIsEr", 65536 + 52),
    format("JFS", b"JFS1", 32768),
    format("NILFS2", &[0x34, 0x34], 1024 + 6),
    format("OCFS2", b"OCFSV2", 4096),
    format("GFS2", &[0x01, 0x16, 0x19, 0x70], 65536),
    format("exFAT", b"EXFAT   ", 3),
    format("ReFS", b"ReFS\0\0\0\0", 3),
    format("HFS+", b"H+\0\x04", 1024),
    format("APFS", b"NXSB", 32),
    format("UFS2", &[0x19, 0x01, 0x54, 0x19], 65536 + 1372),
    format("SquashFS", b"hsqs", 0),
    format("EROFS", &[0xe2, 0xe1, 0xf5, 0xe0], 1024),
    format("ISO 9660", b"CD001", 32769),
    format("VMFS", &[0x0d, 0xd0, 0x01, 0xc0], 0x10_0000),
];

/// Where ZFS keeps the uberblocks of its first label, each at a multiple of 1 KiB.
const ZFS_UBERBLOCKS: u64 = 128 << 10;
const ZFS_MAGIC: u64 = 0x00ba_b10c;

/// The name of what begins on this volume, if it is known.
///
/// # Errors
/// When the volume cannot be read.
pub fn named(volume: &dyn BlockSource) -> Result<Option<&'static str>> {
    for format in &FORMATS {
        let mut magic = vec![0; format.magic.len()];
        volume.read_at(format.at, &mut magic)?;
        if magic == format.magic {
            return Ok(Some(format.name));
        }
    }
    let mut uberblocks = vec![0; 128 << 10];
    volume.read_at(ZFS_UBERBLOCKS, &mut uberblocks)?;
    let is_zfs = uberblocks.chunks(1024).any(|block| {
        let magic = crate::field::<8>(block, 0);
        [u64::from_le_bytes(magic), u64::from_be_bytes(magic)].contains(&ZFS_MAGIC)
    });
    Ok(is_zfs.then_some("ZFS"))
}

/// Whether what is looked at for magic numbers is all zeros.
///
/// # Errors
/// When the volume cannot be read.
pub fn is_empty(volume: &dyn BlockSource) -> Result<bool> {
    let mut first = vec![0; 256 << 10];
    volume.read_at(0, &mut first)?;
    Ok(first.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_has_a_name() {
        assert_eq!(named(&vec![0; 4096]).unwrap(), None);
        for format in &FORMATS {
            let at = usize::try_from(format.at).unwrap();
            let mut volume = vec![0; at + 64];
            volume[at..at + format.magic.len()].copy_from_slice(format.magic);
            assert_eq!(named(&volume).unwrap(), Some(format.name));
            assert!(at > 200_000 || !is_empty(&volume).unwrap());
        }
        let mut pool = vec![0; 256 << 10];
        pool[(132 << 10)..(132 << 10) + 8].copy_from_slice(&ZFS_MAGIC.to_be_bytes());
        assert_eq!(named(&pool).unwrap(), Some("ZFS"));
    }
}
