//! Applying transactions as the kernel's recovery does: buffers, then inodes, then what gives buffers up; nothing that
//! its place on the volume already has in a later state.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::overlay::Overlay;
use super::transaction::{Item, Transaction};
use super::trouble::{Tried, trouble};
use crate::block::Source;
use crate::field;
use crate::xfs::checksummed::Checksummed;
use crate::xfs::superblock::{BASIC_BLOCK, Superblock};

/// Kinds of items (`XFS_LI_*`).
const LI_INODE: u16 = 0x123b;
const LI_BUF: u16 = 0x123c;
const LI_ICREATE: u16 = 0x123f;
/// What the kernel finishes after replaying where it was not, and what changes nothing that is read here: extents to
/// free (EFI, EFD), unlinked inodes, quotas, reverse maps and reference counts (RUI to CUD), block maps (BUI, BUD),
/// attributes (ATTRI, ATTRD), exchanged mappings (XMI, XMD), and the same of the real-time device.
const LI_PASSED_OVER: [std::ops::RangeInclusive<u16>; 3] =
    [0x1236..=0x1238, 0x123d..=0x123e, 0x1240..=0x124f];
/// Of these, what leaves the map of a file changed in part: an item, and what says that it was finished.
const LI_MAPPING: [(u16, u16); 2] = [(0x1244, 0x1245), (0x1248, 0x1249)];

/// `blf_flags`: a buffer of inodes, of which only the list of unlinked ones was logged.
const BLF_INODE_BUF: u16 = 1 << 0;
/// `blf_flags`: the buffer was given up, and its blocks may hold something else.
const BLF_CANCEL: u16 = 1 << 1;
/// Bytes that a bit of a buffer's map stands for (`XFS_BLF_CHUNK`).
const BLF_CHUNK: usize = 128;
/// Basic blocks of the largest buffer: a chunk of inodes of 2 KiB each, and above.
const MAX_BUFFER: u32 = 2048;

/// Where a buffer is: basic block and how many of them.
pub(super) type Place = (u64, u32);

/// A buffer's item (`struct xfs_buf_log_format`).
struct Buffer<'a> {
    flags: u16,
    place: Place,
    /// Which chunks follow.
    map: &'a [[u8; 4]],
    regions: &'a [Vec<u8>],
}

impl<'a> Buffer<'a> {
    fn parse(item: &Item<'a>) -> Option<Self> {
        if item.kind != LI_BUF {
            return None;
        }
        let count = usize::try_from(u32::from_le_bytes(field(item.format, 16))).ok()?;
        let map = item.format.get(20..)?.as_chunks::<4>().0;
        Some(Self {
            flags: u16::from_le_bytes(field(item.format, 4)),
            place: (
                u64::from_le_bytes(field(item.format, 8)),
                u32::from(u16::from_le_bytes(field(item.format, 6))),
            ),
            map: map.get(..count)?,
            regions: item.regions,
        })
    }

    fn is_dirty(&self, chunk: usize) -> bool {
        let word = self
            .map
            .get(chunk / 32)
            .map(|word| u32::from_le_bytes(*word));
        word.is_some_and(|word| word >> (chunk % 32) & 1 == 1)
    }

    /// Where its regions go: each from the next chunk that is dirty on.
    fn placed(&self) -> Option<Vec<(usize, &'a [u8])>> {
        let most = self.map.len() * 32;
        let mut placed = Vec::new();
        let mut chunk = 0;
        for region in self.regions {
            chunk = (chunk..most).find(|chunk| self.is_dirty(*chunk))?;
            placed.push((chunk * BLF_CHUNK, region.as_slice()));
            chunk += region.len().div_ceil(BLF_CHUNK).max(1);
        }
        Some(placed)
    }
}

/// The buffers that were given up and how many times that is still to come.
#[derive(Debug, Default)]
pub(super) struct Cancelled(HashMap<Place, u32>);

impl Cancelled {
    pub(super) fn note(&mut self, item: &Item<'_>) {
        if let Some(buffer) = Buffer::parse(item)
            && buffer.flags & BLF_CANCEL != 0
        {
            *self.0.entry(buffer.place).or_default() += 1;
        }
    }

    fn pass(&mut self, place: Place) {
        if let Some(count) = self.0.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&place);
            }
        }
    }

    pub(super) fn contains(&self, place: Place) -> bool {
        self.0.contains_key(&place)
    }

    /// Whether one of these begins within so many basic blocks.
    pub(super) fn begins_within(&self, first: u64, count: u64) -> bool {
        let within = |(at, _): &Place| *at >= first && *at - first < count;
        self.0.keys().any(within)
    }
}

/// Changes of block maps that were begun, and not finished.
#[derive(Debug, Default)]
pub(super) struct Unfinished(HashSet<(u16, u64)>);

