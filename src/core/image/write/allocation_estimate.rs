//! How much longer a file becomes when parts of a disk are written into it: clusters, the tables that map
//! them and what counts both, each once. An upper bound, made before anything is written; which parts
//! are stored there already is the caller's to know.

use crate::host::Segment;
use crate::image::write::refcounts::Refcounts;
use crate::image::{CreateOptions, Error, Extent, ImageFile, Layer, Qcow2Options, Result, State};
use crate::qcow2::{Geometry, Header, Version, refcount};

/// The blocks that a raw file is allocated in.
const BLOCK: u64 = 4096;

/// Bytes a file becomes longer, at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Growth {
    /// The guest's bytes; they lie in the external data file of an image that has one.
    pub data: u64,
    /// Tables and counts.
    pub tables: u64,
}

impl Growth {
    /// All of it.
    #[must_use]
    pub fn total(self) -> u64 {
        self.data.saturating_add(self.tables)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            data: self.data.saturating_add(other.data),
            tables: self.tables.saturating_add(other.tables),
        }
    }

    /// What this is more than another.
    #[must_use]
    pub fn beyond(self, other: Self) -> Self {
        Self {
            data: self.data.saturating_sub(other.data),
            tables: self.tables.saturating_sub(other.tables),
        }
    }
}

/// Units of one size that ascending ranges touch.
#[derive(Debug, Clone, Copy)]
struct Tally {
    unit: u64,
    /// The first one that is not counted yet.
    next: u64,
    count: u64,
}

impl Tally {
    fn of(unit: u64) -> Self {
        Self {
            unit,
            next: 0,
            count: 0,
        }
    }

    fn add(&mut self, start: u64, end: u64) {
        let (first, end) = ((start / self.unit).max(self.next), end.div_ceil(self.unit));
        self.count = self.count.saturating_add(end.saturating_sub(first));
        self.next = end.max(self.next);
    }
}

/// Bytes that a cluster of data takes at least.
fn data_unit(geometry: Geometry, has_data_file: bool) -> u64 {
    match has_data_file {
        // Each has its place in a raw file, with holes between them.
        true => geometry.cluster_size().max(BLOCK),
        false => geometry.cluster_size(),
    }
}

/// Bytes of all clusters that an image counts, its own tables included: what it uses of a device.
///
/// # Errors
/// When its counts cannot be read.
pub fn used_bytes(file: &ImageFile, header: &Header) -> Result<u64> {
    let used = Refcounts::open(file, header)?.used()?;
    Ok(used.saturating_mul(header.geometry.cluster_size()))
}

/// Where the last cluster that an image counts ends: what lies behind it on a device is nobody's.
///
/// # Errors
/// When its counts cannot be read.
pub fn end_offset(file: &ImageFile, header: &Header) -> Result<u64> {
    let end = Refcounts::open(file, header)?.end_of_all()?;
    Ok(header.geometry.offset_of(end).get())
}

/// Counts what ranges take in one file; they come in ascending order.
#[derive(Debug, Clone, Copy)]
pub struct AllocationEstimate {
    /// None for a raw file.
    geometry: Option<Geometry>,
    data: Tally,
    tables: Tally,
    /// Whether an entry can say that a cluster is zero.
    knows_zeros: bool,
    /// Clusters of the refcount table there is, which is written anew when it becomes too short.
    table_clusters: u64,
    /// Refcount blocks there are: what is written in them may be holes of the file.
    blocks: u64,
    /// Bytes written into holes of the file.
    filled: u64,
}

impl AllocationEstimate {
    /// In a raw file.
    #[must_use]
    pub fn raw() -> Self {
        Self {
            geometry: None,
            data: Tally::of(BLOCK),
            tables: Tally::of(u64::MAX),
            knows_zeros: true,
            table_clusters: 0,
            blocks: 0,
            filled: 0,
        }
    }

    fn qcow2(geometry: Geometry, knows_zeros: bool, table_clusters: u64) -> Self {
        Self {
            geometry: Some(geometry),
            data: Tally::of(geometry.cluster_size()),
            tables: Tally::of(geometry.l2_coverage()),
            knows_zeros,
            table_clusters,
            blocks: 0,
            filled: 0,
        }
    }

