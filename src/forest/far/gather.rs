//! One forest of what several machines tell. A file of shared storage that several of them see is one image of it:
//! that of this machine, else of the first of them that may write there, in the order in which they were named. What
//! the others say of it is where they see it, who has it open there, which machines use it there, and what is built on it
//! there.
//!
//! A machine that lies can so join its own file to one that it knows all about, and say that it is in use or needed. It
//! takes the place of no other's image: which machine comes first is said by the person, and an image of this machine
//! is always its own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::name::{host_and_path, path_on};
use crate::forest::{BackingState, Content, Forest, Node, ScannedFile, SharedId};
use crate::host::{FileId, Holder};
use crate::image::Format;
use crate::machines::Machines;

/// What another machine has told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The machine.
    pub host: &'a str,
    /// Its files.
    pub files: &'a [ScannedFile],
    /// Which of them processes have open there.
    pub held: &'a HashMap<FileId, Vec<Holder>>,
    /// Its machines.
    pub machines: &'a Machines,
}

/// Which files are others as well.
#[derive(Debug, Default)]
struct Joined {
    /// The file that stands for another machine's.
    ids: HashMap<FileId, FileId>,
    /// Of those, which are raw.
    raw: HashMap<FileId, bool>,
}

/// The file that stands for all that are the same.
#[derive(Debug, Clone, Copy)]
struct First {
    /// 0 for this machine.
    place: usize,
    is_read_only: bool,
    file: FileId,
    is_raw: bool,
}

impl Forest {
    /// Takes in what other machines tell, in the order in which they were named; this forest is of this machine alone.
    pub fn gather(&mut self, told: &[Told<'_>]) {
        self.forget_others();
        let joined = Joined::of(self, told);
        // All at once: whatever follows from the links is worked out for all images after each call.
        let files = told.iter().flat_map(|one| one.files);
        self.extend(files.filter_map(|file| joined.taken(file)));
        self.hold(joined.held(self, told));
        let mut seen: HashMap<FileId, Vec<PathBuf>> = HashMap::new();
        for file in told.iter().flat_map(|one| one.files) {
            if let Some(first) = joined.first(file) {
                seen.entry(first).or_default().push(file.path.clone());
            }
        }
        for (file, names) in seen {
            self.see(file, names);
        }
        self.note_far_machines(Arc::new(joined.machines(told)));
    }

    /// The names of the machines that see an image, the one that acts first; none for one that this machine alone sees.
    /// `here` is what this machine is called.
    #[must_use]
    pub fn hosts_of<'a>(&'a self, node: &'a Node, here: &'a str) -> Vec<&'a str> {
        let seen = node.sharing.iter().flat_map(|sharing| &sharing.seen_as);
        let others = seen.filter_map(|path| Some(host_and_path(path)?.0));
        let own = self.host_of(node);
        let mut hosts: Vec<&str> = Vec::new();
        for host in own.into_iter().chain(others) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        if own.is_none() && !hosts.is_empty() {
            hosts.insert(0, here);
        }
        hosts
    }

    /// The machines that see an image of shared storage, each with its name there, the one that acts first; none of one
    /// that one machine alone sees. `here` is what this machine is called.
    #[must_use]
    pub fn names_on_hosts(&self, node: &Node, here: &str) -> Vec<PathBuf> {
        let seen = node.sharing.as_deref().map(|sharing| &sharing.seen_as);
        let Some(seen) = seen.filter(|seen| !seen.is_empty()) else {
            return Vec::new();
        };
        let own = match self.is_far(node) {
            true => node.path.clone(),
            false => path_on(here, &node.path),
        };
        [own].iter().chain(seen).cloned().collect()
    }
}

