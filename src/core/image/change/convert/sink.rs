//! Where a conversion writes: a raw file, in which every worker writes for itself, or an image that is
//! packed in order by one.

use crate::host::Cloned;
use crate::image::error::{OfFile, Result};
use crate::image::write::sequential::SequentialWriter;
use crate::image::write::write_out::WriteOut;
use crate::image::{ImageFile, Preallocation, State, internal};

use super::options::CompressionLevel;
use super::pieces::SourceRun;
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
    is_reserved: bool,
}

impl RawSink {
    pub(super) fn new(file: &ImageFile, sparse: SparseSize, preallocation: Preallocation) -> Self {
        Self {
            file: file.clone(),
            sparse,
            is_reserved: preallocation != Preallocation::Off,
        }
    }

    /// Whether it may have blocks in common with other files.
    pub(super) fn may_share(&self) -> bool {
        !self.is_reserved
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

/// What the calling thread does with pieces, in the order of the disk.
#[derive(Debug)]
pub(super) enum InOrder<'a> {
    /// Workers have written them: that is sent on its way to the device.
    Raw {
        raw: &'a RawSink,
        write_out: WriteOut,
    },
    /// They are packed.
    Qcow2(&'a mut SequentialWriter),
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
            Self::Qcow2(sequential) if absent => sequential.nothing(start, len),
            Self::Qcow2(sequential) => sequential.zeros(start, len),
        }
    }

    /// A piece that was read.
    pub(super) fn put(&mut self, start: u64, buffer: &[u8], cells: Vec<Cell>) -> Result<()> {
        match self {
            Self::Raw { raw, write_out } => {
                write_out.wrote(&raw.file, start, buffer.len() as u64);
                Ok(())
            }
            Self::Qcow2(sequential) => pack(sequential, start, buffer, cells),
        }
    }

    /// Has the new image share the blocks of a run; false where they cannot.
    pub(super) fn share(&mut self, run: &SourceRun) -> Result<bool> {
        let source = run.layer.as_ref().and_then(|(layer, _)| layer.guest_file());
        let (Some(source), State::Data { host }) = (source, run.state) else {
            return Ok(false);
        };
        match self {
            Self::Raw { raw, .. } => {
                let cloned = raw.file.clone_range(source, host, run.start, run.len)?;
                Ok(cloned == Cloned::Done)
            }
            Self::Qcow2(sequential) => sequential.share(run.start, run.len, source, host),
        }
    }
}

/// Packs a piece: one cell a cluster.
fn pack(
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
