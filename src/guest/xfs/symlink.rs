//! Where symbolic links lead to: within the inode, or in blocks with a header (`struct xfs_dsymlink_hdr`) before each
//! extent.

use super::bmap::Extent;
use super::checksummed::{Checksummed, damaged};
use super::inode::{Format, Inode};
use super::volume::Volume;
use crate::error::Result;
use crate::field;
use crate::filesystem::NodeKind;

/// The longest (`XFS_SYMLINK_MAXLEN`).
const MAX_LEN: usize = 1024;
const MAGIC: [u8; 4] = *b"XSLM";
const HEADER: usize = 56;

impl Inode {
    /// Where it leads to.
    pub(super) fn target(&self, volume: &Volume) -> Result<Vec<u8>> {
        if !self.is(NodeKind::Symlink) {
            return Err(self.damaged("it is no symbolic link"));
        }
        let len = usize::try_from(self.size()).unwrap_or(usize::MAX);
        if len == 0 || len > MAX_LEN {
            return Err(self.damaged(format!("di_size of a symbolic link is {len}")));
        }
        let fork = self.data();
        let target = if fork.format == Format::Local {
            fork.bytes.to_vec()
        } else {
            self.remote_target(volume, len)?
        };
        match target.get(..len) {
            Some(target) if !target.contains(&0) => Ok(target.to_vec()),
            _ => Err(self.damaged("where it leads to is cut off")),
        }
    }

    fn remote_target(&self, volume: &Volume, len: usize) -> Result<Vec<u8>> {
        let mut target = Vec::new();
        let most = (MAX_LEN as u64).div_ceil(volume.block_size()) + 1;
        self.each_extent(volume, 0..most, &mut |extent| {
            if target.len() < len {
                target.extend(self.piece(volume, extent, most, target.len())?);
            }
            Ok(())
        })?;
        Ok(target)
    }

    /// What an extent holds, which is to follow `before` bytes.
    fn piece(&self, volume: &Volume, extent: Extent, most: u64, before: usize) -> Result<Vec<u8>> {
        let name = format!("target of {}", self.name());
        let wrong = |problem: &str| damaged(name.as_str(), extent.offset, problem);
        if extent.blocks > most {
            return Err(wrong("it has too many blocks"));
        }
        let len = usize::try_from(extent.blocks * volume.block_size()).unwrap_or_default();
        let mut bytes = volume.metadata(extent.offset, len)?;
        if field(&bytes, 0) != MAGIC {
            return Err(wrong("its magic number is wrong"));
        }
        Checksummed::SYMLINK.verify(&volume.superblock, &bytes, &name, extent.offset)?;
        let at = u32::from_be_bytes(field(&bytes, 4));
        let held = usize::try_from(u32::from_be_bytes(field(&bytes, 8))).unwrap_or(usize::MAX);
        let owner = u64::from_be_bytes(field(&bytes, 32));
        if owner != self.number || u32::try_from(before) != Ok(at) || held > len - HEADER {
            return Err(wrong("its header is that of something else"));
        }
        bytes.truncate(HEADER + held);
        Ok(bytes.split_off(HEADER))
    }
}