impl Unfinished {
    pub(super) fn note(&mut self, item: &Item<'_>) {
        let number = u64::from_le_bytes(field(item.format, 8));
        for (begun, done) in LI_MAPPING {
            if item.kind == begun {
                self.0.insert((begun, number));
            } else if item.kind == done {
                self.0.remove(&(begun, number));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A replay.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    pub(super) superblock: &'a Superblock,
    pub(super) overlay: Overlay<'a>,
    pub(super) cancelled: Cancelled,
    /// The number of the transactions that are applied now.
    lsn: u64,
    /// Buffers that these wrote, with their length. They get the number only after the last of these, because more
    /// transactions than one may have it.
    written: BTreeMap<u64, usize>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        source: &'a Source,
        superblock: &'a Superblock,
        cancelled: Cancelled,
    ) -> Self {
        Self {
            superblock,
            overlay: Overlay::new(source, superblock.block_size),
            cancelled,
            lsn: 0,
            written: BTreeMap::new(),
        }
    }

    pub(super) fn apply(&mut self, transaction: &Transaction) -> Tried<()> {
        if transaction.lsn != self.lsn {
            self.stamp()?;
            self.lsn = transaction.lsn;
        }
        let mut items = transaction.items()?;
        items.sort_by_key(rank);
        for item in items {
            match item.kind {
                LI_BUF => self.buffer(&item)?,
                LI_INODE => self.inode(&item, transaction.lsn)?,
                LI_ICREATE => self.create_inodes(&item)?,
                kind if LI_PASSED_OVER.iter().any(|kinds| kinds.contains(&kind)) => {}
                kind => return trouble(format!("items of kind {kind:#x} are not known")),
            }
        }
        Ok(())
    }

    /// The blocks that are replaced.
    pub(super) fn finish(mut self) -> Tried<BTreeMap<u64, Box<[u8]>>> {
        self.stamp()?;
        Ok(self.overlay.into_blocks())
    }

    fn buffer(&mut self, item: &Item<'_>) -> Tried<()> {
        let Some(buffer) = Buffer::parse(item) else {
            return trouble("an item of a buffer is cut off");
        };
        if buffer.flags & BLF_CANCEL != 0 {
            self.cancelled.pass(buffer.place);
            return Ok(());
        }
        if buffer.flags & BLF_INODE_BUF != 0 || self.cancelled.contains(buffer.place) {
            return Ok(());
        }
        let (first, count) = buffer.place;
        let offset = first.checked_mul(BASIC_BLOCK);
        let (Some(offset), 1..=MAX_BUFFER) = (offset, count) else {
            return trouble(format!(
                "a buffer at basic block {first} has {count} of them"
            ));
        };
        let len = usize::try_from(u64::from(count) * BASIC_BLOCK).unwrap_or_default();
        let mut bytes = self.overlay.read(offset, len)?;
        if self.is_later(&bytes) {
            return Ok(());
        }
        let Some(placed) = buffer.placed() else {
            return trouble("a buffer has more regions than its map says");
        };
        for (at, region) in placed {
            match bytes.get_mut(at..at.saturating_add(region.len())) {
                Some(to) => to.copy_from_slice(region),
                None => return trouble("a region of a buffer runs over"),
            }
        }
        self.overlay.write(offset, &bytes)?;
        self.written.insert(offset, len);
        Ok(())
    }

    /// Whether a block has what is applied now already, or what came later.
    fn is_later(&self, bytes: &[u8]) -> bool {
        let Some(common) = kind_of(bytes) else {
            return false;
        };
        let uuid: [u8; 16] = field(bytes, common.uuid);
        let is_own = uuid == self.superblock.meta_uuid || uuid == self.superblock.uuid;
        let lsn = u64::from_be_bytes(field(bytes, common.lsn));
        is_own && lsn != 0 && lsn != u64::MAX && lsn >= self.lsn
    }

    /// Gives the buffers that were written their number and checksum.
    fn stamp(&mut self) -> Tried<()> {
        for (offset, len) in std::mem::take(&mut self.written) {
            let mut bytes = self.overlay.read(offset, len)?;
            let Some(common) = kind_of(&bytes) else {
                continue;
            };
            put(&mut bytes, common.lsn, &self.lsn.to_be_bytes());
            let sum = common.sum(&bytes);
            put(&mut bytes, common.crc, &sum.to_le_bytes());
            self.overlay.write(offset, &bytes)?;
        }
        Ok(())
    }
}

/// The order within a transaction: buffers and new inodes, inodes and all else, lists of unlinked inodes, what gives
/// buffers up.
fn rank(item: &Item<'_>) -> u8 {
    let flags = u16::from_le_bytes(field(item.format, 4));
    match item.kind {
        LI_ICREATE => 0,
        LI_BUF if flags & BLF_CANCEL != 0 => 3,
        LI_BUF if flags & BLF_INODE_BUF != 0 => 2,
        LI_BUF => 0,
        _ => 1,
    }
}

/// Writes bytes where there is room for them.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at.saturating_add(value.len())) {
        to.copy_from_slice(value);
    }
}

/// Which metadata a block is by its magic number; none of what has no number of the log and no checksum.
fn kind_of(bytes: &[u8]) -> Option<Checksummed> {
    Some(match &field::<4>(bytes, 0) {
        b"XFSB" => Checksummed::SUPERBLOCK,
        b"XAGF" => Checksummed::AGF,
        b"XAGI" => Checksummed::AGI,
        b"XAFL" => Checksummed::AGFL,
        b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" => Checksummed::SHORT_BTREE,
        b"BMA3" => Checksummed::LONG_BTREE,
        b"XDB3" | b"XDD3" | b"XDF3" => Checksummed::DIRECTORY,
        b"XSLM" => Checksummed::SYMLINK,
        // Hashes of directories, and attributes.
        _ => match u16::from_be_bytes(field(bytes, 8)) {
            0x3df1 | 0x3dff | 0x3ebe | 0x3bee => Checksummed::DA_BLOCK,
            _ => return None,
        },
    })
}
