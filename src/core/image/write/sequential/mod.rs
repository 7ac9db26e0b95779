//! A new qcow2 image written from front to back: every cluster, stream and table has its place behind
//! what came before, and the header is written last. Nothing is ever read or moved, so it is only for
//! files that nobody can see yet; images that exist are the writer's.

mod bitmaps;
mod content;
mod counts;
mod output;

use std::path::Path;

use crate::image::error::{OfFile, Result};
use crate::image::read::luks::SectorCipher;
use crate::image::write::carried_bitmaps::Carried;
use crate::image::write::luks::Volume;
use crate::image::{Error, ErrorKind, ImageFile, Preallocation, internal};
use crate::qcow2::extension::CryptoHeader;
use crate::qcow2::limits::{MAX_OFFSET, MAX_REFCOUNT_TABLE_BYTES, SECTOR};
use crate::qcow2::{
    Autoclear, EntryTable, FormatError, GuestOffset, Header, HostCluster, HostClusters, HostOffset,
    L1Entry, L2Buf, L2Context, L2Entry, SubclusterBitmap, Version, refcount,
};

use counts::Counts;
use output::{DataFile, Output};

pub(crate) use output::{reserve, write_zeros};

/// A new image on its way into its file. Guest clusters come in ascending order, each at most once;
/// those left out hold nothing.
#[derive(Debug)]
pub(crate) struct SequentialWriter {
    header: Header,
    context: L2Context,
    preallocation: Preallocation,
    out: Output,
    data: Option<DataFile>,
    l1: EntryTable,
    table: Option<OpenTable>,
    counts: Counts,
    /// The place of the refcount table, where one cluster does whatever is written.
    refcount_table: Option<HostOffset>,
    /// Host clusters before this one are handed out.
    next: HostCluster,
    /// The next free byte of a cluster that holds streams and is not full.
    open: Option<HostOffset>,
    /// What the guest's bytes go through on their way into the file, and room for them.
    cipher: Option<SectorCipher>,
    sealed: Vec<u8>,
    /// What is written behind everything else.
    bitmaps: Vec<Carried>,
}

/// The L2 table that is being filled.
#[derive(Debug)]
struct OpenTable {
    /// Its number in the L1 table.
    index: u64,
    place: HostOffset,
    entries: L2Buf,
}

/// What a new image holds besides the guest's content.
#[derive(Debug, Default)]
pub(crate) struct Besides {
    /// The LUKS volume; there if and only if the header says that the content is encrypted.
    pub(crate) volume: Option<Volume>,
    /// Dirty bitmaps; where there are some, the header has an extension for them.
    pub(crate) bitmaps: Vec<Carried>,
}

impl SequentialWriter {
    /// An image like `header` in an empty file. The L1 table follows the header, and the LUKS volume what
    /// counts those; where it lies is set in the header.
    pub(crate) fn new(
        file: &ImageFile,
        data: Option<ImageFile>,
        header: Header,
        preallocation: Preallocation,
        besides: Besides,
    ) -> Result<Self> {
        let geometry = header.geometry;
        let entries = usize::try_from(header.l1_entries)
            .map_err(|e| Error::new(file, ErrorKind::Limit(e.to_string())))?;
        let l1_clusters = geometry.clusters_for(u64::from(header.l1_entries) * 8);
        let mut this = Self {
            context: L2Context::of(&header),
            header,
            preallocation,
            out: Output::new(file),
            data: data.map(DataFile::new),
            l1: EntryTable::zeroed(entries),
            table: None,
            counts: Counts::new(geometry),
            refcount_table: None,
            next: HostCluster(0),
            open: None,
            cipher: None,
            sealed: Vec::new(),
            bitmaps: besides.bitmaps,
        };
        this.take(1 + l1_clusters)?;
        if let Some(volume) = besides.volume {
            this.put_volume(volume)?;
        }
        if this.table_is_short() {
            this.refcount_table = Some(this.take(1)?);
        }
        Ok(this)
    }

