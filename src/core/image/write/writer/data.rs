//! Writing guest bytes: in place where the image owns the clusters, else into new ones, with what the write does
//! not cover kept.

use std::ops::Range;

use crate::image::error::{OfFile, Result};
use crate::image::internal::{self, bit};
use crate::image::write::transfer::FilePosition;
use crate::qcow2::{HostClusters, HostOffset, L2Entry, SubclusterBitmap, SubclusterState};

use super::source::Source;
use super::state::Writer;

impl Writer {
    /// Writes `len` guest bytes at `guest`. In place where the image owns the clusters; else into
    /// new ones, keeping what the write does not cover.
    ///
    /// # Errors
    /// When a file cannot be read or written, the image is damaged, or it cannot grow.
    pub fn write(&mut self, guest: u64, len: u64, source: Source<'_>) -> Result<()> {
        let mut at = guest;
        let end = guest.saturating_add(len);
        while at < end {
            let source = source.skip(at - guest).of(&self.file)?;
            at += self.write_some(at, end, source)?;
            self.keep_budget()?;
        }
        Ok(())
    }

    /// Writes as much as goes into one run of clusters; returns how many bytes that was.
    pub(super) fn write_some(&mut self, at: u64, end: u64, source: Source<'_>) -> Result<u64> {
        let size = self.cluster_size();
        let within = at % size;
        let cluster = at - within;
        let entry = self.entry(cluster)?;
        let whole = within == 0 && end - at >= size;
        if self.packing.is_some() && within == 0 && (whole || end >= self.header().virtual_size()) {
            let len = size.min(end - at);
            if self.write_compressed(cluster, len, source)? {
                return Ok(len);
            }
            if whole && entry.host().is_none() {
                // The next one may become smaller.
                return self.write_whole(cluster, cluster + size, source);
            }
        }
        if let (L2Entry::Data { .. }, Some(host)) = (entry, self.owned(entry)?) {
            // In place: as far as the host clusters lie in a row.
            let mut to = cluster + size;
            while to < end {
                let next = self.entry(to)?;
                let goes_on = matches!(next, L2Entry::Data { .. })
                    && self.owned(next)? == Some(host.plus(to - cluster));
                if !goes_on {
                    break;
                }
                to += size;
            }
            let len = to.min(end) - at;
            self.put(host.plus(within), len, source)?;
            return Ok(len);
        }
        if whole {
            return self.write_whole(cluster, end, source);
        }
        let len = (cluster + size).min(end) - at;
        self.write_part(cluster, entry, at, len, source)?;
        Ok(len)
    }

    /// Writes whole clusters from `cluster` on, none of which can be written in place as it is, into
    /// a run of host clusters in a row.
    pub(super) fn write_whole(
        &mut self,
        cluster: u64,
        end: u64,
        source: Source<'_>,
    ) -> Result<u64> {
        let size = self.cluster_size();
        let mut wanted = 1;
        while cluster + (wanted + 1) * size <= end {
            let next = self.entry(cluster + wanted * size)?;
            if matches!(next, L2Entry::Data { .. }) && self.owned(next)?.is_some() {
                break;
            }
            wanted += 1;
        }
        let new = self.new_clusters(cluster, wanted)?;
        let (host, got) = (self.geometry().offset_of(new.first), new.count);
        self.put(host, got * size, source)?;
        for index in 0..got {
            let guest = cluster + index * size;
            let old = self.entry(guest)?;
            self.set_entry(
                guest,
                L2Entry::Data {
                    host: host.plus(index * size),
                    copied: true,
                },
            )?;
            self.release(old);
        }
        Ok(got * size)
    }

    /// Clusters for guest data, up to `most` in a row. With an external data file the place is the guest's
    /// own (QEMU's `do_alloc_cluster_offset`).
    pub(super) fn new_clusters(&mut self, guest: u64, most: u64) -> Result<HostClusters> {
        if self.data.is_some() {
            return Ok(HostClusters {
                first: self.geometry().cluster_of(HostOffset(guest)),
                count: most,
            });
        }
        self.refs.allocate(most)
    }

    /// As [`Writer::new_clusters`], a single one: where it begins.
    pub(super) fn new_cluster(&mut self, guest: u64) -> Result<HostOffset> {
        let new = self.new_clusters(guest, 1)?;
        Ok(self.geometry().offset_of(new.first))
    }

