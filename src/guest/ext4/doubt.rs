//! Whether the bitmaps of blocks can be relied on where bytes are thrown away by them.

use super::feature::{Incompatible, ReadOnlyCompatible};
use super::index::is_set;
use super::volume::Volume;
use crate::error::Result;

/// `s_state` of a filesystem that was unmounted, and had no error (`EXT4_VALID_FS`).
const VALID: u16 = 1;
/// The bit of `s_state` that tells of errors (`EXT4_ERROR_FS`).
const ERROR: u16 = 2;

impl Volume {
    /// As [`crate::Filesystem::doubt`].
    pub(super) fn doubt(&self) -> Result<Option<String>> {
        let superblock = &self.superblock;
        let said = if superblock.state & ERROR != 0 || superblock.error_count != 0 {
            Some("it is marked to have errors: have the guest check it (`e2fsck -f`)".to_owned())
        } else if superblock.state != VALID {
            Some("it was not unmounted".to_owned())
        } else if superblock.last_orphan != 0
            || superblock
                .read_only
                .contains(ReadOnlyCompatible::ORPHAN_PRESENT)
        {
            Some("files wait for being removed: start the guest and shut it down".to_owned())
        } else if superblock.incompatible.contains(Incompatible::MMP) {
            Some("several hosts may mount it (feature mmp)".to_owned())
        } else {
            superblock.read_only.hides_use()
        };
        match said {
            Some(why) => Ok(Some(why)),
            None => self.contradiction(),
        }
    }

    /// Whether bitmaps and the counts of free blocks say the same, as far as bitmaps were written.
    fn contradiction(&self) -> Result<Option<String>> {
        for number in 0..self.superblock.groups {
            let group = self.group(number)?;
            let Some(in_use) = self.block_bitmap(number, &group)? else {
                continue;
            };
            let clusters = self.superblock.group_blocks(number);
            let clusters = clusters.div_ceil(self.superblock.cluster_blocks);
            let free = (0..clusters).filter(|cluster| !is_set(&in_use, *cluster));
            let free = u32::try_from(free.count()).unwrap_or(u32::MAX);
            if free != group.free_clusters {
                return Ok(Some(format!(
                    "its records contradict each other: group {number} has {free} free clusters in its bitmap and {} \
                     in its descriptor",
                    group.free_clusters
                )));
            }
        }
        Ok(None)
    }
}
