//! Volumes on volumes: encrypted ones opened, logical volumes on the physical ones that a disk's partitions are.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use qanopy_core::{Keys, Passphrase};

use crate::block::{BlockSource, Joined, Mapped, Place, Segment, Source};
use crate::error::{Error, Result};
use crate::luks;
use crate::lvm::{self, Group, Logical, NotRead, PhysicalVolume};
use crate::named;
use crate::readers;
use crate::volume::{Content, Encryption, Volume, VolumeName};

/// Volumes on volumes on the disk; installers make two.
const MOST_DEPTH: u64 = 4;

/// Volumes of a disk at the most, all together.
const MOST_VOLUMES: usize = 2048;

/// A volume that is not looked at yet.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: VolumeName,
    /// Its bytes.
    pub(crate) source: Source,
    /// Where it is on the disk.
    pub(crate) place: Place,
}

/// What opens encrypted volumes.
#[derive(Debug)]
pub(crate) struct Locks<'a> {
    keys: &'a Keys,
    image: &'a Path,
    /// Passphrases that were given for one volume are tried on the others as well.
    known: Vec<Passphrase>,
}

/// Whether a volume is encrypted.
enum Lock {
    None,
    Opened(Encryption),
    Locked(Content),
}

impl<'a> Locks<'a> {
    /// Passphrases of `keys` for the disk that an image shows.
    pub(crate) fn new(keys: &'a Keys, image: &'a Path) -> Self {
        Self {
            keys,
            image,
            known: Vec::new(),
        }
    }

    /// Puts the content of an encrypted volume in its place, if that can be.
    fn opened(&mut self, one: &mut Found) -> Result<Lock> {
        let Some(header) = luks::header(&*one.source)? else {
            return Ok(Lock::None);
        };
        let name = one.name.to_string();
        let ask = |id: &[u8]| self.keys.for_volume(self.image, &name, id);
        match luks::open(&header, &one.source, self.keys, &mut self.known, &ask)? {
            Some((source, place)) => {
                one.place = place.inside(&one.place)?;
                one.source = source;
                Ok(Lock::Opened(Encryption {
                    kind: header.kind,
                    key: header.key(),
                }))
            }
            None => Ok(Lock::Locked(Content::Locked {
                kind: header.kind,
                is_wrong: !self.known.is_empty(),
            })),
        }
    }
}

/// A physical volume, and which of the volumes it is.
#[derive(Debug)]
struct Physical {
    index: usize,
    is: PhysicalVolume,
    source: Source,
}

/// Opens what is on these volumes of a disk, and the volumes on them; in this order.
///
/// # Errors
/// When the disk cannot be read.
pub(crate) fn open(first: Vec<Found>, locks: &mut Locks<'_>) -> Result<Vec<Volume>> {
    let mut volumes = Vec::new();
    let mut found = first;
    for _ in 0..MOST_DEPTH {
        let mut physical = Vec::new();
        for one in found {
            look(one, locks, &mut volumes, &mut physical)?;
        }
        found = on(&mut physical, &mut volumes);
    }
    for one in found {
        let error = Error::TooMuch {
            what: "volumes within each other",
            most: MOST_DEPTH,
        };
        let len = one.source.len();
        volumes.push(volume(one.name, one.place, len, Content::Failed(error)));
    }
    Ok(volumes)
}

fn volume(name: VolumeName, place: Place, len: u64, content: Content) -> Volume {
    Volume {
        name,
        encryption: None,
        place,
        len,
        content,
    }
}

/// Looks at what is on a volume, or in it where it is encrypted and opens.
fn look(
    mut one: Found,
    locks: &mut Locks<'_>,
    volumes: &mut Vec<Volume>,
    physical: &mut Vec<Physical>,
) -> Result<()> {
    let (content, encryption) = match locks.opened(&mut one) {
        Ok(Lock::None) => (plain(&one, volumes.len(), physical)?, None),
        Ok(Lock::Opened(how)) => (plain(&one, volumes.len(), physical)?, Some(how)),
        Ok(Lock::Locked(content)) => (content, None),
        Err(error @ (Error::Image(_) | Error::Cancelled)) => return Err(error),
        Err(error) => (Content::Failed(error), None),
    };
    let len = one.source.len();
    volumes.push(Volume {
        encryption,
        ..volume(one.name, one.place, len, content)
    });
    Ok(())
}

/// What is on a volume that is not encrypted, which gets this index.
fn plain(one: &Found, index: usize, physical: &mut Vec<Physical>) -> Result<Content> {
    match PhysicalVolume::read(&*one.source) {
        Ok(None) => content(&one.source),
        Ok(Some(is)) => {
            physical.push(Physical {
                index,
                is,
                source: one.source.clone(),
            });
            Ok(Content::Named("LVM2 physical volume of no group"))
        }
        Err(error @ (Error::Image(_) | Error::Cancelled)) => Err(error),
        Err(error) => Ok(Content::Failed(error)),
    }
}

/// What is on a volume that holds no others.
fn content(source: &Source) -> Result<Content> {
    match readers::open(source) {
        Ok(Some(filesystem)) => return Ok(Content::Filesystem(filesystem)),
        Ok(None) => {}
        Err(error @ (Error::Image(_) | Error::Cancelled)) => return Err(error),
        Err(error) => return Ok(Content::Failed(error)),
    }
    Ok(match named::named(&**source)? {
        Some(name) => Content::Named(name),
        None => Content::Unknown {
            is_empty: named::is_empty(&**source)?,
        },
    })
}

