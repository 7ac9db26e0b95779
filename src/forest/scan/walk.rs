//! The walk: every file below the roots is sent to those who look at it. Where an answer is a way through a network,
//! many folders are read at the same time.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::Sender;
use walkdir::{DirEntry, WalkDir};

use crate::forest::NOTES_FILE;
use crate::forest::trash_folder::left_alone;
use crate::host::{FileKind, Host, io_text};
use crate::image::{TRASH_FOLDER, foreign_trash, is_trashed, maker_of};

use super::inspect::{Looker, Visit, Why};

/// Kernel filesystems at their usual places: their files are no images, and reading some of them
/// waits for ever.
const KERNEL_FILESYSTEMS: [&str; 3] = ["/proc", "/sys", "/dev"];

pub(super) type Unreadable = Vec<(PathBuf, String)>;

/// Nobody takes files any more, or the scan was stopped.
#[derive(Debug, Clone, Copy)]
struct Stopped;

/// Sends every file below the roots to the workers, with so many folders read at the same time; returns what could
/// not be read.
pub(super) fn walk(
    looker: &Looker,
    roots: &[PathBuf],
    visits: &Sender<Visit>,
    cancel: &AtomicBool,
    readers: usize,
) -> Unreadable {
    let walk = Walk {
        looker,
        visits,
        cancel,
        unreadable: Mutex::default(),
    };
    // All that is missing where somebody stopped it is what nobody waits for.
    let _ = walk.roots(roots, readers);
    walk.unreadable
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
}

struct Walk<'a> {
    looker: &'a Looker,
    visits: &'a Sender<Visit>,
    cancel: &'a AtomicBool,
    unreadable: Mutex<Unreadable>,
}

impl Walk<'_> {
    fn roots(&self, roots: &[PathBuf], readers: usize) -> Result<(), Stopped> {
        let host = self.looker.host();
        for (i, root) in roots.iter().enumerate() {
            if roots.iter().take(i).any(|before| before == root) {
                continue;
            }
            match host.stat(root) {
                // A dangling link given by name still gets its row.
                Err(error) => match host.stat_link(root) {
                    Ok(_) => self.send(root.clone(), true, Why::Given)?,
                    Err(_) => self.not_read((root.clone(), io_text(&error))),
                },
                Ok(stat) if stat.kind != FileKind::Directory => {
                    let link = host.stat_link(root);
                    let symlink = link.is_ok_and(|link| link.kind == FileKind::Symlink);
                    self.send(root.clone(), symlink, Why::Given)?;
                }
                Ok(_) if self.looker.is_inside_another_root(root) => {}
                Ok(_) if readers > 1 => self.at_once(root, readers)?,
                Ok(_) => {
                    for entry in entries_below(host, root) {
                        self.entry(root, entry)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The same of everything below a root, by several threads that read one folder each.
    fn at_once(&self, root: &Path, readers: usize) -> Result<(), Stopped> {
        let folders = Folders::of(root);
        let mut ended = Ok(());
        thread::scope(|scope| {
            let readers: Vec<_> = (0..readers)
                .map(|_| scope.spawn(|| folders.each(|folder, below| self.folder(folder, below))))
                .collect();
            for reader in readers {
                ended = ended.and(reader.join().unwrap_or(Ok(())));
            }
        });
        ended
    }

    /// Reads one folder; those in it are put with `below`.
    fn folder(&self, folder: &Folder, below: &mut Vec<Folder>) -> Result<(), Stopped> {
        let host = self.looker.host();
        let entries: Vec<_> = entries(host, &folder.path, folder.trash.as_deref(), 1).collect();
        let has_notes = |entry: &walkdir::Result<DirEntry>| match entry {
            Ok(entry) => entry.file_name() == NOTES_FILE,
            // What cannot be listed may be there.
            Err(_) => true,
        };
        if !entries.iter().any(has_notes) {
            self.looker.has_no_notes(&folder.path);
        }
        for entry in entries {
            if let Ok(entry) = &entry
                && entry.depth() > 0
                && entry.file_type().is_dir()
            {
                below.push(folder.below(entry));
                continue;
            }
            self.entry(&folder.path, entry)?;
        }
        Ok(())
    }

    fn entry(&self, root: &Path, entry: walkdir::Result<DirEntry>) -> Result<(), Stopped> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Stopped);
        }
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(root).to_path_buf();
                if let Some(error) = error.io_error() {
                    self.not_read((path, io_text(error)));
                }
                return Ok(());
            }
        };
        let kind = entry.file_type();
        if entry.file_name() == TRASH_FOLDER
            && let Some(why) = foreign_trash(self.looker.host(), entry.path())
        {
            self.not_read(left_alone(entry.path(), &why));
        }
        if kind.is_file() || kind.is_symlink() || kind.is_block_device() {
            self.send(entry.into_path(), kind.is_symlink(), Why::Met)?;
        }
        Ok(())
    }

    fn send(&self, path: PathBuf, symlink: bool, why: Why) -> Result<(), Stopped> {
        let sent = self.visits.send(Visit::new(path, symlink, why));
        sent.map_err(|_| Stopped)
    }

    fn not_read(&self, what: (PathBuf, String)) {
        let unreadable = self.unreadable.lock();
        unreadable
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }
}

