//! Whether what a plan writes may be written at all: permissions, filesystems mounted read-only, files with
//! the immutable flag, folders that no name can be made in. Asked of every plan, so that none of it is found
//! out halfway. Who *uses* a file is found in `locks`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::host::{FileKind, Host, Stat, effective_user, io_text};

use super::copy_file::folder;
use super::format::shown;
use super::locks::data_file;
use super::note::NoteKind;
use super::plan::{EffectKind, Plan};
use super::refusal::{RefusalKind, WayOut};
use super::trash;

/// Refuses a plan that would write what may not be written.
pub(in crate::ops) fn refuse_unwritable(plan: &mut Plan) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let mut asked = BTreeSet::new();
    for effect in plan.effects.clone() {
        let path = effect.path;
        match effect.kind {
            // Whose file it is decides, not who may write it: its own planning looks.
            EffectKind::Reads
            | EffectKind::Breaks
            | EffectKind::Chmods
            | EffectKind::Annotates
            | EffectKind::Freezes => {}
            EffectKind::Creates | EffectKind::Restores => {
                refuse_folder(plan, host, folder(&path));
            }
            EffectKind::Writes
            | EffectKind::Grows
            | EffectKind::Preserves
            | EffectKind::Empties => {
                refuse_file(plan, host, &mut asked, &path);
                if let Some(data) = data_file(host, &path) {
                    refuse_file(plan, host, &mut asked, &data);
                }
            }
            EffectKind::Relinks | EffectKind::Updates | EffectKind::Drops => {
                refuse_file(plan, host, &mut asked, &path);
            }
            EffectKind::Trashes => {
                let bin = folder(&path).join(trash::DIR);
                let is_there = host.stat_link(&bin).is_ok();
                if is_there {
                    refuse_folder(plan, host, &bin);
                }
                refuse_renaming(plan, host, &path);
            }
            EffectKind::Moves => refuse_renaming(plan, host, &path),
            // What lies in the trash has other places than are shown: its own planning looks.
            EffectKind::Deletes => {}
        }
    }
}

/// Refuses a file whose bytes cannot be written.
fn refuse_file(plan: &mut Plan, host: &dyn Host, asked: &mut BTreeSet<PathBuf>, path: &Path) {
    if !asked.insert(path.to_path_buf()) {
        return;
    }
    let protected = host.stat(path).ok().filter(is_protected);
    match (host.may_write(path), protected) {
        // Root may write all the same; whoever took the right away did it for a reason.
        (Ok(()), Some(stat)) => plan.warn(
            NoteKind::Protected,
            format!(
                "{} is protected: nobody has the right to write it (mode {:04o}), and this writes it all the same",
                shown(path),
                stat.mode
            ),
        ),
        (Ok(()), None) => {}
        (Err(error), protected) => {
            let own = protected.filter(|stat| stat.uid == effective_user());
            let lifted = own.map(|stat| WayOut::lift_protection(path, stat.mode));
            plan.refuse_but(
                RefusalKind::NotWritable,
                format!("{} cannot be written: {}", shown(path), why(&error)),
                lifted.into_iter().collect(),
            );
        }
    }
}

/// Whether nobody has the right to write a file.
fn is_protected(stat: &Stat) -> bool {
    stat.kind == FileKind::Regular && stat.mode & 0o222 == 0
}

/// Refuses a file that cannot get another name. Its own permissions do not matter for that.
fn refuse_renaming(plan: &mut Plan, host: &dyn Host, path: &Path) {
    refuse_folder(plan, host, folder(path));
    // A link is renamed, not what it leads to.
    let is_link = host
        .stat_link(path)
        .is_ok_and(|stat| stat.kind == FileKind::Symlink);
    if is_link {
        return;
    }
    if let Err(error) = host.may_write(path)
        && is_immutable(&error)
    {
        plan.refuse(
            RefusalKind::NotWritable,
            format!(
                "{} cannot be moved or removed: {}",
                shown(path),
                why(&error)
            ),
        );
    }
}

/// Refuses a folder in which no name can be made or removed; of one that is still to be made, the folder that
/// is there.
pub(in crate::ops) fn refuse_folder(plan: &mut Plan, host: &dyn Host, dir: &Path) {
    let there = dir
        .ancestors()
        .map(|dir| {
            if dir.as_os_str().is_empty() {
                Path::new(".")
            } else {
                dir
            }
        })
        .find(|dir| host.stat_link(dir).is_ok());
    let Some(there) = there else { return };
    if let Err(error) = host.may_write(there) {
        let sentence = format!(
            "nothing can be made or removed in the folder {}: {}",
            shown(there),
            why(&error)
        );
        if plan.refusals.iter().all(|refusal| refusal.text != sentence) {
            plan.refuse(RefusalKind::NotWritable, sentence);
        }
    }
}

/// What the system says of a file with the immutable flag.
fn is_immutable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}

/// The reason, and what helps.
fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "it has the immutable flag (`chattr -i` takes that away)".to_owned(),
        Some(libc::EROFS) => "its filesystem is mounted read-only".to_owned(),
        Some(libc::EACCES) => "its permissions do not allow it".to_owned(),
        Some(libc::EBUSY) => {
            "it is mounted, or a part of another device: `lsblk` shows which".to_owned()
        }
        _ => io_text(error),
    }
}
