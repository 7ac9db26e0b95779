//! Replaying the journal of JBD2 in memory, as the kernel does it when it mounts (`fs/jbd2/recovery.c`). Nothing is
//! written; fast commits are found and not replayed.

mod blocks;
mod log;
mod scan;
mod superblock;

use std::collections::BTreeMap;

use self::log::Log;
use self::scan::{Copied, Found};
use self::superblock::{MAGIC, Superblock};
use super::error::damaged;
use super::volume::Volume;
use crate::error::{Error, Result};

/// Bytes of blocks that are held in memory.
const MOST_BYTES: u64 = 128 << 20;
/// `EXT4_FC_TAG_HEAD`, the tag that fast commits begin with, and the length of what follows it.
const FC_HEAD: [u8; 4] = [9, 0, 8, 0];
/// Where that says which transaction they belong to.
const FC_TID_AT: usize = 8;

/// What replaying gave.
#[derive(Debug)]
pub(super) struct Replay {
    /// Blocks to be read in place of those of the volume, by number.
    pub(super) blocks: BTreeMap<u64, Box<[u8]>>,
    /// What was not replayed, if there was more.
    pub(super) missing: Option<String>,
}

/// Replays the journal in the file of this inode.
///
/// # Errors
/// When the journal is damaged, holds too much, or cannot be read. Nothing of it is replayed then.
pub(super) fn replay(volume: &Volume, inode: u32) -> Result<Replay> {
    let inode = volume.inode(inode)?;
    let mut log = Log::new(volume, volume.all_runs(&inode)?);
    let (offset, blocks) = (log.place(0)?.0, log.blocks());
    let superblock = Superblock::parse(log.block(0)?, offset, blocks)?;
    if superblock.start == 0 {
        return Ok(Replay {
            blocks: BTreeMap::new(),
            missing: None,
        });
    }
    let found = scan::scan(&mut log, &superblock)?;
    let missing = match fast_commit(&mut log, &superblock, found.next)? {
        true => Some("fast commits are not read".to_owned()),
        false => found.left_out.clone(),
    };
    Ok(Replay {
        blocks: copies(volume, &mut log, &superblock, found)?,
        missing,
    })
}

/// Reads the copies that are to be written, in order of the log.
fn copies(
    volume: &Volume,
    log: &mut Log<'_>,
    superblock: &Superblock,
    found: Found,
) -> Result<BTreeMap<u64, Box<[u8]>>> {
    let size = volume.superblock.block_bytes();
    if found.copies.len() as u64 * size > MOST_BYTES {
        return Err(Error::TooMuch {
            what: "bytes in a journal",
            most: MOST_BYTES,
        });
    }
    let mut copies: Vec<Copied> = found.copies.into_values().collect();
    copies.sort_unstable_by_key(|copy| copy.at);
    let mut blocks = BTreeMap::new();
    for copy in copies {
        let (offset, _) = log.place(copy.at)?;
        let wrong = |what: String| damaged("journal", offset, what);
        let home = copy.said.home;
        if !volume.superblock.has_blocks(home, 1) {
            return Err(wrong(format!("a copy is of block {home}, which is none")));
        }
        let bytes = log.block(copy.at)?;
        if !blocks::has_right_copy(superblock, copy.sequence, copy.said.checksum, bytes) {
            return Err(wrong(format!(
                "the checksum of a copy of block {home} is wrong"
            )));
        }
        let mut bytes: Box<[u8]> = bytes.into();
        if copy.said.escaped
            && let Some(first) = bytes.first_chunk_mut()
        {
            *first = MAGIC.to_be_bytes();
        }
        blocks.insert(home, bytes);
    }
    Ok(blocks)
}

/// Whether fast commits follow the last transaction: those that begin with the number of the one that would come next.
fn fast_commit(log: &mut Log<'_>, superblock: &Superblock, next: u32) -> Result<bool> {
    let Some(at) = superblock.fast_commits else {
        return Ok(false);
    };
    let bytes = log.block(at)?;
    let tid = u32::from_le_bytes(crate::field(bytes, FC_TID_AT));
    Ok(bytes.starts_with(&FC_HEAD) && tid == next)
}
