//! The names of nodes: every inode says itself in which directories it is, so no directory is read.

use std::collections::HashSet;

use super::volume::Btrfs;
use crate::error::Result;
use crate::filesystem::{Links, NodeId};

impl Btrfs {
    /// As [`crate::Filesystem::links`].
    pub(super) fn find_links(&self, wanted: &HashSet<NodeId>) -> Result<Links> {
        let root = super::subvolumes::root_directory(super::format::tree_id::FS);
        let mut found = Links::new();
        // In the order in which items are stored: neighbours share a block.
        let mut next: Vec<NodeId> = wanted.iter().copied().collect();
        while !next.is_empty() {
            next.sort_unstable();
            next.dedup();
            let mut above = Vec::new();
            for id in next {
                if id == root || found.contains_key(&id) {
                    continue;
                }
                let links = match self.links_of(id) {
                    Err(crate::Error::NotFound(_)) => continue,
                    links => links?,
                };
                if !links.is_empty() {
                    above.extend(links.iter().map(|link| link.parent));
                    found.insert(id, links);
                }
            }
            next = above;
        }
        Ok(found)
    }
}
