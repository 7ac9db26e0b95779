//! The image under change, as all parts of the writer see it: its tables as they are to be, looked up and
//! changed in memory. What is written into clusters is in `data` and its neighbours, what goes to disk when in
//! `flush`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::image::error::{OfFile, Result};
use crate::image::internal::{self};
use crate::image::read::luks::SectorCipher;
use crate::image::read::metadata_overlap::MetadataOverlap;
use crate::image::read::qcow2_layer::closed;
use crate::image::read::table_reader::{read_entries, read_l2};
use crate::image::write::header_file::HeaderFile;
use crate::image::write::refcounts::Refcounts;
use crate::image::write::transfer::Transfer;
use crate::image::{Chain, Error, ErrorKind, ImageFile, Layer};
use crate::qcow2::{
    CryptMethod, EntryTable, Geometry, GuestOffset, Header, HostClusters, HostOffset, Incompatible,
    L1Entry, L2Buf, L2Context, L2Entry, TablePlace,
};

use super::packing::Packing;

/// Bytes of changed L2 tables kept before a transaction is closed by itself.
pub(super) const TABLE_BUDGET: u64 = 16 << 20;

/// Clusters to be freed kept before a transaction is closed by itself.
pub(super) const FREE_BUDGET: usize = 1 << 16;

/// Which of the image's guest views is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// What the guest sees now.
    Active,
    /// An internal snapshot's, through its own L1 table.
    Snapshot(TablePlace),
}

/// A qcow2 image opened for changing its content.
#[derive(Debug)]
pub struct Writer {
    pub(super) file: ImageFile,
    pub(super) data: Option<ImageFile>,
    pub(super) header: HeaderFile,
    pub(super) context: L2Context,
    pub(super) tree: Tree,
    pub(super) refs: Refcounts,
    pub(super) metadata: MetadataOverlap,
    /// This view as it was before, for what a partial write must keep.
    pub(super) view: Chain,
    /// The virtual size of what the image is built on; 0 without a backing file.
    pub(super) backing_size: u64,
    /// Clusters that lose one reference when the transaction is through.
    pub(super) freed: Vec<HostClusters>,
    /// Clusters that a snapshot's view refers to no more and somebody once: still counted twice until
    /// it is known whether that is the active view.
    pub(super) given_up: Vec<HostClusters>,
    pub(super) wrote_data: bool,
    pub(super) transfer: Transfer,
    pub(super) scratch: Vec<u8>,
    /// Of an encrypted image: everything the guest sees goes through it.
    pub(super) cipher: Option<Arc<SectorCipher>>,
    /// Sectors on their way through it.
    pub(super) sealed: Vec<u8>,
    /// If clusters are stored compressed.
    pub(super) packing: Option<Packing>,
}

/// One L1 table and the L2 tables under change.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) active: bool,
    pub(super) l1: EntryTable,
    pub(super) l1_offset: HostOffset,
    /// The new place is not in the header yet.
    pub(super) l1_moved: bool,
    pub(super) dirty_l1: BTreeSet<usize>,
    pub(super) tables: BTreeMap<u64, Table>,
}

impl Tree {
    /// Reads an L1 table.
    pub(super) fn read(file: &ImageFile, place: TablePlace, active: bool) -> Result<Self> {
        Ok(Self {
            active,
            l1: read_entries(file, place, "L1 table")?,
            l1_offset: place.offset,
            l1_moved: false,
            dirty_l1: BTreeSet::new(),
            tables: BTreeMap::new(),
        })
    }
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) entries: L2Buf,
    pub(super) offset: HostOffset,
    /// Nothing on disk refers to it yet.
    pub(super) fresh: bool,
    pub(super) dirty: Option<Range<usize>>,
}

impl Writer {
    /// Opens a checked image for writing.
    ///
    /// `view` is the chain as its guest sees it through this root now, this image on top, unlocked if
    /// it is encrypted; `metadata` are its tables, as the check found them.
    ///
    /// # Errors
    /// When the header or a table cannot be read, or the image may not be written: locked, unknown
    /// features, dirty, corrupt.
    pub fn open(
        file: &ImageFile,
        data: Option<ImageFile>,
        view: Chain,
        metadata: MetadataOverlap,
        root: Root,
    ) -> Result<Self> {
        let header = HeaderFile::read(file)?;
        writable(file.path(), header.header())?;
        let cipher = cipher_of(&view, header.header()).map_err(|e| Error::new(file, e))?;
        let context = L2Context::of(header.header());
        let l1 = match root {
            Root::Active => header.header().l1(),
            Root::Snapshot(l1) => l1,
        };
        let active = root == Root::Active;
        let tree = Tree::read(file, l1, active)?;
        let mut refs = Refcounts::open(file, header.header())?;
        if !active {
            refuse_shared(file.path(), &mut refs, context.geometry, l1)?;
        }
        Ok(Self {
            refs,
            file: file.clone(),
            data: data.filter(|_| header.header().has_data_file()),
            header,
            context,
            tree,
            metadata,
            backing_size: view.below().virtual_size(),
            view,
            freed: Vec::new(),
            given_up: Vec::new(),
            wrote_data: false,
            transfer: Transfer::new(),
            scratch: Vec::new(),
            cipher,
            sealed: Vec::new(),
            packing: None,
        })
    }

