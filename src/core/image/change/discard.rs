//! Giving up clusters of an image whose guest bytes nobody needs any more: what that gives back, and doing it. Which
//! bytes those are is the caller's to know.

use std::ops::Range;
use std::path::Path;

use crate::host::{Host, Segment};
use crate::image::error::{OfFile, Result};
use crate::image::internal::index;
use crate::image::read::table_reader::read_active_l1;
use crate::image::read::table_walk::TableWalk;
use crate::image::write::freed::on_disk;
use crate::image::write::shadow_refcounts::ShadowRefcounts;
use crate::image::write::writer::{add, has_place, whole_clusters};
use crate::image::{Chain, Error, ErrorKind, Format, ImageFile, ProgressSink, Qcow2, Root, Target};
use crate::qcow2::{Autoclear, L2Buf, L2Context};

/// Clusters that are given up between two questions whether to go on.
const AT_ONCE: u64 = 1 << 10;

/// Bytes of a data file that are read at a time.
const PIECE: u64 = 1 << 16;

/// What giving up clusters gives back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discarded {
    /// The bytes of the guest's disk that the image stores something for, or keeps room for: whole clusters, in order.
    pub ranges: Vec<Range<u64>>,
    /// Bytes on disk that come free.
    pub on_disk: u64,
}

impl Discarded {
    /// Bytes of the guest's disk.
    #[must_use]
    pub fn guest(&self) -> u64 {
        let bytes = self.ranges.iter().map(|range| range.end - range.start);
        bytes.fold(0, u64::saturating_add)
    }
}

/// What [`discard`] would give back for these bytes of the guest's disk, which are in order and do not overlap. From
/// the tables alone, but where a data file is promised to be the guest's disk; what internal snapshots hold as well
/// stays.
///
/// # Errors
/// When the tables or the data file cannot be read, or it was stopped.
pub fn discarded(
    image: &Qcow2,
    ranges: &[Range<u64>],
    progress: &dyn ProgressSink,
) -> Result<Discarded> {
    let (file, header) = (image.file(), image.header());
    let (context, geometry) = (L2Context::of(header), header.geometry);
    let size = geometry.cluster_size();
    let whole = ranges
        .iter()
        .map(|range| whole_clusters(geometry, header.virtual_size(), range));
    let whole: Vec<Range<u64>> = whole.filter(|range| !range.is_empty()).collect();
    let mut counts = ShadowRefcounts::open(file, header)?;
    let mut found = Vec::new();
    let trees = TableWalk::new(file, context, progress);
    trees.each(&read_active_l1(file, header)?, |named, table| {
        let start = (named.index as u64).saturating_mul(geometry.l2_coverage());
        let end = start.saturating_add(geometry.l2_coverage());
        let table = L2Buf::from_bytes(table.to_vec(), context).map_err(|e| trees.damaged(&e))?;
        let mut given = L2Buf::zeroed(context);
        let first = whole.partition_point(|range| range.end <= start);
        for range in whole.iter().skip(first).take_while(|one| one.start < end) {
            let mut at = range.start.max(start);
            while at < range.end.min(end) {
                let entry = index((at - start) / size).of(file)?;
                let stored = table.get(entry).map_err(|e| trees.damaged(&e))?;
                if has_place(stored) {
                    given.set(entry, stored).map_err(|e| trees.damaged(&e))?;
                    add(&mut found, at..at + size);
                }
                at += size;
            }
        }
        match context.data_file {
            true => Ok(()),
            false => trees.references(given.as_bytes(), |clusters| counts.lower(clusters)),
        }
    })?;
    found.sort_unstable_by_key(|range: &Range<u64>| range.start);
    if header.autoclear.contains(Autoclear::RAW_EXTERNAL_DATA) {
        // Their entries stay: what is given up already is told by its bytes.
        let mut with_content = Vec::new();
        for range in found {
            if has_content(image.stored_in(), &range, progress)? {
                with_content.push(range);
            }
        }
        found = with_content;
    }
    let on_disk = match context.data_file {
        true => on_disk(image.stored_in(), found.iter().cloned()),
        false => on_disk(file, counts.freed().map(|run| geometry.bytes_of(run))),
    };
    Ok(Discarded {
        ranges: found,
        on_disk,
    })
}

