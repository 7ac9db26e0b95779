//! A guest's disk opened: its partitions and logical volumes, and what is on each.

use std::fmt;

use crate::block::{Mapped, Source};
use crate::error::{Error, Result};
use crate::named;
use crate::partitions::Partitions;
use crate::readers::{self, OpenFilesystem};

/// Partitions looked into.
const MOST_VOLUMES: usize = 128;

/// Which volume of a disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeName {
    /// The disk as a whole, which has no partitions.
    Disk,
    /// A partition by its number.
    Partition(u32),
    /// A logical volume of LVM2: the volume group, and the volume in it. Both are checked to be plain words.
    Logical {
        /// The volume group.
        group: String,
        /// The volume in it.
        name: String,
    },
}

/// As in a path: `disk`, `p1`, `group-name`.
impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => f.write_str("disk"),
            Self::Partition(number) => write!(f, "p{number}"),
            Self::Logical { group, name } => write!(f, "{group}-{name}"),
        }
    }
}

/// What is on a volume.
#[derive(Debug)]
pub enum Content {
    /// A filesystem that is read here.
    Filesystem(OpenFilesystem),
    /// Something else that has a name.
    Named(&'static str),
    /// A filesystem that cannot be read, and why.
    Failed(Error),
    /// Nothing that is known; or nothing at all.
    Unknown {
        /// Whether the places that formats begin at are all zeros.
        is_empty: bool,
    },
}

/// A volume of a disk.
#[derive(Debug)]
pub struct Volume {
    /// Which.
    pub name: VolumeName,
    /// Where it is on the disk.
    pub place: Mapped,
    /// What is on it.
    pub content: Content,
}

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
    /// Looks at the partition table of a disk, and opens what is on its volumes.
    ///
    /// # Errors
    /// When the disk itself cannot be read. What is damaged on it is told by the volume.
    pub fn open(source: &Source) -> Result<Self> {
        let partitions = Partitions::of(&**source)?;
        let scheme = match &partitions {
            Partitions::None => Scheme::None,
            Partitions::Mbr(_) => Scheme::Mbr,
            Partitions::Gpt(_) => Scheme::Gpt,
        };
        let mut places: Vec<(VolumeName, Mapped)> = partitions
            .all()
            .iter()
            .filter(|one| !one.is_extended)
            .take(MOST_VOLUMES)
            .map(|one| {
                (
                    VolumeName::Partition(one.number),
                    Mapped::partition(source.clone(), one.start..one.end),
                )
            })
            .collect();
        if places.is_empty() {
            places.push((
                VolumeName::Disk,
                Mapped::partition(source.clone(), 0..source.len()),
            ));
        }
        let mut volumes = Vec::with_capacity(places.len());
        for (name, place) in places {
            let content = content(&place)?;
            volumes.push(Volume {
                name,
                place,
                content,
            });
        }
        Ok(Self {
            scheme,
            volumes,
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

/// What is on a volume.
fn content(place: &Mapped) -> Result<Content> {
    let source: Source = std::sync::Arc::new(place.clone());
    match readers::open(&source) {
        Ok(Some(filesystem)) => return Ok(Content::Filesystem(filesystem)),
        Ok(None) => {}
        Err(error @ (Error::Image(_) | Error::Cancelled)) => return Err(error),
        Err(error) => return Ok(Content::Failed(error)),
    }
    Ok(match named::named(place)? {
        Some(name) => Content::Named(name),
        None => Content::Unknown {
            is_empty: named::is_empty(place)?,
        },
    })
}
