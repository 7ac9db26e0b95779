//! The reference counts of an image as they are to be after a change, kept beside those on disk: no
//! cluster that is in use before the change is handed out, and nothing on disk is overwritten. The
//! change itself is not known here.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::image::error::{OfFile, Result};
use crate::image::internal::{self, Fault};
use crate::image::read::table_reader::{NO_BLOCK, read_block, read_refcount_table};
use crate::image::write::batch::Batch;
use crate::image::{Error, ErrorKind, ImageFile};
use crate::qcow2::limits::{MAX_HOST_OFFSET, MAX_REFCOUNT_TABLE_BYTES};
use crate::qcow2::{
    EntryTable, FormatError, Geometry, Header, HostCluster, HostClusters, RefcountBlock, refcount,
};

mod rebuild;

/// Is handed tables to be written: what each is, its bytes, its offset.
pub(crate) type Put<'a> = &'a mut dyn FnMut(&str, &[u8], u64) -> Result<()>;

/// The counts as they are to be.
#[derive(Debug)]
pub(crate) struct ShadowRefcounts {
    file: ImageFile,
    geometry: Geometry,
    table: EntryTable,
    /// Where the table is on disk.
    old_table: HostClusters,
    /// Where the table is to be; set by [`ShadowRefcounts::place`].
    new_table: Option<HostClusters>,
    blocks: BTreeMap<u64, Block>,
    freed: Clusters,
    /// Those of them that held tables which are written anew elsewhere.
    replaced: Clusters,
    /// No cluster before this one can be handed out.
    hint: HostCluster,
    /// Nor this one, nor any behind it.
    reach: HostCluster,
}

#[derive(Debug)]
struct Block {
    counts: RefcountBlock,
    /// The cluster it is in on disk, if it is there at all.
    was: Option<HostCluster>,
    changed: bool,
    /// The cluster it will be in.
    place: Option<HostCluster>,
}

impl ShadowRefcounts {
    /// Reads the refcount table; blocks are read as they are needed.
    pub(crate) fn open(file: &ImageFile, header: &Header) -> Result<Self> {
        let geometry = header.geometry;
        let offset = header.refcount_table_offset;
        let old_table = HostClusters {
            first: geometry.cluster_of(offset),
            count: header.refcount_table_clusters.into(),
        };
        Ok(Self {
            table: read_refcount_table(file, header)?,
            file: file.clone(),
            geometry,
            old_table,
            new_table: None,
            blocks: BTreeMap::new(),
            freed: Clusters::default(),
            replaced: Clusters::default(),
            hint: HostCluster(1),
            reach: HostCluster(u64::MAX),
        })
    }

    fn damaged(&self, error: impl std::fmt::Display) -> Error {
        Error::new(&self.file, ErrorKind::Damaged(error.to_string()))
    }

    fn wrong(&self, error: FormatError) -> Error {
        if let FormatError::DoesNotFit { max, .. } = error {
            let text = format!(
                "a cluster of it is shared {max} times already, the most that its refcounts of {} bits \
                 can count",
                self.geometry.refcount_bits()
            );
            return Error::new(&self.file, ErrorKind::Limit(text));
        }
        self.damaged(error)
    }

    /// Number of the block that counts a cluster, and the place in it.
    fn split(&self, cluster: HostCluster) -> Result<(u64, usize)> {
        let per_block = self.geometry.refcounts_per_block();
        let at = internal::index(cluster.get() % per_block).of(&self.file)?;
        Ok((cluster.get() / per_block, at))
    }

    /// Loads a block; false where there is none.
    fn load(&mut self, index: u64) -> Result<bool> {
        if self.blocks.contains_key(&index) {
            return Ok(true);
        }
        let at = internal::index(index).of(&self.file)?;
        let raw = self.table.get(at).unwrap_or(NO_BLOCK);
        let read = read_block(&self.file, self.geometry, raw, None)?;
        let Some((offset, counts)) = read else {
            return Ok(false);
        };
        self.blocks.insert(
            index,
            Block {
                counts,
                was: Some(self.geometry.cluster_of(offset)),
                changed: false,
                place: None,
            },
        );
        Ok(true)
    }

