//! Keeping a view as it is while what it reads through is about to change: it receives first
//! exactly what it would lose.

use std::path::Path;
use std::sync::Arc;

use crate::host::Host;
use crate::image::{
    self, Chain, Extent, Format, Keys, Layer, Pace, Root, Source, State, Target, snapshot_views,
};

use super::survey::over;

/// Bytes moved between two looks at whether to go on.
const PIECE: u64 = 16 << 20;

/// What changes below a view.
pub(super) struct Change<'a> {
    /// The ranges that change, in order.
    pub(super) ranges: &'a mut dyn FnMut(u64, u64) -> image::Result<Vec<(u64, u64)>>,
    /// The chain below the view as it is now.
    pub(super) below: &'a Chain,
    /// How long the image below is going to be, in bytes.
    pub(super) size_below: u64,
    /// What opens the image, should it be encrypted.
    pub(super) keys: &'a Keys,
}

/// Copies into every view of the image `path` (its internal snapshots, and the active one if
/// `active`) what it reads from below in the ranges that change.
pub(super) fn keep_views(
    host: &dyn Host,
    path: &Path,
    active: bool,
    change: &mut Change<'_>,
    pace: &dyn Pace,
) -> image::Result<()> {
    let layer = Layer::open(host, path, &Format::Qcow2)?;
    layer.unlock(change.keys, pace)?;
    let snapshots = snapshot_views(path, &layer)?;
    if active {
        // First: a table that the active view shares with a snapshot is then the snapshot's alone,
        // and no flag of the active tables falls behind the reference counts.
        keep_view(host, path, layer, Root::Active, change, pace)?;
    }
    for (_, root, view) in snapshots {
        keep_view(host, path, view, root, change, pace)?;
    }
    Ok(())
}

fn keep_view(
    host: &dyn Host,
    path: &Path,
    view: Layer,
    root: Root,
    change: &mut Change<'_>,
    pace: &dyn Pace,
) -> image::Result<()> {
    let size = view.virtual_size();
    let unit = match &view {
        Layer::Qcow2(image) => image.header().geometry.subcluster_size(),
        Layer::Raw(_) => return Ok(()),
    };
    let view = over(view, change.below);
    let Some(top) = view.layers().first().map(Arc::clone) else {
        return Ok(());
    };
    let ranges = (change.ranges)(0, size)?;
    let mut absent = Vec::new();
    let mut done = 0;
    for (start, end) in ranges {
        // Widened to whole units: a unit is here or it is not.
        let start = (start - start % unit).max(done);
        let end = end.checked_next_multiple_of(unit).unwrap_or(end).min(size);
        if start >= end {
            continue;
        }
        for extent in top.extents(start, end) {
            let extent = extent?;
            if extent.state == State::Absent {
                absent.push((extent.start, extent.end()));
            }
        }
        done = end;
    }
    if absent.is_empty() {
        return Ok(());
    }
    let mut target = Target::open(host, path, &Format::Qcow2, view, root, pace)?;
    target.begin()?;
    target.expect_backing_size(change.size_below);
    for (start, end) in absent {
        copy_view(&mut target, change.below, unit, start, end, pace)?;
    }
    target.finish()
}

/// Copies what `below` shows of `start..end`, which begins at a unit's start.
fn copy_view(
    target: &mut Target,
    below: &Chain,
    unit: u64,
    start: u64,
    end: u64,
    pace: &dyn Pace,
) -> image::Result<()> {
    let mut at = start;
    while at < end {
        let run = below.resolve(at, end.min(at.saturating_add(PIECE)))?;
        let whole = if run.extent.end() == end {
            run.extent.len
        } else {
            run.extent.len - run.extent.len % unit
        };
        let layer = run.layer.and_then(|index| below.layers().get(index));
        let len = match (whole, layer) {
            // Units put together from several pieces.
            (0, _) => {
                let len = unit.min(end - at);
                let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
                below.read_at(&mut bytes, at)?;
                target.write(at, len, Source::Bytes(&bytes))?;
                len
            }
            (len, None) => {
                target.write_zeros(at, len)?;
                len
            }
            (len, Some(layer)) => {
                target.write_from(layer, Extent { len, ..run.extent })?;
                len
            }
        };
        at += len;
        if !pace.advance(len) {
            target.finish()?;
            return Err(image::Error::new(Path::new(""), image::ErrorKind::Stopped));
        }
    }
    Ok(())
}
