//! A block of a tree: read in whichever copy is sound, checked once, kept for a while.

use std::sync::Arc;

use zerocopy::FromBytes;

use super::checksum::Checksum;
use super::chunks::Chunks;
use super::format::{Header, ItemHeader, Key, KeyPtr, damaged};
use super::superblock::Super;
use crate::block::Source;
use crate::cache::Cache;
use crate::error::{Error, Result};

const NO_CHUNK: &str = "no chunk has its address";
/// Bytes of blocks that are kept.
const KEPT: usize = 16 << 20;

/// What a block has to be that something points at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pointer {
    /// Its logical address.
    pub(super) logical: u64,
    /// The transaction that wrote it.
    pub(super) generation: u64,
    /// 0 is a leaf.
    pub(super) level: u8,
    /// Its first key, where something above it says so.
    pub(super) first: Option<Key>,
    /// A key behind all of its own.
    pub(super) end: Option<Key>,
    /// Where this is said, in bytes of the volume.
    pub(super) at: u64,
}

/// A block whose checksum, place and items were checked.
#[derive(Debug)]
pub(super) struct Block {
    bytes: Box<[u8]>,
    /// Where it was read, in bytes of the volume.
    pub(super) at: u64,
    generation: u64,
    level: u8,
    count: usize,
}

impl Block {
    /// The items of a leaf in order; none of a node above.
    pub(super) fn items(&self) -> &[ItemHeader] {
        match self.level {
            0 => <[ItemHeader]>::ref_from_prefix_with_elems(self.body(), self.count)
                .map_or(&[], |(items, _)| items),
            _ => &[],
        }
    }

    /// What a node above the leaves points at, in order.
    pub(super) fn pointers(&self) -> &[KeyPtr] {
        match self.level {
            0 => &[],
            _ => <[KeyPtr]>::ref_from_prefix_with_elems(self.body(), self.count)
                .map_or(&[], |(pointers, _)| pointers),
        }
    }

    /// The data of an item of this leaf.
    pub(super) fn data(&self, item: &ItemHeader) -> &[u8] {
        self.range_of(item).unwrap_or_default()
    }

    /// Where the data of an item is, in bytes of the volume.
    pub(super) fn place(&self, item: &ItemHeader) -> u64 {
        self.at
            .saturating_add(size_of::<Header>() as u64)
            .saturating_add(u64::from(item.offset.get()))
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(size_of::<Header>()..).unwrap_or_default()
    }

    fn range_of(&self, item: &ItemHeader) -> Option<&[u8]> {
        let start = usize::try_from(item.offset.get()).ok()?;
        let len = usize::try_from(item.size.get()).ok()?;
        self.body().get(start..start.checked_add(len)?)
    }

    fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let of_items = self.items().iter().map(|item| item.key.get());
        of_items.chain(self.pointers().iter().map(|pointer| pointer.key.get()))
    }

    /// Checks what the block says of itself.
    fn check(&self) -> std::result::Result<(), String> {
        let found = self.items().len() + self.pointers().len();
        if found != self.count {
            return Err(format!("nritems is {}", self.count));
        }
        if !self.keys().is_sorted_by(|one, next| one < next) {
            return Err("its keys are not in order".to_owned());
        }
        if self.level > 0 && self.count == 0 {
            return Err("nritems is 0".to_owned());
        }
        // Data lies from the end of the block down, each item's right before that of the item before it.
        let mut end = self.body().len();
        let headers = self.count.saturating_mul(size_of::<ItemHeader>());
        for item in self.items() {
            let (Ok(offset), Ok(size)) = (
                usize::try_from(item.offset.get()),
                usize::try_from(item.size.get()),
            ) else {
                return Err(format!("the data of {} lies outside", item.key.get()));
            };
            if offset.checked_add(size) != Some(end) || offset < headers {
                return Err(format!(
                    "the data of {} is not where the items around it leave room",
                    item.key.get()
                ));
            }
            end = offset;
        }
        Ok(())
    }
}

/// Reads blocks, and data, by logical address.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) volume: Source,
    pub(super) chunks: Chunks,
    nodesize: usize,
    uuid: [u8; 16],
    checksum: Checksum,
    kept: Cache<u64, Arc<Block>>,
}

impl Blocks {
    pub(super) fn new(volume: Source, superblock: &Super, chunks: Chunks) -> Result<Self> {
        let nodesize = usize::try_from(superblock.nodesize)
            .map_err(|_| damaged("superblock", superblock.at, "nodesize is too large"))?;
        Ok(Self {
            volume,
            chunks,
            nodesize,
            uuid: superblock.tree_uuid(),
            checksum: superblock.checksum,
            kept: Cache::new(KEPT),
        })
    }

