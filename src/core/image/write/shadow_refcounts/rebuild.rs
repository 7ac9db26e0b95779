//! Counts made from nothing, for a repair that believes none of those on disk: every reference is
//! told, then the blocks on disk that say the same are kept where they are.

use crate::image::error::{OfFile, Result};
use crate::image::read::table_reader::read_block;
use crate::image::write::shadow_refcounts::{Block, Clusters, ShadowRefcounts};
use crate::image::{Error, ErrorKind, ImageFile};
use crate::qcow2::{
    EntryTable, FormatError, Geometry, HostCluster, HostClusters, RefcountBlock, refcount,
};

/// Bytes of counts kept in memory at most: a repair keeps all of them.
const MOST_BYTES: u64 = 128 << 20;

/// The clusters that can be kept off are those before this one; none behind it is handed out.
const KEPT_OFF_END: HostCluster = HostCluster((1 << 29) + (1 << 26));

impl ShadowRefcounts {
    /// Counts of a file in which nothing is in use.
    pub(crate) fn blank(file: &ImageFile, geometry: Geometry) -> Self {
        Self {
            table: EntryTable::default(),
            file: file.clone(),
            geometry,
            old_table: HostClusters::default(),
            new_table: None,
            blocks: std::collections::BTreeMap::new(),
            freed: Clusters::default(),
            replaced: Clusters::default(),
            hint: HostCluster(1),
            reach: KEPT_OFF_END,
        }
    }

    /// Never hands out these clusters: something on disk still needs them.
    ///
    /// # Errors
    /// A fault of this program.
    pub(crate) fn keep_off(&mut self, clusters: HostClusters) -> Result<()> {
        let can_be_kept_off = |cluster: &HostCluster| *cluster < KEPT_OFF_END;
        for cluster in clusters.iter().take_while(can_be_kept_off) {
            self.freed.insert(cluster).of(&self.file)?;
        }
        Ok(())
    }

    /// Counts `times` references more to each of these clusters.
    pub(crate) fn count(&mut self, clusters: HostClusters, times: u64) -> Result<()> {
        self.each_part(clusters, |counts, _, (index, range)| {
            counts.afford(index)?;
            let block = counts.block(index)?;
            let counted = if times == 1 {
                block.counts.raise(range)
            } else {
                range.into_iter().try_for_each(|at| {
                    let now = block.counts.get(at).ok_or(FormatError::NoSuchEntry {
                        table: "a refcount block",
                        index: at as u64,
                        len: block.counts.len() as u64,
                    })?;
                    block.counts.set(at, now.saturating_add(times))
                })
            };
            counted.map_err(|e| match e {
                FormatError::DoesNotFit { .. } => {
                    let bits = counts.geometry.refcount_bits();
                    Error::new(&counts.file, ErrorKind::TooManyReferences(bits))
                }
                other => counts.wrong(other),
            })
        })
    }

    /// Refuses one block more than may be kept.
    fn afford(&self, index: u64) -> Result<()> {
        let size = self.geometry.cluster_size();
        if self.blocks.contains_key(&index)
            || (self.blocks.len() as u64).saturating_mul(size) < MOST_BYTES
        {
            return Ok(());
        }
        let text = "refers to places too far apart in its file, or to too many: its reference counts \
                    do not fit the memory that a repair may take";
        Err(Error::new(&self.file, ErrorKind::Limit(text.to_owned())))
    }

    /// Counts these clusters once more if nothing is counted there yet. Whether it was so.
    pub(crate) fn claim(&mut self, clusters: HostClusters) -> Result<bool> {
        for cluster in clusters.iter() {
            if self.get(cluster)? != 0 {
                return Ok(false);
            }
        }
        self.count(clusters, 1)?;
        Ok(true)
    }

    /// The refcount table on disk is nobody else's, and was counted.
    pub(crate) fn adopt_table(&mut self, clusters: HostClusters) {
        self.old_table = clusters;
    }

    /// The block number `index` is at `cluster` on disk, is nobody else's, and was counted.
    pub(crate) fn adopt_block(&mut self, index: u64, cluster: HostCluster) -> Result<()> {
        self.afford(index)?;
        self.block(index)?.was = Some(cluster);
        let at = usize::try_from(index).map_err(|e| self.damaged(e))?;
        if at >= self.table.len() {
            self.table.resize(at + 1);
        }
        let offset = self.geometry.offset_of(cluster);
        let raw = refcount::encode_table_entry(Some(offset), self.geometry)
            .map_err(|e| self.damaged(e))?;
        self.table.set(at, raw).map_err(|e| self.damaged(e))
    }

    /// Reads the counts on disk of the block at `cluster`, which are as wide as `on_disk` says.
    pub(crate) fn read_block(
        &self,
        cluster: HostCluster,
        on_disk: Geometry,
    ) -> Result<RefcountBlock> {
        let offset = on_disk.offset_of(cluster);
        let read = read_block(&self.file, on_disk, offset.get(), None)?;
        Ok(read.map_or_else(|| RefcountBlock::zeroed(on_disk), |(_, block)| block))
    }

    /// How many bits a count has.
    pub(crate) const fn refcount_bits(&self) -> u32 {
        self.geometry.refcount_bits()
    }

    /// When everything is counted: leaves blocks where they are that say it already on disk. Gives
    /// whether the counts on disk, whose table is `on_disk`, are all right as they are.
    pub(crate) fn compare_blocks(&mut self, on_disk: &EntryTable) -> Result<bool> {
        let adopted: Vec<(u64, HostCluster)> = self
            .blocks
            .iter()
            .filter_map(|(index, block)| Some((*index, block.was?)))
            .collect();
        for (index, cluster) in adopted {
            let there = self.read_block(cluster, self.geometry)?;
            if let Some(block) = self.blocks.get_mut(&index) {
                block.changed = block.counts != there;
            }
        }
        let same_blocks = self
            .blocks
            .values()
            .all(|Block { changed, was, .. }| !changed && was.is_some());
        self.table.resize(self.table.len().max(on_disk.len()));
        Ok(same_blocks && self.table == *on_disk && !self.old_table.is_empty())
    }

    /// The cluster after the last one that is counted.
    pub(crate) fn end(&self) -> HostCluster {
        for (index, block) in self.blocks.iter().rev() {
            let used = (0..block.counts.len())
                .rev()
                .find(|&at| block.counts.get(at).is_some_and(|n| n > 0));
            if let Some(at) = used {
                return self.geometry.first_counted_by(*index).plus(at as u64 + 1);
            }
        }
        HostCluster(0)
    }
}
