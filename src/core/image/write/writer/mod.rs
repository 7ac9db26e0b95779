//! Changing the content of a qcow2 image: guest bytes and zeros are written, clusters allocated,
//! tables updated in flushed transactions. What is written where is the caller's decision; whether it
//! may be written at all, too. Each guest byte is written at most once between opening and the end.
//!
//! Order of a transaction ([`Writer::flush`]): data, new tables and raised reference counts; flush;
//! the switches that make new tables reachable (header, refcount table); flush; L2 entries in place
//! and L1 entries; flush; only then reference counts are lowered. A crash between any two writes
//! leaves every guest byte old or new and leaks clusters at worst. What a snapshot's view and the active
//! view share stays counted for both until the latter has a copy of its own: `own`.

mod compressed;
mod encrypted;
mod flush;
mod own;
mod size;
mod unallocate;
mod zeros;

pub use size::may_grow;
pub(crate) use size::provide_zeros;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::image::error::{OfFile, Result};
use crate::image::internal::{self, Fault, bit, index, part};
use crate::image::read::luks::SectorCipher;
use crate::image::read::metadata_overlap::TableMap;
use crate::image::read::qcow2_layer::closed;
use crate::image::read::table_reader::{read_entries, read_l2};
use crate::image::write::header_file::HeaderFile;
use crate::image::write::refcounts::Refcounts;
use crate::image::write::transfer::{Place, Transfer};
use crate::image::{Chain, Error, ErrorKind, ImageFile};
use crate::qcow2::{
    EntryTable, Geometry, GuestOffset, Header, HostClusters, HostOffset, Incompatible, L1Entry,
    L2Buf, L2Context, L2Entry, SubclusterBitmap, SubclusterState,
};

/// Bytes of changed L2 tables kept before a transaction is closed by itself.
const TABLE_BUDGET: u64 = 16 << 20;

/// Clusters to be freed kept before a transaction is closed by itself.
const FREE_BUDGET: usize = 1 << 16;

/// Where bytes to be written come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// From memory.
    Bytes(&'a [u8]),
    /// From a file, at this byte offset; bytes past its end are zero.
    File {
        /// The file.
        file: &'a ImageFile,
        /// Byte offset of the first byte.
        offset: u64,
    },
}

impl Source<'_> {
    /// The source `by` bytes further on.
    fn skip(self, by: u64) -> std::result::Result<Self, Fault> {
        Ok(match self {
            Self::Bytes(bytes) => Self::Bytes(part(bytes, index(by)?..bytes.len())?),
            Self::File { file, offset } => Self::File {
                file,
                offset: offset.saturating_add(by),
            },
        })
    }
}

/// Which of the image's guest views is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// What the guest sees now.
    Active,
    /// An internal snapshot's, through its own L1 table.
    Snapshot {
        /// Host offset of its L1 table in bytes.
        l1_offset: u64,
        /// Entries of that table.
        l1_entries: u64,
    },
}

/// A qcow2 image opened for changing its content.
#[derive(Debug)]
pub struct Writer {
    file: ImageFile,
    data: Option<ImageFile>,
    header: HeaderFile,
    context: L2Context,
    tree: Tree,
    refs: Refcounts,
    guarded: TableMap,
    /// This view as it was before, for what a partial write must keep.
    view: Chain,
    /// The virtual size of what the image is built on; 0 without a backing file.
    backing_size: u64,
    /// Clusters that lose one reference when the transaction is through.
    freed: Vec<HostClusters>,
    /// Clusters that a snapshot's view refers to no more and somebody once: still counted twice until
    /// it is known whether that is the active view.
    given_up: Vec<HostClusters>,
    wrote_data: bool,
    transfer: Transfer,
    scratch: Vec<u8>,
    /// Of an encrypted image: everything the guest sees goes through it.
    cipher: Option<Arc<SectorCipher>>,
    /// Sectors on their way through it.
    sealed: Vec<u8>,
    /// If clusters are stored compressed.
    packing: Option<compressed::Packing>,
}

/// One L1 table and the L2 tables under change.
#[derive(Debug)]
struct Tree {
    active: bool,
    l1: EntryTable,
    l1_offset: HostOffset,
    /// The new place is not in the header yet.
    l1_moved: bool,
    dirty_l1: BTreeSet<usize>,
    tables: BTreeMap<u64, Table>,
}

impl Tree {
    /// Reads an L1 table.
    fn read(
        file: &ImageFile,
        l1_offset: HostOffset,
        l1_entries: u64,
        active: bool,
    ) -> Result<Self> {
        Ok(Self {
            active,
            l1: read_entries(file, l1_offset.get(), l1_entries, "L1 table")?,
            l1_offset,
            l1_moved: false,
            dirty_l1: BTreeSet::new(),
            tables: BTreeMap::new(),
        })
    }
}

#[derive(Debug)]
struct Table {
    entries: L2Buf,
    offset: HostOffset,
    /// Nothing on disk refers to it yet.
    fresh: bool,
    dirty: Option<Range<usize>>,
}

