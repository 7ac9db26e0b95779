//! ext2, ext3 and ext4: one format, of which each is a part.
//!
//! | module | what lives there |
//! |---|---|
//! | [`superblock`], [`feature`], [`group`] | geometry, features, where inode tables and bitmaps are |
//! | [`volume`] | reading metadata, with a bounded cache |
//! | [`inode`], [`node`], [`inline`] | the record of an inode; what is told of it; content within it |
//! | [`map`], [`extents`], [`indirect`], [`visit`] | which blocks a file has |
//! | [`directory`], [`content`] | entries; reading files and links |
//! | [`index`], [`candidates`], [`links`], [`usage`] | one pass through all inodes, and what is answered from it |
//! | [`journal`] | replaying it in memory |
//! | [`doubt`] | whether its records of free space can be relied on |
//!
//! Structures and fields have the names that the kernel gives them (`fs/ext4/ext4.h`, `include/linux/jbd2.h`), and
//! the rules are those of `Documentation/filesystems/ext4`.

#![deny(clippy::indexing_slicing)]

mod candidates;
mod checksum;
mod content;
mod directory;
mod doubt;
mod error;
mod extents;
mod feature;
mod group;
mod index;
mod indirect;
mod inline;
mod inode;
mod journal;
mod links;
mod map;
mod node;
mod superblock;
mod usage;
mod visit;
mod volume;

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::block::{Replayed, Source};
use crate::error::{Error, Result};
use crate::filesystem::{
    Candidates, Condition, Entry, FileExtent, Filesystem, Links, Node, NodeId, Summary, Use,
};
use crate::ranges::Ranges;
use feature::{Compatible, Incompatible};
use index::Index;
use inode::Flag;
use volume::Volume;

/// The inode of the root directory.
const ROOT: u64 = 2;

/// An ext filesystem opened for reading.
#[derive(Debug)]
struct Ext4 {
    volume: Volume,
    summary: Summary,
    /// What the journal replaced.
    replayed: Ranges,
    index: OnceLock<Index>,
}

impl Ext4 {
    /// What a pass through the inode tables told.
    fn index(&self) -> Result<&Index> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = Index::of(&self.volume)?;
        Ok(self.index.get_or_init(|| index))
    }
}

/// Opens the ext filesystem on a volume; none where there is none.
///
/// # Errors
/// When its superblock is damaged, it has a feature that is not read, or it cannot be read.
pub(crate) fn open(source: &Source) -> Result<Option<Arc<dyn Filesystem>>> {
    let Some(volume) = Volume::open(source)? else {
        return Ok(None);
    };
    let (volume, condition, replayed) = recovered(volume)?;
    Ok(Some(Arc::new(Ext4 {
        summary: summary(&volume, condition),
        volume,
        replayed,
        index: OnceLock::new(),
    })))
}

/// The volume as it is once its journal was replayed, where it has one that has to be.
fn recovered(volume: Volume) -> Result<(Volume, Condition, Ranges)> {
    let superblock = &volume.superblock;
    if !superblock.incompatible.contains(Incompatible::RECOVER) {
        return Ok((volume, Condition::Clean, Ranges::new()));
    }
    let with_journal = superblock.compatible.contains(Compatible::HAS_JOURNAL);
    let replay = match superblock.journal_inode {
        0 => Err("the journal is on another device".to_owned()),
        _ if !with_journal => Err("there is no journal".to_owned()),
        inode => match journal::replay(&volume, inode) {
            Ok(replay) => Ok(replay),
            Err(error @ (Error::Image(_) | Error::Cancelled)) => return Err(error),
            Err(error) => Err(error.to_string()),
        },
    };
    let replay = match replay {
        Ok(replay) => replay,
        Err(why) => return Ok((volume, Condition::NotReplayed(why), Ranges::new())),
    };
    let condition = match replay.missing {
        Some(missing) => Condition::NotReplayed(missing),
        None => Condition::Replayed,
    };
    let source = Replayed::new(volume.source.clone(), superblock.block_len(), replay.blocks);
    let replaced = source.replaced();
    let source: Source = Arc::new(source);
    match Volume::open(&source)? {
        Some(volume) => Ok((volume, condition, replaced)),
        None => Err(error::damaged(
            "superblock",
            superblock::AT,
            "the journal has none in its place",
        )),
    }
}

fn summary(volume: &Volume, condition: Condition) -> Summary {
    let superblock = &volume.superblock;
    let size = superblock.block_bytes();
    // While it is mounted, the count in the superblock is not kept.
    let free = match condition {
        Condition::Clean => Some(superblock.free_blocks),
        _ => volume.free_blocks(),
    };
    let used = free.and_then(|free| superblock.blocks.checked_sub(free));
    let hex: String = superblock.uuid.map(|byte| format!("{byte:02x}")).concat();
    let part = |range: Range<usize>| hex.get(range).unwrap_or_default();
    let parts = [
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32),
    ];
    Summary {
        kind: feature::kind(
            superblock.compatible,
            superblock.incompatible,
            superblock.read_only,
        ),
        label: superblock.label.clone(),
        uuid: parts.join("-"),
        block_size: superblock.block_size,
        total: superblock.blocks * size,
        used: used.map(|blocks| blocks * size),
        written: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(superblock.written)),
        condition,
    }
}

impl Filesystem for Ext4 {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn root(&self) -> NodeId {
        NodeId::new(ROOT)
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        node::node(&self.volume.superblock, &self.volume.node_inode(id)?)
    }

    fn entries(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let inode = self.volume.node_inode(directory)?;
        self.volume.entries(&inode, each)
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let inode = self.volume.node_inode(directory)?;
        let folds = inode.has(Flag::Casefold);
        let folded = |name: &[u8]| std::str::from_utf8(name).ok().map(str::to_lowercase);
        let wanted = folded(name).filter(|_| folds);
        let mut found = None;
        self.volume.entries(&inode, &mut |entry| {
            if entry.name == name || (wanted.is_some() && folded(entry.name) == wanted) {
                found = Some(entry.id);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    fn read(&self, file: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let inode = self.volume.node_inode(file)?;
        self.volume.read(&inode, offset, buf)
    }

    fn link_target(&self, link: NodeId) -> Result<Vec<u8>> {
        self.volume.target(&self.volume.node_inode(link)?)
    }

    fn extents(&self, id: NodeId) -> Result<Vec<FileExtent>> {
        self.volume.extents(&self.volume.node_inode(id)?)
    }

    fn candidates(&self, changed: &Ranges) -> Result<Candidates> {
        if changed.is_empty() {
            return Ok(Candidates::Nodes(Vec::new()));
        }
        let mut changed = changed.clone();
        changed.extend(&self.replayed);
        let found = self.volume.candidates(self.index()?, &changed)?;
        Ok(Candidates::Nodes(found))
    }

    fn links(&self, wanted: &HashSet<NodeId>) -> Result<Links> {
        if wanted.is_empty() {
            return Ok(Links::new());
        }
        self.volume.links(self.index()?, wanted)
    }

    fn replayed(&self) -> Ranges {
        self.replayed.clone()
    }

    fn usage(&self, each: &mut dyn FnMut(Range<u64>, Use) -> Result<()>) -> Result<()> {
        self.volume.usage(self.index()?, each)
    }

    fn doubt(&self) -> Result<Option<String>> {
        self.volume.doubt()
    }
}
