//! Transactions: operations of records belong to one by its number; put together they are regions, and these are items.

use std::collections::HashMap;

use super::record::Record;
use super::trouble::{Tried, trouble};
use crate::field;

/// Bytes of transactions that are put together at once.
const MAX_OPEN: usize = 256 << 20;
/// Bytes of an operation's header (`struct xlog_op_header`).
const HEADER: usize = 12;
/// `oh_clientid`: a transaction.
const TRANSACTION: u8 = 0x69;
/// `oh_clientid`: the log itself.
const LOG: u8 = 0xaa;

const START: u8 = 0x01;
const COMMIT: u8 = 0x02;
const CONTINUE: u8 = 0x04;
const WAS_CONTINUED: u8 = 0x08;
const UNMOUNT: u8 = 0x20;

/// Records of little-endian hosts (`XLOG_FMT_LINUX_LE`).
const LITTLE_ENDIAN: u32 = 1;
/// `th_magic` of `struct xfs_trans_header`.
const TRANSACTION_MAGIC: u32 = 0x5452_414e;

/// A transaction that was committed.
#[derive(Debug)]
pub(super) struct Transaction {
    /// The number of the record it began in.
    pub(super) lsn: u64,
    regions: Vec<Vec<u8>>,
    /// The last region goes on in the next record.
    goes_on: bool,
}

/// A change that a transaction holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    /// `XFS_LI_*`.
    pub(super) kind: u16,
    /// What it is about.
    pub(super) format: &'a [u8],
    /// What is to be written.
    pub(super) regions: &'a [Vec<u8>],
}

impl Transaction {
    /// Its items in the order they were logged.
    pub(super) fn items(&self) -> Tried<Vec<Item<'_>>> {
        let Some((header, mut rest)) = self.regions.split_first() else {
            return Ok(Vec::new());
        };
        if u32::from_le_bytes(field(header, 0)) != TRANSACTION_MAGIC {
            return trouble("a transaction has no header");
        }
        let mut items = Vec::new();
        while let Some(format) = rest.first() {
            let kind = u16::from_le_bytes(field(format, 0));
            let count = usize::from(u16::from_le_bytes(field(format, 2)));
            let all = rest.split_at_checked(count);
            let Some((Some((_, regions)), after)) =
                all.map(|(own, after)| (own.split_first(), after))
            else {
                return trouble(format!("an item of kind {kind:#x} is cut off"));
            };
            rest = after;
            items.push(Item {
                kind,
                format,
                regions,
            });
        }
        Ok(items)
    }
}

/// Transactions that are not committed yet.
#[derive(Debug)]
pub(super) struct Assembly {
    open: HashMap<u32, Transaction>,
    bytes: usize,
}

impl Assembly {
    pub(super) fn new() -> Self {
        Self {
            open: HashMap::new(),
            bytes: 0,
        }
    }

    /// Takes the operations of a record, and calls `each` for the transactions that they commit.
    pub(super) fn add(
        &mut self,
        record: &Record,
        each: &mut dyn FnMut(&Transaction) -> Tried<()>,
    ) -> Tried<()> {
        let mut rest = record.body.as_slice();
        for _ in 0..record.operations {
            let cut = || format!("an operation at block {} is cut off", record.start);
            let Some((header, after)) = rest.split_at_checked(HEADER) else {
                return trouble(cut());
            };
            let number = u32::from_be_bytes(field(header, 0));
            let len = usize::try_from(u32::from_be_bytes(field(header, 4))).unwrap_or(usize::MAX);
            let [client, flags] = field(header, 8);
            let Some((bytes, after)) = after.split_at_checked(len) else {
                return trouble(cut());
            };
            rest = after;
            if client != TRANSACTION && client != LOG {
                return trouble(format!("operations of client {client:#x} are not known"));
            }
            if flags & UNMOUNT != 0 {
                continue;
            }
            if record.format != LITTLE_ENDIAN {
                return trouble("it was written by a host of another byte order");
            }
            self.take(number, flags, bytes, record.lsn, each)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        number: u32,
        flags: u8,
        bytes: &[u8],
        lsn: u64,
        each: &mut dyn FnMut(&Transaction) -> Tried<()>,
    ) -> Tried<()> {
        if flags & START != 0 {
            let begun = Transaction {
                lsn,
                regions: Vec::new(),
                goes_on: false,
            };
            self.forget(number);
            self.open.insert(number, begun);
            return Ok(());
        }
        if flags & COMMIT != 0 {
            if let Some(transaction) = self.forget(number) {
                each(&transaction)?;
            }
            return Ok(());
        }
        // One that began before the tail has reached its places.
        let Some(transaction) = self.open.get_mut(&number) else {
            return Ok(());
        };
        self.bytes = self
            .bytes
            .saturating_add(bytes.len() + size_of::<Vec<u8>>());
        if self.bytes > MAX_OPEN {
            return trouble(format!("its transactions have more than {MAX_OPEN} bytes"));
        }
        match transaction.regions.last_mut() {
            Some(last) if flags & WAS_CONTINUED != 0 => {
                if !transaction.goes_on {
                    return trouble("a region goes on that had ended");
                }
                last.extend_from_slice(bytes);
            }
            _ => transaction.regions.push(bytes.to_vec()),
        }
        transaction.goes_on = flags & CONTINUE != 0;
        Ok(())
    }

    fn forget(&mut self, number: u32) -> Option<Transaction> {
        let gone = self.open.remove(&number)?;
        let bytes = |sum: usize, region: &Vec<u8>| sum + region.len() + size_of::<Vec<u8>>();
        self.bytes = self
            .bytes
            .saturating_sub(gone.regions.iter().fold(0, bytes));
        Some(gone)
    }
}
