//! The reference counts of an image that is being written: looked up, raised and lowered in memory,
//! clusters handed out, and written back in the order that can at worst leak.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::FileKind;
use crate::image::error::{OfFile, Result};
use crate::image::internal::{self, Fault, index};
use crate::image::read::table_reader::{NO_BLOCK, read_block, read_entries};
use crate::image::{Error, ErrorKind, ImageFile};
use crate::qcow2::limits::MAX_REFCOUNT_TABLE_BYTES;
use crate::qcow2::{EntryTable, Geometry, Header, HostOffset, RefcountBlock, refcount};

/// Bytes of refcount blocks kept at most, besides changed ones.
const BLOCK_BUDGET: u64 = 32 << 20;

/// All reference counts of one image, loaded as they are needed.
#[derive(Debug)]
pub(crate) struct Refcounts {
    file: ImageFile,
    geometry: Geometry,
    table: EntryTable,
    table_offset: u64,
    table_clusters: u64,
    /// Where the table was before it grew; freed once nothing points there.
    old_table: Option<(u64, u64)>,
    /// Table entries that name blocks not yet on disk.
    new_entries: BTreeSet<usize>,
    blocks: BTreeMap<u64, Block>,
    /// No cluster before this one is free.
    hint: u64,
}

#[derive(Debug)]
struct Block {
    counts: RefcountBlock,
    offset: u64,
    dirty: bool,
}

impl Refcounts {
    /// Reads the refcount table.
    pub(crate) fn open(file: &ImageFile, header: &Header) -> Result<Self> {
        let geometry = header.geometry;
        let table_offset = header.refcount_table_offset.get();
        let table_clusters = u64::from(header.refcount_table_clusters);
        let entries = table_clusters.saturating_mul(geometry.cluster_size() / 8);
        Ok(Self {
            table: read_entries(file, table_offset, entries, "refcount table")?,
            file: file.clone(),
            geometry,
            table_offset,
            table_clusters,
            old_table: None,
            new_entries: BTreeSet::new(),
            blocks: BTreeMap::new(),
            hint: 0,
        })
    }

    fn cluster_size(&self) -> u64 {
        self.geometry.cluster_size()
    }

    fn damaged(&self, error: impl std::fmt::Display) -> Error {
        Error::new(&self.file, ErrorKind::Damaged(error.to_string()))
    }

    /// Clusters the table can count at its present length.
    fn countable(&self) -> u64 {
        (self.table.len() as u64).saturating_mul(self.geometry.refcounts_per_block())
    }

    /// Number of the block that counts a cluster, and the place in it.
    fn split(&self, cluster: u64) -> Result<(u64, usize)> {
        let per_block = self.geometry.refcounts_per_block();
        let at = index(cluster % per_block).of(&self.file)?;
        Ok((cluster / per_block, at))
    }

    /// Where the block of that number is, if there is one.
    fn block_offset(&self, index: u64) -> Result<Option<u64>> {
        let raw = self.entry(index)?;
        let entry = refcount::parse_table_entry(raw, self.geometry).map_err(|e| self.damaged(e))?;
        Ok(entry.map(HostOffset::get))
    }

    /// The table's entry for the block of that number; 0 past its end.
    fn entry(&self, index: u64) -> Result<u64> {
        let index = internal::index(index).of(&self.file)?;
        Ok(self.table.get(index).unwrap_or(NO_BLOCK))
    }

    /// The block of that number, loaded; none where the table names none.
    fn block(&mut self, index: u64) -> Result<Option<&mut Block>> {
        if !self.blocks.contains_key(&index) {
            if self.blocks.len() as u64 > (BLOCK_BUDGET / self.cluster_size()).max(8) {
                self.blocks.retain(|_, block| block.dirty);
            }
            let raw = self.entry(index)?;
            let read = read_block(&self.file, self.geometry, raw, None)?;
            let Some((offset, counts)) = read else {
                return Ok(None);
            };
            self.blocks.insert(
                index,
                Block {
                    counts,
                    offset,
                    dirty: false,
                },
            );
        }
        Ok(self.blocks.get_mut(&index))
    }

    /// How many references the image counts for a cluster.
    pub(crate) fn get(&mut self, cluster: u64) -> Result<u64> {
        let (index, at) = self.split(cluster)?;
        match self.block(index)?.map(|block| block.counts.get(at)) {
            None => Ok(0),
            Some(count) => count
                .ok_or(Fault::new("a count outside its block"))
                .of(&self.file),
        }
    }

    fn set(&mut self, cluster: u64, value: u64) -> Result<()> {
        let (index, at) = self.split(cluster)?;
        let file = self.file.clone();
        let Some(block) = self.block(index)? else {
            return Err(self.damaged(format!("cluster {cluster:#x} has no refcount block")));
        };
        block
            .counts
            .set(at, value)
            .map_err(|e| Error::new(&file, e))?;
        block.dirty = true;
        Ok(())
    }

