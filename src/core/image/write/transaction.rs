//! A change of an image's tables that is worked out completely before anything is written, and the
//! write that makes it true. What changes is the business of `shrink`, `amend`, `bitmaps` and `snapshots`.
//!
//! Everything new goes to clusters that are free before the change; it is written there, flushed, and
//! then one write of one sector of the header switches over to all of it. A crash leaves the image as
//! it was or as it is to be, and neither leaks. (Where the place of the bitmap directory lies in
//! another sector of the header: see [`HeaderFile::split`].)

use crate::image::check::require_sound;
use crate::image::error::Result;
use crate::image::write::batch::Batch;
use crate::image::write::freed::on_disk;
use crate::image::write::header_file::{HeaderFile, KEPT_AUTOCLEAR, table_in_header};
use crate::image::write::shadow_refcounts::ShadowRefcounts;
use crate::image::write::stale_bitmaps::mark_stale;
use crate::image::write::truncate;
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink, writable};
use crate::qcow2::rewrite::HeaderEdit;
use crate::qcow2::{
    EntryTable, FormatError, Geometry, Header, HostCluster, HostClusters, HostOffset, L2Context,
    Version,
};

/// What becomes of clusters that nothing refers to after the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reclaim {
    /// All are given back to the filesystem, and the file ends with the last cluster in use.
    All,
    /// Those of replaced tables stay: the next change fills them.
    AllButReplaced,
}

/// The change.
#[derive(Debug)]
pub(crate) struct MetadataTransaction {
    pub(crate) file: ImageFile,
    header: HeaderFile,
    pub(crate) context: L2Context,
    pub(crate) counts: ShadowRefcounts,
    /// What is written: at which cluster.
    writes: Vec<(HostCluster, Vec<u8>)>,
    /// What the header says afterwards; tables and autoclear bits are added when it is settled.
    pub(crate) edit: HeaderEdit,
    edits: Vec<HeaderEdit>,
    /// Whether the guest sees something else afterwards: bitmaps that miss it are marked so.
    pub(crate) changes_content: bool,
    reclaim: Reclaim,
    /// Whether the file is longer than all that is counted: what lies there is not ours to cut off.
    has_trailer: bool,
}

impl MetadataTransaction {
    /// Looks at an image whose tables are to be changed. It is checked first: on counts that cannot
    /// be trusted nothing is built.
    pub(crate) fn begin(file: &ImageFile, progress: &dyn ProgressSink) -> Result<Self> {
        Self::begin_where(file, Reclaim::All, |_| Ok(()), progress)
    }

    /// As [`MetadataTransaction::begin`], where `allowed` does not refuse an image with that header.
    pub(crate) fn begin_where(
        file: &ImageFile,
        reclaim: Reclaim,
        allowed: impl FnOnce(&Header) -> Result<()>,
        progress: &dyn ProgressSink,
    ) -> Result<Self> {
        let header = HeaderFile::read(file)?;
        writable(file.path(), header.header())?;
        allowed(header.header())?;
        let found = require_sound(file, progress)?;
        let mut counts = ShadowRefcounts::open(file, header.header())?;
        let geometry = header.header().geometry;
        let file_end = HostCluster(geometry.clusters_for(found.file_len));
        Ok(Self {
            has_trailer: reclaim == Reclaim::All && counts.end_of_all()? < file_end,
            reclaim,
            changes_content: false,
            counts,
            context: L2Context::of(header.header()),
            file: file.clone(),
            header,
            writes: Vec::new(),
            edit: HeaderEdit::default(),
            edits: Vec::new(),
        })
    }

    /// The header of the image as it is.
    pub(crate) fn header(&self) -> &Header {
        self.header.header()
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.context.geometry
    }

    pub(crate) fn cluster_size(&self) -> u64 {
        self.context.geometry.cluster_size()
    }

    pub(crate) fn format_error(&self, error: FormatError) -> Error {
        Error::new(&self.file, error)
    }

    pub(crate) fn limit(&self, text: impl Into<String>) -> Error {
        Error::new(&self.file, ErrorKind::Limit(text.into()))
    }

    pub(crate) fn unsupported(&self, text: impl Into<String>) -> Error {
        Error::new(&self.file, ErrorKind::Unsupported(text.into()))
    }

    /// Has bytes written to a place that is free now: the place. No bytes need none.
    pub(crate) fn put(&mut self, bytes: Vec<u8>) -> Result<HostOffset> {
        let clusters = self.geometry().clusters_for(bytes.len() as u64);
        if clusters == 0 {
            return Ok(HostOffset(0));
        }
        let first = self.counts.allocate(clusters)?;
        self.writes.push((first, bytes));
        Ok(self.geometry().offset_of(first))
    }

    /// Has an L1 table written anew, which becomes the active one.
    pub(crate) fn put_active_l1(&mut self, table: &EntryTable) -> Result<()> {
        let old = self.header().l1();
        self.release(old.offset, old.bytes())?;
        let place = self.put(table.as_bytes().to_vec())?;
        let entries = table.len() as u64;
        self.edit.l1 = Some(table_in_header(
            self.file.path(),
            "the L1 table",
            (place, entries),
        )?);
        Ok(())
    }