impl Writer {
    /// Opens a checked image for writing.
    ///
    /// `view` is the chain as its guest sees it through this root now, this image on top, unlocked if
    /// it is encrypted; `guarded` are its tables, as the check found them.
    ///
    /// # Errors
    /// When the header or a table cannot be read, or the image may not be written: locked, unknown
    /// features, dirty, corrupt.
    pub fn open(
        file: &ImageFile,
        data: Option<ImageFile>,
        view: Chain,
        guarded: TableMap,
        root: Root,
    ) -> Result<Self> {
        let header = HeaderFile::read(file)?;
        writable(file.path(), header.header())?;
        let cipher =
            encrypted::cipher_of(&view, header.header()).map_err(|e| Error::new(file, e))?;
        let context = L2Context::of(header.header());
        let (l1_offset, l1_entries) = match root {
            Root::Active => (
                header.header().l1_offset,
                u64::from(header.header().l1_entries),
            ),
            Root::Snapshot {
                l1_offset,
                l1_entries,
            } => (HostOffset(l1_offset), l1_entries),
        };
        let active = root == Root::Active;
        let tree = Tree::read(file, l1_offset, l1_entries, active)?;
        let mut refs = Refcounts::open(file, header.header())?;
        if !active {
            refuse_shared(
                file.path(),
                &mut refs,
                context.geometry,
                (l1_offset, l1_entries),
            )?;
        }
        Ok(Self {
            refs,
            file: file.clone(),
            data: data.filter(|_| header.header().has_data_file()),
            header,
            context,
            tree,
            guarded,
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

    fn geometry(&self) -> Geometry {
        self.context.geometry
    }

    fn cluster_size(&self) -> u64 {
        self.context.geometry.cluster_size()
    }

    fn damaged(&self, guest: u64, error: impl std::fmt::Display) -> Error {
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

    // ---- looking entries up -------------------------------------------------------------------

    /// The L2 entry of the cluster at `guest`, without making its table one to be changed.
    fn entry(&mut self, guest: u64) -> Result<L2Entry> {
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
    fn set_entry(&mut self, guest: u64, entry: L2Entry) -> Result<()> {
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
    fn release(&mut self, entry: L2Entry) {
        if self.data.is_some() {
            return;
        }
        match entry {
            L2Entry::Compressed(stream) => {
                let len = stream.end().get().saturating_sub(stream.host.get());
                self.free(self.geometry().clusters_of(stream.host, len));
            }
            other => {
                if let Some(host) = other.host() {
                    self.free_cluster(host);
                }
            }
        }
    }

    fn free(&mut self, clusters: HostClusters) {
        push(&mut self.freed, clusters);
    }

    fn free_cluster(&mut self, offset: HostOffset) {
        self.free(HostClusters::one(self.geometry().cluster_of(offset)));
    }

    /// Whether the cluster that belongs to the entry may be written in place.
    fn owned(&mut self, entry: L2Entry) -> Result<Option<HostOffset>> {
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
        if let Some(what) = self.guarded.at(cluster.get()) {
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

    // ---- writing guest bytes ------------------------------------------------------------------

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
    fn write_some(&mut self, at: u64, end: u64, source: Source<'_>) -> Result<u64> {
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
    fn write_whole(&mut self, cluster: u64, end: u64, source: Source<'_>) -> Result<u64> {
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
    fn new_clusters(&mut self, guest: u64, most: u64) -> Result<HostClusters> {
        if self.data.is_some() {
            return Ok(HostClusters {
                first: self.geometry().cluster_of(HostOffset(guest)),
                count: most,
            });
        }
        self.refs.allocate(most)
    }

    /// As [`Writer::new_clusters`], a single one: where it begins.
    fn new_cluster(&mut self, guest: u64) -> Result<HostOffset> {
        let new = self.new_clusters(guest, 1)?;
        Ok(self.geometry().offset_of(new.first))
    }

    /// Writes a part of one cluster that cannot simply be overwritten.
    fn write_part(
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
    fn bitmap_of(&self, entry: L2Entry) -> SubclusterBitmap {
        let state = match entry {
            L2Entry::Subclusters { bitmap, .. } => return bitmap,
            L2Entry::Unallocated => SubclusterState::Unallocated,
            L2Entry::Zero { .. } => SubclusterState::Zero,
            L2Entry::Data { .. } | L2Entry::Compressed(_) => SubclusterState::Data,
        };
        SubclusterBitmap::default().with(0..self.geometry().subclusters(), state)
    }

    /// Copies guest bytes as they were to a host offset.
    fn keep(&mut self, guest: Range<u64>, host: HostOffset) -> Result<()> {
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
    fn put(&mut self, host: HostOffset, len: u64, source: Source<'_>) -> Result<()> {
        self.wrote_data = true;
        if let Some(cipher) = self.cipher.clone() {
            return self.put_encrypted(&cipher, host, len, source);
        }
        let file = self.data.as_ref().unwrap_or(&self.file);
        let to = Place {
            file,
            offset: host.get(),
        };
        match source {
            Source::Bytes(bytes) => {
                let len = internal::index(len).of(file)?;
                let bytes = internal::part(bytes, 0..len).of(file)?;
                self.transfer.write(bytes, to)
            }
            Source::File { file, offset } => self.transfer.run(Place { file, offset }, to, len),
        }
    }
}

/// Adds clusters to runs, in order of coming.
fn push(runs: &mut Vec<HostClusters>, clusters: HostClusters) {
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
    (offset, entries): (HostOffset, u64),
) -> Result<()> {
    let clusters = HostClusters {
        first: geometry.cluster_of(offset),
        count: geometry.clusters_for(entries * 8),
    };
    for cluster in clusters.iter() {
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

/// Whether clusters of an image with this header may be stored compressed.
///
/// # Errors
/// Why not, if not.
pub fn may_compress(path: &Path, header: &Header) -> Result<()> {
    match compressed::not_compressed(header) {
        Some(why) => Err(Error::new(path, ErrorKind::Limit(why.to_owned()))),
        None => Ok(()),
    }
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
