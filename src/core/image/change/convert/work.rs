//! What a worker does with a piece: reads it, finds the zeros, compresses. Buffers and contexts are
//! used again and again.

use std::sync::Arc;

use rustix::io::Errno;

use crate::image::error::{OfFile, Result};
use crate::image::internal::{Fault, distance, index, item, part, part_mut};
use crate::image::{Error, ErrorKind, Layer, State};
use crate::qcow2::codec::{Deflater, Inflater};
use crate::qcow2::header::CompressionType;
use crate::qcow2::{Geometry, SubclusterBitmap, SubclusterState};

use super::lost::Lost;
use super::pieces::SourceRun;
use super::sparse::SparseSize;

/// What is read by itself where more cannot be read.
const SECTOR: usize = 512;

/// What becomes of one cluster of the target.
#[derive(Debug)]
pub(super) enum Cell {
    /// The backing file shows through.
    Absent,
    /// All zeros.
    Zero,
    /// Stored as it is.
    Plain,
    /// Stored, but for some subclusters.
    Some(SubclusterBitmap),
    /// Stored as this stream.
    Stream(Vec<u8>),
}

/// Whether an error says that these bytes are lost: the medium's own, or damage of the image. A device that
/// went away, a key that is missing or a fault of this program say nothing of the bytes.
fn is_loss(error: &Error) -> bool {
    match &error.kind {
        ErrorKind::Io { source, .. } => {
            let of_medium = [Errno::IO, Errno::BADMSG, Errno::REMOTEIO, Errno::UCLEAN];
            let number = source.raw_os_error();
            number.is_some_and(|number| of_medium.iter().any(|of| of.raw_os_error() == number))
                || source.kind() == std::io::ErrorKind::UnexpectedEof
        }
        ErrorKind::Format(_) | ErrorKind::Damaged(_) => true,
        _ => false,
    }
}

/// Reads runs, with contexts of its own.
#[derive(Debug, Default)]
pub(super) struct RunReader {
    inflaters: Vec<Inflater>,
    source: Vec<u8>,
    cluster: Vec<u8>,
    /// Where what cannot be read is told; none if that is an error.
    lost: Option<Arc<Lost>>,
}

impl RunReader {
    /// One that takes what there is, if there is where to tell of the rest.
    pub(super) fn saving(lost: Option<Arc<Lost>>) -> Self {
        Self {
            lost,
            ..Self::default()
        }
    }