    /// Gives up one reference to the clusters of `len` bytes at a cluster-aligned offset.
    pub(crate) fn release(&mut self, offset: HostOffset, len: u64) -> Result<()> {
        self.counts.lower(self.geometry().clusters_of(offset, len))
    }

    /// Whether the cluster at this offset is to be counted exactly once.
    pub(crate) fn is_alone(&mut self, offset: HostOffset) -> Result<bool> {
        let cluster = self.geometry().cluster_of(offset);
        Ok(self.counts.get(cluster)? == 1)
    }

    /// Finds a place for the counts themselves, and makes sure that the header can be switched over.
    pub(crate) fn settle(mut self) -> Result<Self> {
        if self.counts.is_changed() {
            self.counts.place()?;
        }
        if let Some(table) = self.counts.table() {
            let table = (self.geometry().offset_of(table.first), table.count);
            let table = table_in_header(self.file.path(), "the refcount table", table)?;
            self.edit.refcount_table = Some(table);
        }
        let version = self.edit.version.unwrap_or(self.header().version);
        if version != Version::V2 && self.edit.autoclear.is_none() {
            self.edit.autoclear = Some(self.header().autoclear & KEPT_AUTOCLEAR);
        }
        self.edits = self.header.split(&self.edit)?;
        Ok(self)
    }

    /// Bytes of tables that are written, all of them to places that are free now.
    pub(crate) fn written(&self) -> u64 {
        let size = self.cluster_size();
        let bytes =
            |(_, bytes): &(HostCluster, Vec<u8>)| (bytes.len() as u64).div_ceil(size) * size;
        self.writes.iter().map(bytes).sum::<u64>() + self.counts.written()
    }

    /// Bytes on disk of the clusters that are given back.
    pub(crate) fn freed(&self) -> u64 {
        let bytes = |run| self.geometry().bytes_of(run);
        on_disk(&self.file, self.reclaimed().into_iter().map(bytes))
    }

    /// The clusters that are given back to the filesystem, in order.
    fn reclaimed(&self) -> Vec<HostClusters> {
        match self.reclaim {
            Reclaim::All => self.counts.freed().collect(),
            Reclaim::AllButReplaced => self.counts.holes().collect(),
        }
    }

    /// The clusters that are written.
    pub(crate) fn places(&self) -> Result<Vec<HostClusters>> {
        let geometry = self.geometry();
        let run = |offset, bytes: &[u8]| geometry.clusters_of(offset, bytes.len() as u64);
        let writes = self.writes.iter();
        let mut places: Vec<_> = writes
            .map(|(first, bytes)| run(geometry.offset_of(*first), bytes))
            .collect();
        self.counts.each_written(&mut |_, bytes, offset| {
            places.push(run(HostOffset(offset), bytes));
            Ok(())
        })?;
        Ok(places)
    }

    /// Whether the file ends where what is counted does.
    pub(crate) const fn owns_the_end(&self) -> bool {
        !self.has_trailer
    }

    /// Makes the change. It can be stopped until the switch.
    ///
    /// # Errors
    /// When the file cannot be written, or it was stopped: the image is as it was.
    pub(crate) fn commit(self, progress: &dyn ProgressSink) -> Result<()> {
        self.commit_with(progress, |_, _| Ok(()))
    }

    /// As [`MetadataTransaction::commit`], with tables that have their places and are made only now, by
    /// `make`: too many to be held.
    pub(crate) fn commit_with(
        mut self,
        progress: &dyn ProgressSink,
        make: impl FnOnce(&mut Self, &mut Batch<'_>) -> Result<()>,
    ) -> Result<()> {
        let file = self.file.clone();
        let geometry = self.geometry();
        let mut batch = Batch::new(&file);
        make(&mut self, &mut batch)?;
        for (cluster, bytes) in &self.writes {
            batch.put(geometry.offset_of(*cluster).get(), bytes)?;
            if !progress.advance(bytes.len() as u64) {
                return Err(Error::new(&file, ErrorKind::Cancelled));
            }
        }
        self.counts.write(&mut batch)?;
        batch.flush()?;
        file.flush()?;
        if self.changes_content && self.header().version != Version::V2 {
            mark_stale(&file, self.header())?;
        }
        for edit in std::mem::take(&mut self.edits) {
            self.header.edit(&edit)?;
        }
        for run in self.reclaimed() {
            let bytes = geometry.bytes_of(run);
            let (offset, len) = (bytes.start, bytes.end - bytes.start);
            file.punch(offset, len, format_args!("free {len} bytes at {offset:#x}"))?;
        }
        if self.reclaim != Reclaim::All || self.has_trailer {
            return Ok(());
        }
        let used = geometry.offset_of(self.counts.end_of_all()?);
        truncate::cut(&file, used.get())
    }
}
