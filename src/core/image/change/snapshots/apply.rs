//! Going back to a snapshot: the active view gets a copy of its L1 table, and what the active view
//! held until now is let go.

use crate::image::change::snapshots::change::{Flags, SnapshotChange};
use crate::image::error::Result;
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink, bitmaps};
use crate::qcow2::limits::SECTOR;
use crate::qcow2::{EntryTable, HostClusters, L1Entry, Version, l1};

/// Whether two L1 tables name the same L2 tables.
fn leads_to_the_same(one: &EntryTable, other: &EntryTable) -> bool {
    let table =
        |entries: &EntryTable, at| entries.get(at).unwrap_or(L1Entry::UNMAPPED) & !l1::COPIED;
    (0..one.len().max(other.len())).all(|at| table(one, at) == table(other, at))
}

impl SnapshotChange {
    /// Works out what makes the active view show what the snapshot of that ID shows, its virtual size
    /// and its VM state included. The snapshot stays; what only the active view held is lost.
    ///
    /// # Errors
    /// As [`SnapshotChange::create`]; also when there is no such snapshot, and when its virtual size
    /// is another one and the image is of version 2 or has bitmaps, which go by the size.
    pub fn apply(file: &ImageFile, id: &[u8], progress: &dyn ProgressSink) -> Result<Self> {
        let mut change = Self::begin(file, progress)?;
        let snapshot = change.of_id(id)?;
        change.choose_size(snapshot.virtual_size())?;
        let new_size = change.transaction.edit.virtual_size;
        let virtual_size = new_size.unwrap_or(change.header().virtual_size());
        change.transaction.changes_content = true;
        let geometry = change.transaction.geometry();
        let mut l1 = change.l1_of(&snapshot)?;
        let mut named = Vec::new();
        let shared = l1.clone();
        change.raise_tree(&shared, progress, |counts, table, copied| {
            if !copied {
                counts.raise(HostClusters::one(geometry.cluster_of(table.offset)))?;
            }
            named.push((table, copied));
            Ok(())
        })?;
        for (table, copied) in named {
            // What the active view refers to, the snapshot does as well. A table that says otherwise
            // stays the snapshot's own.
            let raw = if copied {
                let cluster = change.transaction.counts.allocate(1)?;
                change.move_table(table.offset, cluster, Flags::None);
                change.l1_entry(geometry.offset_of(cluster), true)?
            } else {
                change.l1_entry(table.offset, false)?
            };
            l1.set(table.index, raw)
                .map_err(|e| change.format_error(e))?;
        }
        let needed = change
            .transaction
            .context
            .geometry
            .l1_entries_for(virtual_size);
        let needed = usize::try_from(needed).map_err(|e| change.limit(e.to_string()))?;
        l1.resize(needed.max(l1.len()));
        let old = change.active_l1()?;
        change.is_so =
            change.transaction.edit.virtual_size.is_none() && leads_to_the_same(&old, &shared);
        change.lower_tree(&old, progress, |_, _| ())?;
        change.set_active_l1(&old, &l1)?;
        change.settle()
    }

    /// Takes over the snapshot's virtual size, where that can be done.
    fn choose_size(&mut self, recorded: Option<u64>) -> Result<()> {
        let header = self.header();
        let Some(size) = recorded.filter(|size| *size != header.virtual_size()) else {
            return Ok(());
        };
        let now = header.virtual_size();
        if !size.is_multiple_of(SECTOR)
            || size > self.transaction.context.geometry.max_virtual_size()
        {
            let text =
                format!("the snapshot says that its disk is {size} bytes large, which no disk is");
            return Err(Error::new(&self.transaction.file, ErrorKind::Damaged(text)));
        }
        if header.version == Version::V2 {
            return Err(self.transaction.unsupported(format!(
                "the snapshot's disk is {size} bytes large and the image's is {now}: an image of version 2 with \
                 snapshots cannot change its size"
            )));
        }
        if !bitmaps(&self.transaction.file, header)?.is_empty() {
            return Err(self.transaction.unsupported(format!(
                "the snapshot's disk is {size} bytes large and the image's is {now}: its bitmaps go by the \
                 size, remove them first"
            )));
        }
        self.transaction.edit.virtual_size = Some(size);
        Ok(())
    }
}
