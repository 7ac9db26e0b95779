//! The virtual size of an image that is written, and emptying it.

use crate::host::printable_bytes;
use crate::image::error::{OfFile, Result};
use crate::image::read::table_reader::read_l2;
use crate::image::write::sequential::{reserve, write_zeros};
use crate::image::write::truncate;
use crate::image::{
    Error, ErrorKind, ImageFile, NoProgress, Preallocation, ProgressSink, bitmaps, internal,
};
use crate::qcow2::bitmap::BitmapFlags;
use crate::qcow2::limits::MAX_L1_BYTES;
use crate::qcow2::{
    EntryTable, Header, L1Entry, L2Entry, SubclusterBitmap, SubclusterState, Version,
};

use super::state::{FREE_BUDGET, Writer};

/// Bytes given a place before progress is told.
const PREALLOCATE_AT_ONCE: u64 = 8 << 20;

/// Makes a range of a file read as zero, its space provided for as asked.
///
/// # Errors
/// When the file cannot be written, or its filesystem cannot reserve space.
pub(crate) fn provide_zeros(
    file: &ImageFile,
    offset: u64,
    len: u64,
    how: Preallocation,
) -> Result<()> {
    let action = format!("provide {len} bytes at {offset:#x}");
    match how {
        Preallocation::Off | Preallocation::Metadata => file.zero(offset, len, &action),
        Preallocation::Falloc => {
            file.zero(offset, len, &action)?;
            reserve(file, offset, len)
        }
        Preallocation::Full => write_zeros(file, offset, len),
    }
}

