//! Everything one L1 table leads to, gone through table by table. What is done with it is the
//! caller's.

use crate::host::HostFile;
use crate::qcow2::{EntryTable, FormatError, HostOffset, L1Entry, L2Buf, L2Context, L2Entry};

use super::error::Result;
use super::qcow2_layer::read_l2;
use super::{Error, ErrorKind, Pace};

use std::path::Path;

/// An L2 table as an L1 table names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    /// Index in the L1 table.
    pub(crate) index: usize,
    /// Where it is, in bytes.
    pub(crate) offset: u64,
}

/// The file whose tables are gone through.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    pub(crate) path: &'a Path,
    pub(crate) file: &'a dyn HostFile,
    pub(crate) context: L2Context,
    pub(crate) pace: &'a dyn Pace,
}

impl Tables<'_> {
    pub(crate) fn damaged(&self, error: &FormatError) -> Error {
        Error::new(self.path, ErrorKind::Damaged(error.to_string()))
    }

    /// Reads each L2 table that `l1` names, in order.
    pub(crate) fn each(
        &self,
        l1: &EntryTable,
        mut look: impl FnMut(Named, L2Buf) -> Result<()>,
    ) -> Result<()> {
        for (index, raw) in l1.iter().enumerate() {
            let entry = L1Entry::parse(raw, self.context.geometry).map_err(|e| self.damaged(&e))?;
            let Some(offset) = entry.table.map(HostOffset::get) else {
                continue;
            };
            let table = read_l2(self.path, self.file, offset, self.context)?;
            look(Named { index, offset }, table)?;
            if !self.pace.advance(self.context.geometry.cluster_size()) {
                return Err(Error::new(self.path, ErrorKind::Stopped));
            }
        }
        Ok(())
    }

    /// Tells the clusters that a table's entries refer to, as runs (first cluster, how many), one
    /// reference each.
    pub(crate) fn references(
        &self,
        table: &L2Buf,
        mut tell: impl FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let bits = self.context.geometry.cluster_bits();
        let (mut first, mut count) = (0, 0);
        for at in 0..table.len() {
            let entry = table.get(at).map_err(|e| self.damaged(&e))?;
            let (start, len) = match entry {
                L2Entry::Compressed(stream) => {
                    let start = stream.host.get() >> bits;
                    let last = stream.end().get().saturating_sub(1) >> bits;
                    (start, last.saturating_sub(start) + 1)
                }
                other => match other.host() {
                    Some(host) => (host.get() >> bits, 1),
                    None => continue,
                },
            };
            // A stream that begins in the cluster where the one before ended is no part of a run.
            if count > 0 && start == first + count {
                count += len;
                continue;
            }
            if count > 0 {
                tell(first, count)?;
            }
            (first, count) = (start, len);
        }
        if count > 0 {
            tell(first, count)?;
        }
        Ok(())
    }
}
