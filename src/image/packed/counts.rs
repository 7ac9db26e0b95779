//! The reference counts of an image that is written from front to back: each block can be written as
//! soon as no cluster it counts will be touched again.

use std::collections::VecDeque;

use crate::qcow2::{FormatError, Geometry, HostOffset, RefcountBlock, refcount};

#[derive(Debug)]
pub(super) struct Counts {
    geometry: Geometry,
    /// Where the blocks already written are, in order.
    placed: Vec<u64>,
    /// The blocks that follow those, not written yet.
    pending: VecDeque<RefcountBlock>,
}

impl Counts {
    pub(super) fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            placed: Vec::new(),
            pending: VecDeque::new(),
        }
    }

    /// The pending block that counts a cluster, by its number among the pending ones, and the place in it.
    fn place(&self, cluster: u64) -> Option<(usize, usize)> {
        let per_block = self.geometry.refcounts_per_block();
        let index = (cluster / per_block).checked_sub(self.placed.len() as u64)?;
        Some((
            usize::try_from(index).ok()?,
            usize::try_from(cluster % per_block).ok()?,
        ))
    }

    /// One more reference to each of these clusters; none of them is counted by a written block.
    pub(super) fn raise(&mut self, first: u64, count: u64) -> Result<(), FormatError> {
        let per_block = self.geometry.refcounts_per_block();
        let mut at = first;
        let end = first.saturating_add(count);
        while at < end {
            let to = ((at / per_block + 1) * per_block).min(end);
            let Some((index, from)) = self.place(at) else {
                return Err(FormatError::Inconsistent {
                    reason: "a refcount block was written too early",
                });
            };
            while self.pending.len() <= index {
                self.pending.push_back(RefcountBlock::zeroed(self.geometry));
            }
            let len = usize::try_from(to - at).unwrap_or(0);
            if let Some(block) = self.pending.get_mut(index) {
                block.raise(from..from + len)?;
            }
            at = to;
        }
        Ok(())
    }

    /// Whether the first pending block counts only clusters before `cluster`.
    pub(super) fn ripe(&self, cluster: u64) -> bool {
        let per_block = self.geometry.refcounts_per_block();
        !self.pending.is_empty() && (self.placed.len() as u64 + 1) * per_block <= cluster
    }

    /// The first pending block goes to `offset`.
    pub(super) fn settle(&mut self, offset: u64) -> Option<RefcountBlock> {
        let block = self.pending.pop_front()?;
        self.placed.push(offset);
        Some(block)
    }

    /// Clusters of the table, and blocks still to be placed, once `used` clusters are handed out and
    /// both are to follow those.
    pub(super) fn rest(&self, used: u64) -> (u64, u64) {
        let per_block = self.geometry.refcounts_per_block();
        let per_table_cluster = self.geometry.cluster_size() / 8;
        let placed = self.placed.len() as u64;
        let (mut table, mut blocks) = (1, self.pending.len() as u64);
        loop {
            // Both only grow from round to round, and each block counts many clusters: it ends.
            let all = (used + table + blocks).div_ceil(per_block);
            let (t, b) = (
                all.div_ceil(per_table_cluster).max(1),
                all - placed.min(all),
            );
            if t <= table && b <= blocks {
                return (table, blocks);
            }
            (table, blocks) = (t.max(table), b.max(blocks));
        }
    }

    /// The refcount table, once every block is placed.
    pub(super) fn table(&self) -> Result<Vec<u8>, FormatError> {
        let mut bytes = Vec::with_capacity(self.placed.len() * 8);
        for offset in &self.placed {
            let entry = refcount::encode_table_entry(Some(HostOffset(*offset)), self.geometry)?;
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
        fn the_end_of_an_image_counts_itself(used in 1u64..400_000, order in 0u32..=6, written in 0u64..100) {
            let geometry = Geometry::new(9, order, false).unwrap();
            let per_block = geometry.refcounts_per_block();
            let mut counts = Counts::new(geometry);
            counts.raise(0, used).unwrap();
            for n in 0..written {
                if counts.ripe(used) {
                    counts.settle((n + 1) * 512).unwrap();
                }
            }
            let (table, blocks) = counts.rest(used);
            counts.raise(used, table + blocks).unwrap();
            prop_assert_eq!(counts.pending.len() as u64, blocks);
            let all = counts.placed.len() as u64 + blocks;
            prop_assert!(table * 64 >= all);
            prop_assert!(all * per_block >= used + table + blocks);
        }
    }
}