    /// How often a cluster is to be counted.
    pub(crate) fn get(&mut self, cluster: HostCluster) -> Result<u64> {
        let (index, at) = self.split(cluster)?;
        if !self.load(index)? {
            return Ok(0);
        }
        let block = self.blocks.get(&index);
        block
            .and_then(|block| block.counts.get(at))
            .ok_or(Fault::new("a count outside its block"))
            .of(&self.file)
    }

    /// Which of these clusters are to be counted exactly once: runs of those that are and those that are
    /// not, in order, as places from the first one on.
    pub(crate) fn ones(
        &mut self,
        clusters: HostClusters,
        mut tell: impl FnMut(Range<usize>, bool),
    ) -> Result<()> {
        let mut done = 0;
        self.each_part(clusters, |counts, _, (index, range)| {
            let len = range.len();
            if counts.load(index)? {
                let (from, block) = (range.start, counts.blocks.get(&index));
                let runs = block
                    .iter()
                    .flat_map(|block| block.counts.ones(range.clone()));
                for (run, one) in runs {
                    tell(run.start - from + done..run.end - from + done, one);
                }
            } else {
                tell(done..done + len, false);
            }
            done += len;
            Ok(())
        })
    }

    /// The block that counts a cluster, to be changed; a new one where there is none.
    fn block(&mut self, index: u64) -> Result<&mut Block> {
        self.load(index)?;
        let geometry = self.geometry;
        let block = self.blocks.entry(index).or_insert_with(|| Block {
            counts: RefcountBlock::zeroed(geometry),
            was: None,
            changed: true,
            place: None,
        });
        block.changed = true;
        Ok(block)
    }

    /// One reference more to each of these clusters.
    pub(crate) fn raise(&mut self, clusters: HostClusters) -> Result<()> {
        self.each_part(clusters, |counts, _, range| counts.block_raise(range))
    }

    /// One reference less.
    pub(crate) fn lower(&mut self, clusters: HostClusters) -> Result<()> {
        self.each_part(clusters, |counts, start, range| {
            counts.block_lower(start, range)
        })
    }

    /// One reference less to a table that is written anew elsewhere.
    pub(crate) fn replace(&mut self, cluster: HostCluster) -> Result<()> {
        self.replaced.insert(cluster).of(&self.file)?;
        self.lower(HostClusters::one(cluster))
    }

    /// Cuts a run of clusters into the parts that one block counts: the block's first cluster, and
    /// the places in the block.
    fn each_part(
        &mut self,
        clusters: HostClusters,
        mut part: impl FnMut(&mut Self, HostCluster, (u64, Range<usize>)) -> Result<()>,
    ) -> Result<()> {
        let end = clusters.end();
        let mut at = clusters.first;
        while at < end {
            let (index, from) = self.split(at)?;
            let to = self.geometry.first_counted_by(index + 1).min(end);
            let len = usize::try_from(to.get() - at.get()).map_err(|e| self.damaged(e))?;
            part(
                self,
                self.geometry.first_counted_by(index),
                (index, from..from + len),
            )?;
            at = to;
        }
        Ok(())
    }

    fn block_raise(&mut self, (index, range): (u64, Range<usize>)) -> Result<()> {
        let raised = self.block(index)?.counts.raise(range);
        raised.map_err(|e| self.wrong(e))
    }

    fn block_lower(
        &mut self,
        start: HostCluster,
        (index, range): (u64, Range<usize>),
    ) -> Result<()> {
        let mut freed = std::mem::take(&mut self.freed);
        let mut noted = Ok(());
        let lowered = self.block(index).map(|block| {
            block.counts.lower(range, &mut |at| {
                if noted.is_ok() {
                    noted = freed.insert(start.plus(at as u64));
                }
            })
        });
        self.freed = freed;
        lowered?.map_err(|e| self.wrong(e))?;
        noted.of(&self.file)
    }

    /// Whether a cluster is free before and after the change.
    fn is_free(&mut self, cluster: HostCluster) -> Result<bool> {
        Ok(!self.freed.contains(cluster) && self.get(cluster)? == 0)
    }