/// Whether an image may grow to `size` bytes: QEMU has to be able to open it afterwards.
///
/// # Errors
/// Why not, if not.
pub fn may_grow(file: &ImageFile, header: &Header, size: u64) -> Result<()> {
    let geometry = header.geometry;
    let unsupported = |text: String| Err(Error::new(file, ErrorKind::Unsupported(text)));
    if geometry.l1_entries_for(size).saturating_mul(8) > MAX_L1_BYTES {
        let text = format!(
            "cannot be {size} bytes large: the L1 table would be too long for this cluster size"
        );
        return Err(Error::new(file, ErrorKind::Limit(text)));
    }
    // Its snapshots may not record how long the disk was (QEMU refuses as well).
    if header.version == Version::V2 && header.snapshot_count > 0 {
        return unsupported(
            "is of version 2 and has internal snapshots: its disk cannot grow".to_owned(),
        );
    }
    for bitmap in bitmaps(file, header)? {
        let bytes = u64::from(bitmap.table_entries).saturating_mul(geometry.cluster_size());
        let covered = bytes.saturating_mul(8).saturating_mul(bitmap.granularity());
        // Those that record writes are marked as in use first, and then QEMU asks for no length.
        let is_read = !bitmap
            .flags
            .intersects(BitmapFlags::AUTO | BitmapFlags::IN_USE);
        if is_read && size > covered {
            return unsupported(format!(
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
        if size <= self.header().virtual_size() {
            return Ok(());
        }
        may_grow(&self.file, self.header(), size)?;
        self.prepare_growth(size, Preallocation::Off, &NoProgress)?;
        self.header.set_virtual_size(size)
    }

    /// Does everything that growing to `size` bytes takes, but for saying so in the header: nobody
    /// sees it until then.
    ///
    /// # Errors
    /// As [`Writer::grow`], and when it was stopped.
    pub fn prepare_growth(
        &mut self,
        size: u64,
        preallocation: Preallocation,
        progress: &dyn ProgressSink,
    ) -> Result<()> {
        let geometry = self.geometry();
        let old = self.header().virtual_size();
        let entries = geometry.l1_entries_for(size);
        let wanted = usize::try_from(entries).map_err(|e| self.damaged(old, e))?;
        if wanted > self.tree.l1.len() {
            self.flush()?;
            self.move_l1(wanted)?;
        }
        // Made to read as zero, on disk, before the size says that it is seen: the rest of the last
        // cluster, then what would shine through, and what tables say of it already (the state of a
        // machine that a snapshot brought back lies behind the disk's end).
        let cluster_end = old.next_multiple_of(geometry.cluster_size()).min(size);
        self.write_zeros(old, cluster_end - old)?;
        let mut at = cluster_end;
        while at < size {
            let coverage = geometry.l2_coverage();
            let end = (at - at % coverage).saturating_add(coverage).min(size);
            let index = internal::index(at / coverage).of(&self.file)?;
            let is_mapped = self.tree.l1.get(index).is_some_and(|raw| raw != 0);
            let to = if is_mapped {
                end
            } else {
                end.min(self.backing_size)
            };
            self.write_zeros(at, to.saturating_sub(at))?;
            if !progress.advance(0) {
                return Err(Error::new(&self.file, ErrorKind::Cancelled));
            }
            at = end;
        }
        if let Some(data) = &self.data {
            let len = data.len()?;
            if self.promises_raw_data() {
                self.zero_data_file(old, len.min(size).saturating_sub(old))?;
            }
            if let Some(data) = &self.data
                && len < size
            {
                data.set_len(size, "grow")?;
            }
        }
        self.flush()?;
        if preallocation != Preallocation::Off {
            self.preallocate(cluster_end, size, preallocation, progress)?;
        }
        self.flush()
    }

    /// Gives every guest cluster from `start` on, none of which is seen yet, a host cluster of zeros.
    fn preallocate(
        &mut self,
        start: u64,
        end: u64,
        how: Preallocation,
        progress: &dyn ProgressSink,
    ) -> Result<()> {
        let geometry = self.geometry();
        let size = geometry.cluster_size();
        let most = (PREALLOCATE_AT_ONCE / size).max(1);
        let mut at = start;
        while at < end {
            if self.entry(at)?.host().is_some() {
                at += size;
                continue;
            }
            let wanted = (end - at).div_ceil(size).min(most);
            let mut row = 1;
            while row < wanted && self.entry(at + row * size)?.host().is_none() {
                row += 1;
            }
            let new = self.new_clusters(at, row)?;
            let (host, got) = (geometry.offset_of(new.first), new.count);
            self.provide_zeros(host.get(), got * size, how)?;
            for index in 0..got {
                let (guest, host) = (at + index * size, host.plus(index * size));
                let entry = if geometry.extended_l2() {
                    L2Entry::Subclusters {
                        host: Some(host),
                        copied: true,
                        bitmap: SubclusterBitmap::default()
                            .with(0..geometry.subclusters(), SubclusterState::Data),
                    }
                } else {
                    L2Entry::Data { host, copied: true }
                };
                self.set_entry(guest, entry)?;
            }
            at += got * size;
            self.keep_budget()?;
            if !progress.advance(got * size) {
                return Err(Error::new(&self.file, ErrorKind::Cancelled));
            }
        }
        Ok(())
    }

    /// Makes a range of the file that holds the guest's data read as zero.
    fn provide_zeros(&mut self, offset: u64, len: u64, how: Preallocation) -> Result<()> {
        self.wrote_data = true;
        let file = self.data.as_ref().unwrap_or(&self.file);
        provide_zeros(file, offset, len, how)
    }

    /// Gives the L1 table a new place with room for `entries`; the next flush switches over.
    fn move_l1(&mut self, entries: usize) -> Result<()> {
        let geometry = self.geometry();
        let clusters = geometry.clusters_for(entries as u64 * 8);
        let new = self.refs.allocate_exactly(clusters)?;
        let old = geometry.clusters_of(self.tree.l1_offset, self.tree.l1.len() as u64 * 8);
        if !old.is_empty() {
            self.free(old);
        }
        self.tree.l1.resize(entries);
        self.tree.l1_offset = geometry.offset_of(new.first);
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
        self.file.write_at(
            self.tree.l1.as_bytes(),
            self.tree.l1_offset.get(),
            format_args!("write the L1 table at {}", self.tree.l1_offset),
        )?;
        self.file.flush()?;
        self.free_tree(&gone)?;
        if let Some(data) = &self.data {
            let len = data.len()?;
            data.punch(0, len, "free the data")?;
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
            let table = read_l2(&self.file, offset.get(), self.context)?;
            for entry in table.iter() {
                let entry = entry.map_err(|e| self.damaged(guest, e))?;
                self.release(entry);
            }
            self.free_cluster(offset);
            if self.freed.len() > FREE_BUDGET {
                self.apply_frees()?;
            }
        }
        self.apply_frees()
    }

    /// Cuts off what lies behind the last cluster in use.
    fn truncate_tail(&mut self) -> Result<()> {
        let end = self.refs.end_of_all()?;
        truncate::cut(&self.file, self.geometry().offset_of(end).get())
    }
}