    /// One reference to a cluster more, if there is room for it in its count. Returns whether there was.
    pub(crate) fn raise(&mut self, cluster: u64) -> Result<bool> {
        let now = self.get(cluster)?;
        let (index, _) = self.split(cluster)?;
        let most = self.block(index)?.map_or(0, |block| block.counts.max());
        if now >= most {
            return Ok(false);
        }
        self.set(cluster, now + 1)?;
        Ok(true)
    }

    /// One reference to a cluster less. Returns whether none is left.
    pub(crate) fn lower(&mut self, cluster: u64) -> Result<bool> {
        let now = self.get(cluster)?;
        let Some(then) = now.checked_sub(1) else {
            return Err(self.damaged(format!(
                "cluster {cluster:#x} is in use and counted as free"
            )));
        };
        self.set(cluster, then)?;
        if then == 0 {
            self.hint = self.hint.min(cluster);
        }
        Ok(then == 0)
    }

    /// Hands out up to `most` clusters in a row, each counted once from now on: first cluster and
    /// how many. Nothing reaches the disk before [`Refcounts::write_blocks`].
    pub(crate) fn allocate(&mut self, most: u64) -> Result<(u64, u64)> {
        let per_block = self.geometry.refcounts_per_block();
        let mut cluster = self.hint;
        loop {
            let (index, at) = self.split(cluster)?;
            if cluster >= self.countable() {
                self.grow_table(index)?;
            }
            if self.block(index)?.is_none() {
                self.add_block(index)?;
            }
            let free = self
                .block(index)?
                .and_then(|block| block.counts.first_free(at));
            let Some(free) = free else {
                cluster = (index + 1) * per_block;
                continue;
            };
            let first = index * per_block + free as u64;
            self.hint = first;
            let mut count = 0;
            while count < most && count < per_block - free as u64 && self.get(first + count)? == 0 {
                self.set(first + count, 1)?;
                count += 1;
            }
            self.check_reach(first + count)?;
            self.hint = first + count;
            return Ok((first, count));
        }
    }

    /// Hands out exactly `count` clusters in a row.
    pub(crate) fn allocate_exactly(&mut self, count: u64) -> Result<u64> {
        loop {
            let first = self.end()?;
            let last = first + count + count / self.geometry.refcounts_per_block() + 2;
            if last < self.countable() {
                self.claim_at(first, count)?;
                return Ok(first);
            }
            self.grow_table(self.split(last)?.0)?;
        }
    }

    /// Host offsets end at 2^56.
    fn check_reach(&self, cluster: u64) -> Result<()> {
        if cluster.saturating_mul(self.cluster_size()) >= 1 << 56 {
            let text = "the image file cannot grow beyond 2^56 bytes".to_owned();
            return Err(Error::new(&self.file, ErrorKind::Limit(text)));
        }
        Ok(())
    }

    /// The first cluster after all that are in use or in the file. A device is as long as it is, used
    /// or not: there only the counts tell.
    pub(crate) fn end(&mut self) -> Result<u64> {
        let used = self.highest_used()?.map_or(0, |cluster| cluster + 1);
        let stat = self.file.stat("ask the length")?;
        if stat.kind != FileKind::Regular {
            return Ok(used);
        }
        Ok(used.max(stat.len.div_ceil(self.cluster_size())))
    }

    /// The last cluster that is counted at all.
    pub(crate) fn highest_used(&mut self) -> Result<Option<u64>> {
        let per_block = self.geometry.refcounts_per_block();
        for index in (0..self.table.len() as u64).rev() {
            let Some(block) = self.block(index)? else {
                continue;
            };
            let used = (0..block.counts.len())
                .rev()
                .find(|&at| block.counts.get(at).is_some_and(|n| n > 0));
            if let Some(at) = used {
                return Ok(Some(index * per_block + at as u64));
            }
        }
        Ok(None)
    }

    /// How many clusters are counted at all.
    pub(crate) fn used(&mut self) -> Result<u64> {
        let mut used = 0_u64;
        for index in 0..self.table.len() as u64 {
            if let Some(block) = self.block(index)? {
                let counted = |at: &usize| block.counts.get(*at).is_some_and(|n| n > 0);
                used += (0..block.counts.len()).filter(counted).count() as u64;
            }
        }
        Ok(used)
    }

    /// Counts `count` clusters from `first` on, none of which is in use, adding behind them the
    /// blocks that are missing to do so. The table is long enough to name them.
    fn claim_at(&mut self, first: u64, count: u64) -> Result<()> {
        let mut blocks = 0;
        loop {
            let last = first + count + blocks - 1;
            let (from, to) = (self.split(first)?.0, self.split(last)?.0);
            let mut missing = 0;
            for index in from..=to {
                missing += u64::from(self.block_offset(index)?.is_none());
            }
            if missing == blocks {
                break;
            }
            blocks = missing;
        }
        let last = first + count + blocks - 1;
        self.check_reach(last)?;
        let mut place = first + count;
        for index in self.split(first)?.0..=self.split(last)?.0 {
            if self.block_offset(index)?.is_none() {
                self.insert_block(index, place)?;
                place += 1;
            }
        }
        for cluster in first..=last {
            self.set(cluster, 1)?;
        }
        Ok(())
    }

