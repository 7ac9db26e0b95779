//! Clusters that a snapshot's view gave up and that the active view alone may still hold. A cluster with
//! one reference has the copied flag in the active view, and no order of two writes keeps flag and
//! count true to each other: so the active view gets a copy that is its own from the start, and the
//! shared cluster is freed.

use std::collections::BTreeSet;

use crate::image::error::Result;
use crate::image::progress::NoProgress;
use crate::image::read::qcow2_layer::read_decrypted;
use crate::image::read::table_walk::TableWalk;
use crate::qcow2::{HostCluster, HostClusters, HostOffset, L1Entry};

use super::source::Source;
use super::state::{Tree, Writer};

impl Writer {
    /// Gives the active view copies of what it shared with the snapshot's view that was written, and
    /// frees what neither needs any more.
    pub(super) fn part_from_active(&mut self) -> Result<()> {
        let given_up = std::mem::take(&mut self.given_up);
        if given_up.is_empty() {
            return Ok(());
        }
        let header = self.header.header();
        let active = Tree::read(&self.file, header.l1(), true)?;
        let own = std::mem::replace(&mut self.tree, active);
        let done = self.copy_for_active(&given_up);
        self.tree = own;
        done
    }

    fn copy_for_active(&mut self, given_up: &[HostClusters]) -> Result<()> {
        let shared = Shared::of(given_up);
        for guest in self.shared_places(&shared)? {
            let entry = self.entry(guest)?;
            let new = match entry.host() {
                Some(host) if shared.contains(self.geometry().cluster_of(host)) => {
                    let place = self.new_cluster(guest)?;
                    self.copy_cluster(host, place)?;
                    self.release(entry);
                    entry.moved_to(place)
                }
                // Only its table is shared.
                _ => entry,
            };
            self.set_entry(guest, new)?;
            self.keep_budget()?;
        }
        // Now nothing refers to them any more.
        self.freed.extend_from_slice(given_up);
        self.flush()
    }

    /// A guest offset of each cluster of the active view that is among `shared`, and one of each L2
    /// table.
    fn shared_places(&self, shared: &Shared) -> Result<BTreeSet<u64>> {
        let (geometry, size) = (self.geometry(), self.cluster_size());
        let trees = TableWalk::new(&self.file, self.context, &NoProgress);
        let mut places = BTreeSet::new();
        for (index, raw) in (0u64..).zip(self.tree.l1.iter()) {
            let entry = L1Entry::parse(raw, geometry).map_err(|e| trees.damaged(&e))?;
            if entry
                .table
                .is_some_and(|at| shared.contains(geometry.cluster_of(at)))
            {
                places.insert(index.saturating_mul(geometry.l2_coverage()));
            }
        }
        trees.each(&self.tree.l1, |named, table| {
            let start = (named.index as u64).saturating_mul(geometry.l2_coverage());
            trees.flagged(table, |at, run, _| {
                for cluster in shared.among(run) {
                    let at = at as u64 + (cluster.get() - run.first.get());
                    places.insert(start.saturating_add(at.saturating_mul(size)));
                }
                Ok(())
            })
        })?;
        Ok(places)
    }

    /// Copies a cluster of guest data inside the file, as the guest sees it.
    fn copy_cluster(&mut self, from: HostOffset, to: HostOffset) -> Result<()> {
        let mut bytes = vec![0; self.geometry().cluster_len()];
        match &self.cipher {
            Some(cipher) => read_decrypted(&self.file, cipher, &mut bytes, from.get())?,
            None => self.file.read(&mut bytes, from.get())?,
        }
        self.put(to, self.cluster_size(), Source::Bytes(&bytes))
    }
}

/// A set of clusters, as runs in order that do not touch.
struct Shared(Vec<HostClusters>);

impl Shared {
    fn of(runs: &[HostClusters]) -> Self {
        let mut sorted = runs.to_vec();
        sorted.sort_unstable();
        let mut merged: Vec<HostClusters> = Vec::new();
        for run in sorted {
            match merged.last_mut() {
                Some(last) if run.first <= last.end() => {
                    last.count = run.end().max(last.end()).get() - last.first.get();
                }
                _ => merged.push(run),
            }
        }
        Self(merged)
    }

    fn contains(&self, cluster: HostCluster) -> bool {
        self.among(HostClusters::one(cluster)).next().is_some()
    }

    /// Those clusters of a run that are in the set.
    fn among(&self, run: HostClusters) -> impl Iterator<Item = HostCluster> {
        let first = self.0.partition_point(|own| own.end() <= run.first);
        let rest = self.0.iter().skip(first);
        let own = rest.take_while(move |own| own.first < run.end());
        own.flat_map(move |own| own.common(run).iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(range: std::ops::Range<u64>) -> HostClusters {
        HostClusters {
            first: HostCluster(range.start),
            count: range.end - range.start,
        }
    }

    #[test]
    fn clusters_given_up_more_than_once_are_one_set() {
        let set = Shared::of(&[7..8, 5..10, 20..21, 10..12].map(run));
        let contains = |cluster| set.contains(HostCluster(cluster));
        assert!(contains(5) && contains(11) && !contains(12) && !contains(4));
        let among: Vec<u64> = set.among(run(9..25)).map(HostCluster::get).collect();
        assert_eq!(among, [9, 10, 11, 20]);
        assert_eq!(set.among(run(12..20)).count(), 0);
    }
}
