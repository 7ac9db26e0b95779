//! Which nodes may differ where bytes of the volume do.

use super::directory::Directory;
use super::index::{Index, is_set};
use super::volume::Volume;
use crate::error::Result;
use crate::filesystem::NodeId;
use crate::ranges::Ranges;

/// The inode of the root directory, which is among those reserved.
const ROOT: u32 = 2;

impl Volume {
    /// The inodes in use whose records are in these bytes, those whose maps or attributes are, and the directories
    /// whose blocks are.
    ///
    /// # Errors
    /// When group descriptors or bitmaps are damaged or cannot be read.
    pub(super) fn candidates(&self, index: &Index, changed: &Ranges) -> Result<Vec<NodeId>> {
        let mut found = Vec::new();
        let mut add = |number: u32| {
            if number >= self.superblock.first_inode || number == ROOT {
                found.push(NodeId::new(u64::from(number)));
            }
        };
        let size = u64::from(self.superblock.inode_size);
        let block = self.superblock.block_bytes();
        for number in 0..self.superblock.groups {
            let group = self.group(number)?;
            let start = group.inode_table * block;
            let table = start..start + self.inode_table_bytes();
            if group.without_inodes || !changed.intersects(&table) {
                continue;
            }
            let in_use = self.inode_bitmap(number, &group)?;
            for part in changed.within(table) {
                let records = (part.start - start) / size..(part.end - start).div_ceil(size);
                for index in records {
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    if is_set(&in_use, index) {
                        add(self.first_inode(number).saturating_add(index));
                    }
                }
            }
        }
        for run in &index.runs {
            let bytes = run.physical * block..(run.physical + run.len) * block;
            if changed.intersects(&bytes)
                && let Some(Directory { number, .. }) = index.directories.get(run.directory)
            {
                add(*number);
            }
        }
        for outside in &index.outside {
            let start = outside.block.saturating_mul(block);
            if changed.intersects(&(start..start.saturating_add(block))) {
                add(outside.inode);
            }
        }
        Ok(found)
    }
}
