//! A change of an image's internal snapshots, worked out completely before anything is written, and
//! the one write that makes it true. What it consists of is in `create`, `apply` and `delete`.

use std::ops::Range;

use crate::image::error::Result;
use crate::image::read::table_reader::{read_active_l1, read_snapshot_l1};
use crate::image::read::table_walk::{Named, TableWalk};
use crate::image::write::batch::Batch;
use crate::image::write::header_file::table_in_header;
use crate::image::write::shadow_refcounts::ShadowRefcounts;
use crate::image::write::transaction::{MetadataTransaction, Reclaim};
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink};
use crate::qcow2::cluster_run::{any_copied, clear_copied, set_copied};
use crate::qcow2::snapshot::encode_table;
use crate::qcow2::{
    ClusterRun, EntryTable, FormatError, Header, HostCluster, HostOffset, L1Entry, Snapshot,
    cluster_runs,
};

/// A change of an image's internal snapshots, ready to be made. Until then nothing is written.
#[derive(Debug)]
pub struct SnapshotChange {
    pub(crate) transaction: MetadataTransaction,
    /// The snapshots as they are to be.
    pub(crate) list: Vec<Snapshot>,
    /// Length in bytes of the snapshot table on disk.
    old_list_len: u64,
    /// L2 tables that the active view gets anew, their copied flags brought in line with the counts.
    moved: Vec<Moved>,
    pub(crate) is_so: bool,
}

/// An L2 table that is written anew.
#[derive(Debug, Clone, Copy)]
struct Moved {
    from: HostOffset,
    to: HostOffset,
    flags: Flags,
}

/// What the copied flags of a table are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flags {
    /// None: everything it refers to is shared.
    None,
    /// Those of the clusters that have one reference.
    ByCount,
}

impl SnapshotChange {
    /// Looks at an image whose snapshots are to be changed. It is checked first: on counts that
    /// cannot be trusted nothing is built.
    pub(crate) fn begin(file: &ImageFile, progress: &dyn ProgressSink) -> Result<Self> {
        let allowed = |header: &Header| {
            if header.has_data_file() {
                let text =
                    "its guest data is in an external data file, of which no snapshot can be taken";
                return Err(Error::new(file, ErrorKind::Unsupported(text.to_owned())));
            }
            Ok(())
        };
        let reclaim = Reclaim::AllButReplaced;
        let transaction = MetadataTransaction::begin_where(file, reclaim, allowed, progress)?;
        let (list, old_list_len) = crate::image::read::snapshots::read(file, transaction.header())?;
        Ok(Self {
            transaction,
            list,
            old_list_len,
            moved: Vec::new(),
            is_so: false,
        })
    }

    pub(crate) fn format_error(&self, error: FormatError) -> Error {
        self.transaction.format_error(error)
    }

    pub(crate) fn limit(&self, text: impl Into<String>) -> Error {
        self.transaction.limit(text)
    }

    /// The active L1 table as it is on disk.
    pub(crate) fn active_l1(&self) -> Result<EntryTable> {
        read_active_l1(&self.transaction.file, self.transaction.header())
    }

    /// The L1 table of a snapshot.
    pub(crate) fn l1_of(&self, snapshot: &Snapshot) -> Result<EntryTable> {
        read_snapshot_l1(&self.transaction.file, snapshot)
    }

    /// Counts one reference more to everything the tables below `l1` refer to, and tells each of
    /// those tables and whether it has copied flags.
    pub(crate) fn raise_tree(
        &mut self,
        l1: &EntryTable,
        progress: &dyn ProgressSink,
        mut tell: impl FnMut(&mut ShadowRefcounts, Named, bool) -> Result<()>,
    ) -> Result<()> {
        let file = self.transaction.file.clone();
        let trees = TableWalk::new(&file, self.transaction.context, progress);
        trees.each(l1, |named, table| {
            trees.references(table, |clusters| self.transaction.counts.raise(clusters))?;
            let copied = any_copied(table, self.transaction.context.geometry);
            tell(&mut self.transaction.counts, named, copied)
        })
    }

    /// Counts one reference less to everything `l1` leads to, its L2 tables included, and tells each of
    /// those tables, and whether its first run of clusters has only one reference left and no flag
    /// that says so.
    pub(crate) fn lower_tree(
        &mut self,
        l1: &EntryTable,
        progress: &dyn ProgressSink,
        mut tell: impl FnMut(Named, bool),
    ) -> Result<()> {
        let file = self.transaction.file.clone();
        let trees = TableWalk::new(&file, self.transaction.context, progress);
        let size = self.transaction.cluster_size();
        trees.each(l1, |named, table| {
            trees.references(table, |clusters| self.transaction.counts.lower(clusters))?;
            self.transaction.release(named.offset, size)?;
            let first = cluster_runs(table, self.transaction.context).find_map(|run| match run {
                ClusterRun::Clusters { host, copied, .. } => Some((host, copied)),
                ClusterRun::Entry { .. } => None,
            });
            let alone = match first {
                Some((host, false)) => self.transaction.is_alone(host)?,
                _ => false,
            };
            tell(named, alone);
            Ok(())
        })
    }