    fn put_volume(&mut self, volume: Volume) -> Result<()> {
        let Some(place) = self.header.crypto_header() else {
            let reason = "there is no place for the LUKS header";
            return Err(self.fail(FormatError::Inconsistent { reason }));
        };
        let offset = self.take(self.header.geometry.clusters_for(place.length))?;
        self.header
            .set_crypto_header(CryptoHeader { offset, ..place });
        self.out.put(offset.get(), &volume.bytes)?;
        self.cipher = Some(volume.cipher);
        Ok(())
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The name of the new image.
    pub(crate) fn path(&self) -> &Path {
        self.out.path()
    }

    fn cluster_size(&self) -> u64 {
        self.header.geometry.cluster_size()
    }

    fn fail(&self, error: impl Into<ErrorKind>) -> Error {
        Error::new(self.out.path(), error)
    }

    /// Whether the refcount table of an image whose whole disk is stored fits one cluster.
    fn table_is_short(&self) -> bool {
        let geometry = self.header.geometry;
        let l1 = u64::from(self.header.l1_entries);
        let disk = geometry.clusters_for(self.header.recorded_size);
        let luks = self.header.crypto_header();
        let luks = luks.map_or(0, |place| geometry.clusters_for(place.length));
        let clusters = 1 + geometry.clusters_for(l1 * 8) + l1 + luks + disk;
        refcount::size_for(clusters + self.clusters_of_bitmaps(), geometry)
            .is_ok_and(|size| size.table_clusters == 1)
    }

    /// Hands out clusters behind all others; where the first begins. Places for the refcount
    /// blocks that count them follow.
    fn take(&mut self, clusters: u64) -> Result<HostOffset> {
        let geometry = self.header.geometry;
        let first = self.next;
        self.hand_out(clusters)?;
        while self.counts.lacks_place() {
            self.counts.give_place(geometry.offset_of(self.next));
            self.hand_out(1)?;
        }
        let offset = geometry.offset_of(first);
        if offset.get() > MAX_OFFSET {
            return Err(self.fail(ErrorKind::Limit("is too large".to_owned())));
        }
        Ok(offset)
    }

    fn hand_out(&mut self, count: u64) -> Result<()> {
        let clusters = HostClusters {
            first: self.next,
            count,
        };
        self.counts.raise(clusters).map_err(|e| self.fail(e))?;
        self.next = clusters.end();
        Ok(())
    }

    /// Writes the refcount blocks that no more clusters will change.
    fn write_ripe_blocks(&mut self) -> Result<()> {
        while self.counts.ripe(self.next) {
            // The one cluster that is not full may be counted there.
            self.open = None;
            if let Some((offset, block)) = self.counts.settle() {
                self.out.put(offset.get(), block.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Where the guest clusters from `guest` on are to be stored, `clusters` of them in a row.
    fn place(&mut self, guest: u64, clusters: u64) -> Result<HostOffset> {
        self.reach(guest)?;
        if self.data.is_some() {
            return Ok(HostOffset(guest));
        }
        self.take(clusters)
    }

    /// The image itself holds nothing of the range; whole clusters but for the end of the disk.
    pub(crate) fn nothing(&mut self, guest: u64, len: u64) -> Result<()> {
        let raw = self.header.autoclear.contains(Autoclear::RAW_EXTERNAL_DATA);
        if self.preallocation == Preallocation::Off && !raw {
            return Ok(());
        }
        let clusters = self.header.geometry.clusters_for(len);
        let host = self.allocate(guest, clusters)?;
        let size = self.cluster_size();
        // What the guest sees of a raw data file is the whole of it, so all of it is mapped.
        if self.header.geometry.extended_l2() && !raw {
            return self.set_all(guest, clusters, |n| L2Entry::Subclusters {
                host: Some(host.plus(n * size)),
                copied: true,
                bitmap: SubclusterBitmap::default(),
            });
        }
        // The file's zeros would be decrypted to noise.
        if self.cipher.is_some() && self.header.version == Version::V3 {
            return self.set_all(guest, clusters, |n| L2Entry::Zero {
                host: Some(host.plus(n * size)),
                copied: true,
            });
        }
        self.map(guest, host, clusters)
    }

    /// Clusters that read as zero, with blocks behind them as the preallocation says.
    fn allocate(&mut self, guest: u64, clusters: u64) -> Result<HostOffset> {
        let host = self.place(guest, clusters)?;
        let len = clusters * self.cluster_size();
        if self.cipher.is_some() && self.header.version == Version::V2 {
            self.seal_zeros(host, len)?;
            return Ok(host);
        }
        match (self.preallocation, &self.data) {
            (Preallocation::Off | Preallocation::Metadata, _) => {}
            (Preallocation::Falloc, None) => self.out.reserve(host.get(), len)?,
            (Preallocation::Full, None) => self.out.write_zeros(host.get(), len)?,
            (how, Some(data)) => {
                // The data file is as long as the disk.
                let len = len.min(self.header.recorded_size.saturating_sub(guest));
                match how {
                    Preallocation::Full => write_zeros(&data.file, host.get(), len)?,
                    _ => reserve(&data.file, host.get(), len)?,
                }
            }
        }
        Ok(host)
    }

    fn map(&mut self, guest: u64, host: HostOffset, clusters: u64) -> Result<()> {
        let size = self.cluster_size();
        self.set_all(guest, clusters, |n| L2Entry::Data {
            host: host.plus(n * size),
            copied: true,
        })
    }

    fn set_all(&mut self, guest: u64, clusters: u64, entry: impl Fn(u64) -> L2Entry) -> Result<()> {
        let size = self.cluster_size();
        for n in 0..clusters {
            self.set(guest + n * size, entry(n))?;
        }
        self.write_ripe_blocks()
    }

    fn set(&mut self, guest: u64, entry: L2Entry) -> Result<()> {
        self.reach(guest)?;
        let index = self.header.geometry.l2_index(GuestOffset(guest));
        let Some(table) = &mut self.table else {
            return Ok(());
        };
        table
            .entries
            .set(index, entry)
            .map_err(|e| Error::new(self.out.path(), e))
    }

    /// The table that maps `guest` has its place, before what it will map.
    fn reach(&mut self, guest: u64) -> Result<()> {
        let index = self.header.geometry.l1_index(GuestOffset(guest));
        let is_open = |table: &OpenTable| table.index == index;
        if !self.table.as_ref().is_some_and(is_open) {
            self.write_table()?;
            self.table = Some(OpenTable {
                index,
                place: self.take(1)?,
                entries: L2Buf::zeroed(self.context),
            });
        }
        Ok(())
    }

    fn write_table(&mut self) -> Result<()> {
        let Some(table) = self.table.take() else {
            return Ok(());
        };
        self.out.put(table.place.get(), table.entries.as_bytes())?;
        let entry = L1Entry {
            table: Some(table.place),
            copied: true,
        };
        let raw = entry
            .encode(self.header.geometry)
            .map_err(|e| self.fail(e))?;
        let at = internal::index(table.index).of(self.out.path())?;
        self.l1.set(at, raw).map_err(|e| self.fail(e))
    }

    /// The image is complete and on stable storage, its data file as well.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.write_table()?;
        self.put_bitmaps()?;
        let geometry = self.header.geometry;
        let size = geometry.cluster_size();
        let (table_at, table) = match self.refcount_table {
            Some(offset) => (offset, 1),
            None => {
                let table = self.counts.table_clusters(self.next);
                if table * size > MAX_REFCOUNT_TABLE_BYTES {
                    let text = "would be larger than its reference counts can count".to_owned();
                    return Err(self.fail(ErrorKind::Limit(text)));
                }
                (self.take(table)?, table)
            }
        };
        while let Some((offset, block)) = self.counts.settle() {
            self.out.put(offset.get(), block.as_bytes())?;
        }
        let bytes = self.counts.table().map_err(|e| self.fail(e))?;
        if bytes.len() as u64 > table * size {
            let error = FormatError::Inconsistent {
                reason: "the refcount table is longer than its place",
            };
            return Err(self.fail(error));
        }
        self.out.put(table_at.get(), &bytes)?;
        self.header.refcount_table_offset = table_at;
        self.header.refcount_table_clusters =
            u32::try_from(table).map_err(|e| self.fail(ErrorKind::Limit(e.to_string())))?;
        if !self.l1.is_empty() {
            self.out
                .put(self.header.l1_offset.get(), self.l1.as_bytes())?;
        }
        if let Some(data) = &self.data {
            let len = self.header.recorded_size.next_multiple_of(SECTOR);
            data.file.set_len(len, "set the length")?;
            data.file.flush()?;
        }
        let header = self.header.encode().map_err(|e| self.fail(e))?;
        self.out.put(0, &header)?;
        // As with QEMU, the file ends where the last stream does.
        let len = match self.open {
            Some(open) if geometry.cluster_of(open).plus(1) == self.next => {
                open.get().next_multiple_of(SECTOR)
            }
            _ => geometry.offset_of(self.next).get(),
        };
        self.out.finish(len)
    }
}
