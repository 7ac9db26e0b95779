//! Where a conversion writes: a raw file, in which every worker writes for itself, or an image that is
//! packed in order by one.

use crate::image::ImageFile;

use crate::image::error::{OfFile, Result};
use crate::image::internal;
use crate::image::write::sequential::SequentialWriter;

use super::options::CompressionLevel;
use super::sparse::SparseSize;
use super::work::{Cell, parts};

/// No less than this is a hole of a file.
const HOLE: u64 = 4096;

/// The target of a conversion.
pub(super) enum Sink<'a> {
    Raw(&'a RawSink),
    Qcow2 {
        sequential: &'a mut SequentialWriter,
        compress: Option<CompressionLevel>,
    },
}

/// A raw file of its full length that reads as zero.
#[derive(Debug)]
pub(super) struct RawSink {
    file: ImageFile,
    sparse: SparseSize,
}

impl RawSink {
    pub(super) fn new(file: &ImageFile, sparse: SparseSize) -> Self {
        Self {
            file: file.clone(),
            sparse,
        }
    }

    /// Writes all of the buffer that is to be stored.
    pub(super) fn write(&self, start: u64, buffer: &[u8]) -> Result<()> {
        let unit = internal::index(self.sparse.unit(HOLE)).of(&self.file)?;
        for (from, len) in parts(buffer, unit, self.sparse) {
            let at = start + from as u64;
            let bytes = internal::part(buffer, from..from + len).of(&self.file)?;
            self.file.write(bytes, at)?;
        }
        Ok(())
    }
}

/// Packs a piece: one cell a cluster.
pub(super) fn pack(
    sequential: &mut SequentialWriter,
    start: u64,
    buffer: &[u8],
    cells: Vec<Cell>,
) -> Result<()> {
    let len = sequential.header().geometry.cluster_len();
    let (path, size) = (sequential.path().to_path_buf(), len as u64);
    let part = |from: usize, count: usize| {
        let from = from * len;
        let bytes = internal::part(buffer, from..(from + count * len).min(buffer.len()));
        bytes.of(&path)
    };
    let mut cells = cells.into_iter().enumerate().peekable();
    while let Some((index, cell)) = cells.next() {
        let guest = start + index as u64 * size;
        match cell {
            Cell::Absent => sequential.nothing(guest, part(index, 1)?.len() as u64)?,
            Cell::Zero => sequential.zeros(guest, part(index, 1)?.len() as u64)?,
            Cell::Plain => {
                // As many in one write as follow each other.
                let mut count = 1;
                while cells
                    .next_if(|(_, next)| matches!(next, Cell::Plain))
                    .is_some()
                {
                    count += 1;
                }
                sequential.store(guest, part(index, count)?)?;
            }
            Cell::Some(bitmap) => sequential.store_some(guest, part(index, 1)?, bitmap)?,
            Cell::Stream(stream) => sequential.compressed(guest, &stream)?,
        }
    }
    Ok(())
}
