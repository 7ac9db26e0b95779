//! Where tables, lists and counts are going to be: those that stay keep their place, the others get one that is
//! free.

use crate::host::printable_bytes;
use crate::image::check::L2_TABLE;
use crate::image::error::Result;
use crate::image::{Check, FindingKind};
use crate::qcow2::limits::MIN_V3_SNAPSHOT_EXTRA_BYTES;
use crate::qcow2::snapshot::encode_table;
use crate::qcow2::{HostCluster, HostClusters, HostOffset, L1Entry, Version, l1};

use super::{Analysis, Table};

impl Analysis {
    /// L2 tables stay where they are if nothing in them changes and nobody else is there.
    pub(super) fn place_tables(&mut self) -> Result<()> {
        let mut tables = std::mem::take(&mut self.tables);
        for table in &mut tables {
            let is_alone = self.counts.get(table.cluster)? == 0;
            if table.fixed > 0 {
                self.counts
                    .count(HostClusters::one(table.cluster), table.fixed)?;
            }
            let mut references = table.weight.saturating_sub(table.fixed);
            if references == 0 {
                continue;
            }
            let mut cluster = table.cluster;
            if table.changed || !is_alone {
                cluster = self.counts.allocate(1)?;
                table.to = Some(cluster);
                references -= 1;
            }
            if references > 0 {
                self.counts.count(HostClusters::one(cluster), references)?;
            }
        }
        self.tables = tables;
        Ok(())
    }

    pub(super) fn place_roots(&mut self) -> Result<()> {
        let geometry = self.rules.context.geometry;
        let mut roots = std::mem::take(&mut self.roots);
        for root in &mut roots {
            if root.fixed {
                let clusters = self.run(root.offset, root.entries.len() as u64 * 8);
                self.counts.count(clusters, 1)?;
                continue;
            }
            let mut new = root.entries.clone();
            for (index, raw) in root.entries.iter().enumerate() {
                if raw == 0 {
                    continue;
                }
                // What cannot be followed stays as it is; that was told.
                let Ok(clean) = self.clean_l1(raw) else {
                    continue;
                };
                let old = geometry.cluster_of(HostOffset(clean & !l1::COPIED));
                let entry = if clean == 0 {
                    0
                } else {
                    let cluster = self.place_of(old);
                    let copied = match root.owner {
                        None => self.counts.get(cluster)? == 1,
                        Some(_) => clean & l1::COPIED != 0,
                    };
                    L1Entry {
                        table: Some(geometry.offset_of(cluster)),
                        copied,
                    }
                    .encode(geometry)
                    .map_err(|e| self.wrong(e))?
                };
                new.set(index, entry).map_err(|e| self.wrong(e))?;
            }
            let clusters = self.run(root.offset, new.len() as u64 * 8);
            let stays = new == root.entries && self.counts.claim(clusters)?;
            if !stays && !clusters.is_empty() {
                let place = self.counts.allocate(clusters.count)?;
                root.to = Some(place);
                let snapshot = root.owner.and_then(|at| self.snapshots.get_mut(at));
                if let Some(snapshot) = snapshot {
                    snapshot.l1_offset = geometry.offset_of(place);
                }
            }
            root.entries = new;
        }
        self.roots = roots;
        Ok(())
    }

    /// Where the L2 table that is now in `cluster` is going to be.
    pub(super) fn place_of(&self, cluster: HostCluster) -> HostCluster {
        let table = self.table_at(cluster);
        table.and_then(|table| table.to).unwrap_or(cluster)
    }

    /// The L2 table in this cluster.
    pub(super) fn table_at(&self, cluster: HostCluster) -> Option<&Table> {
        let found = self
            .tables
            .binary_search_by_key(&cluster, |table| table.cluster);
        self.tables.get(found.ok()?)
    }

