//! A trash that is never emptied.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::forest::TRASH_FOLDER;
use crate::host::printable;
use crate::ops::{EmptyTrash, Remedy, trash};
use crate::units::{age, count, size};

use super::finder::{Finder, Found, Subject};

/// What is in the trash for longer is told.
const OLD: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) const FINDER: Finder = Finder {
    name: "old-trash",
    why: "What is in the trash takes as much space as before: it comes free only when the trash is emptied. Then it is \
          gone for good.",
    look,
};

/// The old entries of one trash folder.
#[derive(Default)]
struct Old {
    entries: Vec<String>,
    bytes: u64,
    oldest: Duration,
}

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let context = subject.context;
    let host = context.host.as_ref();
    let now = host.now();
    let mut folders: BTreeMap<PathBuf, Old> = BTreeMap::new();
    for entry in trash::list(host, context.state_dir.as_deref(), subject.named()) {
        let Some(for_so_long) = entry
            .discarded
            .and_then(|since| now.duration_since(since).ok())
        else {
            continue;
        };
        let first = entry.files.first();
        let folder = first.and_then(|file| trash_folder(&file.kept_at));
        let Some(folder) = folder.filter(|folder| for_so_long > OLD && subject.covers(folder))
        else {
            continue;
        };
        let old = folders.entry(folder.to_path_buf()).or_default();
        old.entries.push(entry.name.clone());
        old.bytes = old.bytes.saturating_add(entry.bytes());
        old.oldest = old.oldest.max(for_so_long);
    }
    let found = folders.into_iter().map(|(folder, old)| {
        let text = format!(
            "{} has {} older than {}, the oldest of {} ago: {} are free once they are deleted.",
            printable(&folder),
            count(old.entries.len(), "entry"),
            age(OLD),
            age(old.oldest),
            size(old.bytes)
        );
        let entries = old.entries;
        Found::at(&folder, text).helped_by(vec![Remedy::ask(EmptyTrash { entries })])
    });
    found.collect()
}

fn trash_folder(kept_at: &Path) -> Option<&Path> {
    let mut above = kept_at.ancestors();
    above.find(|dir| dir.file_name().is_some_and(|name| name == TRASH_FOLDER))
}