    /// A block for a part of the file that has none, so nothing there is in use: it takes the first
    /// cluster it counts and counts itself.
    fn add_block(&mut self, index: u64) -> Result<()> {
        let cluster = index * self.geometry.refcounts_per_block();
        // Cluster 0 is the header's.
        let cluster = cluster.max(1);
        self.check_reach(cluster)?;
        self.insert_block(index, cluster)?;
        self.set(cluster, 1)
    }

    fn insert_block(&mut self, index: u64, cluster: u64) -> Result<()> {
        let offset = cluster.saturating_mul(self.cluster_size());
        let raw = refcount::encode_table_entry(Some(HostOffset(offset)), self.geometry)
            .map_err(|e| self.damaged(e))?;
        let at = usize::try_from(index).map_err(|e| self.damaged(e))?;
        self.table
            .set(at, raw)
            .map_err(|e| Error::new(&self.file, e))?;
        self.new_entries.insert(at);
        let counts = RefcountBlock::zeroed(self.geometry);
        self.blocks.insert(
            index,
            Block {
                counts,
                offset,
                dirty: true,
            },
        );
        Ok(())
    }

    /// Makes the table long enough to have an entry of that number. The new table and the blocks
    /// that count it lie behind everything in use.
    fn grow_table(&mut self, index: u64) -> Result<()> {
        let per_cluster = self.cluster_size() / 8;
        let first = self.end()?;
        let mut clusters = (index + 1)
            .div_ceil(per_cluster)
            .max(self.table_clusters + 1);
        clusters += clusters / 2;
        // The table must also count itself and the blocks for that.
        loop {
            let blocks = clusters.div_ceil(self.geometry.refcounts_per_block()) + 2;
            let needed = (self.split(first + clusters + blocks)?.0 + 1)
                .max(index + 1)
                .div_ceil(per_cluster);
            if needed <= clusters {
                break;
            }
            clusters = needed + needed / 2;
        }
        let most = MAX_REFCOUNT_TABLE_BYTES / self.cluster_size();
        if clusters > most {
            let text = "the refcount table is as long as the format allows".to_owned();
            if most <= self.table_clusters || (index + 1).div_ceil(per_cluster) > most {
                return Err(Error::new(&self.file, ErrorKind::Limit(text)));
            }
            clusters = most;
        }
        let entries = usize::try_from(clusters * per_cluster).map_err(|e| self.damaged(e))?;
        self.table.resize(entries);
        self.claim_at(first, clusters)?;
        // A table that grows twice before anything is written: the one in between was never used.
        if self.old_table.is_some() {
            for cluster in self.table_offset / self.cluster_size()
                ..self.table_offset / self.cluster_size() + self.table_clusters
            {
                self.lower(cluster)?;
            }
        } else {
            self.old_table = Some((self.table_offset / self.cluster_size(), self.table_clusters));
        }
        self.table_offset = first.saturating_mul(self.cluster_size());
        self.table_clusters = clusters;
        Ok(())
    }

    /// Writes every changed block where it belongs, and the whole table if it moved. What is
    /// written is not referred to yet, or only counts: a crash leaks at worst.
    pub(crate) fn write_blocks(&mut self) -> Result<()> {
        for block in self.blocks.values_mut().filter(|block| block.dirty) {
            let action = format_args!("write the refcount block at {:#x}", block.offset);
            self.file
                .write_at(block.counts.as_bytes(), block.offset, action)?;
            block.dirty = false;
        }
        if self.old_table.is_some() {
            let action = format_args!("write the refcount table at {:#x}", self.table_offset);
            self.file
                .write_at(self.table.as_bytes(), self.table_offset, action)?;
        }
        Ok(())
    }

    /// Whether blocks were added that the table on disk does not name.
    pub(crate) fn must_publish(&self) -> bool {
        !self.new_entries.is_empty() || self.old_table.is_some()
    }

    /// After the blocks are safe: names the new ones in the table in place, or, if the table moved,
    /// returns its new place for the header (offset in bytes, clusters).
    pub(crate) fn publish(&mut self) -> Result<Option<(u64, u64)>> {
        let entries = std::mem::take(&mut self.new_entries);
        if self.old_table.is_some() {
            return Ok(Some((self.table_offset, self.table_clusters)));
        }
        for at in entries {
            let raw = self.table.entry(at).map_err(|e| self.damaged(e))?;
            let offset = self.table_offset + at as u64 * 8;
            self.file.write_at(
                &raw.to_be_bytes(),
                offset,
                format_args!("write the refcount table at {offset:#x}"),
            )?;
        }
        Ok(None)
    }

    /// After the header names the new table: the clusters of the old one, to be freed.
    pub(crate) fn take_old_table(&mut self) -> Option<(u64, u64)> {
        self.old_table.take()
    }
}