    /// Fills `buffer`, which starts at `start` of the new disk, from the runs.
    pub(super) fn fill(&mut self, start: u64, runs: &[SourceRun], buffer: &mut [u8]) -> Result<()> {
        for run in runs {
            let (from, to) = (distance(start, run.start), distance(start, run.end()));
            let range = from.of(run.path())?..to.of(run.path())?;
            let part = part_mut(buffer, range).of(run.path())?;
            match (self.read(run, part), self.lost.clone()) {
                (Ok(()), _) => {}
                (Err(error), Some(lost)) if is_loss(&error) => self.save(run, part, &lost)?,
                (Err(error), _) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills `part` from the one run that it consists of.
    fn read(&mut self, run: &SourceRun, part: &mut [u8]) -> Result<()> {
        match (&run.layer, run.state) {
            (Some((layer, local)), State::Data { host }) => match layer.guest_file() {
                Some(file) => file.read(part, host),
                // Encrypted.
                None => layer.read(run.state, *local, part),
            },
            (Some((layer, local)), State::Compressed { cluster, host, len }) => {
                self.inflate(layer, *local - cluster, (host, len), part)
            }
            _ => {
                part.fill(0);
                Ok(())
            }
        }
    }

    /// What of a run that cannot be read as a whole can be read by sectors; of a compressed one nothing.
    fn save(&mut self, run: &SourceRun, part: &mut [u8], lost: &Lost) -> Result<()> {
        if matches!(run.state, State::Compressed { .. }) {
            part.fill(0);
            lost.add(run.start, part.len() as u64);
            return Ok(());
        }
        let mut by = 0;
        for sector in part.chunks_mut(SECTOR) {
            let len = sector.len() as u64;
            let layer = run.layer.as_ref();
            let one = SourceRun {
                start: run.start + by,
                len,
                state: run.state.skip(by),
                layer: layer.map(|(layer, at)| (Arc::clone(layer), at + by)),
            };
            match self.read(&one, sector) {
                Ok(()) => {}
                Err(error) if is_loss(&error) => {
                    sector.fill(0);
                    lost.add(one.start, len);
                }
                Err(error) => return Err(error),
            }
            by += len;
        }
        Ok(())
    }

    /// The bytes from `within` on of the cluster whose stream is at that place.
    fn inflate(
        &mut self,
        layer: &Layer,
        within: u64,
        (host, len): (u64, u64),
        into: &mut [u8],
    ) -> Result<()> {
        let Layer::Qcow2(image) = layer else {
            let fault = Fault::new("a compressed cluster of a raw image");
            return Err(Error::new(layer.path(), fault));
        };
        // The descriptor bounds the length to a few clusters.
        self.source.resize(index(len).of(image.path())?, 0);
        image.file().read(&mut self.source, host)?;
        let source = &self.source;
        let header = image.header();
        let damaged = |error| Error::new(image.path(), crate::image::ErrorKind::Format(error));
        let inflater = inflater(&mut self.inflaters, header.compression).map_err(damaged)?;
        let whole = header.geometry.cluster_len();
        if within == 0 && into.len() == whole {
            return inflater.inflate(source, into).map_err(damaged);
        }
        self.cluster.resize(whole, 0);
        inflater
            .inflate(source, &mut self.cluster)
            .map_err(damaged)?;
        let from = index(within).of(image.path())?;
        let bytes = part(&self.cluster, from..from + into.len());
        into.copy_from_slice(bytes.of(image.path())?);
        Ok(())
    }
}

/// The context for a codec; a chain may hold both.
fn inflater(
    held: &mut Vec<Inflater>,
    kind: CompressionType,
) -> std::result::Result<&mut Inflater, crate::qcow2::FormatError> {
    let at = match held.iter().position(|inflater| inflater.kind() == kind) {
        Some(at) => at,
        None => {
            held.push(Inflater::new(kind)?);
            held.len() - 1
        }
    };
    held.get_mut(at)
        .ok_or(crate::qcow2::FormatError::Inconsistent {
            reason: "a codec is missing",
        })
}

/// What the target is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) geometry: Geometry,
    pub(super) has_backing: bool,
    pub(super) sparse: SparseSize,
}

/// What becomes of each cluster of a piece that was read.
pub(super) fn cells(
    start: u64,
    runs: &[SourceRun],
    buffer: &[u8],
    shape: Shape,
    mut deflater: Option<&mut Deflater>,
    scratch: &mut Vec<u8>,
) -> std::result::Result<Vec<Cell>, Fault> {
    let Shape {
        geometry,
        has_backing,
        sparse,
    } = shape;
    let is_compressed = deflater.is_some();
    let size = geometry.cluster_size();
    let part = index(geometry.subcluster_size())?;
    let mut runs = runs.iter().peekable();
    let mut cells: Vec<Cell> = buffer
        .chunks(geometry.cluster_len())
        .zip(0u64..)
        .map(|(cluster, index)| {
            let from = start + index * size;
            let to = from + cluster.len() as u64;
            while runs.peek().is_some_and(|run| run.end() <= from) {
                runs.next();
            }
            // An absent run covers whole clusters by now.
            if runs.peek().is_some_and(|run| {
                run.state == State::Unallocated && run.start <= from && run.end() >= to
            }) {
                return Cell::Absent;
            }
            if !sparse.stores_all() && is_zero(cluster) {
                return Cell::Zero;
            }
            if let Some(deflater) = deflater.as_deref_mut() {
                let stream = if cluster.len() < geometry.cluster_len() {
                    // The disk ends inside its last cluster.
                    scratch.clear();
                    scratch.extend_from_slice(cluster);
                    scratch.resize(geometry.cluster_len(), 0);
                    deflater.deflate(scratch)
                } else {
                    deflater.deflate(cluster)
                };
                return stream.map_or(Cell::Plain, Cell::Stream);
            }
            if !geometry.extended_l2() || sparse.stores_all() {
                return Cell::Plain;
            }
            let bitmap = subclusters(cluster, part, has_backing);
            if bitmap.allocated == u32::MAX {
                Cell::Plain
            } else {
                Cell::Some(bitmap)
            }
        })
        .collect();
    if !is_compressed {
        store_short_gaps(&mut cells, sparse.bytes().div_ceil(size))?;
    }
    Ok(cells)
}

/// Has zeros between data stored that are fewer than `least` clusters.
fn store_short_gaps(cells: &mut [Cell], least: u64) -> std::result::Result<(), Fault> {
    let mut stored: Option<usize> = None;
    for at in 0..cells.len() {
        match item(cells, at)? {
            Cell::Plain | Cell::Some(_) => {}
            Cell::Zero => continue,
            Cell::Absent | Cell::Stream(_) => {
                stored = None;
                continue;
            }
        }
        let gap = stored.map_or(0..0, |last| last + 1..at);
        if (gap.len() as u64) < least {
            for cell in part_mut(cells, gap)? {
                *cell = Cell::Plain;
            }
        }
        stored = Some(at);
    }
    Ok(())
}

/// Which subclusters, of `size` bytes, hold something else than zeros.
fn subclusters(cluster: &[u8], size: usize, has_backing: bool) -> SubclusterBitmap {
    let empty = if has_backing {
        SubclusterState::Zero
    } else {
        SubclusterState::Unallocated
    };
    let mut bitmap = SubclusterBitmap::default().with(0..32, empty);
    for (part, index) in cluster.chunks(size).zip(0u32..) {
        if !is_zero(part) {
            bitmap = bitmap.with(index..index + 1, SubclusterState::Data);
        }
    }
    bitmap
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // In blocks large enough for vector instructions, small enough to stop early.
    bytes
        .chunks(256)
        .all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}

/// The parts of a buffer that are stored, in multiples of `unit`: offset and length. Between two of them are
/// as many zeros as `sparse` says, or more.
pub(super) fn parts(buffer: &[u8], unit: usize, sparse: SparseSize) -> Vec<(usize, usize)> {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    for block in buffer.chunks(unit) {
        if sparse.stores_all() || !is_zero(block) {
            match parts.last_mut() {
                Some((from, len))
                    if *from + *len == at || ((at - (*from + *len)) as u64) < sparse.bytes() =>
                {
                    *len = at + block.len() - *from;
                }
                _ => parts.push((at, block.len())),
            }
        }
        at += block.len();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_parts_of_a_buffer_are_all_that_is_not_zero(
            blocks in prop::collection::vec((any::<bool>(), 1usize..3), 0..12), unit in 1usize..9, cut in 0usize..5,
        ) {
            let mut buffer = Vec::new();
            for (full, count) in blocks {
                for _ in 0..count * unit {
                    buffer.push(u8::from(full));
                }
            }
            buffer.truncate(buffer.len().saturating_sub(cut));
            let mut again = vec![0; buffer.len()];
            let mut last = 0;
            for (from, len) in parts(&buffer, unit, SparseSize::new(512).unwrap()) {
                prop_assert!(from >= last && (from == 0 || from > last));
                last = from + len;
                again[from..last].copy_from_slice(&buffer[from..last]);
            }
            prop_assert_eq!(again, buffer);
        }
    }
}
