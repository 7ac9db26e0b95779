//! From a node to its directory entry, its clusters, and of a directory what it names.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::boot_sector::{Root, Width};
use super::directory::{ENTRY, MOST_BYTES, Named, Names, Record};
use super::table::{Clusters, Run, Table};
use super::{Fat, ROOT};
use crate::block::BlockSource;
use crate::error::{Error, Printable, Result};
use crate::filesystem::NodeId;

/// Slots of directories that one walk through all of them reads.
const MOST_SLOTS: u64 = 8 << 20;

/// A part of a directory: bytes of the volume.
type Part = Range<u64>;

impl Fat {
    /// The directory entry that a node is named by.
    pub(super) fn record(&self, id: NodeId) -> Result<[u8; ENTRY]> {
        let at = id.number;
        let is_inside = match &self.boot.root {
            Root::Fixed(root) => root.contains(&at),
            Root::Chain(_) => false,
        };
        let clusters = u64::from(self.boot.clusters) * u64::from(self.boot.cluster_size);
        let is_inside = is_inside || (self.boot.data..self.boot.data + clusters).contains(&at);
        let mut bytes = [0; ENTRY];
        if is_inside && id.tree == 0 && at.is_multiple_of(ENTRY as u64) {
            self.metadata.read_at(at, &mut bytes)?;
        }
        let record = Record::new(&bytes);
        if record.is_unused() || record.is_long_name() || record.is_label() {
            let name = format!("directory entry at byte {at}");
            return Err(Error::NotFound(Printable(name.into_bytes())));
        }
        Ok(bytes)
    }

    /// The clusters of a node: of a file as many as its length needs, of a directory as many as there may be.
    pub(super) fn chain(&self, id: NodeId) -> Result<Arc<Clusters>> {
        self.chains.get_or(id, || {
            let size = u64::from(self.boot.cluster_size);
            let (first, most) = match (&self.boot.root, id == ROOT) {
                (Root::Chain(first), true) => (*first, MOST_BYTES / size),
                (Root::Fixed(_), true) => (0, 0),
                (_, false) => {
                    let bytes = self.record(id)?;
                    let record = Record::new(&bytes);
                    let first = record.first_cluster(self.boot.width == Width::Fat32);
                    let most = match (record.is_directory(), first) {
                        (true, 0) => 0,
                        (true, _) => MOST_BYTES / size,
                        (false, _) => u64::from(record.size()).div_ceil(size),
                    };
                    (first, most)
                }
            };
            let mut chain = self.table.chain(first, most)?;
            let is_file = id != ROOT && !Record::new(&self.record(id)?).is_directory();
            let count = u64::from(chain.count());
            if is_file && chain.problem.is_none() && count < most {
                chain.problem = Some(format!("has {count} clusters, and its length needs {most}"));
            }
            let weight = chain.runs.len().max(64);
            Ok((Arc::new(chain), weight))
        })
    }

    /// Where a directory is stored.
    pub(super) fn parts(&self, directory: NodeId) -> Result<Vec<Part>> {
        if let (Root::Fixed(range), ROOT) = (&self.boot.root, directory) {
            return Ok(vec![range.clone()]);
        }
        let is_directory =
            directory == ROOT || Record::new(&self.record(directory)?).is_directory();
        if !is_directory {
            let name = format!("directory entry at byte {}", directory.number);
            return Err(Error::NotADirectory(Printable(name.into_bytes())));
        }
        let chain = self.chain(directory)?;
        if let Some(problem) = &chain.problem {
            return Err(Table::broken(directory.number, problem));
        }
        Ok(self.places(&chain))
    }

    pub(super) fn places(&self, chain: &Clusters) -> Vec<Part> {
        let size = u64::from(self.boot.cluster_size);
        let place = |run: &Run| {
            let start = self.boot.cluster(run.cluster)?.start;
            Some(start..start + u64::from(run.count) * size)
        };
        chain.runs.iter().filter_map(place).collect()
    }

    /// Calls `each` for the slots of a directory and where they are, up to the end that it marks.
    pub(super) fn slots(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(u64, &[u8; ENTRY]) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut piece = Vec::new();
        for part in self.parts(directory)? {
            let mut at = part.start;
            while at < part.end {
                let len = usize::try_from((part.end - at).min(32 << 10)).unwrap_or(ENTRY);
                piece.resize(len, 0);
                self.metadata.read_at(at, &mut piece)?;
                let (slots, _) = piece.as_chunks::<ENTRY>();
                for slot in slots {
                    if Record::new(slot).is_end() || each(at, slot).is_break() {
                        return Ok(());
                    }
                    at += ENTRY as u64;
                }
            }
        }
        Ok(())
    }

    /// Calls `each` for what a directory names.
    pub(super) fn names(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(&Named) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut names = Names::default();
        self.slots(directory, &mut |at, bytes| match names.take(at, bytes) {
            Some(named) => each(&named),
            None => ControlFlow::Continue(()),
        })
    }

    /// Calls `each` for every directory, and what it names, once. Gives what is wrong with the first that is damaged,
    /// whose names after that are missing; the others are walked.
    pub(super) fn walk(&self, each: &mut dyn FnMut(NodeId, &Named)) -> Result<Option<Error>> {
        let mut problem = None;
        let mut slots = 0_u64;
        let mut met = HashSet::new();
        let mut waiting = vec![ROOT];
        let is_wide = self.boot.width == Width::Fat32;
        if let Root::Chain(first) = self.boot.root {
            met.insert(first);
        }
        while let Some(directory) = waiting.pop() {
            let mut names = Names::default();
            let walked = self.slots(directory, &mut |at, bytes| {
                slots += 1;
                if let Some(named) = names.take(at, bytes) {
                    each(directory, &named);
                    // A directory that is in itself is not walked for ever.
                    if named.record().is_directory()
                        && met.insert(named.record().first_cluster(is_wide))
                    {
                        waiting.push(NodeId::new(at));
                    }
                }
                match slots > MOST_SLOTS {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            match walked {
                Err(damaged @ Error::Damaged { .. }) => _ = problem.get_or_insert(damaged),
                walked => walked?,
            }
            if slots > MOST_SLOTS {
                return Err(Error::TooMuch {
                    what: "entries of directories",
                    most: MOST_SLOTS,
                });
            }
        }
        Ok(problem)
    }
}
