//! The names of inodes. No inode of most filesystems says where its names are: all directories are read, in the order
//! of the disk.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::directory::DirectoryBlock;
use super::inode::Format;
use super::inodes::Inodes;
use super::volume::Volume;
use crate::error::{Error, Result};
use crate::filesystem::{Entry, Link, Links, NodeId, NodeKind};

/// The most names that are held.
const MAX_NAMES: u64 = 8 << 20;

/// The names of the inodes that are asked for, and of all directories.
#[derive(Debug)]
pub(super) struct Index<'a> {
    wanted: &'a HashSet<NodeId>,
    names: HashMap<NodeId, Vec<Link>>,
    count: u64,
}

impl<'a> Index<'a> {
    pub(super) fn new(wanted: &'a HashSet<NodeId>) -> Self {
        Self {
            wanted,
            names: HashMap::new(),
            count: 0,
        }
    }

    fn add(&mut self, parent: u64, entry: Entry<'_>) -> ControlFlow<()> {
        let is_kept = self.wanted.contains(&entry.id)
            || entry.kind.is_none_or(|kind| kind == NodeKind::Directory);
        if !is_kept {
            return ControlFlow::Continue(());
        }
        self.count += 1;
        if self.count > MAX_NAMES {
            return ControlFlow::Break(());
        }
        self.names.entry(entry.id).or_default().push(Link {
            parent: NodeId::new(parent),
            name: entry.name.to_vec(),
        });
        ControlFlow::Continue(())
    }

    fn check(&self) -> Result<()> {
        if self.count <= MAX_NAMES {
            return Ok(());
        }
        Err(Error::TooMuch {
            what: "names of a filesystem",
            most: MAX_NAMES,
        })
    }

    /// Adds what the directories of a group hold.
    pub(super) fn add_group(&mut self, volume: &Volume, inodes: &Inodes, group: u32) -> Result<()> {
        let mut blocks: Vec<(u64, DirectoryBlock)> = Vec::new();
        inodes.each(volume, group, Some(NodeKind::Directory), &mut |inode| {
            if inode.data().format == Format::Local {
                inode.short_entries(volume, &mut |entry| self.add(inode.number, entry))?;
            } else {
                let own = inode.directory_blocks(volume)?;
                blocks.extend(own.into_iter().map(|block| (inode.number, block)));
            }
            self.check()
        })?;
        blocks.sort_unstable_by_key(|(_, block)| block.offset());
        for (owner, block) in blocks {
            let _ = block.entries(volume, owner, &mut |entry| self.add(owner, entry))?;
            self.check()?;
        }
        Ok(())
    }

    /// The names of what was asked for, and of the directories above.
    pub(super) fn links(mut self, root: NodeId) -> Links {
        let mut links = Links::new();
        let mut rest: Vec<NodeId> = self.wanted.iter().copied().collect();
        while let Some(id) = rest.pop() {
            // What is found is taken out, so that no circle is followed.
            let Some(found) = self.names.remove(&id).filter(|_| id != root) else {
                continue;
            };
            rest.extend(found.iter().map(|link| link.parent));
            links.insert(id, found);
        }
        links
    }
}
