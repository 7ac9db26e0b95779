//! Giving up what an image holds and what it is built on shows as well.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

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
    let chain = over(Arc::clone(&top), below);
    let mut target: Option<Target> = None;
    let mut given_up = 0;
    let gone_through = each_equal(&chain, progress, &mut |_, range| {
        let target = match &mut target {
            Some(target) => target,
            none => {
                let (format, root) = (&Format::Qcow2, Root::Active);
                let mut opened = Target::open(host, path, format, chain.clone(), root, progress)?;
                opened.begin_same_content()?;
                none.insert(opened)
            }
        };
        given_up += target.unallocate(range.start, range.end - range.start)?;
        Ok(())
    });
    let is_stopped =
        |error: &Error| matches!(error.kind, ErrorKind::Cancelled) && error.path == path;
    if gone_through.as_ref().err().is_none_or(is_stopped)
        && let Some(target) = &mut target
    {
        target.finish()?;
    }
    gone_through.map(|()| given_up)
}

/// What an image holds and what it is built on shows as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct EqualBelow {
    /// Bytes of the guest's disk that [`dedupe`] gives up.
    pub bytes: u64,
    /// Of these, what is stored as data; the rest are zeros.
    pub data: u64,
}

/// What [`dedupe`] would give up of the top layer of a chain. Reads what it holds, and nothing is changed.
///
/// # Errors
/// When a file cannot be read, or it was stopped.
pub fn equal_below(chain: &Chain, progress: &dyn ProgressSink) -> Result<EqualBelow> {
    let mut found = EqualBelow::default();
    each_equal(chain, progress, &mut |state, range| {
        let bytes = range.end - range.start;
        found.bytes = found.bytes.saturating_add(bytes);
        if !matches!(state, State::Zero) {
            found.data = found.data.saturating_add(bytes);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Finds what the top layer of a chain holds and what is below it shows as well: whole units, in order, each run with
/// how it is stored.
fn each_equal(
    chain: &Chain,
    progress: &dyn ProgressSink,
    found: &mut dyn FnMut(State, Range<u64>) -> Result<()>,
) -> Result<()> {
    let Some(top) = chain.layers().first() else {
        return Ok(());
    };
    let Some(unit) = unit_of(top) else {
        return Ok(());
    };
    let cluster = match &**top {
        Layer::Qcow2(image) => image.header().geometry.cluster_size(),
        Layer::Raw(_) => unit,
    };
    let (path, size, below) = (top.path(), top.virtual_size(), chain.below());
    let (mut own, mut under) = (Vec::new(), Vec::new());
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
        read_both(path, (&mut own, &mut under), (chain, &below), start, end)?;
        let equal = groups(start, end, unit, |range| {
            Ok(part(&own, range.clone())? == part(&under, range)?)
        });
        for range in equal.of(path)? {
            // A compressed cluster goes as a whole or not at all.
            let is_part = matches!(run.state, State::Compressed { .. })
                && (range.start, range.end) != (start, end);
            let range = whole_units(range, unit, cluster);
            if !is_part && !range.is_empty() {
                found(run.state, range)?;
            }
        }
        at = end;
        if !progress.advance(end - start) {
            return Err(Error::new(path, ErrorKind::Cancelled));
        }
    }
    Ok(())
}

/// The part of a range that can be given up: where the disk ends within a subcluster, that goes with its whole cluster
/// or not at all.
fn whole_units(range: Range<u64>, unit: u64, cluster: u64) -> Range<u64> {
    let last = range.end - range.end % cluster;
    if range.start <= last {
        return range;
    }
    range.start..range.end - range.end % unit
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
