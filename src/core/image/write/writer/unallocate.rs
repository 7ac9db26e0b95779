//! Giving up guest bytes that the image below shows as well, so that it shows through again.

use crate::image::error::{OfFile, Result};
use crate::image::internal::bit;
use crate::qcow2::{L2Entry, SubclusterState};

use super::state::Writer;

impl Writer {
    /// Makes the image below show through at these guest bytes: whole clusters, and whole subclusters
    /// where there are any; what is less stays as it is. The caller has made sure that the image below
    /// shows the same there. Returns how many bytes were given up.
    ///
    /// # Errors
    /// When a table cannot be read or written.
    pub fn unallocate(&mut self, guest: u64, len: u64) -> Result<u64> {
        let size = self.cluster_size();
        let end = guest.saturating_add(len);
        let mut at = guest;
        let mut given_up = 0;
        while at < end {
            let cluster = at - at % size;
            // The guest's last cluster is whole when its end is the guest's end.
            let cluster_end = (cluster + size).min(self.header().virtual_size().max(end));
            let to = cluster_end.min(end);
            if self.let_cluster_through(cluster, at, to, at == cluster && to == cluster_end)? {
                given_up += to - at;
            }
            at = to;
            self.keep_budget()?;
        }
        Ok(given_up)
    }

    fn let_cluster_through(
        &mut self,
        cluster: u64,
        start: u64,
        end: u64,
        whole: bool,
    ) -> Result<bool> {
        let entry = self.entry(cluster)?;
        if matches!(entry, L2Entry::Unallocated) {
            return Ok(false);
        }
        if whole {
            self.set_entry(cluster, L2Entry::Unallocated)?;
            self.release(entry);
            return Ok(true);
        }
        if !self.geometry().extended_l2() || matches!(entry, L2Entry::Compressed(_)) {
            return Ok(false);
        }
        let unit = self.geometry().subcluster_size();
        let first = bit((start - cluster).div_ceil(unit)).of(&self.file)?;
        let last = bit((end - cluster) / unit).of(&self.file)?;
        if first >= last {
            return Ok(false);
        }
        let bitmap = self
            .bitmap_of(entry)
            .with(first..last, SubclusterState::Unallocated);
        let is_empty = (0..self.geometry().subclusters())
            .all(|n| bitmap.state(n) == SubclusterState::Unallocated);
        if is_empty {
            self.set_entry(cluster, L2Entry::Unallocated)?;
            self.release(entry);
            return Ok(true);
        }
        let copied = self.owned(entry)?.is_some();
        let new = L2Entry::Subclusters {
            host: entry.host(),
            copied,
            bitmap,
        };
        self.set_entry(cluster, new)?;
        Ok(true)
    }
}