    /// In a new image that is made like this, besides what it takes while it is empty.
    ///
    /// # Errors
    /// When the options cannot be had together.
    pub fn in_new(options: &Qcow2Options) -> std::result::Result<Self, crate::qcow2::FormatError> {
        Ok(Self::qcow2(options.geometry()?, !options.old_version, 1))
    }

    /// In an image that is there.
    #[must_use]
    pub fn of(layer: &Layer) -> Self {
        match layer {
            Layer::Raw(_) => Self::raw(),
            Layer::Qcow2(image) => {
                let header = image.header();
                let geometry = header.geometry;
                let table = u64::from(header.refcount_table_clusters);
                // A file whose length cannot be told cannot be written either.
                let clusters = geometry.clusters_for(image.file().len().unwrap_or(0));
                Self {
                    data: Tally::of(data_unit(geometry, header.has_data_file())),
                    blocks: clusters.div_ceil(geometry.refcounts_per_block()),
                    ..Self::qcow2(geometry, header.version != Version::V2, table)
                }
            }
        }
    }

    /// What an image that is emptied takes for the tables of one that holds nothing.
    #[must_use]
    pub fn emptied(layer: &Layer) -> Growth {
        let Layer::Qcow2(image) = layer else {
            return Growth::default();
        };
        let room = Self::of(layer);
        let l1 = u64::from(image.header().l1_entries) * 8;
        let clusters = image.header().geometry.clusters_for(l1) + room.table_clusters + room.blocks;
        Growth {
            data: 0,
            tables: clusters.saturating_mul(image.header().geometry.cluster_size()),
        }
    }

    /// These bytes are written over what the layer stores there.
    ///
    /// # Errors
    /// When its file cannot be asked for holes.
    pub fn over(&mut self, layer: &Layer, extent: Extent) -> Result<()> {
        let (Layer::Qcow2(image), State::Data { host }) = (layer, extent.state) else {
            if !matches!(extent.state, State::Data { .. }) {
                self.data(extent.start, extent.end());
            }
            return Ok(());
        };
        // It has its place, which may be a hole: that of a preallocated cluster is.
        let file = image.stored_in();
        let end = host.saturating_add(extent.len);
        let mut at = host;
        while at < end {
            let to = match file.segment_at(at)? {
                Segment::Data(to) => to,
                Segment::Hole(to) => {
                    let blocks = to.min(end).div_ceil(BLOCK) - at / BLOCK;
                    self.filled = self.filled.saturating_add(blocks * BLOCK);
                    to
                }
            };
            at = to.clamp(at + 1, end.max(at + 1));
        }
        Ok(())
    }

    /// These bytes are written, over whatever the layer stores there; `shared` says that a snapshot may need
    /// what it stores.
    ///
    /// # Errors
    /// When a table cannot be read, or its file cannot be asked for holes.
    pub fn written(&mut self, layer: &Layer, start: u64, end: u64, shared: bool) -> Result<()> {
        if shared {
            self.data(start, end);
            return Ok(());
        }
        let size = layer.virtual_size();
        for extent in layer.extents(start, end.min(size)) {
            self.over(layer, extent?)?;
        }
        self.data(start.max(size), end);
        Ok(())
    }

    /// The parts of a cluster that are here or not here as a whole, in bytes.
    pub(crate) fn unit(&self) -> u64 {
        self.geometry.map_or(BLOCK, Geometry::subcluster_size)
    }

    /// These bytes are stored.
    pub fn data(&mut self, start: u64, end: u64) {
        if start < end {
            self.data.add(start, end);
            self.tables.add(start, end);
        }
    }

    /// These bytes are made to read as zero.
    pub fn zeros(&mut self, start: u64, end: u64) {
        let Some(geometry) = self.geometry.filter(|_| start < end) else {
            return;
        };
        if !self.knows_zeros {
            return self.data(start, end);
        }
        self.tables.add(start, end);
        // What is no whole unit is written as bytes.
        let unit = geometry.subcluster_size();
        if !start.is_multiple_of(unit) {
            self.data.add(start, start + 1);
        }
        if !end.is_multiple_of(unit) {
            self.data.add(end - 1, end);
        }
    }

