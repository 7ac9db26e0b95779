//! A raw image as a layer: the guest's bytes are the file's bytes. Its format is somebody's word,
//! never guessed from its content, since that belongs to the guest.

use std::path::Path;

use crate::host::Segment;
use crate::image::error::Result;
use crate::image::{Extent, ImageFile, Placed, State};

/// An opened raw image.
#[derive(Debug)]
pub struct Raw {
    file: ImageFile,
    len: u64,
}

impl Raw {
    /// Takes `file` as a raw image.
    ///
    /// # Errors
    /// When its length cannot be asked.
    pub fn open(file: &ImageFile) -> Result<Self> {
        let len = file.len()?;
        Ok(Self {
            file: file.clone(),
            len,
        })
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &ImageFile {
        &self.file
    }

    /// What the guest sees, in bytes: the file's length rounded up to 512, as QEMU sees it.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.len.checked_next_multiple_of(512).unwrap_or(self.len)
    }

    /// What is stored at `start`, as far as one answer of the filesystem reaches, at most to `end`.
    ///
    /// # Errors
    /// When the filesystem cannot be asked.
    pub fn extent_at(&self, start: u64, end: u64) -> Result<Extent> {
        if start >= self.len {
            return Ok(Extent {
                start,
                len: end.saturating_sub(start).max(1),
                state: State::Zero,
            });
        }
        let (to, state) = match self.file.segment_at(start)? {
            Segment::Data(to) => (to, State::Data { host: start }),
            Segment::Hole(to) => (to, State::Zero),
        };
        // A file that shrinks under us may answer anything: always move on.
        let to = to.min(end).max(start.saturating_add(1));
        Ok(Extent {
            start,
            len: to - start,
            state,
        })
    }

    /// As [`Raw::extent_at`], with the place, which holes have as well, and what lies between the file's
    /// end and that of its last sector.
    ///
    /// # Errors
    /// As there.
    pub fn placed_at(&self, start: u64, end: u64) -> Result<Placed> {
        let extent = self.extent_at(start, end)?;
        Ok(Placed {
            extent,
            place: Some(start),
        })
    }
}
