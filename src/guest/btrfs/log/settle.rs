//! The end of replaying a log: links, sizes and bytes are counted, and what has no name left goes away.

use std::ops::ControlFlow;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use super::super::directory::{each_name, each_stored};
use super::super::format::{FIRST_FREE, Key, kind};
use super::super::inode::{is_directory, is_file, keys};
use super::super::tree::Put;
use super::state::{State, node};
use super::{extents, names};
use crate::error::Result;

/// Counts again what was touched. What has no name left goes away, and so does what is in it.
pub(super) fn settle(state: &mut State<'_>) -> Result<()> {
    while let Some(number) = state.touched.pop_first() {
        let Some(mut inode) = state.inode(number)? else {
            continue;
        };
        let links = count_links(state, number)?;
        if links == 0 && number != FIRST_FREE {
            if is_directory(&inode) {
                names::remove_all(state, number)?;
            }
            state.take_out(Key::new(number, kind::INODE_ITEM, 0))?;
            continue;
        }
        if is_directory(&inode) {
            inode.size = U64::new(count_names(state, number)?);
        } else {
            inode.nlink = U32::new(links);
        }
        if is_file(&inode) {
            inode.nbytes = U64::new(extents::bytes(state, number)?);
        }
        let key = Key::new(number, kind::INODE_ITEM, 0);
        let at = state.item(key)?.map_or(0, |put| put.at);
        let data = inode.as_bytes().to_vec();
        state.put(key, Put { data, at })?;
    }
    Ok(())
}

fn count_links(state: &State<'_>, number: u64) -> Result<u32> {
    let (first, _) = keys(node(number), kind::INODE_REF).into_inner();
    let (_, last) = keys(node(number), kind::INODE_EXTREF).into_inner();
    let mut count = 0_u32;
    state.view().scan(first..=last, &mut |item| {
        each_name(&item, &mut |_, _, _| count = count.saturating_add(1))?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(count)
}

/// The size of a directory: that of its names, once for each of the two items of an entry.
fn count_names(state: &State<'_>, number: u64) -> Result<u64> {
    let mut sum = 0_u64;
    let keys = keys(node(number), kind::DIR_INDEX);
    state.view().scan(keys, &mut |item| {
        each_stored(&item, &mut |entry| {
            sum = sum.saturating_add(2 * entry.name.len() as u64);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(sum)
}
