//! The superblock: which copy counts, and whether what it asks for is read here.

use zerocopy::FromBytes;

use super::checksum::Checksum;
use super::format::{
    INCOMPAT_METADATA_UUID, INCOMPAT_NOT_READ, INCOMPAT_READ, MAX_LEVEL, SuperBlock, damaged,
    unsupported,
};
use crate::block::Source;
use crate::error::{Error, Result};

/// Where its copies are. A volume has those that it is large enough for.
pub(super) const COPIES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// Bytes of it.
pub(super) const SIZE: u64 = 4096;
const MAGIC: [u8; 8] = *b"_BHRfS_M";

/// A superblock that was checked.
#[derive(Debug, Clone)]
pub(super) struct Super {
    pub(super) raw: SuperBlock,
    /// Where it was read.
    pub(super) at: u64,
    pub(super) checksum: Checksum,
    /// Bytes of a tree block.
    pub(super) nodesize: u32,
    /// Bytes of a block of data.
    pub(super) sectorsize: u32,
}

impl Super {
    /// The superblock of a volume; none where there is no Btrfs. Where the first copy has the magic number and is
    /// damaged otherwise, the next sound one of the same filesystem counts. Without the magic number in the first
    /// copy there is no Btrfs, as for the kernel: later copies may be left from what was there before.
    pub(super) fn read(volume: &Source) -> Result<Option<Self>> {
        let copy = |at: u64| -> Result<(SuperBlock, [u8; 4096])> {
            let mut bytes = [0; 4096];
            volume.read_at(at, &mut bytes)?;
            let raw = SuperBlock::read_from_bytes(&bytes)
                .map_err(|_| damaged("superblock", at, "too short"))?;
            Ok((raw, bytes))
        };
        let mut first: Option<([u8; 16], Error)> = None;
        for at in COPIES {
            if at.saturating_add(SIZE) > volume.len() {
                break;
            }
            let (raw, bytes) = copy(at)?;
            match &first {
                None if raw.magic != MAGIC => return Ok(None),
                Some((fsid, _)) if raw.magic != MAGIC || raw.fsid != *fsid => continue,
                _ => {}
            }
            match Self::check(&raw, &bytes, at) {
                Ok(found) => return Ok(Some(found)),
                Err(error) => first = first.or(Some((raw.fsid, error))),
            }
        }
        first.map_or(Ok(None), |(_, error)| Err(error))
    }

    fn check(raw: &SuperBlock, bytes: &[u8], at: u64) -> Result<Self> {
        let wrong = |problem: String| damaged("superblock", at, problem);
        let number = raw.csum_type.get();
        let Some(checksum) = Checksum::of_type(number) else {
            return Err(unsupported(format!("csum_type {number}")));
        };
        if !checksum.is_right(bytes) {
            return Err(wrong("its checksum is wrong".to_owned()));
        }
        if raw.bytenr.get() != at {
            let bytenr = raw.bytenr.get();
            return Err(wrong(format!("bytenr is {bytenr}, as of another copy")));
        }
        Self::features(raw)?;
        let size_of = |name: &str, size: u32| {
            if size.is_power_of_two() && (4096..=65536).contains(&size) {
                Ok(size)
            } else {
                Err(wrong(format!(
                    "{name} is {size}, not a power of two from 4096 to 65536"
                )))
            }
        };
        let sectorsize = size_of("sectorsize", raw.sectorsize.get())?;
        let nodesize = size_of("nodesize", raw.nodesize.get())?;
        for (name, level) in [
            ("root_level", raw.root_level),
            ("chunk_root_level", raw.chunk_root_level),
            ("log_root_level", raw.log_root_level),
        ] {
            if level >= MAX_LEVEL {
                return Err(wrong(format!("{name} is {level}")));
            }
        }
        if raw.num_devices.get() == 0 {
            return Err(wrong("num_devices is 0".to_owned()));
        }
        Ok(Self {
            raw: *raw,
            at,
            checksum,
            nodesize,
            sectorsize,
        })
    }

    fn features(raw: &SuperBlock) -> Result<()> {
        let flags = raw.incompat_flags.get();
        for (bit, name) in INCOMPAT_NOT_READ {
            if flags & bit != 0 {
                return Err(unsupported(name));
            }
        }
        match flags & !INCOMPAT_READ {
            0 => Ok(()),
            unknown => Err(unsupported(format!("incompat_flags {unknown:#x}"))),
        }
    }

    /// The UUID that every tree block carries.
    pub(super) fn tree_uuid(&self) -> [u8; 16] {
        if self.raw.incompat_flags.get() & INCOMPAT_METADATA_UUID != 0 {
            self.raw.metadata_uuid
        } else {
            self.raw.fsid
        }
    }

    /// Its label without the zeros behind it.
    pub(super) fn label(&self) -> Vec<u8> {
        let label = self.raw.label.iter().copied();
        label.take_while(|byte| *byte != 0).collect()
    }
}
