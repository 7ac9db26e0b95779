//! The units that are kept or given up as a whole, and which of a buffer are of one kind.

use std::ops::Range;
use std::sync::Arc;

use crate::image::internal::{Fault, distance};
use crate::image::{Chain, Extent, Layer, Result as ImageResult, State};

/// Bytes compared at a time: a whole number of clusters of any size there is.
pub(super) const WINDOW: u64 = 2 << 20;

/// The runs of whole units of `start..end` for which `wanted` holds, asked with the unit's place in a
/// buffer that begins at `start`.
///
/// # Errors
/// Those of `wanted`, or a unit that is no part of a buffer.
pub(super) fn groups(
    start: u64,
    end: u64,
    unit: u64,
    wanted: impl Fn(Range<usize>) -> Result<bool, Fault>,
) -> Result<Vec<Range<u64>>, Fault> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut at = start;
    while at < end {
        let to = (at + unit).min(end);
        if wanted(distance(start, at)?..distance(start, to)?)? {
            match found.last_mut() {
                Some(last) if last.end == at => last.end = to,
                _ => found.push(at..to),
            }
        }
        at = to;
    }
    Ok(found)
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // Whole words at a time: the compiler makes vectors of them.
    let (head, words, tail) = (bytes.len() % 64, bytes.chunks_exact(64), bytes);
    words
        .clone()
        .all(|chunk| chunk.iter().fold(0_u8, |sum, byte| sum | byte) == 0)
        && tail
            .get(tail.len() - head..)
            .is_none_or(|rest| rest.iter().all(|byte| *byte == 0))
}

/// The bytes that are here or not here as a whole; none for a raw image, which has nothing below.
pub(super) fn unit_of(layer: &Layer) -> Option<u64> {
    match layer {
        Layer::Qcow2(image) => Some(image.header().geometry.subcluster_size()),
        Layer::Raw(_) => None,
    }
}

pub(super) fn over(top: Arc<Layer>, below: &Chain) -> Chain {
    Chain::new(
        std::iter::once(top)
            .chain(below.layers().iter().cloned())
            .collect(),
    )
}

/// The runs that show what lies below, in order.
pub(super) fn absent(top: &Layer) -> impl Iterator<Item = ImageResult<Extent>> + '_ {
    top.extents(0, top.virtual_size())
        .filter(|extent| !matches!(extent, Ok(extent) if extent.state != State::Unallocated))
}