impl Joined {
    fn of(forest: &Forest, told: &[Told<'_>]) -> Self {
        let mut joined = Self::default();
        let mut files: HashMap<SharedId, Vec<First>> = HashMap::new();
        let claims = told.iter().enumerate().flat_map(|(at, one)| {
            let claim = move |file: &ScannedFile| {
                let first = First {
                    place: at + 1,
                    is_read_only: file.sharing.as_deref()?.is_read_only,
                    file: file.stat.as_ref()?.id,
                    is_raw: is_raw(&file.content),
                };
                Some((file.shared_id()?, first))
            };
            one.files.iter().filter_map(claim)
        });
        for (id, claim) in claims {
            files.entry(id).or_default().push(claim);
        }
        if files.is_empty() {
            return joined;
        }
        for node in forest.nodes() {
            if let Some((file, id)) = node.file_id().zip(forest.shared_id(node))
                && let Some(all) = files.get_mut(&id)
            {
                all.push(First {
                    place: 0,
                    is_read_only: false,
                    file,
                    is_raw: is_raw(&node.content),
                });
            }
        }
        for mut all in files.into_values() {
            all.sort_by_key(|one| (one.place > 0, one.is_read_only, one.place));
            let Some((first, others)) = all.split_first() else {
                continue;
            };
            for other in others {
                // Two of one machine it has told apart itself.
                if other.place != first.place {
                    joined.ids.insert(other.file, first.file);
                    joined.raw.insert(first.file, first.is_raw);
                }
            }
        }
        joined
    }

    /// The file that stands for one; itself where it is no other.
    fn standing(&self, file: FileId) -> FileId {
        let mut at = file;
        // By several names a file may be several others; who comes first is no other.
        for _ in 0..self.ids.len() {
            match self.ids.get(&at) {
                Some(next) if *next != at => at = *next,
                _ => break,
            }
        }
        at
    }

    /// The file that stands for a file which is to be left out.
    fn first(&self, file: &ScannedFile) -> Option<FileId> {
        let id = file.stat.as_ref()?.id;
        Some(self.standing(id)).filter(|first| *first != id)
    }

    /// The file as it is taken in, built on what stands for its bases; none for one that another stands for.
    fn taken(&self, file: &ScannedFile) -> Option<ScannedFile> {
        if self.ids.is_empty() {
            return Some(file.clone());
        }
        if self.first(file).is_some() {
            return None;
        }
        let mut file = file.clone();
        if let Some(link) = &mut file.backing {
            let says_raw = link.format() == Some(&Format::Raw);
            if let BackingState::Present(base) = &mut link.state {
                let first = self.standing(*base);
                // What others say of its format makes nothing else of an image.
                if self
                    .raw
                    .get(&first)
                    .is_none_or(|is_raw| *is_raw == says_raw)
                {
                    *base = first;
                }
            }
        }
        for edge in &mut file.also {
            edge.file = self.standing(edge.file);
        }
        Some(file)
    }

    /// The machines of all, with the files that stand for theirs.
    fn machines(&self, told: &[Told<'_>]) -> Machines {
        let list = told.iter().flat_map(|one| one.machines.list()).cloned();
        let list = list.map(|mut machine| {
            for named in machine.files_mut() {
                named.file = named.file.map(|file| self.standing(file));
            }
            machine
        });
        let unasked = told.iter().flat_map(|one| one.machines.unasked());
        Machines::of(list.collect(), unasked.cloned().collect())
    }

    /// Who has files open, on whatever machine.
    fn held(&self, forest: &Forest, told: &[Told<'_>]) -> HashMap<FileId, Vec<Holder>> {
        let mut held: HashMap<FileId, Vec<Holder>> = HashMap::new();
        for one in told {
            for (file, holders) in one.held {
                let first = self.standing(*file);
                let known = held.entry(first).or_insert_with(|| {
                    let node = forest.by_file(first).filter(|_| first.machine() == 0);
                    node.map_or_else(Vec::new, |node| node.holders.to_vec())
                });
                known.extend(holders.iter().cloned().map(|mut holder| {
                    holder.host = (first != *file).then(|| one.host.into());
                    holder
                }));
            }
        }
        for holders in held.values_mut() {
            // Whose locks are seen from another machine is known there.
            let known = |writes: bool| {
                let explains = |holder: &&Holder| holder.locks && (holder.writes || !writes);
                holders
                    .iter()
                    .filter(explains)
                    .any(|holder| !holder.is_unseen())
            };
            let (read, written) = (known(false), known(true));
            holders.retain(|holder| {
                let is_known = if holder.writes { written } else { read };
                !(holder.is_unseen() && is_known)
            });
        }
        held
    }
}

fn is_raw(content: &Content) -> bool {
    matches!(content, Content::Raw)
}

#[cfg(test)]
mod tests;
