//! Going through a table of eight-byte entries of any length: a window of it at a time, and nothing of
//! what is in a hole of the file. What the entries mean is the caller's business.

use std::path::Path;

use crate::host::{HostFile, Segment};
use crate::image::internal::{Fault, OfFile as _};

use super::error::Result;
use super::qcow2_layer::read_entries;

/// Bytes of a table read at once.
const WINDOW: u64 = 1 << 20;

/// Tells the entries of a table that are not zero, by index: the table's offset in bytes and its
/// number of entries are given. What is past the end of the file reads as zero.
///
/// # Errors
/// When the file cannot be read, and those of `tell`.
pub(crate) fn each_entry(
    path: &Path,
    file: &dyn HostFile,
    (offset, entries): (u64, u64),
    what: &str,
    tell: &mut dyn FnMut(u32, u64) -> Result<()>,
) -> Result<()> {
    let end = offset.saturating_add(entries.saturating_mul(8));
    let mut at = offset;
    while at < end {
        // A file that cannot tell has no holes.
        let segment = file.segment_at(at).unwrap_or(Segment::Data(end));
        let to = match segment {
            Segment::Hole(to) if to.min(end) >= at + 8 => {
                let to = to.min(end);
                at = to - (to - at) % 8;
                continue;
            }
            Segment::Hole(to) | Segment::Data(to) => to,
        };
        let len = to.min(end).saturating_sub(at).clamp(1, WINDOW);
        let len = len.next_multiple_of(8);
        let table = read_entries(path, file, at, len / 8, what)?;
        let first = (at - offset) / 8;
        for (index, raw) in (first..).zip(table.iter()).filter(|(_, raw)| *raw != 0) {
            let index = u32::try_from(index)
                .map_err(|_| Fault::new("a table longer than any"))
                .of(path)?;
            tell(index, raw)?;
        }
        at += len;
    }
    Ok(())
}
