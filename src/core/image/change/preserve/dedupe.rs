//! Giving up what an image holds and what it is built on shows as well.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::host::Host;
use crate::image::change::preserve::units::{WINDOW, groups, over, unit_of};
use crate::image::error::{OfFile, Result};
use crate::image::internal::{distance, part};
use crate::image::{
    AllocationEstimate, Chain, Error, ErrorKind, Format, Growth, Keys, Layer, ProgressSink, Root,
    State, Target,
};

/// Gives up what the image `path` holds and `below`, which it is built on, shows as well: the guest
/// sees the same. Returns the bytes given up. Internal snapshots keep what they hold.
///
/// # Errors
/// As [`preserve_views`](crate::image::change::preserve::preserve_views).
pub fn dedupe(
    host: &dyn Host,
    path: &Path,
    below: &Chain,
    keys: &Keys,
    progress: &dyn ProgressSink,
) -> Result<u64> {
    let top = Arc::new(Layer::open(host, path, &Format::Qcow2)?);
    top.unlock(keys, progress)?;
    let Some(unit) = unit_of(&top) else {
        return Ok(0);
    };
    let size = top.virtual_size();
    let chain = over(Arc::clone(&top), below);
    let mut target: Option<Target> = None;
    let (mut own, mut under) = (Vec::new(), Vec::new());
    let mut given_up = 0;
    let mut at = 0;
    while at < size {
        let run = top.extent_at(at, size)?;
        if run.state == State::Unallocated {
            at = run.end();
            continue;
        }
        let start = at - at % unit;
        let end = start.saturating_add(WINDOW).min(size).min(
            run.end()
                .checked_next_multiple_of(unit)
                .map_or(size, |end| end.max(start + unit)),
        );
        read_both(path, (&mut own, &mut under), (&chain, below), start, end)?;
        let equal = groups(start, end, unit, |range| {
            Ok(part(&own, range.clone())? == part(&under, range)?)
        });
        for Range { start, end } in equal.of(path)? {
            let target = match &mut target {
                Some(target) => target,
                none => {
                    let mut opened = Target::open(
                        host,
                        path,
                        &Format::Qcow2,
                        chain.clone(),
                        Root::Active,
                        progress,
                    )?;
                    opened.begin_same_content()?;
                    none.insert(opened)
                }
            };
            given_up += target.unallocate(start, end - start)?;
        }
        at = end;
        if !progress.advance(end - start) {
            if let Some(target) = &mut target {
                target.finish()?;
            }
            return Err(Error::new(path, ErrorKind::Cancelled));
        }
    }
    if let Some(target) = &mut target {
        target.finish()?;
    }
    Ok(given_up)
}

/// How much longer [`dedupe`] makes the image, at most: a table that an internal snapshot shares is
/// written anew to say that something is given up.
///
/// # Errors
/// When the tables cannot be read.
pub fn dedupe_growth(top: &Layer) -> Result<Growth> {
    let Layer::Qcow2(image) = top else {
        return Ok(Growth::default());
    };
    if image.header().snapshot_count == 0 {
        return Ok(Growth::default());
    }
    let mut room = AllocationEstimate::of(top);
    for extent in top.extents(0, top.virtual_size()) {
        let extent = extent?;
        if extent.state != State::Unallocated {
            room.given_up(extent.start, extent.end());
        }
    }
    Ok(room.growth())
}

fn read_both(
    path: &Path,
    (a, b): (&mut Vec<u8>, &mut Vec<u8>),
    (first, second): (&Chain, &Chain),
    start: u64,
    end: u64,
) -> Result<()> {
    let len = distance(start, end).of(path)?;
    a.resize(len, 0);
    b.resize(len, 0);
    first.read_at(a, start)?;
    second.read_at(b, start)
}