/// Whether any of these bytes of a file is not zero.
fn has_content(file: &ImageFile, range: &Range<u64>, progress: &dyn ProgressSink) -> Result<bool> {
    let end = range.end.min(file.len()?);
    let mut bytes = Vec::new();
    let mut at = range.start;
    while at < end {
        if !progress.advance(0) {
            return Err(Error::new(file, ErrorKind::Cancelled));
        }
        let stop = match file.segment_at(at) {
            Ok(Segment::Hole(hole)) => {
                at = hole.max(at + 1);
                continue;
            }
            Ok(Segment::Data(data)) => data.clamp(at + 1, end),
            Err(_) => end,
        };
        let stop = stop.min(at + PIECE);
        bytes.resize(index(stop - at).of(file)?, 0);
        file.read(&mut bytes, at)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        at = stop;
    }
    Ok(false)
}

/// Gives up what the image on top of `view` stores for these bytes of its guest's disk, which [`discarded`] has told:
/// they read as zero then. Dirty bitmaps that record writes are marked as stale first. Cut off anywhere, each cluster is as
/// it was or given up, and at worst leaked; the same call again does the rest. Returns bytes of the guest's disk.
///
/// # Errors
/// When a file cannot be read or written, the image is damaged, or it was stopped.
pub fn discard(
    host: &dyn Host,
    path: &Path,
    view: Chain,
    ranges: &[Range<u64>],
    progress: &dyn ProgressSink,
) -> Result<u64> {
    let opened = Target::open(host, path, &Format::Qcow2, view, Root::Active, progress)?;
    let Target::Qcow2(mut writer) = opened else {
        return Err(Error::new(path, ErrorKind::UnsupportedFormat(Format::Raw)));
    };
    if ranges.is_empty() {
        return Ok(0);
    }
    writer.begin()?;
    let step = AT_ONCE * writer.header().geometry.cluster_size();
    let mut given_up = 0;
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            // In pieces that do not cut clusters in two.
            let end = range.end.min(at - at % step + step);
            given_up += writer.discard(at..end)?;
            if !progress.advance(end - at) {
                writer.finish()?;
                return Err(Error::new(path, ErrorKind::Cancelled));
            }
            at = end;
        }
    }
    writer.finish()?;
    Ok(given_up)
}

#[cfg(test)]
mod tests {
    use crate::qcow2::{Geometry, HostOffset, L2Entry};

    use super::*;

    #[test]
    fn only_entries_with_a_place_have_something_to_give() {
        assert!(!has_place(L2Entry::Unallocated));
        let zero = |host| L2Entry::Zero {
            host,
            copied: false,
        };
        assert!(!has_place(zero(None)));
        assert!(has_place(zero(Some(HostOffset(1 << 16)))));
    }

    #[test]
    fn only_whole_clusters_are_given_up_and_the_last_one_ends_with_the_disk() {
        let geometry = Geometry::new(16, 4, false).unwrap();
        let disk = (10 << 16) + 512;
        let whole = |range: Range<u64>| whole_clusters(geometry, disk, &range);
        assert_eq!(whole(1..(3 << 16) - 1), 1 << 16..2 << 16);
        assert_eq!(whole(0..3 << 16), 0..3 << 16);
        assert!(whole(5..100).is_empty());
        assert_eq!(whole((9 << 16) + 1..disk), 10 << 16..11 << 16);
        assert_eq!(whole((9 << 16) + 1..disk - 1), 10 << 16..10 << 16);
        assert!(whole(u64::MAX - 5..u64::MAX).is_empty());
    }
}
