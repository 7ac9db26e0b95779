//! Finding what is in the trash.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::forest::{Annotation, TRASH_FOLDER as DIR};
use crate::host::{FileId, FileKind, Host, io_text};
use crate::image::{foreign_trash, is_trashed};
use crate::ops::framework::error::Error;
use crate::ops::framework::format::shown;

use super::base::Base;
use super::folder::{manifest_path, remove_folder};
use super::manifest::Manifest;
use super::register;

/// One batch in the trash: what was discarded together comes back together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name that `trash restore` takes.
    pub name: String,
    /// When it was discarded, as its manifest tells.
    pub discarded: Option<SystemTime>,
    /// What was done: `discard`, `commit`; empty if no manifest tells.
    pub reason: String,
    /// The files that are in the trash now, in the order they were moved there.
    pub files: Vec<Trashed>,
    /// What is odd about it, in sentences.
    pub problems: Vec<String>,
    /// The batch's folders, one a directory.
    pub(in crate::ops) folders: BTreeSet<PathBuf>,
}

/// One file in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// Where it was, and where it would come back to.
    pub original: PathBuf,
    /// Where it is now.
    pub kept_at: PathBuf,
    /// Bytes it takes on disk now.
    pub bytes: u64,
    /// Why it went; empty if no manifest tells.
    pub why: String,
    /// Which file it is: another one in its place is left alone.
    pub(in crate::ops) file: FileId,
    /// What it was built on.
    pub(in crate::ops) base: Option<Base>,
    turn: u64,
}

impl Entry {
    /// Bytes on disk of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Whether each of its files is the one that was seen, in a folder that is ours.
    ///
    /// # Errors
    /// [`Error::Stale`] names the first that is not.
    pub(in crate::ops) fn require_unchanged(&self, host: &dyn Host) -> Result<(), Error> {
        for trash in self.folders.iter().filter_map(|folder| folder.parent()) {
            if let Some(why) = foreign_trash(host, trash) {
                return Err(Error::stale(format!("{} {why} by now", shown(trash))));
            }
        }
        for file in &self.files {
            let path = &file.kept_at;
            let is_it = host.canonical(path).is_ok_and(|place| place == *path)
                && host.stat_link(path).is_ok_and(|stat| stat.id == file.file);
            if !is_it {
                return Err(Error::stale(format!(
                    "{} is not the file that was shown: look again",
                    shown(path)
                )));
            }
        }
        Ok(())
    }

    /// Takes away what is left of an entry whose files are all gone: folders, manifests, the note
    /// in the state directory. Best effort.
    pub(in crate::ops) fn clear(&self, host: &dyn Host, state_dir: Option<&Path>) {
        for folder in &self.folders {
            let trash = folder.parent().and_then(|trash| host.canonical(trash).ok());
            if remove_folder(host, folder)
                && let (Some(state_dir), Some(trash)) = (state_dir, trash)
            {
                register::forget(host, state_dir, &trash);
            }
        }
    }
}

/// Everything in the trash folders noted in the state directory and in those at or below `dirs`
/// (links not followed), newest first. What cannot be read is passed over.
#[must_use]
pub fn list(host: &dyn Host, state_dir: Option<&Path>, dirs: &[PathBuf]) -> Vec<Entry> {
    entries(host, &all_folders(host, state_dir, dirs))
}

/// The trash folders there that are not ours, each with the reason: what is in them is not told.
#[must_use]
pub fn foreign(host: &dyn Host, state_dir: Option<&Path>, dirs: &[PathBuf]) -> Vec<String> {
    let folders = all_folders(host, state_dir, dirs);
    let foreign = folders.iter().filter_map(|trash| {
        let why = foreign_trash(host, trash)?;
        let trash = shown(trash);
        Some(format!(
            "{trash} {why}: what is in it is neither looked at nor restored"
        ))
    });
    foreign.collect()
}

fn all_folders(host: &dyn Host, state_dir: Option<&Path>, dirs: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut folders = noted(host, state_dir);
    for dir in dirs {
        below(host, dir, &mut folders);
    }
    folders
}

/// The trash folder in this directory, if there is anything by that name.
fn trash_in(host: &dyn Host, dir: &Path) -> Option<PathBuf> {
    let trash = host.canonical(dir).ok()?.join(DIR);
    host.stat_link(&trash).ok()?;
    Some(trash)
}

/// The entries of these names, in the order asked; what is not found is named. Looks in the noted
/// trash folders and right in `dirs` first, below them only if that does not suffice.
pub(in crate::ops) fn find(
    host: &dyn Host,
    state_dir: Option<&Path>,
    dirs: &[PathBuf],
    names: &[String],
) -> (Vec<Entry>, Vec<String>) {
    let mut folders = noted(host, state_dir);
    for dir in dirs {
        folders.extend(trash_in(host, dir));
    }
    let pick = |all: Vec<Entry>| {
        let mut missing = Vec::new();
        let mut found: Vec<Entry> = Vec::new();
        for name in names {
            match all.iter().find(|entry| entry.name == *name) {
                Some(entry) if !found.contains(entry) => found.push(entry.clone()),
                Some(_) => {}
                None => missing.push(name.clone()),
            }
        }
        (found, missing)
    };
    let quick = pick(entries(host, &folders));
    if quick.1.is_empty() || dirs.is_empty() {
        return quick;
    }
    pick(list(host, state_dir, dirs))
}

