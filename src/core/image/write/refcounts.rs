//! The reference counts of an image that is being written: looked up, raised and lowered in memory,
//! clusters handed out, and written back in the order that can at worst leak.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::host::FileKind;
use crate::image::error::{OfFile, Result};
use crate::image::internal::{self, Fault, index};
use crate::image::read::table_reader::{NO_BLOCK, read_block, read_refcount_table};
use crate::image::{Error, ErrorKind, ImageFile};
use crate::qcow2::limits::{MAX_HOST_OFFSET, MAX_REFCOUNT_TABLE_BYTES};
use crate::qcow2::{
    EntryTable, Geometry, Header, HostCluster, HostClusters, HostOffset, RefcountBlock, refcount,
};

/// Bytes of refcount blocks kept at most, besides changed ones.
const BLOCK_BUDGET: u64 = 32 << 20;

/// All reference counts of one image, loaded as they are needed.
#[derive(Debug)]
pub(crate) struct Refcounts {
    file: ImageFile,
    geometry: Geometry,
    table: EntryTable,
    /// Where the table is.
    place: HostClusters,
    /// Where it was before it grew; freed once nothing points there.
    old_place: Option<HostClusters>,
    /// Table entries that name blocks not yet on disk.
    new_entries: BTreeSet<usize>,
    blocks: BTreeMap<u64, Block>,
    /// No cluster before this one is free.
    hint: HostCluster,
}

#[derive(Debug)]
struct Block {
    counts: RefcountBlock,
    offset: HostOffset,
    dirty: bool,
}

