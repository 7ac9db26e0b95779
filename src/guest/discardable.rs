//! Which bytes of a disk nobody needs any more, so surely that they may be thrown away: what filesystems call free, of
//! those that are whole, that were left in order, and that are understood completely. Everything else is left alone,
//! and told with the reason.

use std::ops::{ControlFlow, Range};

use crate::block::{Mapped, Source};
use crate::disk::{Content, Disk, MOST_VOLUMES, Volume, VolumeName};
use crate::error::{Error, Result};
use crate::explain;
use crate::filesystem::{Condition, Filesystem, Node, NodeKind};
use crate::named;
use crate::ranges::Ranges;
use crate::readers;
use crate::suspended;
use crate::walk;

/// Bytes of a disk that may be thrown away.
#[derive(Debug, Default)]
pub struct Discardable {
    /// Which, in bytes of the disk.
    pub free: Ranges,
    /// The volumes they are on.
    pub volumes: Vec<FreeOf>,
    /// The volumes of which nothing may be, and why: `it was not unmounted`.
    pub left: Vec<(VolumeName, String)>,
}

/// What is free on a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeOf {
    /// Which volume.
    pub volume: VolumeName,
    /// `ext4`, `XFS`.
    pub kind: &'static str,
    /// Bytes that its filesystem calls free.
    pub bytes: u64,
}

impl Discardable {
    /// Nothing of a disk, for one reason.
    fn nothing(disk: &Disk, why: &str) -> Self {
        let volumes = disk.volumes.iter();
        Self {
            left: volumes
                .map(|volume| (volume.name.clone(), why.to_owned()))
                .collect(),
            ..Self::default()
        }
    }
}

/// Why nothing may be thrown away.
enum Left {
    /// Of this volume.
    Volume(String),
    /// Of none on the disk.
    All(String),
}

/// Looks through the filesystems of a disk for what may be thrown away; what the guest encrypted stays locked. `go_on`
/// is asked often.
///
/// # Errors
/// When the image cannot be read, or `go_on` says to stop. What is wrong with a volume is no error: it is left alone.
pub fn discardable(source: &Source, go_on: &dyn Fn() -> bool) -> Result<Discardable> {
    let disk = &Disk::open(source)?;
    if let Some(why) = doubt_about_all(disk)? {
        return Ok(Discardable::nothing(disk, &why));
    }
    let (mut found, mut left) = (Discardable::default(), Vec::new());
    for volume in &disk.volumes {
        match free_of(source, disk, volume, go_on)? {
            Ok((kind, free)) => {
                found.free.extend(&free);
                found.volumes.push(FreeOf {
                    volume: volume.name.clone(),
                    kind,
                    bytes: free.bytes(),
                });
            }
            Err(Left::Volume(why)) => {
                left.push(volume);
                found.left.push((volume.name.clone(), why));
            }
            Err(Left::All(why)) => return Ok(Discardable::nothing(disk, &why)),
        }
    }
    if found.free.is_empty() {
        return Ok(found);
    }
    // The files of the others were looked through.
    for volume in left {
        if let Content::Filesystem(filesystem) = &volume.content
            && let Some(why) = suspended::to_file_on(volume, &**filesystem, go_on)?
        {
            return Ok(Discardable::nothing(disk, &why));
        }
    }
    Ok(found)
}

/// What speaks against the disk as a whole, as far as that is seen without looking through files.
fn doubt_about_all(disk: &Disk) -> Result<Option<String>> {
    for volume in &disk.volumes {
        if let Some(why) = suspended::at_once(volume)? {
            return Ok(Some(why));
        }
    }
    let is_partition = |volume: &&Volume| matches!(volume.name, VolumeName::Partition(_));
    let partitions = disk.volumes.iter().filter(is_partition).count();
    Ok((partitions >= MOST_VOLUMES)
        .then(|| "there are more partitions than are looked at".to_owned()))
}

