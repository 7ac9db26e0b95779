//! The dirty bitmaps of a new image: bits, tables and the directory, behind everything else.

use crate::image::error::Result;
use crate::image::write::carried_bitmaps::Carried;
use crate::image::{Error, ErrorKind};
use crate::qcow2::HostOffset;
use crate::qcow2::bitmap::{Bitmap, encode_directory};
use crate::qcow2::extension::BitmapsExtension;

use super::SequentialWriter;

/// Bytes of an entry of the directory without the name.
const ENTRY: u64 = 24;

impl SequentialWriter {
    /// Clusters that all of it takes.
    pub(super) fn clusters_of_bitmaps(&self) -> u64 {
        let geometry = self.header.geometry;
        let parts = self.bitmaps.iter().map(|carried| {
            let entry = (ENTRY + carried.entry.name.len() as u64).next_multiple_of(8);
            (carried.clusters(geometry), entry)
        });
        let (clusters, directory) = parts.fold((0, 0), |(all, bytes), (more, entry)| {
            (all + more, bytes + entry)
        });
        clusters + geometry.clusters_for(directory)
    }

    /// Writes them, and records the directory in the header.
    pub(super) fn put_bitmaps(&mut self) -> Result<()> {
        if self.bitmaps.is_empty() {
            return Ok(());
        }
        let geometry = self.header.geometry;
        let path = self.out.path().to_path_buf();
        let fail = |error| Error::new(&path, error);
        let mut list: Vec<Bitmap> = Vec::new();
        for Carried { entry, dirty } in std::mem::take(&mut self.bitmaps) {
            let table = dirty.store(geometry, &mut |bits| self.append(bits), &fail)?;
            list.push(Bitmap {
                table_offset: self.append(table.as_bytes())?,
                ..entry
            });
        }
        let directory = encode_directory(&list, geometry).map_err(fail)?;
        let count = u32::try_from(list.len())
            .map_err(|e| Error::new(&path, ErrorKind::Limit(e.to_string())))?;
        let place = BitmapsExtension {
            count,
            directory_size: directory.len() as u64,
            directory_offset: self.append(&directory)?,
        };
        self.header.set_bitmaps(place).map_err(fail)
    }

    /// Puts bytes behind everything else, in clusters of their own.
    fn append(&mut self, bytes: &[u8]) -> Result<HostOffset> {
        let clusters = self.header.geometry.clusters_for(bytes.len() as u64);
        let host = self.take(clusters)?;
        self.out.put(host.get(), bytes)?;
        self.write_ripe_blocks()?;
        Ok(host)
    }
}
