//! What the space is used for, from the records of free space, the trees of every group and the maps of inodes.

use std::ops::Range;

use super::btree::{Block, Kind, Tree};
use super::checksummed::damaged;
use super::groups::{Agf, Agi};
use super::inode::{Format, Inode};
use super::inodes::Inodes;
use super::superblock::Superblock;
use super::volume::Volume;
use crate::error::Result;
use crate::field;
use crate::filesystem::{NodeKind, Use};

type Each<'a> = &'a mut dyn FnMut(Range<u64>, Use) -> Result<()>;

/// Tells of all that is not content of files.
pub(super) fn usage(volume: &Volume, inodes: &Inodes, each: Each<'_>) -> Result<()> {
    let superblock = &volume.superblock;
    for group in 0..superblock.groups {
        let start = superblock.group_start(group);
        // The superblock's copy and the headers of the group, a sector each, in blocks of their own.
        let headers = 4 * u64::from(superblock.sector_size);
        let end = start + headers.next_multiple_of(volume.block_size());
        each(start..end, Use::Metadata)?;
        free(volume, group, each)?;
        trees(volume, group, each)?;
        inodes.each_chunk(volume, group, &mut |range| each(range, Use::Metadata))?;
        inodes.each(volume, group, None, &mut |inode| map(volume, &inode, each))?;
    }
    if let Some((first, count)) = superblock.log
        && let Some(offset) = superblock.offset_of(first, count.into())
    {
        let len = u64::from(count) * volume.block_size();
        each(offset..offset + len, Use::Journal)?;
    }
    Ok(())
}

/// Bytes in use by the records of free space: what the superblock says is only right after a clean unmount.
pub(super) fn used(volume: &Volume) -> Result<u64> {
    let superblock = &volume.superblock;
    let mut free = 0_u64;
    for group in 0..superblock.groups {
        let agf = Agf::read(volume, group)?;
        for part in [agf.freeblks, agf.flcount, agf.btreeblks] {
            free = free.saturating_add(part.get().into());
        }
    }
    Ok(superblock.blocks.saturating_sub(free) * volume.block_size())
}

/// As [`crate::Filesystem::doubt`].
pub(super) fn doubt(volume: &Volume) -> Result<Option<String>> {
    let superblock = &volume.superblock;
    let unknown = superblock.unknown_ro_features;
    if unknown != 0 {
        return Ok(Some(format!(
            "sb_features_ro_compat {unknown:#x} is not known"
        )));
    }
    let mut free = 0_u64;
    for group in 0..superblock.groups {
        let agf = Agf::read(volume, group)?;
        let told = agf.freeblks.get();
        let mut found = 0_u64;
        free_tree(volume, group, &agf, &mut |block| {
            found += free_records(block)
                .map(|(_, count)| u64::from(count))
                .sum::<u64>();
            Ok(())
        })?;
        if found != u64::from(told) {
            return Ok(Some(format!(
                "its records contradict each other: group {group} has {found} free blocks in its tree and agf_freeblks \
                 is {told}"
            )));
        }
        free += found + u64::from(agf.flcount.get());
    }
    Ok((free > superblock.blocks).then(|| "its records of free space run over".to_owned()))
}

/// Runs of blocks of a group as bytes of the volume; none that runs over.
fn run(superblock: &Superblock, group: u32, first: u32, count: u64) -> Option<Range<u64>> {
    let number = superblock.block_number(group, first);
    let offset = superblock.offset_of(number, count)?;
    Some(offset..offset + count * u64::from(superblock.block_size))
}

/// Calls `look` for the blocks of a group's tree of free space.
fn free_tree(
    volume: &Volume,
    group: u32,
    agf: &Agf,
    look: &mut dyn FnMut(&Block) -> Result<()>,
) -> Result<()> {
    let tree = Tree {
        kind: Kind::FREE_BY_BLOCK,
        owner: group.into(),
    };
    let (root, levels) = (agf.bno_root.get(), agf.bno_level.get());
    tree.walk_whole(volume, root, levels, look)
}

/// The records of a leaf of that tree: the first block of a run, and how many; none of a node.
fn free_records(block: &Block) -> impl Iterator<Item = (u32, u32)> {
    let records = (block.level == 0).then(|| block.records());
    let parsed = |record: &[u8]| {
        let first = u32::from_be_bytes(field(record, 0));
        (first, u32::from_be_bytes(field(record, 4)))
    };
    records.into_iter().flatten().map(parsed)
}

/// Tells of what is free in a group, the list of blocks for its trees included.
fn free(volume: &Volume, group: u32, each: Each<'_>) -> Result<()> {
    let superblock = &volume.superblock;
    let agf = Agf::read(volume, group)?;
    free_tree(volume, group, &agf, &mut |block| {
        each(block.range(volume), Use::Metadata)?;
        for (first, count) in free_records(block) {
            match run(superblock, group, first, count.into()) {
                Some(range) => each(range, Use::Free)?,
                None => {
                    let name = format!("bnobt of group {group}");
                    return Err(damaged(name, block.offset, "a record runs over"));
                }
            }
        }
        Ok(())
    })?;
    for block in agf.free_list(volume, group)? {
        if let Some(range) = run(superblock, group, block, 1) {
            each(range, Use::Free)?;
        }
    }
    Ok(())
}

/// Tells of the blocks of the other trees of a group.
fn trees(volume: &Volume, group: u32, each: Each<'_>) -> Result<()> {
    let (agf, agi) = (Agf::read(volume, group)?, Agi::read(volume, group)?);
    let has = volume.superblock.trees;
    let trees = [
        (Kind::FREE_BY_COUNT, true, agf.cnt_root, agf.cnt_level),
        (
            Kind::REVERSE_MAP,
            has.reverse_map,
            agf.rmap_root,
            agf.rmap_level,
        ),
        (
            Kind::REFERENCE_COUNTS,
            has.reference_counts,
            agf.refcount_root,
            agf.refcount_level,
        ),
        (Kind::INODES, true, agi.root, agi.level),
        (
            Kind::FREE_INODES,
            has.free_inodes,
            agi.free_root,
            agi.free_level,
        ),
    ];
    for (kind, is_there, root, levels) in trees {
        let tree = Tree {
            kind,
            owner: group.into(),
        };
        if is_there {
            tree.walk_whole(volume, root.get(), levels.get(), &mut |block| {
                each(block.range(volume), Use::Metadata)
            })?;
        }
    }
    Ok(())
}

/// Tells of the blocks of an inode that are no content of a file: maps, directories, targets, attributes.
fn map(volume: &Volume, inode: &Inode, each: Each<'_>) -> Result<()> {
    let forks = [Some(inode.data()), inode.attributes()];
    for (index, fork) in forks.into_iter().flatten().enumerate() {
        let is_content = index == 0 && inode.is(NodeKind::File);
        if index == 0 && inode.is_realtime() {
            continue;
        }
        inode.each_record(volume, fork, &mut |extent| {
            if !is_content {
                let len = extent.blocks * volume.block_size();
                each(extent.offset..extent.offset + len, Use::Metadata)?;
            }
            Ok(())
        })?;
        if fork.format == Format::Btree {
            inode.walk_map(volume, fork, &|_, _| true, &mut |block| {
                each(block.range(volume), Use::Metadata)
            })?;
        }
    }
    Ok(())
}