    /// Bytes of a block.
    pub(super) fn nodesize(&self) -> u64 {
        self.nodesize as u64
    }

    /// Where the copies of a block begin, in bytes of the volume; nowhere where no chunk has it.
    pub(super) fn places(&self, pointer: &Pointer) -> impl Iterator<Item = u64> + '_ {
        let places = self.chunks.places(pointer.logical, self.nodesize());
        places.into_iter().flatten()
    }

    /// The block that something points at.
    pub(super) fn read(&self, pointer: &Pointer) -> Result<Arc<Block>> {
        let block = match self.kept.get(pointer.logical) {
            // Another generation may be in another copy.
            Some(block) if block.generation == pointer.generation => block,
            _ => {
                let block = Arc::new(self.load(pointer)?);
                self.kept.put(pointer.logical, block.clone(), self.nodesize);
                block
            }
        };
        self.fits(&block, pointer)?;
        Ok(block)
    }

    /// The first sound copy.
    fn load(&self, pointer: &Pointer) -> Result<Block> {
        let structure = format!("tree block {}", pointer.logical);
        let Some(places) = self.chunks.places(pointer.logical, self.nodesize()) else {
            return Err(damaged(structure, pointer.at, NO_CHUNK));
        };
        let mut first: Option<Error> = None;
        for at in places {
            match self.load_copy(at, pointer)? {
                Ok(block) => return Ok(block),
                Err(problem) => first = first.or(Some(damaged(&structure, at, problem))),
            }
        }
        Err(first.unwrap_or_else(|| damaged(structure, pointer.at, NO_CHUNK)))
    }

    fn load_copy(&self, at: u64, pointer: &Pointer) -> Result<std::result::Result<Block, String>> {
        let mut bytes = vec![0; self.nodesize].into_boxed_slice();
        self.volume.read_at(at, &mut bytes)?;
        let Ok((header, _)) = Header::read_from_prefix(&bytes) else {
            return Ok(Err("it is too short".to_owned()));
        };
        if !self.checksum.is_right(&bytes) {
            return Ok(Err("its checksum is wrong".to_owned()));
        }
        let wrong = if header.fsid != self.uuid {
            Some("fsid is that of another filesystem".to_owned())
        } else if header.bytenr.get() != pointer.logical {
            Some(format!("bytenr is {}", header.bytenr.get()))
        } else if header.generation.get() != pointer.generation {
            Some(format!(
                "generation is {}, not {}",
                header.generation.get(),
                pointer.generation
            ))
        } else {
            None
        };
        if let Some(wrong) = wrong {
            return Ok(Err(wrong));
        }
        let Ok(count) = usize::try_from(header.nritems.get()) else {
            return Ok(Err("nritems is too large".to_owned()));
        };
        let block = Block {
            bytes,
            at,
            generation: header.generation.get(),
            level: header.level,
            count,
        };
        Ok(block.check().map(|()| block))
    }

    /// Whether a block is what this pointer is meant to lead to. Keys within those of the node above keep a tree from
    /// holding a block twice, and so what walks it from going on without end.
    fn fits(&self, block: &Block, pointer: &Pointer) -> Result<()> {
        let wrong = |problem: String| {
            let structure = format!("tree block {}", pointer.logical);
            Err(damaged(structure, block.at, problem))
        };
        if block.level != pointer.level {
            return wrong(format!("level is {}, not {}", block.level, pointer.level));
        }
        if pointer.first.is_some() && block.keys().next() != pointer.first {
            return wrong("its first key is not the one that leads to it".to_owned());
        }
        let last = block.items().last().map(|item| item.key.get());
        let last = last.or_else(|| block.pointers().last().map(|one| one.key.get()));
        if let (Some(last), Some(end)) = (last, pointer.end)
            && last >= end
        {
            return wrong("its last key belongs to the block behind it".to_owned());
        }
        Ok(())
    }

    /// Fills `buf` with data at a logical address, which is named at byte `named_at` of the volume.
    pub(super) fn read_data(&self, logical: u64, buf: &mut [u8], named_at: u64) -> Result<()> {
        let place = self.chunks.place(logical, buf.len() as u64);
        let at = place.ok_or_else(|| damaged(format!("extent {logical}"), named_at, NO_CHUNK))?;
        self.volume.read_at(at, buf)
    }
}
