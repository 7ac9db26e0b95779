//! Everything one L1 table leads to, gone through table by table. What is done with it is the
//! caller's.

use crate::image::error::Result;
use crate::image::read::l2_reader::Tables;
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink};
use crate::qcow2::{
    ClusterRun, EntryTable, FormatError, HostClusters, HostOffset, L1Entry, L2Context, L2Entry,
    cluster_runs,
};

/// An L2 table as an L1 table names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    /// Index in the L1 table.
    pub(crate) index: usize,
    /// Where it is.
    pub(crate) offset: HostOffset,
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
            if let Some(offset) = entry.table {
                named.push((offset.get(), Named { index, offset }));
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

    /// Tells the clusters that a table's entries refer to, one reference each.
    pub(crate) fn references(
        &self,
        table: &[u8],
        mut tell: impl FnMut(HostClusters) -> Result<()>,
    ) -> Result<()> {
        let geometry = self.context.geometry;
        for run in cluster_runs(table, self.context) {
            let clusters = match run {
                ClusterRun::Clusters { len, host, .. } => HostClusters {
                    first: geometry.cluster_of(host),
                    count: len as u64,
                },
                ClusterRun::Entry { raw, bitmap, .. } => {
                    let entry = L2Entry::parse(raw, bitmap, self.context);
                    match entry.map_err(|e| self.damaged(&e))? {
                        L2Entry::Compressed(stream) => {
                            geometry.clusters_of(stream.host, stream.max_len())
                        }
                        other => match other.host() {
                            Some(host) => HostClusters::one(geometry.cluster_of(host)),
                            None => continue,
                        },
                    }
                }
            };
            tell(clusters)?;
        }
        Ok(())
    }

    /// Tells the entries that have a cluster and so a copied flag: index of the first, the clusters of it
    /// and of those that follow it in the table and in the file, and the flag they have.
    pub(crate) fn flagged(
        &self,
        table: &[u8],
        mut tell: impl FnMut(usize, HostClusters, bool) -> Result<()>,
    ) -> Result<()> {
        let geometry = self.context.geometry;
        for run in cluster_runs(table, self.context) {
            match run {
                ClusterRun::Clusters {
                    at,
                    len,
                    host,
                    copied,
                } => {
                    let clusters = HostClusters {
                        first: geometry.cluster_of(host),
                        count: len as u64,
                    };
                    tell(at, clusters, copied)?;
                }
                ClusterRun::Entry { at, raw, bitmap } => {
                    let entry = L2Entry::parse(raw, bitmap, self.context);
                    let entry = entry.map_err(|e| self.damaged(&e))?;
                    if let Some(host) = entry.host() {
                        let cluster = geometry.cluster_of(host);
                        tell(at, HostClusters::one(cluster), entry.copied())?;
                    }
                }
            }
        }
        Ok(())
    }
}