    /// The image's name.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The image's header as it stands.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.header.header()
    }

    /// Whether blocks of other files can be shared, as far as is known: true until it was tried.
    #[must_use]
    pub fn may_clone(&self) -> bool {
        self.transfer.may_clone()
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.context.geometry
    }

    pub(super) fn cluster_size(&self) -> u64 {
        self.context.geometry.cluster_size()
    }

    pub(super) fn damaged(&self, guest: u64, error: impl std::fmt::Display) -> Error {
        Error::new(
            &self.file,
            ErrorKind::Damaged(format!("at guest offset {guest:#x}: {error}")),
        )
    }

    /// Says how long the image below is going to be, in bytes. What lies past the end of the image
    /// below reads as zero without saying so; where it is about to grow, zeros have to be said.
    pub fn expect_backing_size(&mut self, size: u64) {
        self.backing_size = self.backing_size.max(size);
    }

    /// Makes the image fit to be written by us: bits that promise what we do not keep up are cleared
    /// first (specification, autoclear features), bitmaps that would go stale are marked as in use.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn begin(&mut self) -> Result<()> {
        self.header.begin_content_change()
    }

    /// As [`Writer::begin`] where every view is going to show what it shows: bitmaps stay right, since
    /// no guest byte changes.
    ///
    /// # Errors
    /// As there.
    pub fn begin_same_content(&mut self) -> Result<()> {
        self.header.clear_unkept_features()
    }

    /// The L2 entry of the cluster at `guest`, without making its table one to be changed.
    pub(super) fn entry(&mut self, guest: u64) -> Result<L2Entry> {
        let geometry = self.geometry();
        let index = geometry.l1_index(GuestOffset(guest));
        if !self.tree.tables.contains_key(&index) {
            // Past the table's end nothing is mapped.
            let at = internal::index(index).of(&self.file)?;
            let raw = self.tree.l1.get(at).unwrap_or(L1Entry::UNMAPPED);
            let entry = L1Entry::parse(raw, geometry).map_err(|e| self.damaged(guest, e))?;
            let Some(offset) = entry.table else {
                return Ok(L2Entry::Unallocated);
            };
            let entries = read_l2(&self.file, offset.get(), self.context)?;
            let table = Table {
                entries,
                offset,
                fresh: false,
                dirty: None,
            };
            self.tree.tables.insert(index, table);
        }
        let table = self
            .tree
            .tables
            .get(&index)
            .ok_or_else(|| self.damaged(guest, "its L2 table is gone"))?;
        table
            .entries
            .get(geometry.l2_index(GuestOffset(guest)))
            .and_then(|entry| entry.in_place(GuestOffset(guest), self.context))
            .map_err(|e| self.damaged(guest, e))
    }

    /// Changes the L2 entry of the cluster at `guest`. A missing table is added; one that a snapshot
    /// shares is copied first.
    pub(super) fn set_entry(&mut self, guest: u64, entry: L2Entry) -> Result<()> {
        let geometry = self.geometry();
        let index = geometry.l1_index(GuestOffset(guest));
        let at_l1 = internal::index(index).of(&self.file)?;
        if at_l1 >= self.tree.l1.len() {
            return Err(self.damaged(guest, "the L1 table has no entry for it"));
        }
        self.entry(guest)?;
        let shared = match self.tree.tables.get(&index) {
            None => true,
            Some(table) if table.fresh || table.dirty.is_some() => false,
            Some(table) => self.refs.get(geometry.cluster_of(table.offset))? != 1,
        };
        if shared {
            let offset = geometry.offset_of(self.refs.allocate(1)?.first);
            let entries = match self.tree.tables.remove(&index) {
                Some(table) => {
                    self.free_cluster(table.offset);
                    table.entries
                }
                None => L2Buf::zeroed(self.context),
            };
            self.tree.tables.insert(
                index,
                Table {
                    entries,
                    offset,
                    fresh: true,
                    dirty: None,
                },
            );
            let raw = L1Entry {
                table: Some(offset),
                copied: self.tree.active,
            }
            .encode(geometry)
            .map_err(|e| self.damaged(guest, e))?;
            self.tree
                .l1
                .set(at_l1, raw)
                .map_err(|e| self.damaged(guest, e))?;
            self.tree.dirty_l1.insert(at_l1);
        }
        let at = geometry.l2_index(GuestOffset(guest));
        let copied = self.tree.active && entry.copied();
        let table = self.tree.tables.get_mut(&index);
        let Some(table) = table else {
            return Err(self.damaged(guest, "its L2 table is gone"));
        };
        table
            .entries
            .set(at, entry.with_copied(copied))
            .map_err(|e| Error::new(&self.file, e))?;
        table.dirty = Some(
            table
                .dirty
                .take()
                .map_or(at..at + 1, |d| d.start.min(at)..d.end.max(at + 1)),
        );
        Ok(())
    }

    /// Remembers that nothing will refer to the entry's clusters any more.
    pub(super) fn release(&mut self, entry: L2Entry) {
        if self.data.is_some() {
            return;
        }
        match entry {
            L2Entry::Compressed(stream) => {
                let geometry = self.geometry();
                self.free(geometry.clusters_of(stream.host, stream.max_len()));
            }
            other => {
                if let Some(host) = other.host() {
                    self.free_cluster(host);
                }
            }
        }
    }

    pub(super) fn free(&mut self, clusters: HostClusters) {
        push(&mut self.freed, clusters);
    }

    pub(super) fn free_cluster(&mut self, offset: HostOffset) {
        self.free(HostClusters::one(self.geometry().cluster_of(offset)));
    }

    /// Whether the cluster that belongs to the entry may be written in place.
    pub(super) fn owned(&mut self, entry: L2Entry) -> Result<Option<HostOffset>> {
        let Some(host) = entry.host() else {
            return Ok(None);
        };
        if self.data.is_some() {
            return Ok(Some(host));
        }
        let cluster = self.geometry().cluster_of(host);
        if self.refs.get(cluster)? != 1 {
            return Ok(None);
        }
        if let Some(what) = self.metadata.at(cluster) {
            return Err(Error::new(
                &self.file,
                ErrorKind::Overlap {
                    what,
                    offset: host.get(),
                },
            ));
        }
        Ok(Some(host))
    }
}

