//! Which of the bytes that are to be stored lie in a source as the guest sees them, so that the new file can have
//! the blocks of that source. Nothing is asked of a file here.

use std::ops::Range;

use crate::image::internal::{self, Fault, distance};
use crate::image::write::transfer::{BLOCK, WORTH_ASKING};
use crate::image::{ImageFile, State};

use super::options::ConvertFrom;
use super::pieces::SourceRun;

impl ConvertFrom {
    /// Whether a new file may have blocks in common with the sources: not where everything is to be stored, or
    /// what can be read of damaged files.
    pub(super) fn may_share(&self) -> bool {
        !self.sparse.stores_all() && self.salvage.is_none()
    }
}

/// Bytes to be stored.
#[derive(Debug)]
pub(super) struct StoredPart<'a> {
    /// Where on the new disk.
    pub(super) start: u64,
    pub(super) len: u64,
    /// The file that holds them in a row, and where, if it is worth asking for its blocks.
    pub(super) source: Option<(&'a ImageFile, u64)>,
}

impl StoredPart<'_> {
    /// Its bytes in a buffer that begins at `start` of the new disk.
    pub(super) fn of<'a>(&self, buffer: &'a [u8], start: u64) -> Result<&'a [u8], Fault> {
        let from = distance(start, self.start)?;
        internal::part(buffer, from..from + internal::index(self.len)?)
    }
}

/// The range in parts, in order and without gaps, by where in `runs` they lie. What has a source starts and ends at
/// multiples of `unit`, and of a block.
pub(super) fn by_source(range: Range<u64>, runs: &[SourceRun], unit: u64) -> Vec<StoredPart<'_>> {
    let unit = unit.max(BLOCK);
    let mut parts = Vec::new();
    let mut done = range.start;
    let part = |range: Range<u64>, source| StoredPart {
        start: range.start,
        len: range.end - range.start,
        source,
    };
    for run in runs {
        let (Some((layer, _)), State::Data { host }) = (&run.layer, run.state) else {
            continue;
        };
        let Some(file) = layer.guest_file() else {
            continue;
        };
        let start = run.start.max(range.start).next_multiple_of(unit);
        let end = run.end().min(range.end);
        let end = end - end % unit;
        let offset = host + (start - run.start);
        if end < start + WORTH_ASKING || !offset.is_multiple_of(BLOCK) {
            continue;
        }
        if done < start {
            parts.push(part(done..start, None));
        }
        parts.push(part(start..end, Some((file, offset))));
        done = end;
    }
    if done < range.end {
        parts.push(part(done..range.end, None));
    }
    parts
}
