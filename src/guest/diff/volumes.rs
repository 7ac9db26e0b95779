//! The comparison of two disks: volume by volume, with an honest word on each that could not be compared.

use crate::disk::{Content, Disk, Volume, VolumeName, locked};
use crate::error::{Error, Result};
use crate::filesystem::Condition;
use crate::ranges::Ranges;

use super::change::Change;
use super::filesystems::filesystems;
use super::pair::{Options, Watch};

/// How far a volume was compared.
#[derive(Debug)]
pub enum VolumeState {
    /// Wholly. Nothing told means that nothing differs.
    Compared,
    /// The two states have the volume in the same place, and no byte of it differs.
    Same,
    /// Compared; but the newest changes may be missing, or files could not be read: the reasons.
    Partial(Vec<String>),
    /// Bytes differ, and what they mean is not known: why.
    NotRead(String),
    /// Bytes differ, and it is encrypted and was not opened: whether a passphrase is missing or wrong.
    Locked(String),
    /// Only the newer state has this volume; its files are not told one by one.
    Added,
    /// Only the older state has this volume.
    Deleted,
}

/// What came of one volume.
#[derive(Debug)]
pub struct VolumeDiff {
    /// Which.
    pub name: VolumeName,
    /// The filesystem's kind, or the name of what is there.
    pub kind: String,
    /// How far it was compared.
    pub state: VolumeState,
    /// Bytes of it that are not kept in the same place.
    pub changed_bytes: u64,
    /// The files that differ, sorted by path.
    pub changes: Vec<Change>,
}

/// Compares all volumes of two disks. `changed` are the bytes of the disk that can differ.
///
/// # Errors
/// As [`filesystems`].
pub fn disks(
    before: &Disk,
    after: &Disk,
    changed: &Ranges,
    options: Options,
    watch: &mut dyn Watch,
) -> Result<Vec<VolumeDiff>> {
    let mut told = Vec::new();
    for volume in &after.volumes {
        let was = before.volumes.iter().find(|was| was.name == volume.name);
        told.push(match was {
            Some(was) => compared(was, volume, changed, options, watch)?,
            None => only(volume, VolumeState::Added),
        });
    }
    for was in &before.volumes {
        if !after.volumes.iter().any(|volume| volume.name == was.name) {
            told.push(only(was, VolumeState::Deleted));
        }
    }
    Ok(told)
}

/// What is on a volume, in a word or two.
fn kind(volume: &Volume) -> String {
    match &volume.content {
        Content::Filesystem(filesystem) => filesystem.summary().kind.to_owned(),
        Content::Locked { kind, .. } => format!("{kind}, encrypted"),
        Content::Physical(group) => format!("LVM2 physical volume of {group}"),
        Content::Named(name) => (*name).to_owned(),
        Content::Failed(_) => "damaged or not supported".to_owned(),
        Content::Unknown { is_empty: true } => "empty".to_owned(),
        Content::Unknown { is_empty: false } => "unknown".to_owned(),
    }
}

fn only(volume: &Volume, state: VolumeState) -> VolumeDiff {
    VolumeDiff {
        name: volume.name.clone(),
        kind: kind(volume),
        state,
        changed_bytes: 0,
        changes: Vec::new(),
    }
}

fn compared(
    was: &Volume,
    is: &Volume,
    changed: &Ranges,
    options: Options,
    watch: &mut dyn Watch,
) -> Result<VolumeDiff> {
    let own = is.changed_since(was, changed);
    let mut diff = VolumeDiff {
        changed_bytes: own.bytes().min(is.len),
        ..only(is, VolumeState::Compared)
    };
    if own.is_empty() {
        diff.state = VolumeState::Same;
        return Ok(diff);
    }
    // What changed on the volumes in it is told by them.
    if let (Content::Physical(before), Content::Physical(after)) = (&was.content, &is.content)
        && before == after
    {
        return Ok(diff);
    }
    let (Content::Filesystem(before), Content::Filesystem(after)) = (&was.content, &is.content)
    else {
        diff.state = why_not(was, is);
        return Ok(diff);
    };
    let (one, other) = (before.summary(), after.summary());
    if one.kind != other.kind || one.uuid != other.uuid {
        diff.state = VolumeState::NotRead(format!(
            "it is another filesystem: {} instead of {}",
            other.kind, one.kind
        ));
        return Ok(diff);
    }
    let mut reasons = Vec::new();
    for (condition, which) in [(&one.condition, "before"), (&other.condition, "after")] {
        if let Condition::NotReplayed(why) = condition {
            reasons.push(format!(
                "{which}: it was not unmounted, and its journal is not replayed ({why})"
            ));
        }
    }
    match filesystems(&**before, &**after, &own, options, watch) {
        Ok(found) => {
            diff.changes = found.changes;
            reasons.extend(found.problems.iter().map(Error::to_string));
        }
        Err(error @ (Error::Image(_) | Error::Cancelled)) => return Err(error),
        Err(error) => {
            diff.state = VolumeState::NotRead(error.to_string());
            return Ok(diff);
        }
    }
    if !reasons.is_empty() {
        diff.state = VolumeState::Partial(reasons);
    }
    Ok(diff)
}

/// Why a volume's files cannot be compared.
fn why_not(was: &Volume, is: &Volume) -> VolumeState {
    for volume in [is, was] {
        match &volume.content {
            Content::Filesystem(_) | Content::Physical(_) => {}
            Content::Failed(error) => return VolumeState::NotRead(error.to_string()),
            Content::Locked { kind, is_wrong } => {
                return VolumeState::Locked(locked(kind, *is_wrong));
            }
            Content::Named(name) => return VolumeState::NotRead(format!("{name}: not read")),
            Content::Unknown { .. } => {
                return VolumeState::NotRead("no filesystem that is known".to_owned());
            }
        }
    }
    VolumeState::NotRead("it is used for something else than before".to_owned())
}

impl VolumeDiff {
    /// Whether it is known that no file of it differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        match self.state {
            VolumeState::Same => true,
            VolumeState::Compared => self.changes.is_empty(),
            _ => false,
        }
    }
}