/// A folder that is to be read by itself.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// The trash folder that it is in.
    trash: Option<PathBuf>,
}

impl Folder {
    fn below(&self, entry: &DirEntry) -> Self {
        let is_trash = self
            .path
            .file_name()
            .is_some_and(|name| name == TRASH_FOLDER);
        let own = is_trash.then(|| self.path.clone());
        Self {
            path: entry.path().to_path_buf(),
            trash: self.trash.clone().or(own),
        }
    }
}

/// Folders that are to be read, and how many are being read, which may add others. The last that was found is the
/// first that is read, so that there are not many.
#[derive(Debug, Default)]
struct Folders {
    state: Mutex<(Vec<Folder>, usize)>,
    changed: Condvar,
}

impl Folders {
    fn of(root: &Path) -> Self {
        let root = Folder {
            path: root.to_path_buf(),
            trash: None,
        };
        Self {
            state: Mutex::new((vec![root], 0)),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, (Vec<Folder>, usize)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has folders read until there are no more.
    fn each(
        &self,
        read: impl Fn(&Folder, &mut Vec<Folder>) -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        let mut state = self.state();
        loop {
            match state.0.pop() {
                Some(folder) => {
                    state.1 += 1;
                    drop(state);
                    let mut below = Vec::new();
                    let ended = read(&folder, &mut below);
                    state = self.state();
                    state.1 -= 1;
                    match &ended {
                        Ok(()) => state.0.append(&mut below),
                        Err(Stopped) => state.0.clear(),
                    }
                    self.changed.notify_all();
                    ended?;
                }
                None if state.1 == 0 => return Ok(()),
                None => {
                    let woken = self.changed.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// Everything below a directory that a scan looks at: of trash folders, the files that were put there, and
/// only where the folder is believed.
pub(in crate::forest) fn entries_below<'a>(
    host: &'a dyn Host,
    root: &Path,
) -> impl Iterator<Item = walkdir::Result<DirEntry>> + 'a {
    entries(host, root, None, usize::MAX)
}

/// The same down to a depth, of a folder that may be in a trash folder itself.
fn entries<'a>(
    host: &'a dyn Host,
    root: &Path,
    trash: Option<&Path>,
    depth: usize,
) -> impl Iterator<Item = walkdir::Result<DirEntry>> + 'a {
    let mut in_trash: Option<PathBuf> = trash.map(Path::to_path_buf);
    let mut is_ours = trash.is_some_and(|trash| foreign_trash(host, trash).is_none());
    let walk = WalkDir::new(root).max_depth(depth).into_iter();
    walk.filter_entry(move |entry| {
        // What somebody is making, or has left half made, is no image yet.
        if entry.depth() > 0 && maker_of(entry.path()).is_some() {
            return false;
        }
        if in_trash
            .as_ref()
            .is_some_and(|trash| !entry.path().starts_with(trash))
        {
            in_trash = None;
        }
        let is_dir = entry.file_type().is_dir();
        if let Some(trash) = &in_trash {
            return is_ours
                && if is_dir {
                    entry.path().parent() == Some(trash)
                } else {
                    entry.file_type().is_file() && is_trashed(entry.path())
                };
        }
        if is_dir && entry.file_name() == TRASH_FOLDER {
            in_trash = Some(entry.path().to_path_buf());
            is_ours = foreign_trash(host, entry.path()).is_none();
        }
        entry.depth() == 0
            || !is_dir
            || !KERNEL_FILESYSTEMS
                .iter()
                .any(|path| entry.path() == Path::new(path))
    })
}
