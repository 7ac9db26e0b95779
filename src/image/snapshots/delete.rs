//! Deleting a snapshot: it leaves the list, everything it leads to is referred to once less, and
//! what is the active view's alone again may be written in place again.

use std::path::Path;
use std::sync::Arc;

use crate::host::{HostFile, printable_bytes};
use crate::qcow2::Snapshot;

use super::super::Pace;
use super::super::error::Result;
use super::change::{Flags, SnapshotChange};

impl SnapshotChange {
    /// Works out what deletes the snapshot of that ID. No other view changes.
    ///
    /// # Errors
    /// As [`SnapshotChange::create`], and when there is no such snapshot.
    pub fn delete(
        path: &Path,
        file: &Arc<dyn HostFile>,
        id: &[u8],
        pace: &dyn Pace,
    ) -> Result<Self> {
        let mut change = Self::begin(path, file, pace)?;
        let gone = change.of_id(id)?;
        change.list.retain(|snapshot| snapshot.id != id);
        let tree = change.l1_of(&gone)?;
        change.lower_tree(&tree, pace)?;
        let (first, clusters) = change.l1_run(gone.l1_offset, u64::from(gone.l1_entries));
        change.counts.lower(first, clusters)?;

        let size = change.cluster_size();
        let old = change.active_l1()?;
        let mut l1 = old.clone();
        change.compare_flags(&old, pace, |change, table, differs| {
            let raw = if differs {
                let cluster = change.counts.allocate(1)?;
                change.counts.replace(table.offset / size)?;
                change.move_table(table.offset, cluster, Flags::ByCount);
                change.l1_entry(cluster * size, true)?
            } else {
                let copied = change.counts.get(table.offset / size)? == 1;
                change.l1_entry(table.offset, copied)?
            };
            l1.set(table.index, raw).map_err(|e| change.format_error(e))
        })?;
        change.set_active_l1(&old, l1)?;
        change.settle()
    }

    /// The snapshot of that ID.
    pub(super) fn of_id(&self, id: &[u8]) -> Result<Snapshot> {
        let mut found = self.list.iter().filter(|snapshot| snapshot.id == id);
        let id = printable_bytes(id);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.clone()),
            (None, _) => Err(self.limit(format!("has no internal snapshot with the ID {id}"))),
            (Some(_), Some(_)) => Err(self.limit(format!(
                "has several internal snapshots with the ID {id}: which one is meant cannot be said"
            ))),
        }
    }
}