    /// The first cluster from `from` on that is free before and after the change.
    fn next_free(&mut self, from: HostCluster) -> Result<HostCluster> {
        let mut at = from;
        loop {
            let (index, within) = self.split(at)?;
            if !self.load(index)? {
                return Ok(at);
            }
            let counts = self.blocks.get(&index).map(|block| &block.counts);
            at = match counts.and_then(|counts| counts.first_free(within)) {
                None => self.geometry.first_counted_by(index + 1),
                Some(free) => {
                    let cluster = self.geometry.first_counted_by(index).plus(free as u64);
                    if !self.freed.contains(cluster) {
                        return Ok(cluster);
                    }
                    cluster.plus(1)
                }
            };
        }
    }

    /// Hands out `count` clusters in a row, each counted once; the first one's number. The lowest
    /// place there is, but for single ones behind those handed out before.
    pub(crate) fn allocate(&mut self, count: u64) -> Result<HostCluster> {
        let mut first = self.next_free(self.hint)?;
        let mut got = 1;
        while got < count {
            let next = first.plus(got);
            if self.is_free(next)? {
                got += 1;
            } else {
                first = self.next_free(next.plus(1))?;
                got = 1;
            }
        }
        let run = HostClusters { first, count };
        let end = run.end();
        if self.geometry.offset_of(end).get() >= MAX_HOST_OFFSET {
            let text = "the image file cannot grow beyond 2^56 bytes".to_owned();
            return Err(Error::new(&self.file, ErrorKind::Limit(text)));
        }
        if end > self.reach {
            let text = format!(
                "has no free place in its first {} bytes, and what lies behind them cannot all be kept in mind",
                self.geometry.offset_of(self.reach).get()
            );
            return Err(Error::new(&self.file, ErrorKind::Limit(text)));
        }
        self.raise(run)?;
        if count == 1 {
            self.hint = end;
        }
        Ok(first)
    }

    /// Finds a place for every changed block and for the table. Nothing may be counted after this.
    pub(crate) fn place(&mut self) -> Result<()> {
        let per_cluster = self.geometry.cluster_size() / 8;
        let mut clusters = self.old_table.count;
        self.lower(self.old_table)?;
        loop {
            let table = HostClusters {
                first: self.allocate(clusters)?,
                count: clusters,
            };
            self.place_blocks()?;
            let blocks = self.blocks.keys().next_back().map_or(0, |last| last + 1);
            let needed = blocks.div_ceil(per_cluster);
            if needed <= clusters {
                self.new_table = Some(table);
                break;
            }
            // Too short for the blocks it takes itself: the run was never used, and is given back.
            for cluster in table.iter() {
                let (index, at) = self.split(cluster)?;
                let given = self.block(index)?.counts.set(at, 0);
                given.map_err(|e| self.wrong(e))?;
            }
            clusters = needed + 1;
            if clusters * self.geometry.cluster_size() > MAX_REFCOUNT_TABLE_BYTES {
                let text = "the refcount table is as long as the format allows".to_owned();
                return Err(Error::new(&self.file, ErrorKind::Limit(text)));
            }
        }
        let entries = usize::try_from(clusters * per_cluster).map_err(|e| self.damaged(e))?;
        self.table.resize(entries);
        for (index, block) in &self.blocks {
            let Some(place) = block.place else { continue };
            let offset = self.geometry.offset_of(place);
            let raw = refcount::encode_table_entry(Some(offset), self.geometry)
                .map_err(|e| self.damaged(e))?;
            let at = usize::try_from(*index).map_err(|e| self.damaged(e))?;
            self.table.set(at, raw).map_err(|e| self.damaged(e))?;
        }
        Ok(())
    }

    /// Placing a block changes counts, and so further blocks, until all that changed have a place.
    fn place_blocks(&mut self) -> Result<()> {
        loop {
            let homeless: Vec<(u64, Option<HostCluster>)> = self
                .blocks
                .iter()
                .filter(|(_, block)| block.changed && block.place.is_none())
                .map(|(index, block)| (*index, block.was))
                .collect();
            if homeless.is_empty() {
                return Ok(());
            }
            for (index, was) in homeless {
                let cluster = self.allocate(1)?;
                if let Some(was) = was {
                    self.replace(was)?;
                }
                self.block(index)?.place = Some(cluster);
            }
        }
    }

