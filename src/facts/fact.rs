//! One thing that is told.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::doctor::Finding;
use crate::machines::{Machine, Unasked};
use crate::ops::journal;
use crate::ops::{Candidate, ImageSpace, Leftover, Saving, trash};

/// One thing that is told.
#[derive(Debug, Clone)]
pub enum Fact {
    /// Something is wrong that a scan does not see.
    Finding(Finding),
    /// What an image holds.
    Image(ImageSpace),
    /// Something that would free space.
    Saving(Saving),
    /// Bytes on disk of all that is in the trash.
    TrashBytes(u64),
    /// An entry of the trash.
    Trashed(TrashEntry),
    /// A leaf that nothing uses, and could be pruned.
    Spare(SpareLeaf),
    /// An operation that was interrupted.
    Halted(Halted),
    /// A file that was being made by a process that has ended.
    Leftover(Leftover),
    /// A machine that is defined, or runs.
    Machine(Box<Machine>),
    /// What has machines and could not be asked.
    Unasked(Unasked),
}

/// What was discarded together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashEntry {
    /// The name that brings it back.
    pub name: String,
    /// When it was discarded, if that is known.
    pub discarded: Option<SystemTime>,
    /// What was done; empty where nothing tells.
    pub reason: String,
    /// Where each of its files was, and the bytes that it takes on disk.
    pub files: Vec<(PathBuf, u64)>,
    /// What is odd about it, in sentences.
    pub problems: Vec<String>,
}

impl TrashEntry {
    /// Bytes on disk of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = self.files.iter().map(|(_, bytes)| *bytes);
        bytes.fold(0, u64::saturating_add)
    }
}

impl From<trash::Entry> for TrashEntry {
    fn from(entry: trash::Entry) -> Self {
        let files = entry.files.into_iter();
        Self {
            name: entry.name,
            discarded: entry.discarded,
            reason: entry.reason,
            files: files.map(|file| (file.original, file.bytes)).collect(),
            problems: entry.problems,
        }
    }
}

/// A leaf that nothing on its machine uses, and could be pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpareLeaf {
    /// The image.
    pub path: PathBuf,
    /// Time since its content last changed.
    pub age: Duration,
    /// Bytes that come free on disk once the trash is emptied.
    pub frees: u64,
    /// Why it is proposed: half a sentence.
    pub why: String,
    /// Why a rule keeps it, if one does.
    pub kept: Option<String>,
}

impl SpareLeaf {
    /// One that could go, and why a rule keeps it.
    #[must_use]
    pub fn new(candidate: Candidate, kept: Option<String>) -> Self {
        Self {
            path: candidate.path,
            age: candidate.age,
            frees: candidate.frees,
            why: candidate.why,
            kept,
        }
    }
}

/// An operation that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// Its number in the log of its machine.
    pub entry: u64,
    /// What it is called.
    pub title: String,
    /// Whether what was done of it may be taken back.
    pub can_roll_back: bool,
}

impl From<&journal::Entry> for Halted {
    fn from(entry: &journal::Entry) -> Self {
        Self {
            entry: entry.id,
            title: entry.title.clone(),
            can_roll_back: entry.may_be_rolled_back(),
        }
    }
}
