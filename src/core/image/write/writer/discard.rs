//! Giving up guest bytes that nobody needs, as a guest's own discard does: they read as zero then.

use std::ops::Range;

use crate::image::error::Result;
use crate::qcow2::{Geometry, GuestOffset, L2Entry, Version};

use super::state::Writer;

impl Writer {
    /// Gives up the whole clusters of these guest bytes; what is less stays as it is. Over a backing file they become
    /// zero clusters, as QEMU's discard makes them, and else unallocated ones: either way they read as zero. Of an
    /// external data file the bytes become a hole; one that is promised to be the guest's disk byte for byte keeps
    /// its entries. An image of version 2 cannot say that bytes over a backing file are zero: there nothing is done.
    /// Returns how many bytes were given up; clusters without a place have nothing to give.
    ///
    /// # Errors
    /// When a table cannot be read or written, or the data file cannot be written.
    pub fn discard(&mut self, guest: Range<u64>) -> Result<u64> {
        let (geometry, disk) = (self.geometry(), self.header().virtual_size());
        let new = match self.header().backing.is_some() {
            false => L2Entry::Unallocated,
            true if self.context.version == Version::V2 => return Ok(0),
            true => L2Entry::Zero {
                host: None,
                copied: false,
            },
        };
        let whole = whole_clusters(geometry, disk, &guest);
        let size = geometry.cluster_size();
        let mut stored: Vec<Range<u64>> = Vec::new();
        for at in (whole.start..whole.end).step_by(geometry.cluster_len()) {
            if !has_place(self.entry(at)?) {
                continue;
            }
            add(&mut stored, at..at + size);
        }
        let mut given_up = 0;
        for run in stored {
            // In one piece: what is punched must cover blocks of the filesystem below.
            self.zero_data_file(run.start, run.end.min(disk) - run.start)?;
            given_up += run.end - run.start;
            if self.promises_raw_data() {
                continue;
            }
            for at in run.step_by(geometry.cluster_len()) {
                let entry = self.entry(at)?;
                self.set_entry(at, new)?;
                self.release(entry);
            }
        }
        self.keep_budget()?;
        Ok(given_up)
    }
}

/// Adds a range, to the one before it where it follows on that.
pub(crate) fn add(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

/// The clusters that lie wholly in `guest`. The disk's last one does where its end is the disk's end.
pub(crate) fn whole_clusters(
    geometry: Geometry,
    virtual_size: u64,
    guest: &Range<u64>,
) -> Range<u64> {
    let size = geometry.cluster_size();
    let whole_disk = virtual_size.next_multiple_of(size);
    let start = guest.start.min(whole_disk).next_multiple_of(size);
    let end = match guest.end >= virtual_size {
        true => whole_disk,
        false => guest.end - geometry.offset_in_cluster(GuestOffset(guest.end)),
    };
    start..end.max(start)
}

/// Whether something is stored, or kept for later, for the cluster of this entry.
pub(crate) const fn has_place(entry: L2Entry) -> bool {
    matches!(entry, L2Entry::Compressed(_)) || entry.host().is_some()
}