/// The entries that hold one of these files, by the places they were at, and are not older than
/// `since`; newest first. Looks in the noted trash folders and beside the files.
pub(in crate::ops) fn holding(
    host: &dyn Host,
    state_dir: Option<&Path>,
    files: &[PathBuf],
    since: SystemTime,
) -> Vec<Entry> {
    let mut folders = noted(host, state_dir);
    let mut places = BTreeSet::new();
    for path in files {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let Ok(dir) = host.canonical(dir) else {
            continue;
        };
        folders.extend(trash_in(host, &dir));
        places.insert(dir.join(name));
    }
    // A manifest tells whole seconds.
    let since = since.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let is_new = |entry: &Entry| {
        let discarded = entry
            .discarded
            .and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        discarded.is_some_and(|discarded| discarded.as_secs() >= since)
    };
    let mut found = entries(host, &folders);
    found.retain(|entry| {
        is_new(entry)
            && entry
                .files
                .iter()
                .any(|file| places.contains(&file.original))
    });
    found
}

/// What the notes of its folder said of a file in the trash when it went there.
pub(in crate::ops) fn annotation_of(host: &dyn Host, kept_at: &Path) -> Option<Annotation> {
    let (folder, name) = (kept_at.parent()?, kept_at.file_name()?);
    let manifest = Manifest::read(host, &manifest_path(folder)).ok()?;
    let mut files = manifest.files.into_iter();
    let file = files.find(|file| OsString::from(&file.name) == name)?;
    file.annotation.filter(|_| is_trashed(kept_at))
}

fn noted(host: &dyn Host, state_dir: Option<&Path>) -> BTreeSet<PathBuf> {
    let noted = state_dir.map(|dir| register::all(host, dir));
    let noted = noted.into_iter().flatten();
    noted
        .filter_map(|trash| trash_in(host, trash.parent()?))
        .collect()
}

/// Adds the trash folders at or below a directory.
fn below(host: &dyn Host, dir: &Path, found: &mut BTreeSet<PathBuf>) {
    let Ok(dir) = host.canonical(dir) else {
        return;
    };
    let mut open = vec![dir];
    while let Some(dir) = open.pop() {
        if dir.file_name().is_some_and(|name| name == DIR) {
            found.insert(dir);
            continue;
        }
        for name in host.list_dir(&dir).unwrap_or_default() {
            let path = dir.join(&name);
            // One that is a link is told of, and not looked into.
            if name == DIR {
                found.insert(path);
            } else if host
                .stat_link(&path)
                .is_ok_and(|stat| stat.kind == FileKind::Directory)
            {
                open.push(path);
            }
        }
    }
}

/// The entries of these trash folders, newest first.
fn entries(host: &dyn Host, trashes: &BTreeSet<PathBuf>) -> Vec<Entry> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let ours = |trash: &&PathBuf| foreign_trash(host, trash).is_none();
    for trash in trashes.iter().filter(ours) {
        for name in host.list_dir(trash).unwrap_or_default() {
            let folder = trash.join(&name);
            let is_batch = host
                .stat_link(&folder)
                .is_ok_and(|stat| stat.kind == FileKind::Directory);
            // Names we give are plain; anything else was put here by somebody else.
            let Some(name) = name.to_str().filter(|_| is_batch) else {
                continue;
            };
            let entry = entries.entry(name.to_owned()).or_insert_with(|| Entry {
                name: name.to_owned(),
                discarded: None,
                reason: String::new(),
                files: Vec::new(),
                problems: Vec::new(),
                folders: BTreeSet::new(),
            });
            read_folder(host, trash, &folder, entry);
        }
    }
    let mut entries: Vec<Entry> = entries
        .into_values()
        // Nothing but an empty folder: a crash before the first rename, or after the last.
        .filter(|entry| !entry.files.is_empty())
        .collect();
    for entry in &mut entries {
        entry
            .files
            .sort_by(|a, b| (a.turn, &a.original).cmp(&(b.turn, &b.original)));
    }
    entries.sort_by(|a, b| (b.discarded, &b.name).cmp(&(a.discarded, &a.name)));
    entries
}

fn read_folder(host: &dyn Host, trash: &Path, folder: &Path, entry: &mut Entry) {
    let Some(dir) = trash.parent() else {
        return;
    };
    let manifest = Manifest::read(host, &manifest_path(folder)).unwrap_or_else(|error| {
        entry.problems.push(format!(
            "its manifest cannot be read ({error})",
            error = io_text(&error)
        ));
        Manifest::default()
    });
    if entry.discarded.is_none() && manifest.discarded > 0 {
        // A forged number may lie beyond what the system's clock can hold.
        entry.discarded = UNIX_EPOCH.checked_add(Duration::from_secs(manifest.discarded));
        entry.reason.clone_from(&manifest.reason);
    }
    let said: BTreeMap<OsString, _> = manifest
        .files
        .iter()
        .map(|file| (OsString::from(&file.name), file))
        .collect();
    for name in host.list_dir(folder).unwrap_or_default() {
        let kept_at = folder.join(&name);
        let Ok(stat) = host.stat_link(&kept_at) else {
            continue;
        };
        if stat.kind != FileKind::Regular {
            let path = shown(&kept_at);
            let text = format!("{path} is no regular file, so it was not put there: left alone");
            entry.problems.push(text);
            continue;
        }
        let said = said.get(&name);
        let true_of_it = said.filter(|file| file.is_of(host, &kept_at));
        let why = match (said, true_of_it) {
            (_, Some(file)) => file.why.clone(),
            (Some(_), None) => {
                "another file, which was to take its place when it was cut off".to_owned()
            }
            (None, None) => String::new(),
        };
        entry.files.push(Trashed {
            original: dir.join(&name),
            kept_at,
            bytes: stat.allocated,
            why,
            file: stat.id,
            base: true_of_it.and_then(|file| file.base.clone()),
            turn: said.map_or(u64::MAX, |file| file.turn),
        });
    }
    entry.folders.insert(folder.to_path_buf());
}
