//! What every operation that creates an image asks of the new name: that it is free, that its
//! directory is there, that there is room.

use std::io;
use std::path::{Path, PathBuf};

use crate::forest::Location;
use crate::host::{FileKind, io_text};
use crate::qcow2::limits::{MAX_FILE_LENGTH, SECTOR};
use crate::units::size;

use super::format::{listed, name, shown};
use super::note::NoteKind;
use super::plan::Plan;
use super::refusal::RefusalKind;
use super::{may_write, resolve, space};

/// Checks the name, has it stay free, and says what room `needed` bytes leave. Returns the
/// directory with links resolved, if there is one.
pub(in crate::ops) fn check(plan: &mut Plan, new: &Path, needed: u64) -> Option<PathBuf> {
    if !check_name(plan, new) {
        return None;
    }
    let dir = usable_folder(plan, new.parent()?)?;
    refuse_as_missing_base(plan, new, &dir);
    space::need_in(plan, &dir, needed);
    Some(dir)
}

/// The same for a file in a folder that is not there yet, as [`new_folder`] gives it.
pub(in crate::ops) fn check_in_new_folder(plan: &mut Plan, new: &Path, dir: &Path, needed: u64) {
    if check_name(plan, new) {
        refuse_as_missing_base(plan, new, dir);
        space::need_in(plan, dir.parent().unwrap_or(dir), needed);
    }
}

/// Checks that a folder can be made of a name that is free, and gives it with the links of its parent resolved.
pub(in crate::ops) fn new_folder(plan: &mut Plan, folder: &Path) -> Option<PathBuf> {
    let (Some(name), Some(parent)) = (folder.file_name(), folder.parent()) else {
        plan.refuse(
            RefusalKind::Invalid,
            format!("{} is no name for a folder", shown(folder)),
        );
        return None;
    };
    let parent = usable_folder(plan, parent)?;
    // A link that leads nowhere.
    if plan.host().stat_link(folder).is_ok() {
        plan.refuse(
            RefusalKind::AlreadyExists,
            format!("{} is there already, and is no folder", shown(folder)),
        );
        return None;
    }
    Some(parent.join(name))
}

/// Checks that the name is free, and has it stay so.
fn check_name(plan: &mut Plan, new: &Path) -> bool {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    if new.file_name().is_none() {
        plan.refuse(
            RefusalKind::Invalid,
            format!("{} is no name for a file", shown(new)),
        );
        return false;
    }
    match host.stat_link(new) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => plan.preconditions.add_absent(new),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
        Err(error) => plan.refuse_for(resolve::unseen(new, &error)),
        Ok(_) => plan.refuse(
            RefusalKind::AlreadyExists,
            format!(
                "{} exists already, and is never overwritten: choose another name",
                shown(new)
            ),
        ),
    }
    true
}

/// The folder with links resolved, if it is one and may be written.
fn usable_folder(plan: &mut Plan, parent: &Path) -> Option<PathBuf> {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let dir = match host
        .canonical(parent)
        .and_then(|dir| host.stat(&dir).map(|stat| (dir, stat.kind)))
    {
        Ok((dir, FileKind::Directory)) => dir,
        Ok(_) => {
            plan.refuse(
                RefusalKind::Invalid,
                format!("{} is no folder", shown(parent)),
            );
            return None;
        }
        Err(error) => {
            plan.refuse(
                resolve::kind_of(&error),
                format!(
                    "the folder {} cannot be used: {error}",
                    shown(parent),
                    error = io_text(&error)
                ),
            );
            return None;
        }
    };
    may_write::refuse_folder(plan, host, &dir);
    Some(dir)
}

/// A new file by the name of a base that others miss would become their base without being it.
fn refuse_as_missing_base(plan: &mut Plan, new: &Path, dir: &Path) {
    let forest = plan.context().forest.clone();
    let resolved = new.file_name().map(|file| dir.join(file));
    let missed = [Some(new), resolved.as_deref()]
        .into_iter()
        .flatten()
        .find_map(|path| {
            forest
                .by_path(path)
                .filter(|node| node.location == Location::Missing)
        });
    let Some(missed) = missed else {
        return;
    };
    let children: Vec<String> = missed
        .children
        .iter()
        .filter_map(|child| forest.get(*child))
        .map(|child| name(&child.path))
        .collect();
    if !children.is_empty() {
        plan.refuse(
            RefusalKind::AlreadyExists,
            format!(
                "{} is the name of a base that {} cannot find: a new file there would pass for it. \
             Choose another name",
                shown(new),
                listed(&children, 5)
            ),
        );
    }
}

/// The size in whole sectors; a size that no disk can have, of whatever format, is refused. How much the
/// clusters of a qcow2 image map is told where its options are known.
pub(in crate::ops) fn whole_sectors(plan: &mut Plan, bytes: u64) -> u64 {
    if bytes > MAX_FILE_LENGTH {
        plan.refuse(
            RefusalKind::Invalid,
            format!(
                "{} is more than a disk can have ({})",
                size(bytes),
                size(MAX_FILE_LENGTH)
            ),
        );
        return bytes;
    }
    let rounded = bytes.div_ceil(SECTOR).saturating_mul(SECTOR);
    if rounded != bytes {
        plan.note(
            NoteKind::Size,
            format!("the size becomes {rounded} bytes: disks consist of sectors of {SECTOR} bytes"),
        );
    }
    rounded
}
