//! An image opened down to its files.

use std::path::Path;
use std::sync::Arc;

use crate::guest::block::{Stop, Stoppable};
use crate::guest::cache::{Chunks, PAGE};
use crate::guest::disk::{Disk, Volume, VolumeName};
use crate::guest::readers::OpenFilesystem;
use crate::guest::{self, Source, system};
use crate::image::{Chain, Keys};

/// What an image shows, with its filesystems.
#[derive(Debug)]
pub struct View {
    /// The image, and all it is built on.
    pub chain: Chain,
    /// What is on its disk.
    pub disk: Disk,
}

impl View {
    /// Bytes of a disk that are kept after they were read, where nothing else is said.
    pub const KEPT: usize = 24 << 20;

    /// Opens the volumes of a chain, those that the guest encrypted by the passphrases that `keys` has for the image.
    ///
    /// # Errors
    /// When the chain cannot be read. What is damaged inside is told by its volume.
    pub fn open(chain: Chain, keys: &Keys) -> guest::Result<Self> {
        Self::keeping(chain, keys, Self::KEPT)
    }

    /// As [`View::open`], keeping so many bytes of what was read.
    ///
    /// # Errors
    /// As there.
    pub fn keeping(chain: Chain, keys: &Keys, kept: usize) -> guest::Result<Self> {
        let source: Source = Arc::new(Chunks::new(Arc::new(chain.clone()), PAGE, kept));
        Self::on(chain, keys, &source)
    }

    /// As [`View::keeping`]; all that reads through it gives up once `stop` says so.
    ///
    /// # Errors
    /// As there, and when it was stopped.
    pub fn stoppable(chain: Chain, keys: &Keys, kept: usize, stop: Stop) -> guest::Result<Self> {
        let below: Source = Arc::new(Stoppable::new(Arc::new(chain.clone()), Arc::clone(&stop)));
        let view = Self::on(
            chain,
            keys,
            &(Arc::new(Chunks::new(below, PAGE, kept)) as Source),
        )?;
        // What a volume holds may have been cut off, which is told of the volume.
        if stop() {
            return Err(guest::Error::Cancelled);
        }
        Ok(view)
    }

    fn on(chain: Chain, keys: &Keys, source: &Source) -> guest::Result<Self> {
        let disk = Disk::unlock(source, keys, image(&chain))?;
        Ok(Self { chain, disk })
    }

    /// The file of the top layer.
    #[must_use]
    pub fn image(&self) -> &Path {
        image(&self.chain)
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

fn image(chain: &Chain) -> &Path {
    let top = chain.layers().first();
    top.map_or(Path::new(""), |layer| layer.path())
}
