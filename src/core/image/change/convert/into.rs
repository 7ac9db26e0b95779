//! Converting into an image that is there: its guest bytes are overwritten in place, in order and by one
//! thread. What lies behind the end of the sources stays.

use crate::image::error::{OfFile, Result};
use crate::image::write::disk_writer::Target;
use crate::image::{Error, ErrorKind, ProgressSink, Source, internal};

use super::options::ConvertFrom;
use super::pieces::{Piece, Pieces};
use super::sparse::SparseSize;
use super::work::{RunReader, parts};

/// Bytes that are zeroed between two looks at whether to go on: a multiple of every cluster size.
const GAP: u64 = 64 << 20;

/// Writes what `from` shows over the beginning of the disk of `target`, which is no shorter. `progress` counts the
/// bytes that hold data. At every moment each guest byte is its old one or its new one.
///
/// # Errors
/// When something cannot be read or written, or it was stopped: the target then holds a part.
pub fn convert_into(
    from: &ConvertFrom,
    target: &mut Target,
    progress: &dyn ProgressSink,
) -> Result<()> {
    target.begin()?;
    let unit = target.unit();
    let mut pieces = Pieces::new(from, unit);
    let (mut reader, mut buffer) = (RunReader::saving(from.salvage.clone()), Vec::new());
    while let Some(piece) = pieces.next_piece()? {
        let (start, len, runs) = match piece {
            Piece::Gap { start, len, .. } => {
                let mut at = start;
                while at < start + len {
                    let part = GAP.min(start + len - at);
                    target.write_zeros(at, part)?;
                    at += part;
                    go_on(target, progress, 0)?;
                }
                continue;
            }
            Piece::Work { start, len, runs } => (start, len, runs),
        };
        // A piece is a few MiB at most.
        buffer.resize(internal::index(len).of(target.path())?, 0);
        reader.fill(start, &runs, &mut buffer)?;
        write(target, start, &buffer, from.sparse)?;
        let data = runs.iter().filter(|run| run.holds_data());
        let data = data.map(|run| run.len).sum();
        go_on(target, progress, data)?;
    }
    target.finish()
}

/// Writes a piece; whole units of zeros as what they are.
fn write(target: &mut Target, start: u64, buffer: &[u8], sparse: SparseSize) -> Result<()> {
    let unit = internal::index(sparse.unit(target.unit())).of(target.path())?;
    let mut done = 0;
    let zeros = |target: &mut Target, from: usize, to: usize| {
        if from < to {
            target.write_zeros(start + from as u64, (to - from) as u64)?;
        }
        Ok(())
    };
    for (from, len) in parts(buffer, unit, sparse) {
        zeros(target, done, from)?;
        done = from + len;
        let bytes = internal::part(buffer, from..done).of(target.path())?;
        target.write(start + from as u64, len as u64, Source::Bytes(bytes))?;
    }
    zeros(target, done, buffer.len())
}

/// What was written so far is made whole where it is to stop.
fn go_on(target: &mut Target, progress: &dyn ProgressSink, bytes: u64) -> Result<()> {
    if progress.advance(bytes) {
        return Ok(());
    }
    target.finish()?;
    Err(Error::new(target.path(), ErrorKind::Cancelled))
}
