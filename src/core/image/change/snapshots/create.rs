//! Taking a snapshot: the active view's L1 table is copied, and everything it leads to is referred
//! to once more and no longer written in place.

use std::time::SystemTime;

use crate::image::change::snapshots::change::{Flags, SnapshotChange};
use crate::image::error::Result;
use crate::image::{ImageFile, ProgressSink};
use crate::qcow2::limits::MAX_SNAPSHOTS;
use crate::qcow2::{HostClusters, HostOffset, Snapshot};

/// A snapshot to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its name; any bytes, at most 65535.
    pub name: Vec<u8>,
    /// When it is taken.
    pub date: SystemTime,
}

impl SnapshotChange {
    /// Works out a new snapshot of the active view. It becomes the last of the list, with the ID
    /// that QEMU would give it and without a VM state.
    ///
    /// # Errors
    /// When the image cannot be read or may not be written, a check finds corruptions, a cluster is
    /// shared as often as its count can hold, a bound of the format is met, or it was stopped.
    pub fn create(
        file: &ImageFile,
        new: &NewSnapshot,
        progress: &dyn ProgressSink,
    ) -> Result<Self> {
        let mut change = Self::begin(file, progress)?;
        if change.list.len() as u64 >= u64::from(MAX_SNAPSHOTS) {
            let text = format!("has {MAX_SNAPSHOTS} snapshots already, the most that are allowed");
            return Err(change.limit(text));
        }
        let geometry = change.transaction.geometry();
        let old = change.active_l1()?;
        let mut named = Vec::new();
        change.raise_tree(&old, progress, |counts, table, copied| {
            // Both views refer to the table, or to what takes its place.
            if !copied {
                counts.raise(HostClusters::one(geometry.cluster_of(table.offset)))?;
            }
            named.push((table, copied));
            Ok(())
        })?;
        let mut l1 = old.clone();
        for (table, copied) in named {
            let mut offset = table.offset;
            if copied {
                let cluster = change.transaction.counts.allocate(1)?;
                change
                    .transaction
                    .counts
                    .raise(HostClusters::one(cluster))?;
                change
                    .transaction
                    .counts
                    .replace(geometry.cluster_of(table.offset))?;
                change.move_table(table.offset, cluster, Flags::None);
                offset = geometry.offset_of(cluster);
            }
            let raw = change.l1_entry(offset, false)?;
            l1.set(table.index, raw)
                .map_err(|e| change.format_error(e))?;
        }
        let entries = u32::try_from(l1.len()).map_err(|e| change.limit(e.to_string()))?;
        let l1_offset = change.add_l1(&l1)?;
        change.set_active_l1(&old, &l1)?;
        let snapshot = change.entry(new, l1_offset, entries);
        change.list.push(snapshot);
        change.settle()
    }

    fn entry(&self, new: &NewSnapshot, l1_offset: HostOffset, l1_entries: u32) -> Snapshot {
        let since = new
            .date
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mut snapshot = Snapshot {
            l1_offset,
            l1_entries,
            id: self.next_id().to_string().into_bytes(),
            name: new.name.clone(),
            date_seconds: u32::try_from(since.as_secs()).unwrap_or(u32::MAX),
            date_nanoseconds: since.subsec_nanos(),
            vm_clock_nanoseconds: 0,
            vm_state_size_32: 0,
            extra: Vec::new(),
        };
        snapshot.set_extra(0, self.header().virtual_size(), None);
        snapshot
    }

    /// One more than the largest ID that is a number, as QEMU counts.
    fn next_id(&self) -> u64 {
        let number = |snapshot: &Snapshot| {
            let digits: Vec<u8> = snapshot
                .id
                .iter()
                .copied()
                .take_while(u8::is_ascii_digit)
                .collect();
            str::from_utf8(&digits).ok()?.parse::<u64>().ok()
        };
        let largest = self.list.iter().filter_map(number).max().unwrap_or(0);
        largest.saturating_add(1)
    }
}
