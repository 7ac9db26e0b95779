//! Names of nodes: one pass over the blocks of all directories, in the order of the volume.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::directory::Directory;
use super::index::{DirectoryRun, Index};
use super::volume::Volume;
use crate::error::{Error, Result};
use crate::filesystem::{Entry, Link, Links, NodeId};

/// Bytes read at once.
const PIECE: u64 = 1 << 20;
/// What lies between two blocks of directories is read with them where it is that short.
const GAP: u64 = 16 << 10;
const MOST_LINKS: usize = 1 << 22;

/// The links found so far.
struct Search<'a> {
    index: &'a Index,
    wanted: &'a HashSet<NodeId>,
    found: Links,
    count: usize,
    /// Of directories, the first link.
    above: HashMap<NodeId, Link>,
}

impl Search<'_> {
    fn entry(&mut self, directory: Directory, entry: Entry<'_>) -> ControlFlow<()> {
        let is_wanted = self.wanted.contains(&entry.id);
        let is_directory = u32::try_from(entry.id.number).is_ok_and(|number| {
            self.index.is_directory(number) && !self.above.contains_key(&entry.id)
        });
        if !is_wanted && !is_directory {
            return ControlFlow::Continue(());
        }
        let link = Link {
            parent: NodeId::new(u64::from(directory.number)),
            name: entry.name.to_vec(),
        };
        self.count += 1;
        if is_directory {
            self.above.insert(entry.id, link.clone());
        }
        if is_wanted {
            self.found.entry(entry.id).or_default().push(link);
        }
        match self.count > MOST_LINKS {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn is_within_bounds(&self) -> Result<()> {
        if self.count > MOST_LINKS {
            return Err(Error::TooMuch {
                what: "names",
                most: MOST_LINKS as u64,
            });
        }
        Ok(())
    }

    /// What was found, and the links of all directories above it.
    fn finish(mut self) -> Links {
        let mut parents: Vec<NodeId> = self
            .found
            .values()
            .flatten()
            .map(|link| link.parent)
            .chain(self.wanted.iter().copied())
            .collect();
        let mut seen = HashSet::new();
        while let Some(directory) = parents.pop() {
            if !seen.insert(directory) {
                continue;
            }
            if let Some(link) = self.above.remove(&directory) {
                parents.push(link.parent);
                self.found.entry(directory).or_insert_with(|| vec![link]);
            }
        }
        self.found
    }
}

impl Volume {
    /// The links to these nodes, and to every directory above them.
    ///
    /// # Errors
    /// When a directory is damaged, there are too many names, or the volume cannot be read.
    pub(super) fn links(&self, index: &Index, wanted: &HashSet<NodeId>) -> Result<Links> {
        let mut search = Search {
            index,
            wanted,
            found: Links::new(),
            count: 0,
            above: HashMap::new(),
        };
        let mut bytes = Vec::new();
        for batch in batches(&index.runs, self.superblock.block_bytes()) {
            self.batch(batch, &mut bytes, &mut search)?;
        }
        for number in &index.inline {
            let inode = self.inode(*number)?;
            let directory = Directory::from(&inode);
            let _ = directory.inline(&self.superblock, &inode, &mut |entry| {
                search.entry(directory, entry)
            })?;
            search.is_within_bounds()?;
        }
        Ok(search.finish())
    }

    /// Runs that are read at once, or one that is longer than that.
    fn batch(
        &self,
        runs: &[DirectoryRun],
        bytes: &mut Vec<u8>,
        search: &mut Search<'_>,
    ) -> Result<()> {
        let block = self.superblock.block_bytes();
        let len = self.superblock.block_len();
        let Some(first) = runs.first() else {
            return Ok(());
        };
        let end = runs.iter().map(|run| run.physical + run.len).max();
        let all = first.physical..end.unwrap_or(first.physical);
        let most = (PIECE / block).max(1);
        let mut start = all.start;
        while start < all.end {
            let count = (all.end - start).min(most);
            let offset = self.block_offset(start, count)?;
            bytes.resize(usize::try_from(count * block).unwrap_or(usize::MAX), 0);
            self.source.read_at(offset, bytes)?;
            for run in runs {
                let Some(directory) = search.index.directories.get(run.directory).copied() else {
                    continue;
                };
                let blocks = run.physical.max(start)..(run.physical + run.len).min(start + count);
                for number in blocks {
                    let at = usize::try_from((number - start) * block).unwrap_or(usize::MAX);
                    let content = at.checked_add(len).and_then(|to| bytes.get(at..to));
                    let _ = directory.block(
                        &self.superblock,
                        number * block,
                        content.unwrap_or_default(),
                        &mut |entry| search.entry(directory, entry),
                    )?;
                }
                search.is_within_bounds()?;
            }
            start += count;
        }
        Ok(())
    }
}

/// Runs in order of the volume, those together that are read at once.
fn batches(runs: &[DirectoryRun], block: u64) -> impl Iterator<Item = &[DirectoryRun]> {
    let (most, gap) = ((PIECE / block).max(1), GAP / block);
    let mut rest = runs;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let mut end = first.physical + first.len;
        let more = rest.iter().skip(1).take_while(|run| {
            let run_end = end.max(run.physical + run.len);
            let fits = run.physical <= end + gap && run_end - first.physical <= most;
            if fits {
                end = run_end;
            }
            fits
        });
        let count = 1 + more.count();
        let (batch, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_near_each_other_are_read_at_once() {
        let run = |physical, len| DirectoryRun {
            physical,
            len,
            directory: 0,
        };
        let runs = [
            run(10, 1),
            run(12, 3),
            run(19, 1),
            run(25, 1),
            run(26, 1000),
        ];
        let counts: Vec<usize> = batches(&runs, 4096).map(<[_]>::len).collect();
        assert_eq!(counts, [3, 1, 1]);
    }
}
