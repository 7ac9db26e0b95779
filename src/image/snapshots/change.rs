//! A change of an image's internal snapshots, worked out completely before anything is written, and
//! the one write that makes it true. What it consists of is in `create`, `apply` and `delete`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::HostFile;
use crate::qcow2::rewrite::HeaderEdit;
use crate::qcow2::snapshot::encode_table;
use crate::qcow2::stretch::{any_copied, clear_copied, set_copied};
use crate::qcow2::{
    Autoclear, EntryTable, FormatError, Header, HostOffset, L1Entry, L2Context, Snapshot, Stretch,
    Version, stretches,
};

use super::super::batch::Batch;
use super::super::error::{IoContext, Result};
use super::super::freed::on_disk;
use super::super::header_file::HeaderFile;
use super::super::new_counts::NewCounts;
use super::super::qcow2_layer::read_entries;
use super::super::tree::{Named, Trees};
use super::super::{Error, ErrorKind, Pace, bitmaps, check, writable};

/// A change of an image's internal snapshots, ready to be made. Until then nothing is written.
#[derive(Debug)]
pub struct SnapshotChange {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn HostFile>,
    pub(super) header: HeaderFile,
    pub(super) context: L2Context,
    pub(super) counts: NewCounts,
    /// The snapshots as they are to be.
    pub(super) list: Vec<Snapshot>,
    /// Length in bytes of the snapshot table on disk.
    old_list_len: u64,
    /// L2 tables that the active view gets anew, their copied flags brought in line with the counts.
    moved: Vec<Moved>,
    /// L1 tables to be written: at which cluster.
    tables: Vec<(u64, EntryTable)>,
    /// New place of the active L1 table: cluster, entries.
    l1: Option<(u64, u64)>,
    /// The snapshot table's bytes and its cluster.
    new_list: Option<(u64, Vec<u8>)>,
    pub(super) virtual_size: Option<u64>,
    /// Whether the guest sees something else afterwards.
    pub(super) changes_content: bool,
    pub(super) is_so: bool,
}

/// An L2 table that is written anew.
#[derive(Debug, Clone, Copy)]
struct Moved {
    from: u64,
    to: u64,
    flags: Flags,
}

/// What the copied flags of a table are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flags {
    /// None: everything it refers to is shared.
    None,
    /// Those of the clusters that have one reference.
    ByCount,
}

impl SnapshotChange {
    /// Looks at an image whose snapshots are to be changed. It is checked first: on counts that
    /// cannot be trusted nothing is built.
    pub(super) fn begin(path: &Path, file: &Arc<dyn HostFile>, pace: &dyn Pace) -> Result<Self> {
        let header = HeaderFile::read(path, Arc::clone(file))?;
        writable(path, header.header())?;
        if header.header().has_data_file() {
            let text =
                "its guest data is in an external data file, of which no snapshot can be taken";
            return Err(Error::new(path, ErrorKind::Limit(text.to_owned())));
        }
        let found = check(path, file, pace)?;
        if found.corruptions > 0 {
            return Err(Error::new(path, ErrorKind::Corruptions(found.corruptions)));
        }
        let (list, old_list_len) = super::read(path, &**file, header.header())?;
        Ok(Self {
            path: path.to_path_buf(),
            counts: NewCounts::open(path, Arc::clone(file), header.header())?,
            context: L2Context::of(header.header()),
            file: Arc::clone(file),
            header,
            list,
            old_list_len,
            moved: Vec::new(),
            tables: Vec::new(),
            l1: None,
            new_list: None,
            virtual_size: None,
            changes_content: false,
            is_so: false,
        })
    }

    pub(super) fn cluster_size(&self) -> u64 {
        self.context.geometry.cluster_size()
    }

    pub(super) fn format_error(&self, error: FormatError) -> Error {
        Error::new(&self.path, error)
    }

    pub(super) fn limit(&self, text: impl Into<String>) -> Error {
        Error::new(&self.path, ErrorKind::Limit(text.into()))
    }

    /// The active L1 table as it is on disk.
    pub(super) fn active_l1(&self) -> Result<EntryTable> {
        let header = self.header.header();
        let (offset, entries) = (header.l1_offset.get(), u64::from(header.l1_entries));
        read_entries(&self.path, &*self.file, offset, entries, "L1 table")
    }

    /// The L1 table of a snapshot.
    pub(super) fn l1_of(&self, snapshot: &Snapshot) -> Result<EntryTable> {
        read_entries(
            &self.path,
            &*self.file,
            snapshot.l1_offset.get(),
            u64::from(snapshot.l1_entries),
            "snapshot's L1 table",
        )
    }

    /// Where an L1 table of so many entries is, as first cluster and clusters.
    pub(super) fn l1_run(&self, offset: HostOffset, entries: u64) -> (u64, u64) {
        let size = self.cluster_size();
        (offset.get() / size, (entries * 8).div_ceil(size))
    }