    /// Writes a part of one cluster that cannot simply be overwritten.
    pub(super) fn write_part(
        &mut self,
        cluster: u64,
        entry: L2Entry,
        at: u64,
        len: u64,
        source: Source<'_>,
    ) -> Result<()> {
        let geometry = self.geometry();
        let (size, unit) = (geometry.cluster_size(), geometry.subcluster_size());
        let first = (at - cluster) / unit;
        let last = (at - cluster + len).div_ceil(unit);
        let owned = self.owned(entry)?;
        let bitmap = self.bitmap_of(entry);
        // The units that must hold data afterwards: those written, and, where the cluster moves, all
        // that held data before.
        let written = first..last;
        let moved = owned.is_none();
        let host = match owned {
            Some(host) => host,
            None => self.new_cluster(cluster)?,
        };
        let mut after = bitmap;
        for index in 0..u64::from(geometry.subclusters()) {
            let bit = bit(index).of(&self.file)?;
            let was_data = bitmap.state(bit) == SubclusterState::Data;
            let is_written = written.contains(&index);
            if !(is_written || was_data && moved) {
                continue;
            }
            let start = cluster + index * unit;
            let stop = start + unit;
            // What of this unit the write does not cover is kept as the guest saw it.
            if is_written {
                let keeps_place = was_data && !moved;
                let head = start..at.clamp(start, stop);
                let tail = (at + len).clamp(start, stop)..stop;
                for keep in [head, tail] {
                    if !keep.is_empty() && !keeps_place {
                        self.keep(keep.clone(), host.plus(keep.start - cluster))?;
                    }
                }
            } else {
                self.keep(start..stop, host.plus(start - cluster))?;
            }
            after = after.with(bit..bit + 1, SubclusterState::Data);
        }
        self.put(host.plus(at - cluster), len, source)?;
        let new = if geometry.extended_l2() {
            L2Entry::Subclusters {
                host: Some(host),
                copied: true,
                bitmap: after,
            }
        } else {
            L2Entry::Data { host, copied: true }
        };
        debug_assert!(
            host.is_aligned(size),
            "clusters start at cluster boundaries"
        );
        self.set_entry(cluster, new)?;
        if moved {
            self.release(entry);
        }
        Ok(())
    }

    /// What each unit of the entry's cluster is; a plain cluster is one unit, number 0, and a
    /// compressed one counts as data all over.
    pub(super) fn bitmap_of(&self, entry: L2Entry) -> SubclusterBitmap {
        let state = match entry {
            L2Entry::Subclusters { bitmap, .. } => return bitmap,
            L2Entry::Unallocated => SubclusterState::Unallocated,
            L2Entry::Zero { .. } => SubclusterState::Zero,
            L2Entry::Data { .. } | L2Entry::Compressed(_) => SubclusterState::Data,
        };
        SubclusterBitmap::default().with(0..self.geometry().subclusters(), state)
    }

    /// Copies guest bytes as they were to a host offset.
    pub(super) fn keep(&mut self, guest: Range<u64>, host: HostOffset) -> Result<()> {
        let len =
            usize::try_from(guest.end - guest.start).map_err(|e| self.damaged(guest.start, e))?;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(len, 0);
        self.view.read_at(&mut scratch, guest.start)?;
        let result = self.put(host, len as u64, Source::Bytes(&scratch));
        self.scratch = scratch;
        result
    }

    /// Writes to the file that holds the guest's data.
    pub(super) fn put(&mut self, host: HostOffset, len: u64, source: Source<'_>) -> Result<()> {
        self.wrote_data = true;
        if let Some(cipher) = self.cipher.clone() {
            return self.put_encrypted(&cipher, host, len, source);
        }
        let file = self.data.as_ref().unwrap_or(&self.file);
        let to = FilePosition {
            file,
            offset: host.get(),
        };
        match source {
            Source::Bytes(bytes) => {
                let len = internal::index(len).of(file)?;
                let bytes = internal::part(bytes, 0..len).of(file)?;
                self.transfer.write(bytes, to)
            }
            Source::File { file, offset } => {
                self.transfer.run(FilePosition { file, offset }, to, len)
            }
        }
    }
}