/// What may be thrown away of a volume, in bytes of the disk, or why nothing may.
type Free = std::result::Result<(&'static str, Ranges), Left>;

fn free_of(
    source: &Source,
    disk: &Disk,
    volume: &Volume,
    go_on: &dyn Fn() -> bool,
) -> Result<Free> {
    let left = |why: String| Ok(Err(Left::Volume(why)));
    let filesystem = match &volume.content {
        Content::Filesystem(filesystem) => filesystem,
        Content::Locked { kind, .. } => return left(format!("{kind}, encrypted")),
        Content::Physical(_) => return left("a physical volume of LVM2".to_owned()),
        Content::Named(name) => return left((*name).to_owned()),
        Content::Failed(error) => return left(error.to_string()),
        Content::Unknown { .. } => return left("what is on it is not known".to_owned()),
    };
    let found = stands_alone(source, disk, volume).and_then(|alone| {
        alone.map_or_else(
            || free_if_sound(&**filesystem, volume, go_on),
            |why| Ok(Err(Left::Volume(why))),
        )
    });
    match found {
        Ok(found) => Ok(found.map(|free| (filesystem.summary().kind, volume.place.to_disk(&free)))),
        Err(error @ (Error::Image(_) | Error::Cancelled)) => Err(error),
        Err(error) => left(error.to_string()),
    }
}

/// Why the volume's bytes may be somebody else's as well; none where they are not.
fn stands_alone(source: &Source, disk: &Disk, volume: &Volume) -> Result<Option<String>> {
    if matches!(volume.name, VolumeName::Logical { .. }) {
        let text = "a logical volume, of which snapshots may need what is free";
        return Ok(Some(text.to_owned()));
    }
    let places = |one: &Volume| -> Vec<Range<u64>> {
        let segments = one.place.segments().iter();
        segments
            .map(|it| it.disk..it.disk.saturating_add(it.len))
            .collect()
    };
    let own: Ranges = places(volume).into_iter().collect();
    for other in disk
        .volumes
        .iter()
        .filter(|other| other.name != volume.name)
    {
        if places(other).iter().any(|place| own.intersects(place)) {
            return Ok(Some(format!("it overlaps {}", other.name)));
        }
    }
    let own: Source = std::sync::Arc::new(Mapped::new(source.clone(), volume.place.clone()));
    if readers::claims(&own)? != 1 {
        return Ok(Some("it has marks of several filesystems".to_owned()));
    }
    Ok(named::named(&*own)?.map(|name| format!("it has marks of something else: {name}")))
}

/// What a filesystem calls free, in bytes of the volume, if it is in order.
fn free_if_sound(
    filesystem: &dyn Filesystem,
    volume: &Volume,
    go_on: &dyn Fn() -> bool,
) -> Result<std::result::Result<Ranges, Left>> {
    let left = |why: String| Ok(Err(Left::Volume(why)));
    let summary = filesystem.summary();
    match &summary.condition {
        Condition::Clean => {}
        Condition::Replayed => {
            return left(
                "it was not unmounted, and its journal has to be replayed: start the guest and shut it down"
                    .to_owned(),
            );
        }
        Condition::NotReplayed(why) => return left(format!("it was not unmounted: {why}")),
    }
    if let Some(why) = filesystem.doubt()? {
        return left(why);
    }
    let told = explain::free(filesystem)?;
    let within = 0..summary.total.min(volume.len);
    let free: Ranges = told.within(within).collect();
    // All files, looked at once more.
    let doubt = walk::each_node(filesystem, go_on, &mut |node| {
        if suspended::is_to(filesystem, node)? {
            return Ok(ControlFlow::Break(Left::All(suspended::to_file(volume))));
        }
        Ok(match content_in(filesystem, node, &free)? {
            Some(why) => ControlFlow::Break(Left::Volume(why)),
            None => ControlFlow::Continue(()),
        })
    })?;
    Ok(doubt.map_or(Ok(free), Err))
}

/// What a file has where it is said to be free, where none may have anything.
fn content_in(filesystem: &dyn Filesystem, node: &Node, free: &Ranges) -> Result<Option<String>> {
    if node.kind == NodeKind::Special {
        return Ok(None);
    }
    for extent in filesystem.extents(node.id)? {
        let end = extent.volume.saturating_add(extent.stored);
        if free.intersects(&(extent.volume..end)) {
            return Ok(Some(format!(
                "its records are damaged: file {} has content at byte {} of the volume, which is said to be free",
                node.id.number, extent.volume
            )));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Place;
    use crate::disk::Scheme;

    #[test]
    fn only_partitions_that_are_not_looked_at_are_too_many() {
        let with = |count: u32, name: &dyn Fn(u32) -> VolumeName| {
            let volume = |number| Volume {
                name: name(number),
                encryption: None,
                place: Place::default(),
                len: 0,
                content: Content::Unknown { is_empty: true },
            };
            let disk = Disk {
                scheme: Scheme::Gpt,
                volumes: (1..=count).map(volume).collect(),
                len: 0,
            };
            doubt_about_all(&disk).unwrap()
        };
        let logical = |number: u32| VolumeName::Logical {
            group: "group".to_owned(),
            name: number.to_string(),
        };
        assert_eq!(with(500, &logical), None);
        assert_eq!(with(127, &VolumeName::Partition), None);
        assert!(with(128, &VolumeName::Partition).is_some());
    }
}
