//! What is asked, and who hears of it.

use std::time::Duration;

use crate::image::ProgressSink;

use super::cache::SpaceCache;
use super::image_space::ImageSpace;
use super::savings::Saving;

/// What is asked, and who hears of it.
pub struct SpaceQuery<'a> {
    /// Of the leaves that nobody uses, those unchanged for so long may go.
    pub older_than: Duration,
    /// Whether the images' data is read as well, which takes as long as reading it does.
    pub reads: bool,
    /// What is known from before, and of which files.
    pub known: &'a SpaceCache,
    /// Asked between images, and while data is read: false stops it.
    pub go_on: &'a (dyn Fn() -> bool + Sync),
    /// Told of some of the images as soon as it is known what they hold, and of what would free space; those that are
    /// built on an image come before it.
    pub hears: &'a (dyn Fn(&[ImageSpace], &[Saving]) + Sync),
}

impl std::fmt::Debug for SpaceQuery<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpaceQuery")
            .field("older_than", &self.older_than)
            .field("reads", &self.reads)
            .finish_non_exhaustive()
    }
}

impl ProgressSink for SpaceQuery<'_> {
    fn advance(&self, _bytes: u64) -> bool {
        (self.go_on)()
    }
}
