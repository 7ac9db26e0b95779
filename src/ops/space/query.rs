//! What is asked, and who hears of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::image::ProgressSink;
use crate::inside::Until;

use super::cache::SpaceCache;
use super::image_space::ImageSpace;
use super::savings::Saving;

/// What is asked, and who hears of it.
pub struct SpaceQuery<'a> {
    /// Of the leaves that nobody uses, those unchanged for so long may go.
    pub older_than: Duration,
    /// Whether the images' data is read as well, which takes as long as reading it does.
    pub reads: bool,
    /// Whether it is estimated, where data is read, what compressing would give back: all of it has to be read then, and
    /// not only what may equal the data below.
    pub estimates_compressing: bool,
    /// What is known from before, and of which files.
    pub known: &'a SpaceCache,
    /// Asked between images, and while data is read.
    pub until: Until,
    /// Told how many more bytes of images' files are looked through, of those that [`bytes_to_read`] tells: only where
    /// data is read.
    ///
    /// [`bytes_to_read`]: super::bytes_to_read
    pub advances: &'a (dyn Fn(u64) + Sync),
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

/// The reading of one image: what is told of it comes to the bytes of its file, whatever is read how often.
pub(super) struct ImageReading<'q> {
    query: &'q SpaceQuery<'q>,
    left: AtomicU64,
}

impl<'q> ImageReading<'q> {
    /// Of a file that takes so many bytes on disk.
    pub(super) fn of(query: &'q SpaceQuery<'q>, bytes: u64) -> Self {
        Self {
            query,
            left: AtomicU64::new(bytes),
        }
    }

    /// What is asked.
    pub(super) fn query(&self) -> &'q SpaceQuery<'q> {
        self.query
    }

    /// It is through.
    pub(super) fn end(&self) {
        (self.query.advances)(self.left.swap(0, Ordering::Relaxed));
    }
}

impl ProgressSink for ImageReading<'_> {
    fn advance(&self, bytes: u64) -> bool {
        let less = |left: u64| Some(left.saturating_sub(bytes));
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        (self.query.advances)(left.unwrap_or_default().min(bytes));
        !self.query.until.is_over()
    }
}
