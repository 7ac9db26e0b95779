//! Block maps: which blocks of the volume hold which blocks of a file.

use std::ops::Range;

use super::btree::{Kind, Tree, children};
use super::checksummed::damaged;
use super::inode::{Fork, Format, Inode};
use super::volume::Volume;
use crate::error::{Error, Result};
use crate::field;
use crate::filesystem::NodeKind;

/// The most extents that are told of a file.
const MAX_EXTENTS: u64 = 4 << 20;
/// Every block a file can have (`BMBT_STARTOFF_BITLEN`).
const FILE_BLOCKS: Range<u64> = 0..1 << 54;

/// Blocks of a file that are together on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first, as a block of the file.
    pub(super) file: u64,
    /// The byte of the volume it begins at.
    pub(super) offset: u64,
    /// How many.
    pub(super) blocks: u64,
    /// Allocated and not written.
    pub(super) unwritten: bool,
}

impl Extent {
    /// The first block of the file behind it.
    pub(super) fn end(&self) -> u64 {
        self.file + self.blocks
    }

    /// A packed record (`struct xfs_bmbt_rec`): a flag, 54 bits of file block, 52 of block, 21 of length.
    fn parse(volume: &Volume, inode: &Inode, record: &[u8]) -> Result<Self> {
        let packed = u128::from_be_bytes(field(record, 0));
        let bits = |from: u32, count: u32| {
            u64::try_from((packed >> from) & ((1 << count) - 1)).unwrap_or_default()
        };
        let (unwritten, file, block, blocks) =
            (bits(127, 1) == 1, bits(73, 54), bits(21, 52), bits(0, 21));
        let wrong = |problem: &str| {
            let problem = format!("its extent at block {file} {problem}");
            damaged(inode.name(), inode.offset, problem)
        };
        // Linux has no byte of a file past the largest signed number.
        let most = i64::MAX.cast_unsigned() / volume.block_size();
        if blocks == 0 || file + blocks > most.min(FILE_BLOCKS.end) {
            return Err(wrong(&format!("has {blocks} blocks")));
        }
        match volume.superblock.offset_of(block, blocks) {
            Some(offset) => Ok(Self {
                file,
                offset,
                blocks,
                unwritten,
            }),
            None => Err(wrong("lies outside")),
        }
    }
}

/// What is called for every extent.
pub(super) type EachExtent<'a> = &'a mut dyn FnMut(Extent) -> Result<()>;

impl Inode {
    /// All extents of its data in order, those that go on in each other as they are recorded.
    pub(super) fn extents(&self, volume: &Volume) -> Result<Vec<Extent>> {
        let mut found = Vec::new();
        self.each_extent(volume, FILE_BLOCKS, &mut |extent| {
            found.push(extent);
            if found.len() as u64 > MAX_EXTENTS {
                return Err(Error::TooMuch {
                    what: "extents of a file",
                    most: MAX_EXTENTS,
                });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Calls `each` for the extents of its data that touch these blocks of the file, in order.
    pub(super) fn each_extent(
        &self,
        volume: &Volume,
        within: Range<u64>,
        each: EachExtent<'_>,
    ) -> Result<()> {
        if self.is_realtime() {
            return Err(Error::Unsupported {
                filesystem: "XFS",
                feature: format!("the real-time device, which {} is on,", self.name()),
            });
        }
        let fork = self.data();
        let is_inline = self.is(NodeKind::Directory) || self.is(NodeKind::Symlink);
        match fork.format {
            Format::Extents | Format::Btree => self.each_of(volume, fork, within, each),
            Format::Device if self.is(NodeKind::Special) => Ok(()),
            Format::Local if is_inline => Ok(()),
            format => Err(self.damaged(format!("its content is stored as {format:?}"))),
        }
    }

    /// Calls `each` for all extents of a fork, in order; it has none where it is stored in another way.
    pub(super) fn each_record(
        &self,
        volume: &Volume,
        fork: Fork<'_>,
        each: EachExtent<'_>,
    ) -> Result<()> {
        self.each_of(volume, fork, FILE_BLOCKS, each)
    }

    fn each_of(
        &self,
        volume: &Volume,
        fork: Fork<'_>,
        within: Range<u64>,
        each: EachExtent<'_>,
    ) -> Result<()> {
        let mut last = 0;
        let mut take = |record: &[u8]| {
            let extent = Extent::parse(volume, self, record)?;
            if extent.file < last {
                let problem = format!("its extent at block {} is out of order", extent.file);
                return Err(self.damaged(problem));
            }
            last = extent.end();
            if extent.file < within.end && extent.end() > within.start {
                each(extent)?;
            }
            Ok(())
        };
        let wanted = |key: u64, next: Option<u64>| {
            key < within.end && next.is_none_or(|next| next > within.start)
        };
        match fork.format {
            Format::Extents => self.listed(fork)?.try_for_each(take),
            Format::Btree => self.walk_map(volume, fork, &wanted, &mut |block| {
                if block.level == 0 {
                    return block.records().try_for_each(&mut take);
                }
                Ok(())
            }),
            Format::Device | Format::Local | Format::Other => Ok(()),
        }
    }

    /// The records of a fork that is a list of extents.
    fn listed<'a>(&self, fork: Fork<'a>) -> Result<std::slice::ChunksExact<'a, u8>> {
        let len = usize::try_from(fork.extents).ok();
        let bytes = len
            .and_then(|count| count.checked_mul(16))
            .and_then(|len| fork.bytes.get(..len));
        match bytes {
            Some(bytes) => Ok(bytes.chunks_exact(16)),
            None => Err(self.damaged(format!("{} extents do not fit into it", fork.extents))),
        }
    }

    /// Calls `each` for the blocks of a fork that is a tree of extents; its root is in the inode
    /// (`struct xfs_bmdr_block`).
    pub(super) fn walk_map(
        &self,
        volume: &Volume,
        fork: Fork<'_>,
        wanted: super::btree::Wanted<'_>,
        each: &mut dyn FnMut(&super::btree::Block) -> Result<()>,
    ) -> Result<()> {
        let level = u16::from_be_bytes(field(fork.bytes, 0));
        let count = usize::from(u16::from_be_bytes(field(fork.bytes, 2)));
        let body = fork.bytes.get(4..).unwrap_or_default();
        let most = body.len() / 16;
        let Some(below) = level.checked_sub(1) else {
            return Err(self.damaged("the root of its block map is a leaf"));
        };
        if count > most {
            return Err(self.damaged(format!("{count} roots of its block map")));
        }
        let tree = Tree {
            kind: Kind::BLOCK_MAP,
            owner: self.number,
        };
        let roots = children(tree.kind, body, most, count);
        tree.walk(volume, roots, below, wanted, each)
    }
}
