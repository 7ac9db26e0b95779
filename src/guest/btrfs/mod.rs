//! Btrfs. Everything is an item of some tree, by a key of three numbers; the root tree names the trees, one for each
//! subvolume and snapshot among them. A block of a tree is never written in place, so what two states share is found
//! by its place alone.
//!
//! | module | what lives there |
//! |---|---|
//! | `format` | structures as they are stored |
//! | `superblock`, `chunks` | where the trees begin, and where logical addresses are |
//! | `block`, `tree` | a block of a tree, and a tree's items in order |
//! | `subvolumes`, `inode`, `directory`, `data` | what the items mean |
//! | `log` | what was written since the last transaction |
//! | `compression`, `lzo` | data that is stored compressed |
//! | `snapshots` | what only one of two states has a copy of |
//! | `candidates`, `links`, `usage` | what may differ, what it is called, and what bytes are used for |
//!
//! The root is the top-level subvolume's, where all others are met as directories. Of a filesystem of several devices,
//! one is read that has a copy of everything. Checksums of metadata are checked, those of data are not.

mod block;
mod candidates;
mod checksum;
mod chunks;
mod compression;
mod data;
mod directory;
mod format;
mod inode;
mod links;
mod log;
mod lzo;
mod snapshots;
mod subvolumes;
mod superblock;
mod tree;
mod usage;
mod volume;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::block::Source;
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::filesystem::{
    Candidates, Condition, Entry, FileExtent, Filesystem, Links, Node, NodeId, OpenFilesystem,
    Snapshots, Summary, Use,
};
use crate::ranges::Ranges;

use block::{Blocks, Pointer};
use chunks::Chunks;
use format::{Key, kind, tree_id};
use superblock::Super;
use tree::Tree;
use volume::{Btrfs, KEPT_EXTENTS, KEPT_TREES};

/// Opens a Btrfs; none where there is no superblock of one.
pub(crate) fn open(volume: &Source) -> Result<Option<OpenFilesystem>> {
    let Some(superblock) = Super::read(volume)? else {
        return Ok(None);
    };
    let found = Btrfs::open(volume, superblock)?;
    Ok(Some(Arc::new(found)))
}

impl Btrfs {
    fn open(volume: &Source, superblock: Super) -> Result<Self> {
        let raw = superblock.raw;
        let root = |logical: u64, generation: u64, level: u8| Pointer {
            logical,
            generation,
            level,
            first: None,
            end: None,
            at: superblock.at,
        };
        let first = Chunks::of_superblock(&superblock)?;
        let mut chunks = first.none_of();
        let first = Blocks::new(volume.clone(), &superblock, first)?;
        let chunk_tree = Tree::new(root(
            raw.chunk_root.get(),
            raw.chunk_root_generation.get(),
            raw.chunk_root_level,
        ));
        chunk_tree.scan(&first, Key::FIRST..=Key::LAST, &mut |item| {
            if item.key.kind == kind::CHUNK_ITEM {
                chunks.add(item.key, item.data, item.at)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let blocks = Blocks::new(volume.clone(), &superblock, chunks)?;
        let roots = Tree::new(root(raw.root.get(), raw.generation.get(), raw.root_level));
        let summary = Summary {
            kind: "Btrfs",
            label: superblock.label(),
            uuid: uuid(&raw.fsid),
            block_size: superblock.sectorsize,
            total: raw.total_bytes.get(),
            used: Some(raw.bytes_used.get()),
            written: None,
            condition: Condition::Clean,
        };
        let mut opened = Self {
            superblock,
            logged: HashMap::new(),
            blocks,
            roots,
            summary,
            trees: Cache::new(KEPT_TREES),
            decompressed: Cache::new(KEPT_EXTENTS),
        };
        if raw.log_root.get() != 0 {
            opened.summary.condition = match log::replay(&opened) {
                Ok(logged) => {
                    opened.logged = logged;
                    Condition::Replayed
                }
                Err(error @ (Error::Image(_) | Error::Cancelled)) => return Err(error),
                Err(error) => Condition::NotReplayed(format!("log tree: {error}")),
            };
        }
        // Without the root directory, nothing can be shown.
        opened.inode(opened.root())?;
        Ok(opened)
    }
}

impl Filesystem for Btrfs {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn root(&self) -> NodeId {
        subvolumes::root_directory(tree_id::FS)
    }

    fn default_root(&self) -> Result<NodeId> {
        Ok(subvolumes::root_directory(self.default_subvolume()?))
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        self.inode(id)
    }

    fn entries(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.each_entry(directory, each)
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        self.find_entry(directory, name)
    }

    fn read(&self, file: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read_file(file, offset, buf)
    }

    fn link_target(&self, link: NodeId) -> Result<Vec<u8>> {
        self.read_link(link)
    }

    fn extents(&self, id: NodeId) -> Result<Vec<FileExtent>> {
        self.find_extents(id)
    }

    fn candidates(&self, changed: &Ranges) -> Result<Candidates> {
        Ok(Candidates::Nodes(candidates::stored_in(self, changed)?))
    }

    fn candidates_between(
        &self,
        after: &dyn Filesystem,
        changed: &Ranges,
    ) -> Result<Option<Vec<NodeId>>> {
        let after = after.as_any().and_then(|any| any.downcast_ref::<Self>());
        after
            .map(|after| {
                let none = (&HashMap::new(), &HashMap::new());
                candidates::between(self, after, changed, none)
            })
            .transpose()
    }

    fn snapshots<'a>(&'a self, after: &'a dyn Filesystem) -> Result<Option<Snapshots<'a>>> {
        match after.as_any().and_then(|any| any.downcast_ref::<Self>()) {
            Some(after) => snapshots::between(self, after),
            None => Ok(None),
        }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn links(&self, wanted: &HashSet<NodeId>) -> Result<Links> {
        self.find_links(wanted)
    }

    fn usage(&self, each: &mut dyn FnMut(Range<u64>, Use) -> Result<()>) -> Result<()> {
        self.each_use(each)
    }

    fn doubt(&self) -> Result<Option<String>> {
        self.doubt_of_extents()
    }
}

/// As `blkid` prints it.
fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
