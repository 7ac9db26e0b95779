//! An image opened down to its files.

use std::sync::Arc;

use crate::guest::cache::Chunks;
use crate::guest::disk::{Disk, Volume, VolumeName};
use crate::guest::readers::OpenFilesystem;
use crate::guest::{self, Source, system};
use crate::image::Chain;

/// Bytes of a disk that are kept after they were read.
const KEPT: usize = 24 << 20;

/// What an image shows, with its filesystems.
#[derive(Debug)]
pub struct View {
    /// The image, and all it is built on.
    pub chain: Chain,
    /// What is on its disk.
    pub disk: Disk,
}

impl View {
    /// Opens the volumes of a chain.
    ///
    /// # Errors
    /// When the chain cannot be read. What is damaged inside is told by its volume.
    pub fn open(chain: Chain) -> guest::Result<Self> {
        Self::keeping(chain, KEPT)
    }

    /// As [`View::open`], keeping so many bytes of what was read.
    ///
    /// # Errors
    /// As there.
    pub fn keeping(chain: Chain, kept: usize) -> guest::Result<Self> {
        let source: Source = Arc::new(Chunks::new(Arc::new(chain.clone()), kept));
        let disk = Disk::open(&source)?;
        Ok(Self { chain, disk })
    }

    /// The volume of that name.
    #[must_use]
    pub fn volume(&self, name: &VolumeName) -> Option<&Volume> {
        self.disk.volumes.iter().find(|volume| volume.name == *name)
    }

    /// The filesystem that is the root of the system on this disk: the one with an operating system, else the only one,
    /// else the largest.
    ///
    /// # Errors
    /// When the chain cannot be read.
    pub fn root(&self) -> guest::Result<Option<(&Volume, &OpenFilesystem)>> {
        let all: Vec<_> = self.disk.filesystems().collect();
        for found in &all {
            if system::system(&**found.1)?.is_some() {
                return Ok(Some(*found));
            }
        }
        Ok(all
            .into_iter()
            .max_by_key(|(_, filesystem)| filesystem.summary().total))
    }
}
