//! Where the names of files are.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{FIRST_USER, Ntfs, ROOT};
use crate::error::{Error, Result};
use crate::filesystem::{Link, Links, NodeId};

/// Directories above a file at the most.
const MOST_DEPTH: usize = 2048;

impl Ntfs {
    /// The links to these files and to the directories above them. Each record says which names its file has and in
    /// which directories, so they are read level by level, in the order they are stored in.
    ///
    /// # Errors
    /// When records are damaged or cannot be read.
    pub(super) fn links_to(&self, wanted: &HashSet<NodeId>) -> Result<Links> {
        let mut found = Links::new();
        let mut sequences: HashMap<u64, Option<u16>> = HashMap::new();
        let mut level: BTreeSet<u64> = wanted.iter().map(|id| id.number).collect();
        for _ in 0..MOST_DEPTH {
            let mut above = BTreeSet::new();
            for number in std::mem::take(&mut level) {
                let file = match self.file(number) {
                    Err(Error::NotFound(_)) => continue,
                    file => file?,
                };
                if number == ROOT || number < FIRST_USER {
                    continue;
                }
                let mut links = Vec::new();
                for name in file.shown_names() {
                    let parent = name.parent;
                    let sequence = match sequences.get(&parent.number) {
                        Some(known) => *known,
                        None => {
                            let known = self.directory_sequence(parent.number)?;
                            sequences.insert(parent.number, known);
                            known
                        }
                    };
                    // A directory that was deleted since, and whose record is another file now.
                    if sequence != Some(parent.sequence) {
                        continue;
                    }
                    links.push(Link {
                        parent: NodeId::new(parent.number),
                        name: name.name,
                    });
                    if !found.contains_key(&NodeId::new(parent.number)) {
                        above.insert(parent.number);
                    }
                }
                if !links.is_empty() {
                    found.insert(NodeId::new(number), links);
                }
            }
            above.retain(|number| !found.contains_key(&NodeId::new(*number)));
            if above.is_empty() {
                break;
            }
            level = above;
        }
        Ok(found)
    }

    /// The sequence number of a directory that can be walked to; none where it is none.
    fn directory_sequence(&self, number: u64) -> Result<Option<u16>> {
        if number != ROOT && number < FIRST_USER {
            return Ok(None);
        }
        match self.file(number) {
            Err(Error::NotFound(_)) => Ok(None),
            file => Ok(Some(file?)
                .filter(|file| file.is_directory)
                .map(|file| file.sequence)),
        }
    }
}
