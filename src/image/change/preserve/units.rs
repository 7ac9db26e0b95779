//! Which units of a buffer are of one kind.

use crate::image::internal::{Fault, distance};

/// The runs of whole units of `start..end` for which `wanted` holds, asked with the unit's place in a
/// buffer that begins at `start`.
///
/// # Errors
/// Those of `wanted`, or a unit that is no part of a buffer.
pub(super) fn groups(
    start: u64,
    end: u64,
    unit: u64,
    wanted: impl Fn(std::ops::Range<usize>) -> Result<bool, Fault>,
) -> Result<Vec<(u64, u64)>, Fault> {
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut at = start;
    while at < end {
        let to = (at + unit).min(end);
        if wanted(distance(start, at)?..distance(start, to)?)? {
            match found.last_mut() {
                Some((_, last)) if *last == at => *last = to,
                _ => found.push((at, to)),
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
