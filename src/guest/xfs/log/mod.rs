//! The log: whether it holds what did not reach its place, and the blocks as they are with that applied, in memory.
//!
//! | module | what lives there |
//! |---|---|
//! | [`ring`] | the log as a ring of basic blocks: where it was written last |
//! | [`record`] | records, checked |
//! | [`transaction`] | operations of records, put together to items of transactions |
//! | [`mod@replay`] | which items are applied, and in which order |
//! | [`inode`] | applying items of inodes |
//! | [`overlay`] | blocks in place of those of the volume |

mod inode;
mod overlay;
mod record;
mod replay;
mod ring;
mod transaction;
mod trouble;

use std::collections::BTreeMap;

use self::record::Record;
use self::replay::{Cancelled, Replay, Unfinished};
use self::ring::Ring;
use self::transaction::Assembly;
use self::trouble::{Tried, Trouble, trouble};
use super::superblock::Superblock;
use crate::block::Source;
use crate::error::Result;
use crate::filesystem::Condition;

/// Records that may have been written in any order before a crash (`XLOG_MAX_ICLOGS`).
const AT_ONCE: usize = 8;

/// What came of a log.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) condition: Condition,
    /// Blocks in place of those of the volume, by number from its start.
    pub(super) blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Outcome {
    const fn new(condition: Condition) -> Self {
        Self {
            condition,
            blocks: BTreeMap::new(),
        }
    }
}

/// Looks at the log, and replays it where it is not clean.
///
/// # Errors
/// When the image cannot be read.
pub(super) fn replay(source: &Source, superblock: &Superblock) -> Result<Outcome> {
    let tried = match Ring::new(source, superblock) {
        None => trouble("it is on another device"),
        Some(ring) => replay_ring(source, superblock, &ring),
    };
    match tried {
        Ok(outcome) => Ok(outcome),
        Err(Trouble::Log(why)) => Ok(Outcome::new(Condition::NotReplayed(why))),
        Err(Trouble::Image(error)) => Err(error),
    }
}

fn replay_ring(source: &Source, superblock: &Superblock, ring: &Ring<'_>) -> Tried<Outcome> {
    let Some(head) = ring.head()? else {
        return Ok(Outcome::new(Condition::Clean));
    };
    let Some(live) = live(ring, superblock, head)? else {
        return Ok(Outcome::new(Condition::Clean));
    };
    if superblock.unread_log_features != 0 {
        return trouble(format!(
            "its incompatible feature {:#x} is not known",
            superblock.unread_log_features
        ));
    }
    // Which buffers were given up later has to be known before the first is replayed.
    let mut cancelled = Cancelled::default();
    let mut unfinished = Unfinished::default();
    each_transaction(ring, superblock, &live, &mut |transaction| {
        for item in transaction.items()? {
            cancelled.note(&item);
            unfinished.note(&item);
        }
        Ok(())
    })?;
    let mut replay = Replay::new(source, superblock, cancelled);
    each_transaction(ring, superblock, &live, &mut |transaction| {
        replay.apply(transaction)
    })?;
    let blocks = replay.finish()?;
    let condition = match unfinished.is_empty() {
        true => Condition::Replayed,
        false => Condition::NotReplayed(
            "a change of which blocks a file has was not finished".to_owned(),
        ),
    };
    Ok(Outcome { condition, blocks })
}

/// Records to replay: from one block of the log up to another.
struct Live {
    tail: u64,
    head: u64,
}

/// Which records are to be replayed; none after a clean unmount. What was torn when it was written last is left out.
fn live(ring: &Ring<'_>, superblock: &Superblock, head: u64) -> Tried<Option<Live>> {
    let mut head = head;
    for _ in 0..=2 * AT_ONCE {
        let Some(last) = Record::before(ring, superblock, head)? else {
            return trouble("no record is before its head");
        };
        if last.next != head {
            // Its last blocks were not written.
            head = last.start;
            continue;
        }
        if last.is_unmount() {
            return Ok(None);
        }
        let tail = last.tail;
        match first_torn(ring, superblock, tail, last)? {
            Some(torn) => head = torn,
            None => return Ok(Some(Live { tail, head })),
        }
    }
    trouble("too many of its records are torn")
}

/// Where the first is whose checksum is wrong, of the records that may have been written at once.
fn first_torn(
    ring: &Ring<'_>,
    superblock: &Superblock,
    tail: u64,
    last: Record,
) -> Tried<Option<u64>> {
    let mut torn = None;
    let mut record = last;
    for _ in 0..AT_ONCE {
        if !record.is_whole {
            torn = Some(record.start);
        }
        if record.start == tail {
            break;
        }
        match Record::before(ring, superblock, record.start)? {
            Some(before) => record = before,
            None => break,
        }
    }
    Ok(torn)
}

fn each_transaction(
    ring: &Ring<'_>,
    superblock: &Superblock,
    live: &Live,
    each: &mut dyn FnMut(&transaction::Transaction) -> Tried<()>,
) -> Tried<()> {
    let mut assembly = Assembly::new();
    let whole = ring.distance(live.tail, live.head);
    let mut at = live.tail;
    while at != live.head {
        let record = Record::read(ring, superblock, at)?;
        let Some(record) = record.filter(|record| record.is_whole) else {
            return trouble(format!("its record at block {at} is damaged"));
        };
        let done = ring.distance(live.tail, record.next);
        if done <= ring.distance(live.tail, at) && record.next != live.head || done > whole {
            return trouble(format!("its record at block {at} runs over"));
        }
        at = record.next;
        assembly.add(&record, each)?;
    }
    Ok(())
}
