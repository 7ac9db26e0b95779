//! Writing zeros: by table entries where the format can say "reads as zero", by bytes where not.

use crate::image::error::Result;
use crate::image::internal;
use crate::qcow2::{Autoclear, GuestOffset, L2Entry, SubclusterState, Version};

use super::source::Source;
use super::state::Writer;

impl Writer {
    /// Makes guest bytes read as zero, by table entries where the format can say so.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn write_zeros(&mut self, guest: u64, len: u64) -> Result<()> {
        let size = self.cluster_size();
        let end = guest.saturating_add(len);
        let mut at = guest;
        while at < end {
            let cluster = at - at % size;
            // The guest's last cluster is whole when its end is the guest's end.
            let cluster_end = (cluster + size).min(self.header().virtual_size().max(end));
            let to = cluster_end.min(end);
            if at == cluster && to == cluster_end {
                self.zero_cluster(cluster, to)?;
            } else {
                self.zero_part(cluster, at, to)?;
            }
            at = to;
            self.keep_budget()?;
        }
        Ok(())
    }

    fn zero_cluster(&mut self, cluster: u64, end: u64) -> Result<()> {
        let entry = self.entry(cluster)?;
        let shines_through = cluster < self.backing_size;
        let raw_data = self.promises_raw_data();
        match entry {
            L2Entry::Unallocated if !shines_through => return Ok(()),
            L2Entry::Zero { host: None, .. } => return Ok(()),
            _ => {}
        }
        let new = if self.context.version != Version::V2 {
            L2Entry::Zero {
                host: None,
                copied: false,
            }
        } else if shines_through {
            return self.write_zero_bytes(cluster, end);
        } else {
            L2Entry::Unallocated
        };
        if raw_data {
            self.zero_data_file(cluster, end - cluster)?;
        }
        self.set_entry(cluster, new)?;
        self.release(entry);
        Ok(())
    }

    /// Zeros a part of a cluster: whole subclusters by their bits, the rest by writing zeros where
    /// it does not read as zero already.
    fn zero_part(&mut self, cluster: u64, start: u64, end: u64) -> Result<()> {
        let geometry = self.geometry();
        let unit = geometry.subcluster_size();
        let mut at = start;
        while at < end {
            let entry = self.entry(cluster)?;
            let unit_start = at - at % unit;
            let to = (unit_start + unit).min(end);
            let bit = geometry.subcluster_index(GuestOffset(at));
            let state = self.bitmap_of(entry).state(bit);
            let reads_zero = state == SubclusterState::Zero
                || (state == SubclusterState::Unallocated && at >= self.backing_size);
            let whole_unit = at == unit_start && to == unit_start + unit;
            if reads_zero {
                // Nothing to do.
            } else if geometry.extended_l2()
                && whole_unit
                && !matches!(entry, L2Entry::Compressed(_))
            {
                if self.promises_raw_data() {
                    self.zero_data_file(at, to - at)?;
                }
                let bitmap = self
                    .bitmap_of(entry)
                    .with(bit..bit + 1, SubclusterState::Zero);
                let copied = self.owned(entry)?.is_some();
                self.set_entry(
                    cluster,
                    L2Entry::Subclusters {
                        host: entry.host(),
                        copied,
                        bitmap,
                    },
                )?;
            } else {
                self.write_zero_bytes(at, to)?;
            }
            at = to;
        }
        Ok(())
    }

    pub(super) fn write_zero_bytes(&mut self, start: u64, end: u64) -> Result<()> {
        let zeros = vec![0; internal::at_most(end - start, self.geometry().cluster_len())];
        let mut at = start;
        while at < end {
            let len = (end - at).min(zeros.len() as u64);
            at += self.write_some(at, at + len, Source::Bytes(&zeros))?;
        }
        Ok(())
    }

    /// Whether the data file is promised to be what the guest sees, byte for byte.
    pub(super) fn promises_raw_data(&self) -> bool {
        self.data.is_some()
            && self
                .header()
                .autoclear
                .contains(Autoclear::RAW_EXTERNAL_DATA)
    }

    pub(super) fn zero_data_file(&mut self, host: u64, len: u64) -> Result<()> {
        if let Some(data) = &self.data {
            self.wrote_data = true;
            data.zero(host, len, format_args!("write zeros at {host:#x}"))?;
        }
        Ok(())
    }
}
