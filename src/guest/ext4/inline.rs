//! Content within an inode's own record (`inline_data`): what `i_block` holds, and then the value of the extended
//! attribute `system.data` behind the fields.

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::inode::{Inode, OLD_SIZE};
use crate::error::Result;

/// `struct ext4_xattr_entry`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    e_name_len: u8,
    e_name_index: u8,
    e_value_offs: U16,
    e_value_inum: U32,
    e_value_size: U32,
    _e_hash: U32,
}

const MAGIC: [u8; 4] = 0xea02_0000_u32.to_le_bytes();
/// `EXT4_XATTR_INDEX_SYSTEM`.
const SYSTEM: u8 = 7;
const NAME: &[u8] = b"data";

/// The two parts of the content, of which one may be empty.
///
/// # Errors
/// When there is no such attribute, or it leads out of the record.
pub(super) fn parts(inode: &Inode) -> Result<(&[u8], &[u8])> {
    let start = OLD_SIZE + usize::from(inode.extra.i_extra_isize.get());
    let attributes = inode.record.get(start..).unwrap_or_default();
    let Some((magic, entries)) = attributes.split_first_chunk::<4>() else {
        return Err(inode.damaged("it has no room for system.data"));
    };
    if *magic != MAGIC {
        return Err(inode.damaged("it has no extended attributes, so no system.data"));
    }
    let mut rest = entries;
    while let Ok((entry, after)) = Entry::ref_from_prefix(rest) {
        let len = usize::from(entry.e_name_len);
        // What ends the list is four zeros.
        if len == 0 && entry.e_name_index == 0 && entry.e_value_offs.get() == 0 {
            break;
        }
        let name = after.get(..len).unwrap_or_default();
        if entry.e_name_index == SYSTEM && name == NAME && entry.e_value_inum.get() == 0 {
            let from = usize::from(entry.e_value_offs.get());
            let size = usize::try_from(entry.e_value_size.get()).unwrap_or(usize::MAX);
            let value = from.checked_add(size).and_then(|to| entries.get(from..to));
            return match value {
                Some(value) => Ok((&inode.raw.i_block, value)),
                None => Err(inode.damaged(format!("e_value_size of system.data is {size}"))),
            };
        }
        rest = after.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Err(inode.damaged("it has no extended attribute system.data"))
}

/// The whole content of a file, as long as its record says it is.
///
/// # Errors
/// As [`parts`], and when it is longer than what is there.
pub(super) fn content(inode: &Inode, size: u64) -> Result<Vec<u8>> {
    let (first, second) = parts(inode)?;
    let mut whole = [first, second].concat();
    match usize::try_from(size) {
        Ok(size) if size <= whole.len() => whole.truncate(size),
        _ => return Err(inode.damaged(format!("i_size is {size}, more than its inline data"))),
    }
    Ok(whole)
}