    /// Tells each table below `l1` and whether its copied flags disagree with the counts.
    pub(crate) fn compare_flags(
        &mut self,
        l1: &EntryTable,
        progress: &dyn ProgressSink,
        mut tell: impl FnMut(&mut Self, Named, bool) -> Result<()>,
    ) -> Result<()> {
        let file = self.transaction.file.clone();
        let trees = TableWalk::new(&file, self.transaction.context, progress);
        trees.each(l1, |named, table| {
            let mut differs = false;
            each_wrong_flag(&trees, table, &mut self.transaction.counts, |_, _| {
                differs = true;
                Ok(())
            })?;
            tell(self, named, differs)
        })
    }

    /// Has the L2 table at `from` written anew to cluster `to`.
    pub(crate) fn move_table(&mut self, from: HostOffset, to: HostCluster, flags: Flags) {
        let to = self.transaction.geometry().offset_of(to);
        self.moved.push(Moved { from, to, flags });
    }

    /// An L1 entry for the L2 table at `offset`.
    pub(crate) fn l1_entry(&self, offset: HostOffset, copied: bool) -> Result<u64> {
        let entry = L1Entry {
            table: Some(offset),
            copied,
        };
        let encoded = entry.encode(self.transaction.context.geometry);
        encoded.map_err(|e| self.format_error(e))
    }

    /// Has an L1 table written to a new place: its offset in bytes. A table of no entries needs none.
    pub(crate) fn add_l1(&mut self, table: &EntryTable) -> Result<HostOffset> {
        self.transaction.put(table.as_bytes().to_vec())
    }

    /// Makes `table` the active L1 table. The old one stays where it is if nothing in it changes.
    pub(crate) fn set_active_l1(&mut self, old: &EntryTable, table: &EntryTable) -> Result<()> {
        if old == table {
            return Ok(());
        }
        self.transaction.put_active_l1(table)
    }

    /// Finds a place for all that is left: the snapshot table, and the counts themselves.
    pub(crate) fn settle(mut self) -> Result<Self> {
        let (file, header) = (&self.transaction.file, self.transaction.header());
        // Applying a snapshot leaves the list as it is.
        let (now, _) = crate::image::read::snapshots::read(file, header)?;
        if now != self.list {
            let old = self.transaction.header().snapshots_offset;
            self.transaction.release(old, self.old_list_len)?;
            let bytes = encode_table(&self.list).map_err(|e| self.format_error(e))?;
            let list = (self.transaction.put(bytes)?, self.list.len() as u64);
            let list = table_in_header(self.transaction.file.path(), "the snapshot table", list)?;
            self.transaction.edit.snapshots = Some(list);
        }
        self.transaction = self.transaction.settle()?;
        Ok(self)
    }

    /// The header of the image as it is.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.transaction.header()
    }

    /// The snapshots as they are going to be.
    #[must_use]
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.list
    }

    /// Bytes of tables that are written, all of them to places that are free now.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.moved.len() as u64 * self.transaction.cluster_size() + self.transaction.written()
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
        self.transaction.freed()
    }

    /// Makes the change. At every instant the image on disk is the old one or the new one, each
    /// complete. It can be stopped until the switch.
    ///
    /// # Errors
    /// When the file cannot be written, or it was stopped: the image is as it was.
    pub fn commit(self, progress: &dyn ProgressSink) -> Result<()> {
        let Self {
            transaction,
            mut moved,
            ..
        } = self;
        moved.sort_unstable_by_key(|moved| moved.from);
        transaction.commit_with(progress, |transaction, batch| {
            put_moved(transaction, &moved, batch, progress)
        })
    }
}

/// Has the L2 tables written that the active view gets anew.
fn put_moved(
    transaction: &mut MetadataTransaction,
    moved: &[Moved],
    batch: &mut Batch<'_>,
    progress: &dyn ProgressSink,
) -> Result<()> {
    let file = transaction.file.clone();
    let trees = TableWalk::new(&file, transaction.context, progress);
    let geometry = transaction.geometry();
    let moved = moved.iter().map(|moved| (moved.from.get(), moved));
    trees.tables().each(moved, &mut |moved, table| {
        let new = batch.put_mut(moved.to.get(), table)?;
        match moved.flags {
            Flags::None => {
                clear_copied(new, geometry);
                Ok(())
            }
            Flags::ByCount => {
                each_wrong_flag(&trees, table, &mut transaction.counts, |entries, copied| {
                    set_copied(new, geometry, entries, copied)
                        .map_err(|error| Error::new(&file, error))
                })
            }
        }
    })
}

/// Tells the entries of a table whose copied flag disagrees with the counts, and what it is to be.
fn each_wrong_flag(
    trees: &TableWalk<'_>,
    table: &[u8],
    counts: &mut ShadowRefcounts,
    mut tell: impl FnMut(Range<usize>, bool) -> Result<()>,
) -> Result<()> {
    trees.flagged(table, |at, clusters, copied| {
        let mut told = Ok(());
        counts.ones(clusters, |entries, one| {
            if one != copied && told.is_ok() {
                told = tell(at + entries.start..at + entries.end, one);
            }
        })?;
        told
    })
}
