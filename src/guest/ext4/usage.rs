//! What the bytes of a volume are used for, from the bitmaps of blocks.

use std::ops::Range;

use super::feature::Incompatible;
use super::group::Group;
use super::index::{Index, is_set};
use super::volume::Volume;
use crate::error::Result;
use crate::filesystem::Use;

/// What is told a run of bytes and its use.
type Each<'a> = &'a mut dyn FnMut(Range<u64>, Use) -> Result<()>;

impl Volume {
    /// Tells what runs of the volume are used for: first what is free, then what metadata and the journal take.
    ///
    /// # Errors
    /// When group descriptors, bitmaps or the journal's inode are damaged or cannot be read.
    pub(super) fn usage(&self, index: &Index, each: Each<'_>) -> Result<()> {
        let block = self.superblock.block_bytes();
        let mut tell = |blocks: Range<u64>, what: Use| {
            let bytes = blocks.start.saturating_mul(block)..blocks.end.saturating_mul(block);
            each(bytes, what)
        };
        let mut metadata = Vec::new();
        metadata.push(0..self.superblock.first_data_block + 1);
        for number in 0..self.superblock.groups {
            let group = self.group(number)?;
            self.free(number, &group, &mut |blocks| tell(blocks, Use::Free))?;
            let table = self.inode_table_bytes().div_ceil(block);
            metadata.push(self.copies(number));
            metadata.push(group.block_bitmap..group.block_bitmap + 1);
            metadata.push(group.inode_bitmap..group.inode_bitmap + 1);
            metadata.push(group.inode_table..group.inode_table + table);
        }
        for run in &index.runs {
            metadata.push(run.physical..run.physical + run.len);
        }
        for outside in &index.outside {
            metadata.push(outside.block..outside.block.saturating_add(1));
        }
        for blocks in metadata.into_iter().filter(|blocks| !blocks.is_empty()) {
            tell(blocks, Use::Metadata)?;
        }
        if self.superblock.journal_inode != 0 {
            let journal = self.inode(self.superblock.journal_inode)?;
            for run in self.all_runs(&journal)? {
                tell(run.physical..run.physical + run.len, Use::Journal)?;
            }
        }
        Ok(())
    }

    /// The free blocks of a group.
    fn free(
        &self,
        number: u32,
        group: &Group,
        each: &mut dyn FnMut(Range<u64>) -> Result<()>,
    ) -> Result<()> {
        let superblock = &self.superblock;
        let start = superblock.group_start(number);
        let blocks = superblock.group_blocks(number);
        let Some(in_use) = self.block_bitmap(number, group)? else {
            return each(start..start + u64::from(blocks));
        };
        let clusters = blocks.div_ceil(superblock.cluster_blocks);
        let mut from = None;
        for cluster in 0..=clusters {
            let is_free = cluster < clusters && !is_set(&in_use, cluster);
            match (is_free, from) {
                (true, None) => from = Some(cluster),
                (false, Some(first)) => {
                    let block = |cluster: u32| {
                        let within = u64::from(cluster) * u64::from(superblock.cluster_blocks);
                        start + within.min(u64::from(blocks))
                    };
                    each(block(first)..block(cluster))?;
                    from = None;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The copies of the superblock and of group descriptors that a group begins with, and what is kept for more of
    /// the latter.
    fn copies(&self, number: u32) -> Range<u64> {
        let superblock = &self.superblock;
        let start = superblock.group_start(number);
        let copy = u64::from(superblock.has_copy(number));
        let per_block = superblock.descriptors_per_block();
        let with_meta_bg = superblock.incompatible.contains(Incompatible::META_BG);
        let descriptors = if with_meta_bg && number / per_block >= superblock.first_meta_bg {
            let within = number % per_block;
            u64::from(within < 2 || within == per_block - 1)
        } else {
            let all = superblock.groups.div_ceil(per_block);
            let blocks = match with_meta_bg {
                true => all.min(superblock.first_meta_bg),
                false => all,
            };
            copy * (u64::from(blocks) + u64::from(superblock.reserved_gdt_blocks))
        };
        let len = (copy + descriptors).min(u64::from(superblock.group_blocks(number)));
        start..start + len
    }
}
