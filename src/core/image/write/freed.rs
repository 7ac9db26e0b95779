//! What comes free on disk when clusters are given up: what lies in a hole of the file was free all along.

use std::ops::Range;

use crate::host::Segment;
use crate::image::error::Result;
use crate::image::read::table_reader::read_active_l1;
use crate::image::read::table_walk::TableWalk;
use crate::image::write::shadow_refcounts::ShadowRefcounts;
use crate::image::{ImageFile, NoProgress, Qcow2};
use crate::qcow2::HostClusters;

/// Bytes of these ranges of a file that are data on disk. A filesystem that cannot tell has no holes to
/// tell of.
#[must_use]
pub fn on_disk(file: &ImageFile, ranges: impl Iterator<Item = Range<u64>>) -> u64 {
    let mut bytes = 0_u64;
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let (end, is_data) = match file.segment_at(at) {
                Ok(Segment::Data(end)) => (end, true),
                Ok(Segment::Hole(end)) => (end, false),
                Err(_) => (range.end, true),
            };
            let end = end.clamp(at + 1, range.end);
            if is_data {
                bytes = bytes.saturating_add(end - at);
            }
            at = end;
        }
    }
    bytes
}

/// Bytes that come free on disk when an image gives up what its disk holds: what an internal snapshot
/// holds as well stays.
///
/// # Errors
/// When its tables or the length of its data file cannot be read.
pub fn freed_if_emptied(image: &Qcow2) -> Result<u64> {
    let (file, header) = (image.file(), image.header());
    let context = crate::qcow2::L2Context::of(header);
    let geometry = header.geometry;
    let mut counts = ShadowRefcounts::open(file, header)?;
    let l1 = read_active_l1(file, header)?;
    let trees = TableWalk::new(file, context, &NoProgress);
    trees.each(&l1, |named, table| {
        if !context.data_file {
            trees.references(table, |clusters| counts.lower(clusters))?;
        }
        counts.lower(HostClusters::one(geometry.cluster_of(named.offset)))
    })?;
    let bytes = counts.freed().map(|run| geometry.bytes_of(run));
    let mut freed = on_disk(file, bytes);
    let data = image.stored_in();
    if context.data_file {
        let len = data.len()?;
        freed = freed.saturating_add(on_disk(data, std::iter::once(0..len)));
    }
    Ok(freed)
}
