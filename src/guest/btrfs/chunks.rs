//! Where logical addresses are on the volume: the chunks. Trees and files name places by logical addresses only.

use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use super::format::{
    ChunkItem, DiskKey, Key, Stripe, SuperBlock, damaged, kind, profile, unsupported,
};
use super::superblock::Super;
use crate::error::{Error, Result};

/// Copies of a byte that a profile keeps at the most.
const MOST_COPIES: usize = 4;
/// Chunks taken at the most: 16 PiB of the usual 1 GiB.
const MOST_CHUNKS: usize = 1 << 24;

/// A run of logical addresses and where its copies are on this volume.
#[derive(Debug, Clone)]
struct Chunk {
    logical: u64,
    len: u64,
    /// Starts of the copies in bytes of the volume, one at least.
    copies: Vec<u64>,
}

/// All chunks, in order of their logical addresses, without overlap.
#[derive(Debug, Clone)]
pub(super) struct Chunks {
    chunks: Vec<Chunk>,
    /// The device that the volume is, of those of the filesystem.
    devid: U64,
    uuid: [u8; 16],
}

impl Chunks {
    /// Those that the superblock holds itself, enough to read the tree of all.
    pub(super) fn of_superblock(superblock: &Super) -> Result<Self> {
        let raw: &SuperBlock = &superblock.raw;
        let wrong = |problem: String| damaged("superblock", superblock.at, problem);
        let mut chunks = Self {
            chunks: Vec::new(),
            devid: raw.dev_item.devid,
            uuid: raw.dev_item.uuid,
        };
        let size = raw.sys_chunk_array_size.get();
        let taken = usize::try_from(size)
            .ok()
            .and_then(|size| raw.sys_chunk_array.get(..size));
        let Some(mut rest) = taken else {
            return Err(wrong(format!(
                "sys_chunk_array_size is {size}, more than 2048"
            )));
        };
        while !rest.is_empty() {
            let cut = || wrong("sys_chunk_array ends within a chunk".to_owned());
            let (key, after) = DiskKey::read_from_prefix(rest).map_err(|_| cut())?;
            let (item, _) = ChunkItem::read_from_prefix(after).map_err(|_| cut())?;
            let len = item_size(&item);
            let (data, after) = after.split_at_checked(len).ok_or_else(cut)?;
            chunks.add(key.get(), data, superblock.at)?;
            rest = after;
        }
        Ok(chunks)
    }

    /// No chunk yet, of the same volume.
    pub(super) fn none_of(&self) -> Self {
        Self {
            chunks: Vec::new(),
            ..self.clone()
        }
    }

    /// Adds the chunk of an item that is stored at byte `at` of the volume.
    pub(super) fn add(&mut self, key: Key, data: &[u8], at: u64) -> Result<()> {
        let wrong = |problem: String| damaged(key, at, problem);
        if key.kind != kind::CHUNK_ITEM {
            return Err(wrong("it is no chunk".to_owned()));
        }
        let Ok((item, stripes)) = ChunkItem::read_from_prefix(data) else {
            return Err(wrong("it is too short".to_owned()));
        };
        let (len, count) = (item.length.get(), usize::from(item.num_stripes.get()));
        let end = key.offset.checked_add(len).filter(|_| len > 0);
        let Some(end) = end else {
            return Err(wrong(format!("its length is {len}")));
        };
        let Ok(stripes) = <[Stripe]>::ref_from_bytes(stripes) else {
            return Err(wrong("its size does not fit its stripes".to_owned()));
        };
        if stripes.len() != count || count == 0 {
            return Err(wrong(format!("num_stripes is {count}")));
        }
        let chunk = Chunk {
            logical: key.offset,
            len,
            copies: self.copies(item.kind.get(), stripes, len, &wrong)?,
        };
        let next = self
            .chunks
            .partition_point(|one| one.logical < chunk.logical);
        let is_free = next
            .checked_sub(1)
            .and_then(|before| self.chunks.get(before))
            .is_none_or(|before| before.logical + before.len <= chunk.logical)
            && self.chunks.get(next).is_none_or(|one| end <= one.logical);
        if !is_free {
            return Err(wrong("it overlaps another chunk".to_owned()));
        }
        if self.chunks.len() >= MOST_CHUNKS {
            return Err(Error::TooMuch {
                what: "chunks",
                most: MOST_CHUNKS as u64,
            });
        }
        self.chunks.insert(next, chunk);
        Ok(())
    }

    /// Where the copies are of which this volume has the whole.
    fn copies(
        &self,
        kind: u64,
        stripes: &[Stripe],
        len: u64,
        wrong: &dyn Fn(String) -> Error,
    ) -> Result<Vec<u64>> {
        let name = match kind & profile::MASK {
            // A single stripe is the whole, whatever the profile is called.
            0 | profile::DUP | profile::RAID1 | profile::RAID1C3 | profile::RAID1C4 => None,
            profile::RAID0 if stripes.len() == 1 => None,
            profile::RAID0 => Some("RAID0"),
            profile::RAID10 => Some("RAID10"),
            profile::RAID5 => Some("RAID5"),
            profile::RAID6 => Some("RAID6"),
            bits => return Err(wrong(format!("its profile is {bits:#x}"))),
        };
        if let Some(name) = name {
            return Err(unsupported(format!("{name} on several devices")));
        }
        if stripes.len() > MOST_COPIES || (stripes.len() > 1 && kind & profile::MASK == 0) {
            return Err(wrong(format!("num_stripes is {}", stripes.len())));
        }
        let ours = stripes
            .iter()
            .filter(|stripe| stripe.devid == self.devid && stripe.dev_uuid == self.uuid);
        let copies: Vec<u64> = ours.map(|stripe| stripe.offset.get()).collect();
        if copies.is_empty() {
            return Err(unsupported("a chunk on another device"));
        }
        if copies.iter().any(|start| start.checked_add(len).is_none()) {
            return Err(wrong(
                "a stripe lies past the end of every device".to_owned(),
            ));
        }
        Ok(copies)
    }

    /// Where the copies of a run of logical addresses begin on the volume: one at least. None where no chunk has it
    /// whole.
    pub(super) fn places(&self, logical: u64, len: u64) -> Option<impl Iterator<Item = u64> + '_> {
        let after = self.chunks.partition_point(|one| one.logical <= logical);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        let within = logical - chunk.logical;
        let has_it = within.checked_add(len).is_some_and(|end| end <= chunk.len);
        has_it.then(|| chunk.copies.iter().map(move |start| start + within))
    }

    /// Where the first copy begins.
    pub(super) fn place(&self, logical: u64, len: u64) -> Option<u64> {
        self.places(logical, len)?.next()
    }
}

/// Bytes of an item of a chunk, stripes included.
fn item_size(item: &ChunkItem) -> usize {
    size_of::<ChunkItem>() + usize::from(item.num_stripes.get()) * size_of::<Stripe>()
}