/// Adds clusters to runs, in order of coming.
pub(super) fn push(runs: &mut Vec<HostClusters>, clusters: HostClusters) {
    match runs.last_mut() {
        Some(run) if run.end() == clusters.first => run.count += clusters.count,
        _ => runs.push(clusters),
    }
}

/// Refuses an L1 table that somebody else refers to as well: it is written in place.
fn refuse_shared(
    path: &Path,
    refs: &mut Refcounts,
    geometry: Geometry,
    l1: TablePlace,
) -> Result<()> {
    let offset = l1.offset;
    for cluster in geometry.clusters_of(offset, l1.bytes()).iter() {
        let count = refs.get(cluster)?;
        if count != 1 {
            let text = format!(
                "the L1 table of a snapshot at {offset} is counted {count} times: written through one of \
                 them, all would change"
            );
            return Err(Error::new(path, ErrorKind::Damaged(text)));
        }
    }
    Ok(())
}

/// Whether an image with this header may be written.
///
/// # Errors
/// Why not, if not.
pub fn writable(path: &Path, header: &Header) -> Result<()> {
    let kind = closed(header).or_else(|| {
        if header.incompatible.contains(Incompatible::CORRUPT) {
            Some(ErrorKind::CorruptBit)
        } else if header.incompatible.contains(Incompatible::DIRTY) {
            Some(ErrorKind::Dirty)
        } else {
            None
        }
    });
    kind.map_or(Ok(()), |kind| Err(Error::new(path, kind)))
}

/// The cipher of the image on top of `view`, if its header says that it is encrypted.
///
/// # Errors
/// [`ErrorKind::Locked`] where it is not unlocked.
fn cipher_of(
    view: &Chain,
    header: &Header,
) -> std::result::Result<Option<Arc<SectorCipher>>, ErrorKind> {
    if header.crypt == CryptMethod::None {
        return Ok(None);
    }
    match view.layers().first().map(|layer| &**layer) {
        Some(Layer::Qcow2(image)) if image.cipher().is_some() => Ok(image.cipher().cloned()),
        _ => Err(ErrorKind::Locked),
    }
}