    /// Place of the new table, if there is one.
    pub(crate) const fn table(&self) -> Option<HostClusters> {
        self.new_table
    }

    /// Bytes that [`ShadowRefcounts::write`] is going to write.
    pub(crate) fn written(&self) -> u64 {
        let blocks = self.blocks.values().filter(|b| b.place.is_some()).count() as u64;
        let table = self.new_table.map_or(0, |table| table.count);
        (blocks + table).saturating_mul(self.geometry.cluster_size())
    }

    /// Writes the blocks and the table where nothing refers to them yet.
    pub(crate) fn write(&self, batch: &mut Batch<'_>) -> Result<()> {
        self.each_written(&mut |_, bytes, offset| batch.put(offset, bytes))
    }

    /// Tells what is to be written where, in the file's order but for the table: what it is, its
    /// bytes, their offset.
    pub(crate) fn each_written(&self, put: Put<'_>) -> Result<()> {
        let offset_of = |place| self.geometry.offset_of(place).get();
        let placed = self.blocks.values();
        let placed = placed.filter_map(|block| Some((block.place?, block.counts.as_bytes())));
        let mut placed: Vec<(HostCluster, &[u8])> = placed.collect();
        placed.sort_unstable_by_key(|(place, _)| *place);
        for (place, bytes) in placed {
            put("refcount block", bytes, offset_of(place))?;
        }
        match self.table() {
            Some(table) => {
                let offset = offset_of(table.first);
                put("refcount table", self.table.as_bytes(), offset)
            }
            None => Ok(()),
        }
    }

    /// The same counts in the width of `geometry`, in blocks and a table that are all new.
    ///
    /// # Errors
    /// When a count is larger than the new width can hold, naming the first such cluster.
    pub(crate) fn in_width_of(mut self, geometry: Geometry) -> Result<Self> {
        let mut new = Self {
            file: self.file.clone(),
            geometry,
            table: EntryTable::default(),
            old_table: self.old_table,
            new_table: None,
            blocks: BTreeMap::new(),
            freed: std::mem::take(&mut self.freed),
            replaced: std::mem::take(&mut self.replaced),
            hint: HostCluster(1),
            reach: HostCluster(u64::MAX),
        };
        let mut old_places = Vec::new();
        for index in 0..self.table.len() as u64 {
            if !self.load(index)? {
                continue;
            }
            let Some(block) = self.blocks.remove(&index) else {
                continue;
            };
            old_places.extend(block.was);
            let first = self.geometry.first_counted_by(index);
            for (at, count) in (0..).zip(block.counts.iter()) {
                if count > 0 {
                    new.put(first.plus(at), count)?;
                }
            }
        }
        for place in old_places {
            new.lower(HostClusters::one(place))?;
        }
        Ok(new)
    }

    fn put(&mut self, cluster: HostCluster, count: u64) -> Result<()> {
        let bits = self.geometry.refcount_bits();
        let offset = self.geometry.offset_of(cluster);
        let (index, at) = self.split(cluster)?;
        let put = self.block(index)?.counts.set(at, count);
        put.map_err(|_| {
            let text = format!(
                "its cluster at {offset} is referred to {count} times, more than refcounts of \
                 {bits} bits can count"
            );
            Error::new(&self.file, ErrorKind::Limit(text))
        })
    }

    /// Whether any count differs from what is on disk.
    pub(crate) fn is_changed(&self) -> bool {
        self.blocks.values().any(|block| block.changed)
    }

    /// The first cluster behind all that are counted, before or after the change.
    pub(crate) fn end_of_all(&mut self) -> Result<HostCluster> {
        self.end_of(&|_| true)
    }

    /// The first cluster behind those that are counted and are among these.
    pub(crate) fn end_of(&mut self, is_among: &dyn Fn(HostCluster) -> bool) -> Result<HostCluster> {
        let last = self.blocks.keys().next_back().map_or(0, |last| last + 1);
        for index in (0..last.max(self.table.len() as u64)).rev() {
            if !self.load(index)? {
                continue;
            }
            let first = self.geometry.first_counted_by(index);
            let counts = self.blocks.get(&index).map(|block| &block.counts);
            let used = counts.and_then(|counts| {
                let mut places = (0..counts.len()).rev();
                places.find(|at| {
                    counts.get(*at).is_some_and(|count| count > 0)
                        && is_among(first.plus(*at as u64))
                })
            });
            if let Some(at) = used {
                return Ok(first.plus(at as u64 + 1));
            }
        }
        Ok(HostCluster(0))
    }

