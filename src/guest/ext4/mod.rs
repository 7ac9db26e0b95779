//! ext2, ext3 and ext4: one format, of which each is a part.
//!
//! Structures and fields have the names that the kernel gives them (`fs/ext4/ext4.h`, `Documentation/filesystems/ext4`).

#![deny(clippy::indexing_slicing)]

mod candidates;
mod checksum;
mod content;
mod directory;
mod error;
mod extents;
mod feature;
mod group;
mod index;
mod indirect;
mod inline;
mod inode;
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

use crate::block::Source;
use crate::error::Result;
use crate::filesystem::{
    Candidates, Condition, Entry, FileExtent, Filesystem, Links, Node, NodeId, Summary, Use,
};
use crate::ranges::Ranges;
use feature::Incompatible;
use index::Index;
use inode::Flag;
use superblock::Superblock;
use volume::Volume;

/// The inode of the root directory.
const ROOT: u64 = 2;

/// An ext filesystem opened for reading.
#[derive(Debug)]
struct Ext4 {
    volume: Volume,
    summary: Summary,
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
    let condition = match volume.superblock.incompatible {
        features if features.contains(Incompatible::RECOVER) => {
            Condition::NotReplayed("journals are not replayed".to_owned())
        }
        _ => Condition::Clean,
    };
    let summary = summary(&volume.superblock, condition);
    Ok(Some(Arc::new(Ext4 {
        volume,
        summary,
        index: OnceLock::new(),
    })))
}

fn summary(superblock: &Superblock, condition: Condition) -> Summary {
    let size = superblock.block_bytes();
    let used = superblock.blocks.checked_sub(superblock.free_blocks);
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
        let found = self.volume.candidates(self.index()?, changed)?;
        Ok(Candidates::Nodes(found))
    }

    fn links(&self, wanted: &HashSet<NodeId>) -> Result<Links> {
        if wanted.is_empty() {
            return Ok(Links::new());
        }
        self.volume.links(self.index()?, wanted)
    }

    fn usage(&self, each: &mut dyn FnMut(Range<u64>, Use)) -> Result<()> {
        self.volume.usage(self.index()?, each)
    }
}
