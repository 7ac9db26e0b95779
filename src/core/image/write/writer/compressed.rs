//! Writing clusters compressed: streams lie in a row, several in one host cluster, which is counted once for
//! each of them. Nothing of a stream is ever written again.

use crate::image::Error;
use crate::image::error::{OfFile, Result};
use crate::image::internal::{index, part, part_mut};
use crate::qcow2::codec::Deflater;
use crate::qcow2::compressed::CompressedCluster;
use crate::qcow2::limits::SECTOR;
use crate::qcow2::{HostOffset, L2Entry};

use super::packing::{Packing, may_compress};
use super::source::Source;
use super::state::Writer;

impl Writer {
    /// From now on whole clusters for which nothing is stored yet are stored compressed where that makes them
    /// smaller.
    ///
    /// # Errors
    /// When the image has a data file or is encrypted.
    pub fn compress(&mut self) -> Result<()> {
        may_compress(self.path(), self.header())?;
        let deflater = Deflater::new(self.header().compression);
        self.packing = Some(Packing {
            deflater: deflater.map_err(|error| Error::new(&self.file, error))?,
            open: None,
            plain: Vec::new(),
        });
        Ok(())
    }

    /// Stores the first `len` bytes of `source` as the whole cluster at `guest`, compressed; false, and nothing
    /// done, where clusters are not compressed, something is stored for this one, or it would not become
    /// smaller. Less than a cluster is the end of the disk.
    pub(super) fn write_compressed(
        &mut self,
        guest: u64,
        len: u64,
        source: Source<'_>,
    ) -> Result<bool> {
        let entry = self.entry(guest)?;
        if matches!(entry, L2Entry::Compressed(_)) || entry.host().is_some() {
            return Ok(false);
        }
        let cluster = self.geometry().cluster_len();
        let Some(packing) = &mut self.packing else {
            return Ok(false);
        };
        packing.plain.clear();
        packing.plain.resize(cluster, 0);
        let len = index(len).of(&self.file)?;
        let plain = part_mut(&mut packing.plain, 0..len).of(&self.file)?;
        match source {
            Source::Bytes(bytes) => plain.copy_from_slice(part(bytes, 0..len).of(&self.file)?),
            Source::File { file, offset } => file.read(plain, offset)?,
        }
        let Some(mut stream) = packing.deflater.deflate(&packing.plain) else {
            return Ok(false);
        };
        let len = stream.len() as u64;
        let host = self.place_stream(len)?;
        let end = host.plus(len);
        let Ok(descriptor) = CompressedCluster::for_stream(host, len, self.geometry()) else {
            // So far out in the file that no descriptor leads there.
            self.free(self.geometry().clusters_of(host, len));
            return Ok(false);
        };
        // What follows in its last sector is nobody's yet.
        let padded = index(end.get().next_multiple_of(SECTOR) - host.get()).of(&self.file)?;
        stream.resize(padded, 0);
        self.put(host, stream.len() as u64, Source::Bytes(&stream))?;
        let has_room = !end.is_aligned(self.cluster_size());
        if let Some(packing) = &mut self.packing {
            packing.open = has_room.then_some(end);
        }
        self.set_entry(guest, L2Entry::Compressed(descriptor))?;
        Ok(true)
    }

    /// As QEMU does: into the open cluster, or over its end if the next one follows it, or into a new one.
    fn place_stream(&mut self, len: u64) -> Result<HostOffset> {
        let geometry = self.geometry();
        let Some(open) = self.packing.as_ref().and_then(|packing| packing.open) else {
            return Ok(geometry.offset_of(self.refs.allocate(1)?.first));
        };
        let cluster = geometry.cluster_of(open);
        let left = geometry.offset_of(cluster.plus(1)).get() - open.get();
        if len <= left && self.refs.raise(cluster)? {
            return Ok(open);
        }
        let next = self.refs.allocate(1)?.first;
        let goes_on = len > left && next == cluster.plus(1);
        if goes_on && self.refs.raise(cluster)? {
            return Ok(open);
        }
        Ok(geometry.offset_of(next))
    }
}
