//! Which bytes of a disk nobody needs any more, so surely that they may be thrown away: what filesystems call free, of
//! those that are whole, that were left in order, and that are understood completely. Everything else is left alone,
//! and told with the reason.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use crate::block::{Mapped, Source};
use crate::disk::{Content, Disk, MOST_VOLUMES, Volume, VolumeName};
use crate::error::{Error, Result};
use crate::explain;
use crate::filesystem::{Condition, Filesystem, Node, NodeId, NodeKind};
use crate::named::{self, SUSPENDED};
use crate::ranges::Ranges;
use crate::readers;

/// Folders of a filesystem that are looked into.
const MOST_FOLDERS: usize = 1 << 20;
/// Entries of folders that are looked at.
const MOST_ENTRIES: u64 = 16 << 20;
/// A file that a suspended system fits into is not smaller.
const LEAST_SUSPENDED: u64 = 16 << 20;

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

/// Looks through the filesystems of a disk for what may be thrown away; what the guest encrypted stays locked. `go_on`
/// is asked often.
///
/// # Errors
/// When the image cannot be read, or `go_on` says to stop. What is wrong with a volume is no error: it is left alone.
pub fn discardable(source: &Source, go_on: &dyn Fn() -> bool) -> Result<Discardable> {
    let disk = &Disk::open(source)?;
    let mut found = Discardable::default();
    let of_all = doubt_about_all(disk);
    for volume in &disk.volumes {
        let free = match &of_all {
            Some(why) => Err(why.clone()),
            None => free_of(source, disk, volume, go_on)?,
        };
        match free {
            Ok((kind, free)) => {
                found.free.extend(&free);
                found.volumes.push(FreeOf {
                    volume: volume.name.clone(),
                    kind,
                    bytes: free.bytes(),
                });
            }
            Err(why) => found.left.push((volume.name.clone(), why)),
        }
    }
    Ok(found)
}

/// What speaks against the disk as a whole.
fn doubt_about_all(disk: &Disk) -> Option<String> {
    let is_suspended =
        |volume: &Volume| matches!(volume.content, Content::Named(name) if name == SUSPENDED);
    if disk.volumes.iter().any(is_suspended) {
        return Some("the guest is suspended to disk: start it and shut it down first".to_owned());
    }
    (disk.volumes.len() >= MOST_VOLUMES)
        .then(|| "there are more partitions than are looked at".to_owned())
}

/// What may be thrown away of a volume, in bytes of the disk, or why nothing of it may.
type Free = std::result::Result<(&'static str, Ranges), String>;

fn free_of(
    source: &Source,
    disk: &Disk,
    volume: &Volume,
    go_on: &dyn Fn() -> bool,
) -> Result<Free> {
    let filesystem = match &volume.content {
        Content::Filesystem(filesystem) => filesystem,
        Content::Locked { kind, .. } => return Ok(Err(format!("{kind}, encrypted"))),
        Content::Physical(_) => return Ok(Err("a physical volume of LVM2".to_owned())),
        Content::Named(name) => return Ok(Err((*name).to_owned())),
        Content::Failed(error) => return Ok(Err(error.to_string())),
        Content::Unknown { .. } => return Ok(Err("what is on it is not known".to_owned())),
    };
    let found = stands_alone(source, disk, volume).and_then(|alone| {
        alone.map_or_else(
            || free_if_sound(&**filesystem, volume, go_on),
            |why| Ok(Err(why)),
        )
    });
    match found {
        Ok(found) => Ok(found.map(|free| (filesystem.summary().kind, volume.place.to_disk(&free)))),
        Err(error @ (Error::Image(_) | Error::Cancelled)) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Why the volume's bytes may be somebody else's as well; none where they are not.
fn stands_alone(source: &Source, disk: &Disk, volume: &Volume) -> Result<Option<String>> {
    if matches!(volume.name, VolumeName::Logical { .. }) || volume.encryption.is_some() {
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
) -> Result<std::result::Result<Ranges, String>> {
    let summary = filesystem.summary();
    match &summary.condition {
        Condition::Clean => {}
        Condition::Replayed => {
            return Ok(Err(
                "it was not unmounted, and its journal has to be replayed: start the guest and shut it down"
                    .to_owned(),
            ));
        }
        Condition::NotReplayed(why) => return Ok(Err(format!("it was not unmounted: {why}"))),
    }
    if let Some(why) = filesystem.doubt()? {
        return Ok(Err(why));
    }
    let told = explain::free(filesystem)?;
    let within = 0..summary.total.min(volume.len);
    let free: Ranges = told.within(within).collect();
    let doubt = Files {
        filesystem,
        free: &free,
        go_on,
    }
    .doubt()?;
    Ok(doubt.map_or(Ok(free), Err))
}

/// All files of a filesystem, looked at once more: none may have anything where it is said to be free.
struct Files<'a> {
    filesystem: &'a dyn Filesystem,
    free: &'a Ranges,
    go_on: &'a dyn Fn() -> bool,
}

impl Files<'_> {
    fn doubt(&self) -> Result<Option<String>> {
        let root = self.filesystem.root();
        let mut known = HashSet::from([root]);
        let mut open = vec![root];
        let mut entries = 0;
        while let Some(folder) = open.pop() {
            let mut inside = Vec::new();
            self.filesystem.entries(folder, &mut |entry| {
                inside.push(entry.id);
                ControlFlow::Continue(())
            })?;
            entries += inside.len() as u64;
            if known.len() > MOST_FOLDERS || entries > MOST_ENTRIES {
                return Ok(Some("it has more files than are looked at".to_owned()));
            }
            if let Some(why) = self.doubt_about(folder)? {
                return Ok(Some(why));
            }
            for id in inside {
                let node = self.filesystem.node(id)?;
                if node.is_directory() {
                    if known.insert(id) {
                        open.push(id);
                    }
                } else if let Some(why) = self.doubt_about_file(&node)? {
                    return Ok(Some(why));
                }
            }
        }
        Ok(None)
    }

    fn doubt_about_file(&self, node: &Node) -> Result<Option<String>> {
        if node.kind == NodeKind::File && node.size >= LEAST_SUSPENDED && self.is_suspended(node.id)
        {
            return Ok(Some("the guest is suspended to a file on it".to_owned()));
        }
        match node.kind {
            NodeKind::Special => Ok(None),
            _ => self.doubt_about(node.id),
        }
    }

    fn doubt_about(&self, id: NodeId) -> Result<Option<String>> {
        if !(self.go_on)() {
            return Err(Error::Cancelled);
        }
        for extent in self.filesystem.extents(id)? {
            let end = extent.volume.saturating_add(extent.stored);
            if self.free.intersects(&(extent.volume..end)) {
                return Ok(Some(format!(
                    "its records are damaged: file {} has content at byte {} of the volume, which is said to be free",
                    id.number, extent.volume
                )));
            }
        }
        Ok(None)
    }

    /// Whether it is a swap file that holds a suspended system. What cannot be read is none.
    fn is_suspended(&self, file: NodeId) -> bool {
        let mut magic = [0; named::SUSPENDED_MAGIC.len()];
        let read = self.filesystem.read(file, named::SUSPENDED_AT, &mut magic);
        read.is_ok() && magic == *named::SUSPENDED_MAGIC
    }
}
