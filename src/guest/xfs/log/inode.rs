//! Applying items of inodes: the record and its forks as they were logged, and chunks of new inodes.

use zerocopy::byteorder::{BE, LE};
use zerocopy::{FromBytes, IntoBytes};

use super::replay::{Replay, put};
use super::transaction::Item;
use super::trouble::{Tried, trouble};
use crate::field;
use crate::xfs::dinode::{CORE, Dinode, MAGIC};
use crate::xfs::inode::CHECKED;
use crate::xfs::superblock::BASIC_BLOCK;

/// Bytes of `struct xfs_inode_log_format`.
const FORMAT: usize = 56;

/// `ilf_fields`: what follows the core.
const DATA: u32 = 0x2 | 0x4;
const DATA_ROOT: u32 = 0x8;
const DEVICE: u32 = 0x10;
const ATTRIBUTES: u32 = 0x40 | 0x80;
const ATTRIBUTES_ROOT: u32 = 0x100;
/// The blocks of a map change hands, which is done when extents of files are swapped.
const OWNER: u32 = 0x200 | 0x400;

/// Bytes before the keys in a root of a block map as it is in memory, and so in the log.
const ROOT_HEADER: usize = 72;

impl Replay<'_> {
    pub(super) fn inode(&mut self, item: &Item<'_>, lsn: u64) -> Tried<()> {
        let format = item.format;
        if format.len() < FORMAT {
            return trouble("items of inodes are those of a 32-bit host");
        }
        let fields = u32::from_le_bytes(field(format, 4));
        let number = u64::from_le_bytes(field(format, 16));
        let first = u64::from_le_bytes(field(format, 40));
        let count = u32::from_le_bytes(field(format, 48));
        let within = u32::from_le_bytes(field(format, 52));
        if self.cancelled.contains((first, count)) {
            return Ok(());
        }
        let place = first
            .checked_mul(BASIC_BLOCK)
            .and_then(|at| at.checked_add(within.into()));
        let Some(offset) = place.filter(|_| self.superblock.inode_offset(number) == place) else {
            return trouble(format!("inode {number} is logged for another place"));
        };
        let size = usize::try_from(self.superblock.inode_size).unwrap_or_default();
        let mut bytes = self.overlay.read(offset, size)?;
        let Some((logged, more)) = item.regions.split_first() else {
            return trouble(format!("inode {number} is logged without its record"));
        };
        let (Ok(before), Ok((logged, _))) = (
            Dinode::<BE>::read_from_prefix(&bytes),
            Dinode::<LE>::read_from_prefix(logged),
        ) else {
            return trouble(format!("the record of inode {number} is cut off"));
        };
        if before.0.magic != MAGIC || logged.magic != MAGIC || logged.version != 3 {
            return trouble(format!("inode {number} is none"));
        }
        if fields & OWNER != 0 {
            return trouble(format!("the blocks of inode {number} change hands"));
        }
        let stored = before.0.lsn.get();
        if stored != 0 && stored != u64::MAX && stored > lsn {
            return Ok(());
        }
        let mut core = logged.to_disk(lsn);
        core.next_unlinked = before.0.next_unlinked;
        put(&mut bytes, 0, core.as_bytes());
        let forks = Forks {
            attributes: CORE + usize::from(core.forkoff) * 8,
            fields,
            device: field(format, 24),
        };
        if forks.put(&mut bytes, more).is_none() {
            return trouble(format!("a fork of inode {number} runs over"));
        }
        let sum = CHECKED.sum(&bytes);
        put(&mut bytes, CHECKED.crc, &sum.to_le_bytes());
        self.overlay.write(offset, &bytes)
    }

    /// A chunk of new inodes (`struct xfs_icreate_log`).
    pub(super) fn create_inodes(&mut self, item: &Item<'_>) -> Tried<()> {
        let word = |at| u32::from_be_bytes(field(item.format, at));
        let (group, first, count, size, length) = (word(4), word(8), word(12), word(16), word(20));
        let generation: [u8; 4] = field(item.format, 24);
        let superblock = self.superblock;
        let block = superblock.block_number(group, first);
        let fits = u64::from(count) * u64::from(size)
            <= u64::from(length) * u64::from(superblock.block_size);
        let Some(offset) = superblock
            .offset_of(block, length.into())
            .filter(|_| size == superblock.inode_size && count <= 64 && fits)
        else {
            return trouble(format!("new inodes at block {block} run over"));
        };
        let sectors = u64::from(length) * u64::from(superblock.block_size) / BASIC_BLOCK;
        if self.cancelled.begins_within(offset / BASIC_BLOCK, sectors) {
            return Ok(());
        }
        let number = block << superblock.inode_bits;
        let len = usize::try_from(size).unwrap_or_default();
        for index in 0..u64::from(count) {
            let mut bytes = vec![0; len];
            let Ok((mut core, _)) = Dinode::<BE>::read_from_prefix(&bytes) else {
                return trouble("new inodes are shorter than inodes are");
            };
            core.magic = MAGIC.into();
            core.version = 3;
            core.gen_ = u32::from_be_bytes(generation).into();
            core.next_unlinked = u32::MAX.into();
            core.ino = (number + index).into();
            core.uuid = superblock.meta_uuid;
            put(&mut bytes, 0, core.as_bytes());
            let sum = CHECKED.sum(&bytes);
            put(&mut bytes, CHECKED.crc, &sum.to_le_bytes());
            self.overlay
                .write(offset + index * u64::from(size), &bytes)?;
        }
        Ok(())
    }
}

/// What is logged of an inode's forks.
struct Forks {
    /// Where attributes begin; with none, where data begins.
    attributes: usize,
    fields: u32,
    /// The number of a device, as the host has it.
    device: [u8; 4],
}

impl Forks {
    /// Writes them into a record. None where one has no room.
    fn put(&self, bytes: &mut [u8], regions: &[Vec<u8>]) -> Option<()> {
        let mut regions = regions.iter();
        let end = match self.attributes {
            CORE => bytes.len(),
            end => end,
        };
        if self.fields & DEVICE != 0 {
            let device = u32::from_le_bytes(self.device).to_be_bytes();
            put(bytes, CORE, &device);
        }
        if self.fields & (DATA | DATA_ROOT) != 0 {
            let fork = bytes.get_mut(CORE..end)?;
            put_fork(fork, regions.next()?, self.fields & DATA_ROOT != 0)?;
        }
        if self.fields & (ATTRIBUTES | ATTRIBUTES_ROOT) != 0 && self.attributes > CORE {
            let fork = bytes.get_mut(self.attributes..)?;
            put_fork(fork, regions.next()?, self.fields & ATTRIBUTES_ROOT != 0)?;
        }
        Some(())
    }
}

fn put_fork(fork: &mut [u8], region: &[u8], is_root: bool) -> Option<()> {
    if !is_root {
        fork.get_mut(..region.len())?.copy_from_slice(region);
        return Some(());
    }
    // From the form that the root of a block map has in memory to the shorter one within inodes.
    let body = region.get(ROOT_HEADER..)?;
    let count = usize::from(u16::from_be_bytes(field(region, 6)));
    let (most, room) = (body.len() / 16, fork.len().checked_sub(4)? / 16);
    if count > most || count > room {
        return None;
    }
    let keys = body.get(..count * 8)?;
    let pointers = body.get(most * 8..(most + count) * 8)?;
    put(fork, 0, region.get(4..8)?);
    put(fork, 4, keys);
    put(fork, 4 + room * 8, pointers);
    Some(())
}
