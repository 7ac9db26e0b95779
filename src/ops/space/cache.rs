//! What images were found to hold, by their files: as long as a file is what it was, its tables say the same.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::forest::{Forest, Node};
use crate::host::{FileId, FileKind, Stat};

use super::image_space::ReadSpace;
use super::measured::Measured;

/// Ranges that are kept in memory at most, of all images together: 16 bytes each.
const MOST_RANGES: usize = 1 << 20;

/// A file that was changed within this time may be changed again without its time telling.
const YOUNG: Duration = Duration::from_secs(2);

/// What images were found to hold, by their files.
#[derive(Debug, Default)]
pub struct SpaceCache(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    tables: HashMap<FileId, (Stat, Arc<Measured>)>,
    /// By the image, the files of its chain as they were, and whether it could be trimmed.
    data: HashMap<FileId, (Vec<Stat>, bool, ReadSpace)>,
    /// Ranges in `tables`.
    ranges: usize,
}

impl SpaceCache {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the tables of an image said, if its file is what it was.
    pub(super) fn tables(&self, node: &Node) -> Option<Arc<Measured>> {
        let stat = node.stat.as_ref()?;
        let known = self.known();
        let (was, measured) = known.tables.get(&stat.id)?;
        (was == stat).then(|| Arc::clone(measured))
    }

    /// Keeps what its tables said, where the file's time would tell that it changed.
    pub(super) fn keep_tables(&self, node: &Node, now: SystemTime, measured: &Arc<Measured>) {
        let Some(stat) = settled(node, now).filter(|_| !has_data_file(node)) else {
            return;
        };
        let mut known = self.known();
        let ranges = known.ranges.saturating_add(measured.ranges());
        if measured.space.unread.is_none() && ranges <= MOST_RANGES {
            let kept = (stat.clone(), Arc::clone(measured));
            let before = known.tables.insert(stat.id, kept);
            let before = before.map_or(0, |(_, before)| before.ranges());
            known.ranges = ranges.saturating_sub(before);
        }
    }

    /// What reading an image's data has told, if all files of its chain are what they were, and it can be trimmed as
    /// it could then.
    pub(super) fn data(
        &self,
        forest: &Forest,
        node: &Node,
        can_be_trimmed: bool,
    ) -> Option<ReadSpace> {
        let known = self.known();
        let (was, could_be, found) = known.data.get(&node.file_id()?)?;
        let is_same =
            *could_be == can_be_trimmed && Some(was) == files(forest, node, None).as_ref();
        is_same.then_some(*found)
    }

    /// Keeps that.
    pub(super) fn keep_data(
        &self,
        forest: &Forest,
        node: &Node,
        now: SystemTime,
        can_be_trimmed: bool,
        found: ReadSpace,
    ) {
        if let (Some(id), Some(files)) = (node.file_id(), files(forest, node, Some(now))) {
            self.known().data.insert(id, (files, can_be_trimmed, found));
        }
    }

    /// Forgets all images that are not among these.
    pub(super) fn forget_others(&self, forest: &Forest) {
        let here: HashSet<FileId> = forest.nodes().filter_map(Node::file_id).collect();
        let mut known = self.known();
        known.data.retain(|id, _| here.contains(id));
        known.tables.retain(|id, _| here.contains(id));
        let kept = known.tables.values();
        known.ranges = kept.map(|(_, measured)| measured.ranges()).sum();
    }
}

/// The file as it is, if a change of it would show.
fn settled(node: &Node, now: SystemTime) -> Option<&Stat> {
    let stat = node.stat.as_ref()?;
    let age = now.duration_since(stat.modified).ok()?;
    (stat.kind == FileKind::Regular && age >= YOUNG).then_some(stat)
}

fn has_data_file(node: &Node) -> bool {
    node.info().is_some_and(|info| info.external_data)
}

/// The files of a chain as they are; none where one of them is not there, or with a time where a change of one would
/// not show.
fn files(forest: &Forest, node: &Node, now: Option<SystemTime>) -> Option<Vec<Stat>> {
    let chain = forest.chain(node.id).into_iter();
    let stats = chain.map(|id| {
        let node = forest.get(id).filter(|node| !has_data_file(node))?;
        match now {
            Some(now) => settled(node, now).cloned(),
            None => node.stat.clone(),
        }
    });
    stats.collect()
}
