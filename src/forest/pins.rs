//! Disks whose definition says itself what they are built on, held against what the headers say.

use std::path::PathBuf;

use crate::machines::{Disk, NamedFile};

use super::{Forest, Node};

/// Where a definition and a header say two things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinMismatch {
    /// The image of which they do.
    pub image: PathBuf,
    /// What it is built on by the definition.
    pub defined: Option<PathBuf>,
    /// What by its header.
    pub recorded: Option<PathBuf>,
}

impl Forest {
    /// The image that a machine means.
    #[must_use]
    pub fn meant(&self, named: &NamedFile) -> Option<&Node> {
        let by_file = named.file.and_then(|file| self.by_file(file));
        by_file.or_else(|| self.by_path(&named.path))
    }

    /// The first layer of a pinned disk at which its definition and the headers part; none where they agree, and none
    /// where nothing is known of the disk.
    #[must_use]
    pub fn pin_mismatch(&self, disk: &Disk) -> Option<PinMismatch> {
        if !disk.is_pinned() {
            return None;
        }
        let top = self.meant(&disk.file)?;
        let chain = self.chain(top.id);
        let mut above = top;
        for at in 0..=disk.pinned.len() {
            let below = chain.get(at + 1).and_then(|id| self.get(*id));
            let defined = disk.pinned.get(at);
            let is_so = match (defined, below) {
                (Some(said), Some(below)) => {
                    self.meant(said).is_some_and(|node| node.id == below.id)
                }
                (Some(_), None) => false,
                (None, Some(_)) => !disk.pin_ends,
                (None, None) => true,
            };
            if !is_so {
                return Some(PinMismatch {
                    image: above.path.clone(),
                    defined: defined.map(|said| said.path.clone()),
                    recorded: below.map(|below| below.path.clone()),
                });
            }
            above = below?;
        }
        None
    }
}