    pub(super) fn place_list(&mut self) -> Result<()> {
        let offset = self.header.snapshots_offset.get();
        let virtual_size = self.header.virtual_size();
        let clusters = self.run(offset, self.old_list_len);
        if self.list_stays {
            // As the file grows it may come to lie inside, and is in use then.
            let end = self.rules.context.geometry.offset_of(self.counts.end());
            if offset < end.get().max(self.rules.len) {
                self.counts.count(clusters, 1)?;
            }
            return Ok(());
        }
        let mut roots = self.roots.iter();
        let mut changed =
            self.list_is_overlong || roots.any(|root| root.owner.is_some() && root.to.is_some());
        let geometry = self.rules.context.geometry;
        for snapshot in &mut self.snapshots {
            let has_table = snapshot.check_l1(geometry).is_ok();
            if self.header.version == Version::V3
                && snapshot.extra.len() < MIN_V3_SNAPSHOT_EXTRA_BYTES
            {
                let mut whole = snapshot.clone();
                whole.set_extra(whole.vm_state_size(), virtual_size, None);
                // With a size that its table does not map, nobody reads it.
                if !has_table || whole.check_size(geometry).is_ok() {
                    *snapshot = whole;
                    changed = true;
                    continue;
                }
                let text = || {
                    format!(
                        "snapshot {} does not record its disk size, and its table maps less than the disk's",
                        printable_bytes(&snapshot.name)
                    )
                };
                self.report.leave(FindingKind::SnapshotTable, offset, text);
            } else if has_table && let Err(error) = snapshot.check_size(geometry) {
                let text = || format!("snapshot {}: {error}", printable_bytes(&snapshot.name));
                self.report.leave(FindingKind::SnapshotTable, offset, text);
            }
        }
        if self.header.has_data_file() && !self.snapshots.is_empty() {
            let text = || "internal snapshots beside an external data file".to_owned();
            self.report.leave(FindingKind::SnapshotTable, offset, text);
        }
        if self.snapshots.is_empty() || (!changed && self.counts.claim(clusters)?) {
            return Ok(());
        }
        let bytes = encode_table(&self.snapshots).map_err(|e| self.wrong(e))?;
        let clusters = geometry.clusters_for(bytes.len() as u64);
        let place = self.counts.allocate(clusters)?;
        self.new_list = Some((place, bytes));
        Ok(())
    }

    /// With all data counted: as something cannot be followed, what is counted more often than it is
    /// referred to may be what that led to, a snapshot's for one. It stays counted as often, so that
    /// nobody writes to it in place.
    pub(super) fn keep_counts(&mut self, found: &Check) -> Result<()> {
        self.each_counted(&mut |analysis, cluster, counted| {
            let weight = match found.tables.at(cluster) {
                None | Some(L2_TABLE) => analysis.table_at(cluster).map_or(0, |table| table.weight),
                Some(_) => return Ok(()),
            };
            let referred = analysis.counts.get(cluster)?.saturating_add(weight);
            match counted.saturating_sub(referred) {
                0 => Ok(()),
                more => analysis.counts.count(HostClusters::one(cluster), more),
            }
        })
    }

    /// As something stays damaged, what looks leaked may belong to it: it stays counted.
    pub(super) fn keep_leaks(&mut self, found: &Check) -> Result<()> {
        self.each_counted(&mut |analysis, cluster, counted| {
            if analysis.counts.get(cluster)? == 0 && found.tables.at(cluster).is_none() {
                analysis.counts.count(HostClusters::one(cluster), counted)?;
            }
            Ok(())
        })
    }

    /// Tells which clusters of the file are counted on disk, and how often.
    pub(super) fn each_counted(
        &mut self,
        tell: &mut dyn FnMut(&mut Self, HostCluster, u64) -> Result<()>,
    ) -> Result<()> {
        let file_end = self.file_end();
        for block in self.blocks_on_disk() {
            if block.counts >= file_end {
                continue;
            }
            let geometry = self.rules.context.geometry;
            let counts = self.counts.read_block(block.cluster, geometry)?;
            for (cluster, counted) in block.counted(file_end).zip(counts.iter()) {
                if counted > 0 {
                    tell(self, cluster, counted)?;
                }
            }
        }
        Ok(())
    }

    /// Finds the counts on disk that can stay, and a place for all others.
    pub(super) fn settle_counts(&mut self) -> Result<()> {
        let (offset, bytes) = (
            self.header.refcount_table_offset.get(),
            self.old_refcounts.len() as u64 * 8,
        );
        let clusters = self.run(offset, bytes);
        let geometry = self.rules.context.geometry;
        if self.counts.refcount_bits() != geometry.refcount_bits() {
            // Nothing on disk says it in the new width.
            return self.counts.place();
        }
        if bytes > 0 && !self.is_past_end(offset, bytes) && self.counts.claim(clusters)? {
            self.counts.adopt_table(clusters);
        }
        let file_end = self.file_end();
        for block in self.blocks_on_disk() {
            // A block for what lies past the end of the file says nothing.
            if block.counts < file_end && self.counts.claim(HostClusters::one(block.cluster))? {
                self.counts.adopt_block(block.index, block.cluster)?;
            }
        }
        let on_disk = std::mem::take(&mut self.old_refcounts);
        self.counts_stay = self.counts.compare_blocks(&on_disk)?;
        self.old_refcounts = on_disk;
        if !self.counts_stay {
            self.counts.place()?;
        }
        Ok(())
    }
}