    /// What is stored for these bytes is given up, and a table that says so is written anew.
    pub(crate) fn given_up(&mut self, start: u64, end: u64) {
        if start < end {
            self.tables.add(start, end);
        }
    }

    /// What all of it takes.
    #[must_use]
    pub fn growth(&self) -> Growth {
        let data = self.data.count.saturating_mul(self.data.unit);
        let Some(geometry) = self.geometry else {
            return Growth { data, tables: 0 };
        };
        let bytes = |clusters: u64| clusters.saturating_mul(geometry.cluster_size());
        let clusters = self.data.count.saturating_add(self.tables.count);
        if clusters == 0 {
            return Growth {
                data: self.filled,
                tables: 0,
            };
        }
        let counts = refcount::size_without_limit(clusters, geometry);
        // The first new cluster may be the first of a block, and the table may have to move for it.
        let tables = [
            self.tables.count,
            counts.blocks,
            self.blocks,
            1,
            counts.table_clusters,
            self.table_clusters,
        ];
        Growth {
            data: data.saturating_add(self.filled),
            tables: bytes(tables.into_iter().fold(0, u64::saturating_add)),
        }
    }
}

impl CreateOptions {
    /// What ranges take in such a new image, besides what it takes while it is empty.
    ///
    /// # Errors
    /// As [`AllocationEstimate::in_new`]; the image `path` is named.
    pub fn estimate(&self, path: &std::path::Path) -> Result<AllocationEstimate> {
        AllocationEstimate::in_new(&self.format).map_err(|error| Error::new(path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(cluster_bits: u32, extended_l2: bool, old_version: bool) -> AllocationEstimate {
        AllocationEstimate::in_new(&Qcow2Options {
            cluster_bits,
            extended_l2,
            old_version,
            ..Qcow2Options::default()
        })
        .unwrap()
    }

    #[test]
    fn a_cluster_is_counted_once_however_many_parts_of_it_are_written() {
        let mut room = room(21, false, false);
        for part in 0..40 {
            room.data(part << 16, (part << 16) + 512);
        }
        // 40 parts of 64 KiB lie in two clusters of 2 MiB.
        assert_eq!(room.growth().data, 4 << 20);
        // One L2 table, a block and one to begin with, a table and the one there is.
        assert_eq!(room.growth().tables, 5 << 21);
    }

    #[test]
    fn a_small_cluster_in_a_data_file_takes_a_block() {
        for (bits, has_data_file, unit) in [(9, true, BLOCK), (9, false, 512), (16, true, 1 << 16)]
        {
            let geometry = Geometry::new(bits, 4, false).unwrap();
            assert_eq!(data_unit(geometry, has_data_file), unit);
        }
    }

    #[test]
    fn a_subcluster_takes_its_whole_cluster() {
        let mut room = room(16, true, false);
        room.data(2048, 4096);
        assert_eq!(room.growth().data, 1 << 16);
    }

    #[test]
    fn zeros_take_tables_where_an_entry_says_so_and_clusters_where_not() {
        let mut new = room(16, false, false);
        new.zeros(0, 1 << 20);
        assert_eq!(new.growth().data, 0);
        assert!(new.growth().tables > 0);
        new.zeros((1 << 20) + 100, (2 << 20) + 100);
        assert_eq!(new.growth().data, 2 << 16, "both edges");
        let mut old = room(16, false, true);
        old.zeros(0, 1 << 20);
        assert_eq!(old.growth().data, 1 << 20);
    }

    #[test]
    fn nothing_takes_nothing_and_a_raw_file_takes_blocks() {
        assert_eq!(room(16, false, false).growth(), Growth::default());
        let mut raw = AllocationEstimate::raw();
        raw.data(100, 200);
        raw.data(300, 5000);
        raw.zeros(8192, 1 << 20);
        let two = Growth {
            data: 8192,
            tables: 0,
        };
        assert_eq!(raw.growth(), two);
    }
}
