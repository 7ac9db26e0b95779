//! Guest content on its way into a new image: stored, encrypted, compressed or zero.

use crate::host::Cloned;
use crate::image::error::Result;
use crate::image::write::transfer::BUFFER;
use crate::image::{ImageFile, Preallocation, internal};
use crate::qcow2::luks::CIPHER_SECTOR as SECTOR;
use crate::qcow2::{
    CompressedCluster, HostClusters, HostOffset, L2Entry, SubclusterBitmap, Version,
};

use super::SequentialWriter;
use super::output::{DataFile, Output};

impl SequentialWriter {
    /// Guest clusters from `guest` on, in whole; the last may be short where the disk ends.
    pub(crate) fn store(&mut self, guest: u64, bytes: &[u8]) -> Result<()> {
        let clusters = self.header.geometry.clusters_for(bytes.len() as u64);
        let host = self.place(guest, clusters)?;
        self.put_guest(host, bytes)?;
        self.map(guest, host, clusters)
    }

    /// Whether its clusters may have blocks in common with other files.
    pub(crate) fn may_share(&self) -> bool {
        self.cipher.is_none() && self.preallocation == Preallocation::Off
    }

    /// As [`SequentialWriter::store`], of whole clusters that share their blocks with `len` bytes at `from` of
    /// `source`; false, and nothing is stored, where they cannot. Only where it may.
    pub(crate) fn share(
        &mut self,
        guest: u64,
        len: u64,
        source: &ImageFile,
        from: u64,
    ) -> Result<bool> {
        self.reach(guest)?;
        let (target, host) = match &self.data {
            Some(data) => (&data.file, HostOffset(guest)),
            None => (self.out.file(), self.header.geometry.offset_of(self.next)),
        };
        if target.clone_range(source, from, host.get(), len)? == Cloned::Unsupported {
            return Ok(false);
        }
        let clusters = self.header.geometry.clusters_for(len);
        let placed = self.place(guest, clusters)?;
        if placed != host {
            let fault = internal::Fault::new("shared clusters in another place");
            return Err(self.fail(fault));
        }
        self.map(guest, host, clusters)?;
        Ok(true)
    }

    /// One guest cluster of whose subclusters `bitmap` says which are stored; the other bytes are
    /// zero or do not matter.
    pub(crate) fn store_some(
        &mut self,
        guest: u64,
        bytes: &[u8],
        bitmap: SubclusterBitmap,
    ) -> Result<()> {
        let host = self.place(guest, 1)?;
        self.put_guest(host, bytes)?;
        let entry = L2Entry::Subclusters {
            host: Some(host),
            copied: true,
            bitmap,
        };
        self.set(guest, entry)?;
        self.write_ripe_blocks()
    }

    fn put_guest(&mut self, host: HostOffset, bytes: &[u8]) -> Result<()> {
        let Some(cipher) = &self.cipher else {
            return put(self.data.as_mut(), &mut self.out, host, bytes);
        };
        self.sealed.clear();
        self.sealed.extend_from_slice(bytes);
        // Where the disk ends inside a sector, the rest of it is zeros.
        let whole = bytes.len().next_multiple_of(SECTOR);
        self.sealed.resize(whole, 0);
        cipher.encrypt(host.get() / SECTOR as u64, &mut self.sealed);
        put(self.data.as_mut(), &mut self.out, host, &self.sealed)
    }

    /// Writes what is read as zeros.
    pub(super) fn seal_zeros(&mut self, host: HostOffset, len: u64) -> Result<()> {
        let zeros = vec![0; internal::at_most(len, BUFFER)];
        let mut done = 0;
        while done < len {
            let part = internal::at_most(len - done, zeros.len());
            let (bytes, _) = zeros.split_at(part);
            self.put_guest(host.plus(done), bytes)?;
            done += part as u64;
        }
        Ok(())
    }

    /// The guest cluster at `guest` as a stream, shorter than a cluster.
    pub(crate) fn compressed(&mut self, guest: u64, stream: &[u8]) -> Result<()> {
        let size = self.cluster_size();
        let len = stream.len() as u64;
        self.reach(guest)?;
        let host = self.place_stream(len)?;
        self.out.put(host.get(), stream)?;
        let end = host.plus(len);
        self.open = (!end.is_aligned(size)).then_some(end);
        let entry = CompressedCluster::for_stream(host, len, self.header.geometry)
            .map_err(|e| self.fail(e))?;
        self.set(guest, L2Entry::Compressed(entry))?;
        self.write_ripe_blocks()
    }

    /// As QEMU does: into the open cluster, or over its end if the next one follows it, or into a
    /// new one.
    fn place_stream(&mut self, len: u64) -> Result<HostOffset> {
        let geometry = self.header.geometry;
        let has_room = |open: &HostOffset| self.counts.has_room(geometry.cluster_of(*open));
        if let Some(open) = self.open.filter(has_room) {
            let cluster = geometry.cluster_of(open);
            let left = geometry.offset_of(cluster.plus(1)).get() - open.get();
            if len <= left || cluster.plus(1) == self.next {
                let shared = HostClusters::one(cluster);
                self.counts.raise(shared).map_err(|e| self.fail(e))?;
                if len > left {
                    self.take(1)?;
                }
                return Ok(open);
            }
        }
        self.take(1)
    }

    /// The range reads as zero, whatever lies below; whole clusters but for the end of the disk.
    pub(crate) fn zeros(&mut self, guest: u64, len: u64) -> Result<()> {
        let clusters = self.header.geometry.clusters_for(len);
        if !self.has_backing() {
            return self.nothing(guest, len);
        }
        if self.preallocation == Preallocation::Off && self.header.version == Version::V3 {
            let zero = L2Entry::Zero {
                host: None,
                copied: false,
            };
            return self.set_all(guest, clusters, |_| zero);
        }
        // Version 2 has no zero clusters: the file's own zeros have to be mapped.
        let host = self.allocate(guest, clusters)?;
        if self.header.version == Version::V2 {
            return self.map(guest, host, clusters);
        }
        let size = self.cluster_size();
        self.set_all(guest, clusters, |n| L2Entry::Zero {
            host: Some(host.plus(n * size)),
            copied: true,
        })
    }

    /// Whether what is not written shows something else than zeros.
    fn has_backing(&self) -> bool {
        self.header.backing.is_some()
    }
}

/// Puts bytes where the guest's are.
fn put(
    data: Option<&mut DataFile>,
    out: &mut Output,
    host: HostOffset,
    bytes: &[u8],
) -> Result<()> {
    match data {
        Some(data) => data.write(bytes, host.get()),
        None => out.put(host.get(), bytes),
    }
}
