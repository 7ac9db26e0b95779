//! Deleting a snapshot: it leaves the list, everything it leads to is referred to once less, and
//! what is the active view's alone again may be written in place again.

use std::collections::BTreeSet;

use crate::host::printable_bytes;
use crate::image::change::snapshots::change::{Flags, SnapshotChange};
use crate::image::error::Result;
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink};
use crate::qcow2::{HostOffset, L1Entry, Snapshot};

impl SnapshotChange {
    /// Works out what deletes the snapshot of that ID. No other view changes.
    ///
    /// # Errors
    /// As [`SnapshotChange::create`], and when there is no such snapshot.
    pub fn delete(file: &ImageFile, id: &[u8], progress: &dyn ProgressSink) -> Result<Self> {
        let mut change = Self::begin(file, progress)?;
        let gone = change.of_id(id)?;
        change.list.retain(|snapshot| snapshot.id != id);
        let tree = change.l1_of(&gone)?;
        // What the active view refers to by this table as well keeps one reference at least: where one is
        // left now, one is left in the end, whatever comes after.
        let mut alone = BTreeSet::new();
        change.lower_tree(&tree, progress, |table, is_alone| {
            if is_alone {
                alone.insert(table.offset);
            }
        })?;
        change
            .transaction
            .release(gone.l1_offset, gone.l1().bytes())?;

        let old = change.active_l1()?;
        let mut l1 = old.clone();
        let mut undecided = old.clone();
        let mut decided = Vec::new();
        for (index, raw) in old.iter().enumerate() {
            let entry = L1Entry::parse(raw, change.transaction.context.geometry);
            let entry = entry.map_err(|e| change.format_error(e))?;
            if let Some(offset) = entry.table.filter(|table| alone.contains(table)) {
                undecided
                    .set(index, 0)
                    .map_err(|e| change.format_error(e))?;
                decided.push((offset, index));
            }
        }
        decided.sort_unstable();
        for (offset, index) in decided {
            let raw = change.move_alone(offset)?;
            l1.set(index, raw).map_err(|e| change.format_error(e))?;
        }
        change.compare_flags(&undecided, progress, |change, table, differs| {
            let raw = if differs {
                change.move_alone(table.offset)?
            } else {
                let copied = change.transaction.is_alone(table.offset)?;
                change.l1_entry(table.offset, copied)?
            };
            l1.set(table.index, raw).map_err(|e| change.format_error(e))
        })?;
        change.set_active_l1(&old, &l1)?;
        change.settle()
    }

    /// Has the L2 table at this offset written anew with the flags that its clusters are to have: the
    /// L1 entry for it.
    fn move_alone(&mut self, offset: HostOffset) -> Result<u64> {
        let geometry = self.transaction.geometry();
        let cluster = self.transaction.counts.allocate(1)?;
        let replaced = geometry.cluster_of(offset);
        self.transaction.counts.replace(replaced)?;
        self.move_table(offset, cluster, Flags::ByCount);
        self.l1_entry(geometry.offset_of(cluster), true)
    }

    /// The snapshot of that ID.
    pub(crate) fn of_id(&self, id: &[u8]) -> Result<Snapshot> {
        let mut found = self.list.iter().filter(|snapshot| snapshot.id == id);
        let id = printable_bytes(id);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.clone()),
            (None, _) => {
                let text = format!("has no internal snapshot with the ID {id}");
                Err(Error::new(&self.transaction.file, ErrorKind::NoSuch(text)))
            }
            (Some(_), Some(_)) => Err(self.transaction.unsupported(format!(
                "has several internal snapshots with the ID {id}: which one is meant cannot be said"
            ))),
        }
    }
}
