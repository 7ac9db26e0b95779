//! Everything one L1 table leads to, gone through table by table. What is done with it is the
//! caller's.

use crate::image::error::Result;
use crate::image::read::l2_reader::Tables;
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink};
use crate::qcow2::{
    ClusterRun, EntryTable, FormatError, HostOffset, L1Entry, L2Context, L2Entry, cluster_runs,
};

/// An L2 table as an L1 table names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    /// Index in the L1 table.
    pub(crate) index: usize,
    /// Where it is, in bytes.
    pub(crate) offset: u64,
}

/// The image whose tables are gone through.
#[derive(Clone, Copy)]
pub(crate) struct TableWalk<'a> {
    pub(crate) file: &'a ImageFile,
    pub(crate) context: L2Context,
    pub(crate) progress: &'a dyn ProgressSink,
}

impl<'a> TableWalk<'a> {
    /// Goes through what L1 tables of a file lead to.
    pub(crate) const fn new(
        file: &'a ImageFile,
        context: L2Context,
        progress: &'a dyn ProgressSink,
    ) -> Self {
        Self {
            file,
            context,
            progress,
        }
    }
}

impl TableWalk<'_> {
    pub(crate) fn damaged(&self, error: &FormatError) -> Error {
        Error::new(self.file, ErrorKind::Damaged(error.to_string()))
    }

    /// Hands `look` the bytes of each L2 table that `l1` names, in the file's order; none of a table
    /// that maps nothing at all.
    pub(crate) fn each(
        &self,
        l1: &EntryTable,
        mut look: impl FnMut(Named, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut named = Vec::new();
        for (index, raw) in l1.iter().enumerate() {
            let entry = L1Entry::parse(raw, self.context.geometry).map_err(|e| self.damaged(&e))?;
            if let Some(offset) = entry.table.map(HostOffset::get) {
                named.push((offset, Named { index, offset }));
            }
        }
        named.sort_unstable_by_key(|(offset, named)| (*offset, named.index));
        self.tables().each(named, &mut look)
    }

    /// The file, for reading its L2 tables.
    pub(crate) fn tables(&self) -> Tables<'_> {
        Tables {
            file: self.file,
            geometry: self.context.geometry,
            progress: self.progress,
        }
    }

    /// Tells the clusters that a table's entries refer to, as runs (first cluster, how many), one
    /// reference each.
    pub(crate) fn references(
        &self,
        table: &[u8],
        mut tell: impl FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let bits = self.context.geometry.cluster_bits();
        for run in cluster_runs(table, self.context) {
            let (first, last) = match run {
                ClusterRun::Clusters { len, host, .. } => {
                    let first = host.get() >> bits;
                    (first, first + len as u64 - 1)
                }
                ClusterRun::Entry { raw, bitmap, .. } => {
                    let entry = L2Entry::parse(raw, bitmap, self.context);
                    match entry.map_err(|e| self.damaged(&e))? {
                        L2Entry::Compressed(stream) => {
                            let end = stream.end().get();
                            (stream.host.get() >> bits, end.saturating_sub(1) >> bits)
                        }
                        other => match other.host() {
                            Some(host) => (host.get() >> bits, host.get() >> bits),
                            None => continue,
                        },
                    }
                }
            };
            tell(first, last.saturating_sub(first) + 1)?;
        }
        Ok(())
    }

    /// Tells the entries that have a cluster and so a copied flag: index of the first, how many, its
    /// cluster (the others' lie in a row with it), and the flag they have.
    pub(crate) fn flagged(
        &self,
        table: &[u8],
        mut tell: impl FnMut(usize, usize, u64, bool) -> Result<()>,
    ) -> Result<()> {
        let bits = self.context.geometry.cluster_bits();
        for run in cluster_runs(table, self.context) {
            match run {
                ClusterRun::Clusters {
                    at,
                    len,
                    host,
                    copied,
                } => tell(at, len, host.get() >> bits, copied)?,
                ClusterRun::Entry { at, raw, bitmap } => {
                    let entry = L2Entry::parse(raw, bitmap, self.context);
                    let entry = entry.map_err(|e| self.damaged(&e))?;
                    if let Some(host) = entry.host() {
                        tell(at, 1, host.get() >> bits, entry.copied())?;
                    }
                }
            }
        }
        Ok(())
    }
}
