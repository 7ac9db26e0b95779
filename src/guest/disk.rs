//! A guest's disk opened: its partitions and logical volumes, and what is on each.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use qanopy_core::Keys;

use crate::block::{Mapped, Place, Source};
use crate::error::Result;
use crate::partitions::Partitions;
use crate::readers::OpenFilesystem;
use crate::stack::{self, Found, Locks};

pub use crate::volume::{Content, Encryption, Volume, VolumeName, locked};

/// Partitions looked into.
pub(crate) const MOST_VOLUMES: usize = 128;

/// How a disk is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Not at all.
    None,
    /// By a master boot record.
    Mbr,
    /// By a GUID partition table.
    Gpt,
}

impl Scheme {
    /// A word for people and for JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mbr => "MBR",
            Self::Gpt => "GPT",
        }
    }
}

/// A guest's disk.
#[derive(Debug)]
pub struct Disk {
    /// How it is divided.
    pub scheme: Scheme,
    /// Its volumes: partitions in the order of their numbers, then logical volumes.
    pub volumes: Vec<Volume>,
    /// Its length in bytes.
    pub len: u64,
}

impl Disk {
    /// Looks at the partition table of a disk, and opens what is on its volumes. Encrypted ones stay locked.
    ///
    /// # Errors
    /// When the disk itself cannot be read. What is damaged on it is told by the volume.
    pub fn open(source: &Source) -> Result<Self> {
        Self::unlock(source, &Keys::none(), Path::new(""))
    }

    /// As [`Disk::open`], with encrypted volumes opened by the passphrases that `keys` has for the image that shows
    /// this disk. Takes seconds for each that is tried.
    ///
    /// # Errors
    /// As there.
    pub fn unlock(source: &Source, keys: &Keys, image: &Path) -> Result<Self> {
        let partitions = Partitions::of(&**source)?;
        let scheme = match &partitions {
            Partitions::None => Scheme::None,
            Partitions::Mbr(_) => Scheme::Mbr,
            Partitions::Gpt(_) => Scheme::Gpt,
        };
        let part = |name, range: Range<u64>| {
            // Cut where the disk ends.
            let range = range.start.min(source.len())..range.end.min(source.len());
            let place = Place::range(range);
            Found {
                name,
                source: Arc::new(Mapped::new(source.clone(), place.clone())),
                place,
            }
        };
        let real = partitions.all().iter().filter(|one| !one.is_extended);
        let mut found: Vec<Found> = real
            .take(MOST_VOLUMES)
            .map(|one| part(VolumeName::Partition(one.number), one.start..one.end))
            .collect();
        if found.is_empty() {
            found.push(part(VolumeName::Disk, 0..source.len()));
        }
        Ok(Self {
            scheme,
            volumes: stack::open(found, &mut Locks::new(keys, image))?,
            len: source.len(),
        })
    }

    /// Its filesystems that are read here, with their volumes.
    pub fn filesystems(&self) -> impl Iterator<Item = (&Volume, &OpenFilesystem)> {
        self.volumes
            .iter()
            .filter_map(|volume| match &volume.content {
                Content::Filesystem(filesystem) => Some((volume, filesystem)),
                _ => None,
            })
    }
}