/// The logical volumes on physical ones. Those that are not read are told at once; the others are to be looked at.
fn on(physical: &mut [Physical], volumes: &mut Vec<Volume>) -> Vec<Found> {
    let own = physical.iter_mut().filter_map(|one| one.is.group.take());
    let mut groups: Vec<Group> = own.collect();
    // The newest state of each: a physical volume that was missing for a while has an older one.
    groups.sort_by(|one, other| {
        (&one.name, &one.id, other.sequence).cmp(&(&other.name, &other.id, one.sequence))
    });
    groups.dedup_by(|later, kept| later.id == kept.id);
    let mut names = HashSet::new();
    let mut found = Vec::new();
    for group in &groups {
        let members = Members::of(group, physical, volumes);
        for index in &members.indexes {
            set(volumes, *index, Content::Physical(group.name.clone()));
        }
        let logical = match names.insert(&group.name) {
            true => lvm::logical(group, &members.ranges),
            false => Err(lvm::same_name(&group.name)),
        };
        let known = volumes.len() + found.len();
        let logical = logical.and_then(|all| match known + all.len() > MOST_VOLUMES {
            true => Err(Error::TooMuch {
                what: "volumes of a disk",
                most: MOST_VOLUMES as u64,
            }),
            false => Ok(all),
        });
        match logical {
            Ok(all) => {
                let all = all.into_iter();
                found.extend(all.filter_map(|one| members.placed(&group.name, one, volumes)));
            }
            // One of them tells why the group is not read.
            Err(error) => {
                if let Some(first) = members.indexes.first() {
                    set(volumes, *first, Content::Failed(error));
                }
            }
        }
    }
    found
}

fn set(volumes: &mut [Volume], index: usize, content: Content) {
    if let Some(volume) = volumes.get_mut(index) {
        volume.content = content;
    }
}

/// The physical volumes of a group that are there, one after the other.
#[derive(Debug)]
struct Members {
    indexes: Vec<usize>,
    joined: Source,
    /// Where the joined bytes are on the disk.
    place: Place,
    /// Where each is in the joined bytes, by its identifier.
    ranges: HashMap<String, Range<u64>>,
}

impl Members {
    fn of(group: &Group, physical: &[Physical], volumes: &[Volume]) -> Self {
        let (mut joined, mut indexes) = (Joined::default(), Vec::new());
        let (mut segments, mut ranges) = (Vec::new(), HashMap::new());
        for one in physical.iter().filter(|one| group.has(&one.is.id)) {
            // A copy of one that is there: which of them counts cannot be known, and LVM2 takes the first.
            if ranges.contains_key(&one.is.id) {
                continue;
            }
            let start = joined.push(one.source.clone());
            ranges.insert(one.is.id.clone(), start..joined.len());
            indexes.push(one.index);
            let own = volumes.get(one.index).map(|volume| volume.place.segments());
            segments.extend(own.unwrap_or_default().iter().map(|own| Segment {
                volume: start + own.volume,
                ..*own
            }));
        }
        Self {
            indexes,
            joined: Arc::new(joined),
            place: Place::new(segments),
            ranges,
        }
    }

    /// A logical volume that is to be looked at; one that is not read is told.
    fn placed(&self, group: &str, one: Logical, volumes: &mut Vec<Volume>) -> Option<Found> {
        let name = VolumeName::Logical {
            group: group.to_owned(),
            name: one.name,
        };
        let place = one.place.inside(&self.place);
        let content = match (one.not_read, place) {
            (None, Ok(place)) => {
                let source = Arc::new(Mapped::new(self.joined.clone(), one.place));
                return Some(Found {
                    name,
                    source,
                    place,
                });
            }
            (Some(NotRead::Kind(kind)), Ok(place)) => (Content::Named(kind), place),
            (Some(NotRead::Damaged(error)), Ok(place)) => (Content::Failed(error), place),
            (_, Err(error)) => (Content::Failed(error), self.place.clone()),
        };
        let (content, place) = content;
        volumes.push(volume(name, place, one.len, content));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A volume that is a physical volume of its own group, of a thousand logical volumes that are read.
    fn physical(index: usize) -> Physical {
        let segment =
            "segment1 { start_extent=0 extent_count=1 type=\"striped\" stripes=[\"pv0\",0] }";
        let volumes: String = (0..1000)
            .map(|number| format!("v{number} {{ status=[\"READ\",\"VISIBLE\"] {segment} }}\n"))
            .collect();
        let text = format!(
            "vg{index} {{ id=\"g{index}\" seqno=1 extent_size=8 physical_volumes {{ pv0 {{ id=\"p{index}\" pe_start=0 \
             pe_count=1 }} }} logical_volumes {{ {volumes} }} }}"
        );
        Physical {
            index,
            is: PhysicalVolume {
                id: format!("p{index}"),
                group: Some(Group::parse(text.as_bytes(), 0).unwrap()),
            },
            source: Arc::new(vec![0; 4096]),
        }
    }

    #[test]
    fn all_volumes_of_a_disk_together_have_a_bound() {
        let number = |index: usize| VolumeName::Partition(u32::try_from(index).unwrap());
        let partition = |index| {
            let content = Content::Named("LVM2 physical volume of no group");
            volume(number(index), Place::range(0..4096), 4096, content)
        };
        let mut volumes: Vec<Volume> = (0..5).map(partition).collect();
        let mut all: Vec<Physical> = (0..5).map(physical).collect();
        let found = on(&mut all, &mut volumes);
        assert_eq!((found.len(), volumes.len()), (2000, 5));
        let failed = |one: &&Volume| {
            matches!(
                one.content,
                Content::Failed(Error::TooMuch {
                    what: "volumes of a disk",
                    ..
                })
            )
        };
        assert_eq!(volumes.iter().filter(failed).count(), 3);
    }
}
