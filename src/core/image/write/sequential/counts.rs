//! The reference counts of an image that is written from front to back: each block can be written as
//! soon as no cluster it counts will be touched again.

use std::collections::VecDeque;

use crate::qcow2::{
    FormatError, Geometry, HostCluster, HostClusters, HostOffset, RefcountBlock, refcount,
};

#[derive(Debug)]
pub(super) struct Counts {
    geometry: Geometry,
    /// Where the blocks are, in order.
    placed: Vec<HostOffset>,
    /// How many of them are written.
    written: usize,
    /// The blocks that follow those, some of them without a place.
    pending: VecDeque<RefcountBlock>,
}

impl Counts {
    pub(super) fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            placed: Vec::new(),
            written: 0,
            pending: VecDeque::new(),
        }
    }

    /// The pending block that counts a cluster, by its number among the pending ones, and the place in it.
    fn place(&self, cluster: HostCluster) -> Option<(usize, usize)> {
        let per_block = self.geometry.refcounts_per_block();
        let index = (cluster.get() / per_block).checked_sub(self.written as u64)?;
        Some((
            usize::try_from(index).ok()?,
            usize::try_from(cluster.get() % per_block).ok()?,
        ))
    }

    /// One more reference to each of these clusters; none of them is counted by a written block.
    pub(super) fn raise(&mut self, clusters: HostClusters) -> Result<(), FormatError> {
        let per_block = self.geometry.refcounts_per_block();
        let mut at = clusters.first.get();
        let end = clusters.end().get();
        while at < end {
            let to = ((at / per_block + 1) * per_block).min(end);
            let Some((index, from)) = self.place(HostCluster(at)) else {
                return Err(FormatError::Inconsistent {
                    reason: "a refcount block was written too early",
                });
            };
            while self.pending.len() <= index {
                self.pending.push_back(RefcountBlock::zeroed(self.geometry));
            }
            let block = usize::try_from(to - at)
                .ok()
                .and_then(|len| Some((self.pending.get_mut(index)?, len)));
            let Some((block, len)) = block else {
                return Err(FormatError::Inconsistent {
                    reason: "a refcount block is not there to count in",
                });
            };
            block.raise(from..from + len)?;
            at = to;
        }
        Ok(())
    }

    /// Whether one more reference to a cluster can be counted.
    pub(super) fn has_room(&self, cluster: HostCluster) -> bool {
        self.place(cluster)
            .and_then(|(index, at)| {
                let block = self.pending.get(index)?;
                Some(block.get(at)? < block.max())
            })
            .unwrap_or(false)
    }

    /// Whether the first pending block counts only clusters before `cluster`.
    pub(super) fn ripe(&self, cluster: HostCluster) -> bool {
        let per_block = self.geometry.refcounts_per_block();
        !self.pending.is_empty() && (self.written as u64 + 1) * per_block <= cluster.get()
    }

    /// Whether a block has no place yet.
    pub(super) fn lacks_place(&self) -> bool {
        self.placed.len() < self.written + self.pending.len()
    }

    /// The next block without a place gets this one.
    pub(super) fn give_place(&mut self, offset: HostOffset) {
        self.placed.push(offset);
    }

    /// Takes out the first pending block, to be written to its place.
    pub(super) fn settle(&mut self) -> Option<(HostOffset, RefcountBlock)> {
        let offset = *self.placed.get(self.written)?;
        let block = self.pending.pop_front()?;
        self.written += 1;
        Some((offset, block))
    }

    /// Clusters of the table, if it begins at the cluster `used` and the blocks that count it follow it.
    pub(super) fn table_clusters(&self, used: HostCluster) -> u64 {
        let per_block = self.geometry.refcounts_per_block();
        let per_table_cluster = self.geometry.cluster_size() / 8;
        let blocks = (self.written + self.pending.len()) as u64;
        let (mut table, mut more) = (1, 0);
        loop {
            // Both only grow from round to round, and each block counts many clusters: it ends.
            let all = (used.get() + table + more).div_ceil(per_block).max(blocks);
            let needed = all.div_ceil(per_table_cluster).max(1);
            if needed <= table && all - blocks <= more {
                return table;
            }
            (table, more) = (needed.max(table), (all - blocks).max(more));
        }
    }

    /// The refcount table, once every block is placed.
    pub(super) fn table(&self) -> Result<Vec<u8>, FormatError> {
        let mut bytes = Vec::with_capacity(self.placed.len() * 8);
        for offset in &self.placed {
            let entry = refcount::encode_table_entry(Some(*offset), self.geometry)?;
            bytes.extend_from_slice(&entry.to_be_bytes());
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_end_of_an_image_counts_itself(used in 1u64..100_000, order in 0u32..=6) {
            let geometry = Geometry::new(9, order, false).unwrap();
            let per_block = geometry.refcounts_per_block();
            let mut counts = Counts::new(geometry);
            let mut next = 0;
            let mut take = |counts: &mut Counts, clusters: u64| {
                let run = HostClusters { first: HostCluster(next), count: clusters };
                counts.raise(run).unwrap();
                next += clusters;
                while counts.lacks_place() {
                    counts.raise(HostClusters::one(HostCluster(next))).unwrap();
                    counts.give_place(HostOffset(next * 512));
                    next += 1;
                }
                next
            };
            let mut now = 0;
            while now < used {
                now = take(&mut counts, 1 + now % 7);
            }
            let table = counts.table_clusters(HostCluster(now));
            let all = take(&mut counts, table);
            prop_assert!(counts.placed.len() as u64 * per_block >= all);
            prop_assert!(counts.placed.len() as u64 <= table * 64);
            prop_assert!(counts.pending.iter().flat_map(RefcountBlock::iter).take(usize::try_from(all).unwrap()).all(|n| n == 1));
        }
    }
}
