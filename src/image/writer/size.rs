//! The virtual size of an image that is written, and emptying it.

use std::path::Path;

use crate::host::{HostFile, printable_bytes};
use crate::qcow2::bitmap::BitmapFlags;
use crate::qcow2::limits::MAX_L1_BYTES;
use crate::qcow2::{EntryTable, Header, L1Entry, Version};

use super::super::error::{IoContext, Result};
use super::super::qcow2_layer::read_l2;
use super::super::{Error, ErrorKind, bitmaps};
use super::{FREE_BUDGET, Writer};

/// Whether an image may grow to `size` bytes: QEMU has to be able to open it afterwards.
///
/// # Errors
/// Why not, if not.
pub fn may_grow(path: &Path, file: &dyn HostFile, header: &Header, size: u64) -> Result<()> {
    let geometry = header.geometry;
    let limit = |text: String| Err(Error::new(path, ErrorKind::Limit(text)));
    if geometry.l1_entries_for(size).saturating_mul(8) > MAX_L1_BYTES {
        return limit(format!(
            "cannot be {size} bytes large: the L1 table would be too long for this cluster size"
        ));
    }
    // Its snapshots may not record how long the disk was (QEMU refuses as well).
    if header.version == Version::V2 && header.snapshot_count > 0 {
        return limit(
            "is of version 2 and has internal snapshots: its disk cannot grow".to_owned(),
        );
    }
    for bitmap in bitmaps(path, file, header)? {
        let bytes = u64::from(bitmap.table_entries).saturating_mul(geometry.cluster_size());
        let covered = bytes.saturating_mul(8).saturating_mul(bitmap.granularity());
        // Those that record writes are marked as in use first, and then QEMU asks for no length.
        let is_read = !bitmap
            .flags
            .intersects(BitmapFlags::AUTO | BitmapFlags::IN_USE);
        if is_read && size > covered {
            return limit(format!(
                "has the bitmap {}, which would be too short for {size} bytes: its disk cannot grow. Remove \
                 the bitmap first (`qemu-img bitmap --remove`)",
                printable_bytes(&bitmap.name)
            ));
        }
    }
    Ok(())
}

impl Writer {
    /// Grows the virtual size to `size` bytes, a multiple of 512. What is new reads as zero, even
    /// where the image below is longer than this one was.
    ///
    /// # Errors
    /// When the size is beyond what the L1 table can be made to map, or a file cannot be written.
    pub fn grow(&mut self, size: u64) -> Result<()> {
        let geometry = self.geometry();
        let old = self.header().virtual_size();
        if size <= old {
            return Ok(());
        }
        may_grow(&self.path, &*self.file, self.header(), size)?;
        let entries = geometry.l1_entries_for(size);
        let wanted = usize::try_from(entries).map_err(|e| self.damaged(old, e))?;
        if wanted > self.tree.l1.len() {
            self.flush()?;
            self.move_l1(wanted)?;
        }
        // Nobody sees yet what lies past the end. It is made to read as zero, on disk, before the
        // size says that it is seen: the rest of the last cluster, then what would shine through.
        let cluster_end = old.next_multiple_of(geometry.cluster_size()).min(size);
        self.write_zeros(old, cluster_end - old)?;
        let shown = self.backing_size.min(size);
        if shown > cluster_end {
            self.write_zeros(cluster_end, shown - cluster_end)?;
        }
        if let Some(data) = &self.data
            && data.file.len().at(&data.path, "ask the length")? < size
        {
            data.file.set_len(size).at(&data.path, "grow")?;
        }
        self.flush()?;
        self.header.set_virtual_size(size)
    }

    /// Gives the L1 table a new place with room for `entries`; the next flush switches over.
    fn move_l1(&mut self, entries: usize) -> Result<()> {
        let size = self.cluster_size();
        let clusters = (entries as u64 * 8).div_ceil(size);
        let first = self.refs.allocate_exactly(clusters)?;
        let old_clusters = (self.tree.l1.len() as u64 * 8).div_ceil(size);
        if old_clusters > 0 {
            self.free(self.tree.l1_offset / size, old_clusters);
        }
        self.tree.l1.resize(entries);
        self.tree.l1_offset = first * size;
        self.tree.l1_moved = true;
        Ok(())
    }

    /// Drops everything the active view holds, so that the image below shows through everywhere,
    /// and gives the space back. Internal snapshots keep what they hold.
    ///
    /// At every instant each guest byte is read from here or from below: the caller has made sure
    /// that this is the same.
    ///
    /// # Errors
    /// When a table cannot be read, or the file cannot be written.
    pub fn empty(&mut self) -> Result<()> {
        self.flush()?;
        self.header.clear_unkept_features()?;
        let gone = std::mem::take(&mut self.tree.l1);
        self.tree.l1 = EntryTable::zeroed(gone.len());
        let what = format!("write the L1 table at {:#x}", self.tree.l1_offset);
        self.file
            .write_at(self.tree.l1.as_bytes(), self.tree.l1_offset)
            .at(&self.path, &what)?;
        self.file.fence().at(&self.path, "flush")?;
        self.free_tree(&gone)?;
        if let Some(data) = &self.data {
            let len = data.file.len().at(&data.path, "ask the length")?;
            data.file.punch(0, len).at(&data.path, "free the data")?;
        }
        self.finish()?;
        self.truncate_tail()
    }

    /// Gives up one reference to everything a table led to that nothing on disk refers to any more.
    fn free_tree(&mut self, l1: &EntryTable) -> Result<()> {
        let geometry = self.geometry();
        for (at, raw) in (0_u64..).zip(l1.iter()) {
            let guest = at.saturating_mul(geometry.l2_coverage());
            let entry = L1Entry::parse(raw, geometry).map_err(|e| self.damaged(guest, e))?;
            let Some(offset) = entry.table else { continue };
            let table = read_l2(&self.path, &*self.file, offset.get(), self.context)?;
            for entry in table.iter() {
                let entry = entry.map_err(|e| self.damaged(guest, e))?;
                self.release(entry);
            }
            self.free(offset.get() / geometry.cluster_size(), 1);
            if self.freed.len() > FREE_BUDGET {
                self.apply_frees()?;
            }
        }
        self.apply_frees()
    }

    /// Cuts off what lies behind the last cluster in use.
    fn truncate_tail(&mut self) -> Result<()> {
        let used = self.refs.highest_used()?.map_or(0, |cluster| {
            (cluster + 1).saturating_mul(self.cluster_size())
        });
        let len = self.file.len().at(&self.path, "ask the length")?;
        if used > 0 && used < len {
            self.file
                .set_len(used)
                .at(&self.path, "cut off the free end")?;
            self.file.fence().at(&self.path, "flush")?;
        }
        Ok(())
    }
}
