//! Reading many L2 tables: in the file's order, many in one read where they lie together, ahead of what is
//! done with them, and not at all where the file has a hole. What is in them is the caller's business.

use std::iter::Peekable;
use std::sync::mpsc;
use std::thread;

use crate::host::Segment;
use crate::image::error::{OfFile, Result};
use crate::image::internal::{distance, index, part};
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink};
use crate::qcow2::Geometry;

/// Bytes read at once at most, unless one table is longer.
const CHUNK: u64 = 1 << 20;
/// Bytes between two tables that are read rather than skipped.
const GAP: u64 = 32 << 10;
/// Reads that are over before a thread would have begun.
const FEW: usize = 16;

/// What is known of a file's holes: from, to, and whether it is one.
#[derive(Debug, Default)]
pub(crate) struct Holes {
    from: u64,
    to: u64,
    hole: bool,
}

impl Holes {
    /// Whether these bytes are in a hole as a whole, so that they read as zero.
    pub(crate) fn covers(&mut self, file: &ImageFile, offset: u64, len: u64) -> bool {
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
    pub(crate) file: &'a ImageFile,
    pub(crate) geometry: Geometry,
    /// Told of the bytes of the file gone through.
    pub(crate) progress: &'a dyn ProgressSink,
}

impl Tables<'_> {
    /// Hands each table's bytes to `visit`: a cluster of them, or none where the table is in a hole and
    /// so all zero. `tables` come with their offsets in the file, in order of these; what lies past the
    /// end of the file reads as zero. Where there are many, a thread reads ahead.
    ///
    /// # Errors
    /// When the file cannot be read or it was stopped, and those of `visit`.
    pub(crate) fn each<T: Send>(
        &self,
        tables: impl IntoIterator<Item = (u64, T), IntoIter: Send>,
        visit: &mut dyn FnMut(T, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut batches = Batches {
            tables: tables.into_iter().peekable(),
            size: self.geometry.cluster_size(),
        };
        let mut holes = Holes::default();
        let mut buffer = Vec::new();
        for _ in 0..FEW {
            let Some(batch) = batches.next() else {
                return Ok(());
            };
            self.read(&batch, &mut holes, &mut buffer)?;
            self.hand(batch, &buffer, visit)?;
        }
        thread::scope(|scope| {
            let (filled, full) = mpsc::sync_channel(1);
            let (emptied, spare) = mpsc::channel();
            scope.spawn(move || {
                for batch in batches {
                    let mut buffer = spare.try_recv().unwrap_or_default();
                    let read = self.read(&batch, &mut holes, &mut buffer);
                    let is_last = read.is_err();
                    if filled.send(read.map(|()| (batch, buffer))).is_err() || is_last {
                        break;
                    }
                }
            });
            for read in full {
                let (batch, buffer) = read?;
                self.hand(batch, &buffer, visit)?;
                // Nobody takes it back after the last one.
                drop(emptied.send(buffer));
            }
            Ok(())
        })
    }

    /// Reads the bytes from the first table of a batch to its last; none where that is one hole.
    fn read<T>(&self, batch: &Batch<T>, holes: &mut Holes, buffer: &mut Vec<u8>) -> Result<()> {
        let len = batch.end - batch.start;
        if !self.progress.advance(len) {
            return Err(Error::new(self.file, ErrorKind::Cancelled));
        }
        if holes.covers(self.file, batch.start, len) {
            buffer.clear();
            return Ok(());
        }
        buffer.resize(index(len).of(self.file)?, 0);
        self.file.read_padded(
            buffer,
            batch.start,
            format_args!("read the L2 tables at {:#x}", batch.start),
        )
    }

    fn hand<T>(
        &self,
        batch: Batch<T>,
        buffer: &[u8],
        visit: &mut dyn FnMut(T, &[u8]) -> Result<()>,
    ) -> Result<()> {
        batch.tables.into_iter().try_for_each(|(at, table)| {
            // Nothing was read of what is one hole.
            if buffer.is_empty() {
                return visit(table, buffer);
            }
            let from = distance(batch.start, at).of(self.file)?;
            let bytes = part(buffer, from..from + self.geometry.cluster_len());
            visit(table, bytes.of(self.file)?)
        })
    }
}

/// Tables that are read at once.
struct Batch<T> {
    start: u64,
    end: u64,
    tables: Vec<(u64, T)>,
}

/// Puts tables together that lie together.
struct Batches<T, I: Iterator<Item = (u64, T)>> {
    tables: Peekable<I>,
    /// Bytes of a table.
    size: u64,
}

impl<T, I: Iterator<Item = (u64, T)>> Iterator for Batches<T, I> {
    type Item = Batch<T>;

    fn next(&mut self) -> Option<Batch<T>> {
        let (start, table) = self.tables.next()?;
        let mut batch = Batch {
            start,
            end: start + self.size,
            tables: vec![(start, table)],
        };
        let fits = |batch: &Batch<T>, at| at <= batch.end + GAP && at + self.size <= start + CHUNK;
        while let Some((at, table)) = self.tables.next_if(|(at, _)| fits(&batch, *at)) {
            batch.end = at + self.size;
            batch.tables.push((at, table));
        }
        Some(batch)
    }
}