impl Refcounts {
    /// Reads the refcount table.
    pub(crate) fn open(file: &ImageFile, header: &Header) -> Result<Self> {
        let geometry = header.geometry;
        let offset = header.refcount_table_offset;
        let clusters = u64::from(header.refcount_table_clusters);
        Ok(Self {
            table: read_refcount_table(file, header)?,
            file: file.clone(),
            geometry,
            place: HostClusters {
                first: geometry.cluster_of(offset),
                count: clusters,
            },
            old_place: None,
            new_entries: BTreeSet::new(),
            blocks: BTreeMap::new(),
            hint: HostCluster(0),
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
    fn split(&self, cluster: HostCluster) -> Result<(u64, usize)> {
        let per_block = self.geometry.refcounts_per_block();
        let at = index(cluster.get() % per_block).of(&self.file)?;
        Ok((cluster.get() / per_block, at))
    }

    /// Whether there is a block of that number.
    fn has_block(&self, index: u64) -> Result<bool> {
        let raw = self.entry(index)?;
        let entry = refcount::parse_table_entry(raw, self.geometry).map_err(|e| self.damaged(e))?;
        Ok(entry.is_some())
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
    pub(crate) fn get(&mut self, cluster: HostCluster) -> Result<u64> {
        let (index, at) = self.split(cluster)?;
        match self.block(index)?.map(|block| block.counts.get(at)) {
            None => Ok(0),
            Some(count) => count
                .ok_or(Fault::new("a count outside its block"))
                .of(&self.file),
        }
    }

    fn set(&mut self, cluster: HostCluster, value: u64) -> Result<()> {
        let (index, at) = self.split(cluster)?;
        let Some(block) = self.block(index)? else {
            return Err(self.damaged(format!("cluster {cluster} has no refcount block")));
        };
        let set = block.counts.set(at, value);
        block.dirty |= set.is_ok();
        set.map_err(|e| Error::new(&self.file, e))
    }

    /// One reference to a cluster more, if there is room for it in its count. Returns whether there was.
    pub(crate) fn raise(&mut self, cluster: HostCluster) -> Result<bool> {
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
    pub(crate) fn lower(&mut self, cluster: HostCluster) -> Result<bool> {
        let now = self.get(cluster)?;
        let Some(then) = now.checked_sub(1) else {
            return Err(self.damaged(format!("cluster {cluster} is in use and counted as free")));
        };
        self.set(cluster, then)?;
        if then == 0 {
            self.hint = self.hint.min(cluster);
        }
        Ok(then == 0)
    }

    /// Hands out up to `most` clusters in a row, each counted once from now on. Nothing reaches the disk
    /// before [`Refcounts::write_blocks`].
    pub(crate) fn allocate(&mut self, most: u64) -> Result<HostClusters> {
        let mut cluster = self.hint;
        loop {
            let (index, at) = self.split(cluster)?;
            if cluster.get() >= self.countable() {
                self.grow_table(index)?;
            }
            if self.block(index)?.is_none() {
                self.add_block(index)?;
            }
            let free = self
                .block(index)?
                .and_then(|block| block.counts.first_free(at));
            let Some(free) = free else {
                cluster = self.geometry.first_counted_by(index + 1);
                continue;
            };
            let first = self.geometry.first_counted_by(index).plus(free as u64);
            self.hint = first;
            let mut run = HostClusters { first, count: 0 };
            let end = self.geometry.first_counted_by(index + 1);
            while run.count < most && run.end() < end && self.get(run.end())? == 0 {
                self.set(run.end(), 1)?;
                run.count += 1;
            }
            self.check_reach(run.end())?;
            self.hint = run.end();
            return Ok(run);
        }
    }

    /// Hands out exactly `count` clusters in a row.
    pub(crate) fn allocate_exactly(&mut self, count: u64) -> Result<HostClusters> {
        loop {
            let run = HostClusters {
                first: self.end()?,
                count,
            };
            let last = run
                .end()
                .plus(count / self.geometry.refcounts_per_block() + 2);
            if last.get() < self.countable() {
                self.claim(run)?;
                return Ok(run);
            }
            self.grow_table(self.split(last)?.0)?;
        }
    }

    /// Refuses a cluster that no table entry can lead to.
    fn check_reach(&self, cluster: HostCluster) -> Result<()> {
        if self.geometry.offset_of(cluster).get() >= MAX_HOST_OFFSET {
            let text = "the image file cannot grow beyond 2^56 bytes".to_owned();
            return Err(Error::new(&self.file, ErrorKind::Limit(text)));
        }
        Ok(())
    }

    /// The first cluster after all that are in use or in the file. A device is as long as it is, used
    /// or not: there only the counts tell.
    pub(crate) fn end(&mut self) -> Result<HostCluster> {
        let used = self.end_of_all()?;
        let stat = self.file.stat("ask the length")?;
        if stat.kind != FileKind::Regular {
            return Ok(used);
        }
        Ok(used.max(HostCluster(self.geometry.clusters_for(stat.len))))
    }

    /// The first cluster behind all that are counted.
    pub(crate) fn end_of_all(&mut self) -> Result<HostCluster> {
        for index in (0..self.table.len() as u64).rev() {
            let Some(block) = self.block(index)? else {
                continue;
            };
            let used = (0..block.counts.len())
                .rev()
                .find(|&at| block.counts.get(at).is_some_and(|n| n > 0));
            if let Some(at) = used {
                return Ok(self.geometry.first_counted_by(index).plus(at as u64 + 1));
            }
        }
        Ok(HostCluster(0))
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

    /// Counts clusters none of which is in use, adding behind them the blocks that are missing to do so. The
    /// table is long enough to name them.
    fn claim(&mut self, run: HostClusters) -> Result<()> {
        let mut blocks = 0;
        let all = loop {
            let all = HostClusters {
                count: run.count.saturating_add(blocks),
                ..run
            };
            let mut missing = 0;
            for index in self.blocks_of(all)? {
                missing += u64::from(!self.has_block(index)?);
            }
            if missing == blocks {
                break all;
            }
            blocks = missing;
        };
        self.check_reach(all.last())?;
        let mut place = run.end();
        for index in self.blocks_of(all)? {
            if !self.has_block(index)? {
                self.insert_block(index, place)?;
                place = place.plus(1);
            }
        }
        all.iter().try_for_each(|cluster| self.set(cluster, 1))
    }

    /// The numbers of the blocks that count these clusters, of which there is at least one.
    fn blocks_of(&self, run: HostClusters) -> Result<RangeInclusive<u64>> {
        Ok(self.split(run.first)?.0..=self.split(run.last())?.0)
    }

    /// A block for a part of the file that has none, so nothing there is in use: it takes the first
    /// cluster it counts and counts itself.
    fn add_block(&mut self, index: u64) -> Result<()> {
        // Cluster 0 is the header's.
        let cluster = self.geometry.first_counted_by(index).max(HostCluster(1));
        self.check_reach(cluster)?;
        self.insert_block(index, cluster)?;
        self.set(cluster, 1)
    }

    fn insert_block(&mut self, index: u64, cluster: HostCluster) -> Result<()> {
        let offset = self.geometry.offset_of(cluster);
        let raw = refcount::encode_table_entry(Some(offset), self.geometry)
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
        let mut clusters = (index + 1).div_ceil(per_cluster).max(self.place.count + 1);
        clusters += clusters / 2;
        // The table must also count itself and the blocks for that.
        loop {
            let blocks = clusters.div_ceil(self.geometry.refcounts_per_block()) + 2;
            let needed = (self.split(first.plus(clusters + blocks))?.0 + 1)
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
            if most <= self.place.count || (index + 1).div_ceil(per_cluster) > most {
                return Err(Error::new(&self.file, ErrorKind::Limit(text)));
            }
            clusters = most;
        }
        let entries = usize::try_from(clusters * per_cluster).map_err(|e| self.damaged(e))?;
        self.table.resize(entries);
        let place = HostClusters {
            first,
            count: clusters,
        };
        self.claim(place)?;
        let old = std::mem::replace(&mut self.place, place);
        // A table that grows twice before anything is written: the one in between was never used.
        if self.old_place.is_some() {
            for cluster in old.iter() {
                self.lower(cluster)?;
            }
        } else {
            self.old_place = Some(old);
        }
        Ok(())
    }

    /// Writes every changed block where it belongs, and the whole table if it moved. What is
    /// written is not referred to yet, or only counts: a crash leaks at worst.
    pub(crate) fn write_blocks(&mut self) -> Result<()> {
        for block in self.blocks.values_mut().filter(|block| block.dirty) {
            self.file.write_at(
                block.counts.as_bytes(),
                block.offset.get(),
                format_args!("write the refcount block at {}", block.offset),
            )?;
            block.dirty = false;
        }
        if self.old_place.is_some() {
            let offset = self.geometry.offset_of(self.place.first);
            self.file.write_at(
                self.table.as_bytes(),
                offset.get(),
                format_args!("write the refcount table at {offset}"),
            )?;
        }
        Ok(())
    }

    /// Whether blocks were added that the table on disk does not name.
    pub(crate) fn must_publish(&self) -> bool {
        !self.new_entries.is_empty() || self.old_place.is_some()
    }

    /// After the blocks are safe: names the new ones in the table in place, or, if the table moved,
    /// returns its new place for the header.
    pub(crate) fn publish(&mut self) -> Result<Option<HostClusters>> {
        let entries = std::mem::take(&mut self.new_entries);
        if self.old_place.is_some() {
            return Ok(Some(self.place));
        }
        for at in entries {
            let raw = self.table.entry(at).map_err(|e| self.damaged(e))?;
            let table = self.geometry.offset_of(self.place.first);
            let offset = table.plus(at as u64 * 8);
            self.file.write_at(
                &raw.to_be_bytes(),
                offset.get(),
                format_args!("write the refcount table at {offset}"),
            )?;
        }
        Ok(None)
    }

    /// After the header names the new table: the clusters of the old one, to be freed.
    pub(crate) fn take_old_table(&mut self) -> Option<HostClusters> {
        self.old_place.take()
    }
}
