//! Which transactions a log holds to their end, and what is left to be written of them.

use std::collections::{BTreeMap, HashMap};

use super::blocks::{self, TagSaid};
use super::log::Log;
use super::superblock::{Features, Header, MAGIC, Superblock};
use crate::error::{Error, Result};
use crate::ext4::checksum::crc32_be;
use crate::ext4::error::damaged;
use zerocopy::FromBytes;

const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;

/// Blocks that a log may hold copies of, and blocks that it may revoke.
const MOST: u64 = 1 << 20;

/// A copy of a block in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    /// The block of the log.
    pub(super) at: u32,
    /// The transaction it belongs to.
    pub(super) sequence: u32,
    pub(super) said: TagSaid,
    /// Transactions before its own.
    order: u32,
}

/// What a log holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The last copy of each block, by that block; without those revoked.
    pub(super) copies: BTreeMap<u64, Copied>,
    /// The transaction that would have come next.
    pub(super) next: u32,
    /// Why the last transaction of the log was left out, if it was there.
    pub(super) left_out: Option<String>,
}

/// The transaction that is being read.
#[derive(Debug)]
struct Transaction {
    copies: Vec<(u32, TagSaid)>,
    revoked: Vec<u64>,
    /// The first block whose checksum is wrong: of another time, or damaged.
    doubtful: Option<u32>,
    sum: u32,
}

impl Transaction {
    fn new() -> Self {
        Self {
            copies: Vec::new(),
            revoked: Vec::new(),
            doubtful: None,
            sum: u32::MAX,
        }
    }
}

/// A pass through a log.
struct Scan<'a, 'b> {
    log: &'a mut Log<'b>,
    superblock: &'a Superblock,
    /// The next block.
    at: u32,
    /// Blocks that were not passed yet.
    left: u32,
    order: u32,
    found: Found,
    /// By block: the last transaction that revokes it.
    revoked: HashMap<u64, u32>,
}

/// Reads a log as far as transactions were committed.
///
/// # Errors
/// When it is damaged before its end, holds too much, or cannot be read.
pub(super) fn scan(log: &mut Log<'_>, superblock: &Superblock) -> Result<Found> {
    let mut scan = Scan {
        log,
        superblock,
        at: superblock.start,
        left: superblock.log.end - superblock.log.start,
        order: 0,
        found: Found {
            next: superblock.sequence,
            ..Found::default()
        },
        revoked: HashMap::new(),
    };
    let mut last_commit = 0;
    while let Some(seconds) = scan.transaction(last_commit)? {
        last_commit = seconds;
    }
    let revoked = scan.revoked;
    let mut found = scan.found;
    found
        .copies
        .retain(|home, copy| revoked.get(home).is_none_or(|order| copy.order > *order));
    Ok(found)
}

impl Scan<'_, '_> {
    /// Goes through one transaction, and says when it was committed. None where the log ends.
    fn transaction(&mut self, last_commit: u64) -> Result<Option<u64>> {
        let mut transaction = Transaction::new();
        loop {
            let Some(at) = self.pass()? else {
                return Ok(None);
            };
            let bytes = self.log.block(at)?;
            let Ok((header, _)) = Header::ref_from_prefix(bytes) else {
                return Ok(None);
            };
            if header.h_magic.get() != MAGIC || header.h_sequence.get() != self.found.next {
                return Ok(None);
            }
            match header.h_blocktype.get() {
                DESCRIPTOR => self.descriptor(at, &mut transaction)?,
                REVOKE => {
                    if !blocks::has_right_tail(self.superblock, bytes) {
                        transaction.doubtful.get_or_insert(at);
                    }
                    match blocks::revoked(self.superblock, bytes) {
                        Some(revoked) => transaction.revoked.extend(revoked),
                        None => _ = transaction.doubtful.get_or_insert(at),
                    }
                    within(transaction.revoked.len() as u64)?;
                }
                COMMIT => {
                    let sums = self.superblock.sums_transactions;
                    let sum = sums.then_some(transaction.sum);
                    let commit = blocks::commit(self.superblock, bytes, sum);
                    return self.commit(at, transaction, commit, last_commit);
                }
                _ => return Ok(None),
            }
        }
    }

    /// The next block of the log; none where all were passed.
    fn pass(&mut self) -> Result<Option<u32>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let at = self.at;
        self.at = match at.checked_add(1) {
            Some(next) if next < self.superblock.log.end => next,
            _ => self.superblock.log.start,
        };
        Ok(Some(at))
    }

    fn descriptor(&mut self, at: u32, transaction: &mut Transaction) -> Result<()> {
        let bytes = self.log.block(at)?;
        let tags = blocks::tags(self.superblock, bytes);
        if !blocks::has_right_tail(self.superblock, bytes) {
            transaction.doubtful.get_or_insert(at);
        }
        if self.superblock.sums_transactions {
            transaction.sum = crc32_be(transaction.sum, bytes);
        }
        for said in tags {
            let Some(at) = self.pass()? else {
                return Ok(());
            };
            if self.superblock.sums_transactions {
                transaction.sum = crc32_be(transaction.sum, self.log.block(at)?);
            }
            transaction.copies.push((at, said));
        }
        Ok(())
    }

    /// Takes a transaction over that was committed, unless it is of another time or damaged.
    fn commit(
        &mut self,
        at: u32,
        transaction: Transaction,
        commit: blocks::Commit,
        last_commit: u64,
    ) -> Result<Option<u64>> {
        // What is older than what came before it is left from an earlier round through the log.
        let is_older = commit.seconds < last_commit;
        if let Some(doubtful) = transaction.doubtful {
            if is_older {
                return Ok(None);
            }
            let (offset, _) = self.log.place(doubtful)?;
            return Err(damaged(
                "journal",
                offset,
                "the checksum of a block is wrong",
            ));
        }
        if !commit.is_right {
            if !is_older && !self.superblock.features.contains(Features::ASYNC_COMMIT) {
                let (offset, _) = self.log.place(at)?;
                let what = format!("the checksum of a commit block is wrong (byte {offset})");
                self.found.left_out = Some(what);
            }
            return Ok(None);
        }
        for (at, said) in transaction.copies {
            let copied = Copied {
                at,
                sequence: self.found.next,
                said,
                order: self.order,
            };
            self.found.copies.insert(said.home, copied);
        }
        for block in transaction.revoked {
            self.revoked.insert(block, self.order);
        }
        within(self.found.copies.len().max(self.revoked.len()) as u64)?;
        self.order += 1;
        self.found.next = self.found.next.wrapping_add(1);
        Ok(Some(commit.seconds))
    }
}

fn within(count: u64) -> Result<()> {
    match count > MOST {
        true => Err(Error::TooMuch {
            what: "blocks in a journal",
            most: MOST,
        }),
        false => Ok(()),
    }
}
