//! XFS version 5: metadata with checksums, big times, large counts of extents, sparse inodes, reflinks. Version 4, which
//! Linux gives up, is not read.
//!
//! | module | what lives there |
//! |---|---|
//! | [`superblock`] | geometry, features, where blocks and inodes are |
//! | [`volume`] | reading and checking blocks of metadata |
//! | [`btree`] | trees of blocks |
//! | [`dinode`], [`inode`] | the record of an inode; what it says |
//! | [`bmap`], [`content`] | which blocks a file has; reading them |
//! | [`directory`], [`symlink`] | entries; targets |
//! | [`groups`], [`inodes`] | free space and inodes of allocation groups; all inodes |
//! | [`log`] | replaying it in memory |
//! | [`links`], [`usage`] | the names of inodes; what the space is used for |
//!
//! The source of every rule is the kernel's `fs/xfs/libxfs` and the book *XFS Algorithms & Data Structures*.

mod bmap;
mod btree;
mod checksummed;
mod content;
mod dinode;
mod directory;
mod groups;
mod inode;
mod inodes;
mod links;
mod log;
mod superblock;
mod symlink;
mod usage;
mod volume;

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use self::inode::Inode;
use self::inodes::Inodes;
use self::links::Index;
use self::superblock::Superblock;
use self::volume::Volume;
use crate::block::{Replayed, Source};
use crate::error::{Error, Printable, Result};
use crate::filesystem::{
    Candidates, Condition, Entry, FileExtent, Filesystem, Links, Node, NodeId, Summary, Use,
};
use crate::ranges::Ranges;
use crate::readers::OpenFilesystem;

/// Opens an XFS; none where its superblock is not there.
///
/// # Errors
/// When it is damaged, or has a feature that is not read.
pub(crate) fn open(source: &Source) -> Result<Option<OpenFilesystem>> {
    let Some(stored) = Superblock::read(source)? else {
        return Ok(None);
    };
    let log::Outcome { condition, blocks } = log::replay(source, &stored)?;
    let mut superblock = stored;
    let mut source = source.clone();
    let mut replayed = Ranges::new();
    if !blocks.is_empty() {
        let size = usize::try_from(superblock.block_size).unwrap_or_default();
        let above = Replayed::new(source, size, blocks);
        replayed = above.replaced();
        source = Arc::new(above);
        // It may have grown.
        superblock = Superblock::read(&source)?.unwrap_or(superblock);
    }
    let volume = Volume::new(source, superblock);
    let summary = summary(&volume, condition);
    Ok(Some(Arc::new(Xfs {
        volume,
        inodes: Inodes::new(),
        replayed,
        summary,
    })))
}

fn summary(volume: &Volume, condition: Condition) -> Summary {
    let superblock = &volume.superblock;
    let used = match condition {
        // What the superblock says was right when it was unmounted.
        Condition::Clean => {
            let free = superblock.free.min(superblock.blocks);
            Some((superblock.blocks - free) * volume.block_size())
        }
        _ => usage::used(volume).ok(),
    };
    Summary {
        kind: "XFS",
        label: superblock.label.clone(),
        uuid: hyphenated(superblock.uuid),
        block_size: superblock.block_size,
        total: superblock.total(),
        used,
        written: None,
        condition,
    }
}

/// A UUID as it is printed.
fn hyphenated(uuid: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// An opened XFS.
#[derive(Debug)]
struct Xfs {
    volume: Volume,
    inodes: Inodes,
    /// Bytes of the volume that the log replaced.
    replayed: Ranges,
    summary: Summary,
}

impl Xfs {
    /// An inode in use. What lies where an inode could be is one only where the records of its group say so; where
    /// these are damaged or behind the log, its own word is taken.
    fn inode(&self, id: NodeId) -> Result<Inode> {
        let found = Inode::read(&self.volume, id.number);
        let is_used = match self.summary.condition {
            Condition::NotReplayed(_) => None,
            _ => self.inodes.is_used(&self.volume, id.number).ok(),
        };
        match (found, is_used) {
            (Ok(Some(inode)), Some(true) | None) => Ok(inode),
            (Err(error), Some(true) | None) => Err(error),
            _ => {
                let name = inode::name(id.number).into_bytes();
                Err(Error::NotFound(Printable(name)))
            }
        }
    }
}

impl Filesystem for Xfs {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn root(&self) -> NodeId {
        NodeId::new(self.volume.superblock.root)
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        Ok(self.inode(id)?.node(&self.volume))
    }

    fn entries(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inode(directory)?.entries(&self.volume, each)
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let same = |one: &[u8]| match self.volume.superblock.ignores_case {
            true => one.iter().map(lower).eq(name.iter().map(lower)),
            false => one == name,
        };
        let mut found = None;
        self.entries(directory, &mut |entry| {
            if same(entry.name) {
                found = Some(entry.id);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    fn read(&self, file: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.inode(file)?.content(&self.volume, offset, buf)
    }

    fn link_target(&self, link: NodeId) -> Result<Vec<u8>> {
        self.inode(link)?.target(&self.volume)
    }

    fn extents(&self, id: NodeId) -> Result<Vec<FileExtent>> {
        let size = self.volume.block_size();
        let extents = self.inode(id)?.extents(&self.volume)?;
        let told = extents.iter().map(|extent| {
            let len = extent.blocks * size;
            FileExtent {
                file: extent.file * size,
                volume: extent.offset,
                len,
                stored: len,
                unwritten: extent.unwritten,
            }
        });
        Ok(told.collect())
    }

    fn candidates(&self, changed: &Ranges) -> Result<Candidates> {
        match self.summary.condition {
            // Inodes may be in use that the records of groups do not know of.
            Condition::NotReplayed(_) => Ok(Candidates::All),
            _ => Ok(Candidates::Nodes(
                self.inodes.within(&self.volume, changed)?,
            )),
        }
    }

    fn links(&self, wanted: &HashSet<NodeId>) -> Result<Links> {
        let mut index = Index::new(wanted);
        for group in 0..self.volume.superblock.groups {
            index.add_group(&self.volume, &self.inodes, group)?;
        }
        Ok(index.links(self.root()))
    }

    fn replayed(&self) -> Ranges {
        self.replayed.clone()
    }

    fn usage(&self, each: &mut dyn FnMut(Range<u64>, Use) -> Result<()>) -> Result<()> {
        usage::usage(&self.volume, &self.inodes, each)
    }

    fn doubt(&self) -> Result<Option<String>> {
        usage::doubt(&self.volume)
    }
}

/// A byte of a name where case does not count: ISO 8859-1, as the kernel's `xfs_ascii_ci_xfrm` takes it.
const fn lower(byte: &u8) -> u8 {
    match byte {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => *byte + 32,
        _ => *byte,
    }
}
