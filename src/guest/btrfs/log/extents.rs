//! Content that a log replaces: what was there before is cut to what is left of it.

use std::ops::{ControlFlow, Range};

use zerocopy::FromBytes;

use super::super::data::Extent;
use super::super::format::{FileExtentItem, FileExtentPlace, Key, kind};
use super::super::inode::keys;
use super::super::tree::{Item, Put};
use super::state::{State, node};
use crate::error::Result;

/// The bytes of the file that an extent takes: of inline data whole blocks.
fn range(state: &State<'_>, extent: &Extent<'_>) -> Range<u64> {
    let end = extent.file.saturating_add(extent.len);
    let end = if extent.is_inline() {
        state.align(end)
    } else {
        end
    };
    extent.file..end
}

/// An extent that was logged.
pub(super) fn replay(state: &mut State<'_>, item: &Item<'_>) -> Result<()> {
    let number = item.key.objectid;
    if state.inode(number)?.is_none() {
        return Ok(());
    }
    let extent = Extent::decode(item)?;
    let range = range(state, &extent);
    drop(state, number, range)?;
    state.put(item.key, item.into())?;
    state.touch(number);
    Ok(())
}

/// Takes a range out of a file's content.
pub(super) fn drop(state: &mut State<'_>, number: u64, gone: Range<u64>) -> Result<()> {
    let key = |at| Key::new(number, kind::EXTENT_DATA, at);
    let Some(last) = gone.end.checked_sub(1).filter(|_| !gone.is_empty()) else {
        return Ok(());
    };
    let first = state.view().last(key(0)..=key(gone.start))?;
    for (key, put) in state.items(first.unwrap_or(key(gone.start))..=key(last))? {
        let item = put.item(key);
        let extent = Extent::decode(&item)?;
        let held = range(state, &extent);
        if held.end <= gone.start {
            continue;
        }
        state.take_out(key)?;
        if extent.is_inline() {
            continue;
        }
        for left in [held.start..gone.start, gone.end..held.end] {
            if !left.is_empty() {
                let (key, put) = part(&item, &put, held.start, &left)?;
                state.put(key, put)?;
            }
        }
        state.touch(number);
    }
    Ok(())
}

/// The part of an extent that begins at `start` of its file.
fn part(item: &Item<'_>, put: &Put, start: u64, left: &Range<u64>) -> Result<(Key, Put)> {
    let mut data = put.data.clone();
    let place = data
        .get_mut(size_of::<FileExtentItem>()..)
        .and_then(|rest| FileExtentPlace::mut_from_prefix(rest).ok());
    let Some((place, _)) = place else {
        return Err(item.damaged("it is too short"));
    };
    place.num_bytes.set(left.end - left.start);
    if place.disk_bytenr.get() != 0 {
        let offset = place.offset.get();
        place.offset.set(offset.saturating_add(left.start - start));
    }
    let key = Key::new(item.key.objectid, kind::EXTENT_DATA, left.start);
    Ok((key, Put { data, at: put.at }))
}

/// The bytes that a file's content takes (`nbytes`).
pub(super) fn bytes(state: &State<'_>, number: u64) -> Result<u64> {
    let mut sum = 0_u64;
    let keys = keys(node(number), kind::EXTENT_DATA);
    state.view().scan(keys, &mut |item| {
        let extent = Extent::decode(&item)?;
        if !extent.is_hole() {
            sum = sum.saturating_add(extent.len);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(sum)
}