    /// Has the blocks that are at or behind this cluster on disk written anew.
    pub(crate) fn move_blocks_from(&mut self, limit: HostCluster) -> Result<()> {
        for index in 0..self.table.len() as u64 {
            if !self.load(index)? {
                continue;
            }
            if let Some(block) = self.blocks.get_mut(&index)
                && block.was.is_some_and(|was| was >= limit)
            {
                block.changed = true;
            }
        }
        Ok(())
    }

    /// The clusters that come free, in order, as runs.
    pub(crate) fn freed(&self) -> impl Iterator<Item = HostClusters> + '_ {
        self.freed.runs()
    }

    /// Of these, the ones whose space is worth giving back to the filesystem. Tables that moved leave
    /// single clusters all over the file, which cost a call each, and which the next change fills
    /// again: they are the lowest free ones.
    pub(crate) fn holes(&self) -> impl Iterator<Item = HostClusters> {
        let words = self
            .freed
            .words
            .iter()
            .enumerate()
            .map(|(at, freed)| freed & !self.replaced.words.get(at).unwrap_or(&0));
        let holes = Clusters {
            words: words.collect(),
        };
        holes.into_runs()
    }
}

/// A set of clusters.
#[derive(Debug, Default)]
struct Clusters {
    words: Vec<u64>,
}

impl Clusters {
    fn place(cluster: HostCluster) -> std::result::Result<(usize, u64), Fault> {
        let number = cluster.get();
        Ok((internal::index(number / 64)?, 1 << (number % 64)))
    }

    fn insert(&mut self, cluster: HostCluster) -> std::result::Result<(), Fault> {
        // A cluster whose count was found has a block in the file: the numbers are bounded by it.
        let (word, bit) = Self::place(cluster)?;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        *internal::item_mut(&mut self.words, word)? |= bit;
        Ok(())
    }

    fn contains(&self, cluster: HostCluster) -> bool {
        Self::place(cluster)
            .is_ok_and(|(word, bit)| self.words.get(word).is_some_and(|word| word & bit != 0))
    }

    fn runs(&self) -> impl Iterator<Item = HostClusters> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || self.run_from(&mut at))
    }

    fn into_runs(self) -> impl Iterator<Item = HostClusters> {
        let mut at = 0;
        std::iter::from_fn(move || self.run_from(&mut at))
    }

    /// The first run that begins at `at` or later; `at` is behind it then.
    fn run_from(&self, at: &mut u64) -> Option<HostClusters> {
        let end = self.words.len() as u64 * 64;
        let whole = |at: u64, word: u64| {
            let held = usize::try_from(at / 64)
                .ok()
                .and_then(|at| self.words.get(at));
            at.is_multiple_of(64) && held == Some(&word)
        };
        while *at < end && !self.contains(HostCluster(*at)) {
            *at += if whole(*at, 0) { 64 } else { 1 };
        }
        let start = *at;
        while *at < end && self.contains(HostCluster(*at)) {
            *at += if whole(*at, u64::MAX) { 64 } else { 1 };
        }
        (start < *at).then_some(HostClusters {
            first: HostCluster(start),
            count: *at - start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_clusters_is_told_in_runs() {
        let mut set = Clusters::default();
        assert_eq!(set.runs().count(), 0);
        for cluster in [3, 4, 63, 64, 65, 300] {
            set.insert(HostCluster(cluster)).unwrap();
        }
        let contains = |cluster| set.contains(HostCluster(cluster));
        assert!(contains(64) && !contains(5) && !contains(1 << 40));
        let range = |run: HostClusters| run.first.get()..run.end().get();
        let runs: Vec<_> = set.runs().map(range).collect();
        assert_eq!(runs, [3..5, 63..66, 300..301]);
    }
}
