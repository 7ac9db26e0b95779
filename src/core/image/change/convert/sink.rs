//! Where a conversion writes: a raw file, in which every worker writes for itself, or an image that is
//! packed in order by one.

use crate::host::Cloned;
use crate::host::WriteOut;
use crate::image::error::{OfFile, Result};
use crate::image::write::sequential::SequentialWriter;
use crate::image::write::transfer::BLOCK;
use crate::image::{ImageFile, Preallocation, internal};

use super::options::{CompressionLevel, ConvertFrom};
use super::pieces::SourceRun;
use super::shareable::by_source;
use super::sparse::SparseSize;
use super::work::{Cell, parts};

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
    /// Whether it may have blocks in common with the sources.
    shares: bool,
}

impl RawSink {
    pub(super) fn new(file: &ImageFile, from: &ConvertFrom, preallocation: Preallocation) -> Self {
        Self {
            file: file.clone(),
            sparse: from.sparse,
            shares: preallocation == Preallocation::Off && from.may_share(),
        }
    }

    /// Writes all of the buffer, which was read from `runs`, that is to be stored.
    pub(super) fn write(&self, start: u64, buffer: &[u8], runs: &[SourceRun]) -> Result<()> {
        // No less than a block is a hole of a file.
        let unit = internal::index(self.sparse.unit(BLOCK)).of(&self.file)?;
        let runs = if self.shares { runs } else { &[] };
        for (from, len) in parts(buffer, unit, self.sparse) {
            let from = start + from as u64;
            for part in by_source(from..from + len as u64, runs, BLOCK) {
                if let Some((file, offset)) = part.source
                    && self.file.clone_range(file, offset, part.start, part.len)? == Cloned::Done
                {
                    continue;
                }
                let bytes = part.of(buffer, start).of(&self.file)?;
                self.file.write(bytes, part.start)?;
            }
        }
        Ok(())
    }
}

/// What the calling thread does with pieces, in the order of the disk.
#[derive(Debug)]
pub(super) enum InOrder<'a> {
    /// Workers have written them: that is sent on its way to the device.
    Raw {
        raw: &'a RawSink,
        write_out: WriteOut,
    },
    /// They are packed.
    Qcow2 {
        sequential: &'a mut SequentialWriter,
        /// Whether it may have blocks in common with the sources.
        shares: bool,
    },
}

impl<'a> InOrder<'a> {
    pub(super) fn raw(raw: &'a RawSink) -> Self {
        Self::Raw {
            raw,
            write_out: WriteOut::default(),
        }
    }

    /// Whole units that hold nothing, or read as zero; `absent` if what is below shows through.
    pub(super) fn gap(&mut self, start: u64, len: u64, absent: bool) -> Result<()> {
        match self {
            // It reads as zero where nobody writes.
            Self::Raw { .. } => Ok(()),
            Self::Qcow2 { sequential, .. } if absent => sequential.nothing(start, len),
            Self::Qcow2 { sequential, .. } => sequential.zeros(start, len),
        }
    }

    /// A piece that was read from `runs`.
    pub(super) fn put(
        &mut self,
        start: u64,
        runs: &[SourceRun],
        buffer: &[u8],
        cells: Vec<Cell>,
    ) -> Result<()> {
        match self {
            Self::Raw { raw, write_out } => {
                write_out.wrote(&**raw.file.host_file(), start, buffer.len() as u64);
                Ok(())
            }
            Self::Qcow2 { sequential, shares } => {
                let runs = if *shares { runs } else { &[] };
                pack(sequential, start, runs, buffer, cells)
            }
        }
    }
}

/// Packs a piece: one cell a cluster. The blocks of `runs` may be shared.
fn pack(
    sequential: &mut SequentialWriter,
    start: u64,
    runs: &[SourceRun],
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
                // As many at once as follow each other.
                let mut count = 1;
                while cells
                    .next_if(|(_, next)| matches!(next, Cell::Plain))
                    .is_some()
                {
                    count += 1;
                }
                let end = guest + part(index, count)?.len() as u64;
                for part in by_source(guest..end, runs, size) {
                    if let Some((file, offset)) = part.source
                        && sequential.share(part.start, part.len, file, offset)?
                    {
                        continue;
                    }
                    sequential.store(part.start, part.of(buffer, start).of(&path)?)?;
                }
            }
            Cell::Some(bitmap) => sequential.store_some(guest, part(index, 1)?, bitmap)?,
            Cell::Stream(stream) => sequential.compressed(guest, &stream)?,
        }
    }
    Ok(())
}
