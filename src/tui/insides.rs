//! What is known of the inside of images: what rows are chosen by. Looking is the workers' business, asking for it
//! `update`'s.

use std::sync::Arc;

use crate::ops::{InsideProgress, InsidesByPath};

use super::query::QueryId;

/// What was found inside images so far.
#[derive(Debug, Clone, Default)]
pub struct InsidesFound {
    /// By the images' files.
    pub found: InsidesByPath,
    /// How far it is.
    pub progress: InsideProgress,
    /// Whether that is all.
    pub is_whole: bool,
}

/// What is inside images.
#[derive(Debug, Default)]
pub struct Insides {
    /// What is known, by the images' files.
    pub found: Arc<InsidesByPath>,
    /// How far looking is.
    pub progress: InsideProgress,
    /// Of which forest it was asked last: its epoch and generation.
    pub(super) of: Option<(u64, u64)>,
    /// The question that is not answered wholly yet.
    pub(super) asked: Option<QueryId>,
    /// Counts what was found, for what is made from it.
    pub(super) version: u64,
}

impl Insides {
    /// How far looking is, while it is under way.
    #[must_use]
    pub fn under_way(&self) -> Option<InsideProgress> {
        self.asked.map(|_| self.progress)
    }

    /// Takes in what is known.
    pub(super) fn take(&mut self, found: Arc<InsidesByPath>) {
        self.found = found;
        self.version += 1;
    }
}