    /// Counts one reference more to everything the tables below `l1` refer to, and tells each of
    /// those tables and whether it has copied flags.
    pub(super) fn raise_tree(
        &mut self,
        l1: &EntryTable,
        pace: &dyn Pace,
        mut tell: impl FnMut(&mut NewCounts, Named, bool) -> Result<()>,
    ) -> Result<()> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let trees = trees(&path, &*file, self.context, pace);
        trees.each(l1, |named, table| {
            trees.references(table, |first, count| self.counts.raise(first, count))?;
            let copied = any_copied(table, self.context.geometry);
            tell(&mut self.counts, named, copied)
        })
    }

    /// Counts one reference less to everything `l1` leads to, its L2 tables included, and tells each of
    /// those tables, and whether its first run of clusters has only one reference left and no flag
    /// that says so.
    pub(super) fn lower_tree(
        &mut self,
        l1: &EntryTable,
        pace: &dyn Pace,
        mut tell: impl FnMut(Named, bool),
    ) -> Result<()> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let trees = trees(&path, &*file, self.context, pace);
        let size = self.cluster_size();
        trees.each(l1, |named, table| {
            trees.references(table, |first, count| self.counts.lower(first, count))?;
            self.counts.lower(named.offset / size, 1)?;
            let first = stretches(table, self.context).find_map(|stretch| match stretch {
                Stretch::Clusters { host, copied, .. } => Some((host, copied)),
                Stretch::Entry { .. } => None,
            });
            let alone = match first {
                Some((host, false)) => self.counts.get(host.get() / size)? == 1,
                _ => false,
            };
            tell(named, alone);
            Ok(())
        })
    }

    /// Tells each table below `l1` and whether its copied flags disagree with the counts.
    pub(super) fn compare_flags(
        &mut self,
        l1: &EntryTable,
        pace: &dyn Pace,
        mut tell: impl FnMut(&mut Self, Named, bool) -> Result<()>,
    ) -> Result<()> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let trees = trees(&path, &*file, self.context, pace);
        trees.each(l1, |named, table| {
            let mut differs = false;
            each_wrong_flag(&trees, table, &mut self.counts, |_, _| {
                differs = true;
                Ok(())
            })?;
            tell(self, named, differs)
        })
    }

    /// Has the L2 table at `from` written anew to cluster `to`.
    pub(super) fn move_table(&mut self, from: u64, to: u64, flags: Flags) {
        let to = to * self.cluster_size();
        self.moved.push(Moved { from, to, flags });
    }

    /// An L1 entry for the L2 table at byte `offset`.
    pub(super) fn l1_entry(&self, offset: u64, copied: bool) -> Result<u64> {
        let entry = L1Entry {
            table: Some(HostOffset(offset)),
            copied,
        };
        let encoded = entry.encode(self.context.geometry);
        encoded.map_err(|e| self.format_error(e))
    }

    /// Has an L1 table written to a new place: its offset in bytes. A table of no entries needs none.
    pub(super) fn add_l1(&mut self, table: EntryTable) -> Result<HostOffset> {
        let (_, clusters) = self.l1_run(HostOffset(0), table.len() as u64);
        if clusters == 0 {
            return Ok(HostOffset(0));
        }
        let first = self.counts.allocate(clusters)?;
        self.tables.push((first, table));
        Ok(HostOffset(first * self.cluster_size()))
    }

    /// Makes `table` the active L1 table. The old one stays where it is if nothing in it changes.
    pub(super) fn set_active_l1(&mut self, old: &EntryTable, table: EntryTable) -> Result<()> {
        if *old == table {
            return Ok(());
        }
        let (first, clusters) = self.l1_run(self.header.header().l1_offset, old.len() as u64);
        self.counts.lower(first, clusters)?;
        let entries = table.len() as u64;
        let place = self.add_l1(table)?;
        self.l1 = Some((place.get(), entries));
        Ok(())
    }

    /// Finds a place for all that is left: the snapshot table, and the counts themselves.
    pub(super) fn settle(mut self) -> Result<Self> {
        let size = self.cluster_size();
        let old = self.header.header().snapshots_offset.get();
        let bytes = encode_table(&self.list).map_err(|e| self.format_error(e))?;
        // Applying a snapshot leaves the list as it is.
        let (now, _) = super::read(&self.path, &*self.file, self.header.header())?;
        if now != self.list {
            self.counts
                .lower(old / size, self.old_list_len.div_ceil(size))?;
            let clusters = (bytes.len() as u64).div_ceil(size);
            let place = if clusters == 0 {
                0
            } else {
                self.counts.allocate(clusters)?
            };
            self.new_list = Some((place, bytes));
        }
        self.counts.place()?;
        Ok(self)
    }

    /// The header of the image as it is.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.header.header()
    }

    /// The snapshots as they are going to be.
    #[must_use]
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.list
    }

    /// Bytes of tables that are written, all of them to places that are free now.
    #[must_use]
    pub fn written(&self) -> u64 {
        let size = self.cluster_size();
        let tables: u64 = self
            .tables
            .iter()
            .map(|(_, table)| (table.len() as u64 * 8).div_ceil(size) * size)
            .sum();
        let list = self
            .new_list
            .as_ref()
            .map_or(0, |(_, bytes)| (bytes.len() as u64).div_ceil(size) * size);
        self.moved.len() as u64 * size + tables + list + self.counts.written()
    }

    /// Whether the image is as it would be: applied is a snapshot that it shows already.
    #[must_use]
    pub const fn is_so(&self) -> bool {
        self.is_so
    }

    /// Bytes on disk that are given back to the filesystem: clusters that nothing refers to afterwards, but
    /// for those of replaced tables, which the next change fills.
    #[must_use]
    pub fn freed(&self) -> u64 {
        let size = self.cluster_size();
        let bytes = |run: Range<u64>| run.start.saturating_mul(size)..run.end.saturating_mul(size);
        on_disk(&*self.file, self.counts.holes().map(bytes))
    }

    /// Makes the change. At every instant the image on disk is the old one or the new one, each
    /// complete. It can be stopped until the switch.
    ///
    /// # Errors
    /// When the file cannot be written, or it was stopped: the image is as it was.
    pub fn commit(mut self, pace: &dyn Pace) -> Result<()> {
        self.write_tables(pace)?;
        self.file.fence().at(&self.path, "flush")?;
        let edit = self.edit()?;
        if self.changes_content && self.header.header().version != Version::V2 {
            bitmaps::mark_stale(&self.path, &*self.file, self.header.header())?;
        }
        self.header.edit(&edit)?;
        let size = self.cluster_size();
        for run in self.counts.holes() {
            let (offset, len) = (run.start * size, (run.end - run.start) * size);
            self.file
                .punch(offset, len)
                .at(&self.path, &format!("free {len} bytes at {offset:#x}"))?;
        }
        Ok(())
    }

    fn write_tables(&mut self, pace: &dyn Pace) -> Result<()> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let trees = trees(&path, &*file, self.context, pace);
        let (size, geometry) = (self.cluster_size(), self.context.geometry);
        let mut batch = Batch::new(&path, &*file);
        self.moved.sort_unstable_by_key(|moved| moved.from);
        let moved = self.moved.iter().map(|moved| (moved.from, moved));
        trees.tables().each(moved, &mut |moved, table| {
            let new = batch.put_mut(moved.to, table)?;
            match moved.flags {
                Flags::None => clear_copied(new, geometry),
                Flags::ByCount => {
                    each_wrong_flag(&trees, table, &mut self.counts, |entries, copied| {
                        set_copied(new, geometry, entries, copied)
                            .map_err(|error| Error::new(&path, error))
                    })?;
                }
            }
            Ok(())
        })?;
        for (cluster, table) in &self.tables {
            batch.put(cluster * size, table.as_bytes())?;
        }
        if let Some((cluster, bytes)) = &self.new_list {
            batch.put(cluster * size, bytes)?;
        }
        self.counts.write(&mut batch)?;
        batch.flush()
    }

    /// The switch: everything in it lies in the header's first sector.
    fn edit(&self) -> Result<HeaderEdit> {
        let header = self.header.header();
        let narrow = |what: &str, n: u64| {
            u32::try_from(n).map_err(|_| self.limit(format!("{what} is too long for the header")))
        };
        let l1 = match self.l1 {
            Some((offset, entries)) => Some((HostOffset(offset), narrow("the L1 table", entries)?)),
            None => None,
        };
        let refcount_table = match self.counts.table() {
            Some((offset, clusters)) => {
                Some((HostOffset(offset), narrow("the refcount table", clusters)?))
            }
            None => None,
        };
        let snapshots = match &self.new_list {
            Some((cluster, _)) => Some((
                HostOffset(cluster * self.cluster_size()),
                narrow("the snapshot table", self.list.len() as u64)?,
            )),
            None => None,
        };
        // Bits of features that are not kept up here are cleared, as the specification demands.
        let kept = header.autoclear & (Autoclear::BITMAPS | Autoclear::RAW_EXTERNAL_DATA);
        Ok(HeaderEdit {
            l1,
            refcount_table,
            snapshots,
            virtual_size: self.virtual_size,
            autoclear: (header.version != Version::V2).then_some(kept),
            ..HeaderEdit::default()
        })
    }
}

fn trees<'a>(
    path: &'a Path,
    file: &'a dyn HostFile,
    context: L2Context,
    pace: &'a dyn Pace,
) -> Trees<'a> {
    Trees {
        path,
        file,
        context,
        pace,
    }
}

/// Tells the entries of a table whose copied flag disagrees with the counts, and what it is to be.
fn each_wrong_flag(
    trees: &Trees<'_>,
    table: &[u8],
    counts: &mut NewCounts,
    mut tell: impl FnMut(Range<usize>, bool) -> Result<()>,
) -> Result<()> {
    trees.flagged(table, |at, len, cluster, copied| {
        let mut told = Ok(());
        counts.ones(cluster, len as u64, |entries, one| {
            if one != copied && told.is_ok() {
                told = tell(at + entries.start..at + entries.end, one);
            }
        })?;
        told
    })
}
