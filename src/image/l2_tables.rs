//! Reading many L2 tables: in the file's order, many in one read where they lie together, and not at
//! all where the file has a hole. What is in them is the caller's business.

use std::path::Path;

use crate::host::{HostFile, Segment};
use crate::qcow2::Geometry;

use super::error::{IoContext, Result};
use super::{Error, ErrorKind, Pace};

/// Bytes read at once at most, unless one table is longer.
const CHUNK: u64 = 1 << 20;
/// Bytes between two tables that are read rather than skipped.
const GAP: u64 = 32 << 10;

/// What is known of a file's holes: from, to, and whether it is one.
#[derive(Debug, Default)]
pub(crate) struct Holes {
    from: u64,
    to: u64,
    hole: bool,
}

impl Holes {
    /// Whether these bytes are in a hole as a whole, so that they read as zero.
    pub(crate) fn covers(&mut self, file: &dyn HostFile, offset: u64, len: u64) -> bool {
        if offset < self.from || offset >= self.to {
            // A file that cannot tell has none.
            let segment = file.segment_at(offset).unwrap_or(Segment::Data(u64::MAX));
            let (to, hole) = match segment {
                Segment::Data(to) => (to, false),
                Segment::Hole(to) => (to, true),
            };
            *self = Self {
                from: offset,
                to,
                hole,
            };
        }
        self.hole && offset.saturating_add(len) <= self.to
    }
}

/// The file whose tables are read.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    pub(crate) path: &'a Path,
    pub(crate) file: &'a dyn HostFile,
    pub(crate) geometry: Geometry,
    /// Told of the bytes of the file gone through.
    pub(crate) pace: &'a dyn Pace,
}

impl Tables<'_> {
    /// Hands each table's bytes to `visit`: a cluster of them, or none where the table is in a hole and
    /// so all zero. `tables` come with their offsets in the file, in order of these; what lies past the
    /// end of the file reads as zero.
    ///
    /// # Errors
    /// When the file cannot be read or it was stopped, and those of `visit`.
    pub(crate) fn each<T>(
        &self,
        tables: impl IntoIterator<Item = (u64, T)>,
        visit: &mut dyn FnMut(T, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let size = self.geometry.cluster_size();
        let mut holes = Holes::default();
        let mut buffer = Vec::new();
        let mut batch: Vec<(u64, T)> = Vec::new();
        let mut bounds = (0, 0);
        for (at, table) in tables {
            let fits = at <= bounds.1 + GAP && at + size <= bounds.0 + CHUNK;
            if batch.is_empty() || fits {
                bounds = (if batch.is_empty() { at } else { bounds.0 }, at + size);
            } else {
                self.batch(&mut batch, bounds, &mut holes, &mut buffer, visit)?;
                bounds = (at, at + size);
            }
            batch.push((at, table));
        }
        if !batch.is_empty() {
            self.batch(&mut batch, bounds, &mut holes, &mut buffer, visit)?;
        }
        Ok(())
    }

    fn batch<T>(
        &self,
        batch: &mut Vec<(u64, T)>,
        (start, end): (u64, u64),
        holes: &mut Holes,
        buffer: &mut Vec<u8>,
        visit: &mut dyn FnMut(T, &[u8]) -> Result<()>,
    ) -> Result<()> {
        if !self.pace.advance(end - start) {
            return Err(Error::new(self.path, ErrorKind::Stopped));
        }
        if holes.covers(self.file, start, end - start) {
            return batch.drain(..).try_for_each(|(_, table)| visit(table, &[]));
        }
        buffer.resize(usize::try_from(end - start).unwrap_or(0), 0);
        self.file
            .read_padded(buffer, start)
            .at(self.path, &format!("read the L2 tables at {start:#x}"))?;
        batch.drain(..).try_for_each(|(at, table)| {
            let from = usize::try_from(at - start).unwrap_or(usize::MAX);
            let bytes = buffer.get(from..).unwrap_or_default();
            let bytes = bytes.get(..self.geometry.cluster_len());
            visit(table, bytes.unwrap_or_default())
        })
    }
}
