//! Notices changes on the disk: told by the system where that works, by looking every few seconds where
//! it does not. What is done about a change is `update`'s business.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, select, unbounded};
use notify::event::{ModifyKind, RenameMode};
use notify::{Config, Event, EventKind, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};

use crate::forest::TRASH_FOLDER;
use crate::host::io_text;
use crate::image::is_trashed;
use crate::system::network_filesystem;

use super::msg::{Msg, Watching};

/// How long it has to be quiet before a change is told.
const QUIET: Duration = Duration::from_millis(150);
/// A change is told after this long even if it goes on.
const LONGEST: Duration = Duration::from_secs(1);
/// Between two tellings of nothing but written bytes: a running machine writes all the time.
const WRITES: Duration = Duration::from_secs(3);
/// How often to look where the system does not tell.
const POLL: Duration = Duration::from_secs(5);
/// More changed files than this, and everything is looked at again.
const MANY: usize = 500;

/// Watches until nobody listens to the answers any more, which is also when whoever asked for it is gone.
pub(super) fn watch(roots: &[PathBuf], answers: &Sender<Msg>, gone: &Receiver<()>) {
    let (changes_in, changes) = unbounded();
    let network = roots.iter().find_map(|root| network_filesystem(root));
    let live = match network {
        Some(name) => Err(untold(name)),
        None => live(roots, changes_in.clone()),
    };
    watch_by(live, roots, POLL, changes_in, (&changes, gone), answers);
}

/// Why a network filesystem is not watched.
fn untold(filesystem: &str) -> String {
    format!("the system does not tell of changes on {filesystem}")
}

/// Watches by what the system tells, or by looking so often where it does not.
fn watch_by(
    live: Result<RecommendedWatcher, String>,
    roots: &[PathBuf],
    every: Duration,
    changes_in: Sender<WatchEvent>,
    (changes, gone): (&Receiver<WatchEvent>, &Receiver<()>),
    answers: &Sender<Msg>,
) {
    // Kept until the end: dropped, it would stop watching.
    let _watcher: Box<dyn Watcher> = match live {
        Ok(watcher) => {
            if answers.send(Msg::Watching(Watching::Live)).is_err() {
                return;
            }
            Box::new(watcher)
        }
        Err(why) => match polling(roots, every, changes_in) {
            Ok(watcher) => {
                if answers.send(Msg::Watching(Watching::Polling(why))).is_err() {
                    return;
                }
                Box::new(watcher)
            }
            Err(error) => {
                let why = notify_text(&error);
                let text = format!("Changes on the disk are not noticed ({why}): r looks again.");
                // As good as told.
                let _ = answers.send(Msg::Tell(text));
                return;
            }
        },
    };
    while let Some(changed) = gather(changes, gone) {
        if let Some(msg) = changed.told()
            && answers.send(msg).is_err()
        {
            return;
        }
    }
}

fn live(roots: &[PathBuf], to: Sender<WatchEvent>) -> Result<RecommendedWatcher, String> {
    let mut watcher = notify::recommended_watcher(move |event| tell(&to, event))
        .map_err(|error| notify_text(&error))?;
    for root in roots {
        watcher
            .watch(root, RecursiveMode::Recursive)
            .map_err(|error| notify_text(&error))?;
    }
    Ok(watcher)
}

/// Why changes are not told, in the words for people.
fn notify_text(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::Io(error) => io_text(error),
        notify::ErrorKind::PathNotFound => "a folder is not there".to_owned(),
        notify::ErrorKind::MaxFilesWatch => {
            "there are more folders than the system watches (fs.inotify.max_user_watches)"
                .to_owned()
        }
        _ => "the system does not tell of them".to_owned(),
    }
}

fn polling(
    roots: &[PathBuf],
    every: Duration,
    to: Sender<WatchEvent>,
) -> notify::Result<PollWatcher> {
    let config = Config::default().with_poll_interval(every);
    let mut watcher = PollWatcher::new(move |event| tell(&to, event), config)?;
    for root in roots {
        watcher.watch(root, RecursiveMode::Recursive)?;
    }
    Ok(watcher)
}

/// What the system told.
#[derive(Debug)]
enum WatchEvent {
    /// Bytes of files were written.
    Written(Vec<PathBuf>),
    /// Names came, went or changed.
    Named(Vec<PathBuf>),
    /// Something was missed.
    Lost,
}

fn tell(to: &Sender<WatchEvent>, event: notify::Result<Event>) {
    let seen = match event {
        Err(_) => WatchEvent::Lost,
        Ok(event) if event.need_rescan() => WatchEvent::Lost,
        Ok(event) => match event.kind {
            EventKind::Access(_) => return,
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
                WatchEvent::Written(event.paths)
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
            _ => WatchEvent::Named(event.paths),
        },
    };
    // Nobody listening any more is the end of watching.
    let _ = to.send(seen);
}

/// What changed within a short while.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changed {
    files: BTreeSet<PathBuf>,
    is_lost: bool,
    has_names: bool,
}

impl Changed {
    fn add(&mut self, seen: WatchEvent) {
        let paths = match seen {
            WatchEvent::Lost => {
                self.is_lost = true;
                return;
            }
            WatchEvent::Written(paths) => paths,
            WatchEvent::Named(paths) => {
                self.has_names = true;
                paths
            }
        };
        for path in paths {
            if path.iter().any(|part| part == TRASH_FOLDER) {
                self.files.extend(in_trash(&path));
            } else {
                self.files.insert(path);
            }
        }
    }

    /// The message; none if nothing of interest is left. A folder that came may hold anything.
    fn told(self) -> Option<Msg> {
        let has_folder = self.has_names && self.files.iter().any(|path| is_folder(path));
        if self.is_lost || has_folder || self.files.len() > MANY {
            return Some(Msg::Changed(None));
        }
        // That a folder's own time changed says nothing that its files do not say.
        let files: Vec<PathBuf> = self
            .files
            .into_iter()
            .filter(|path| !is_folder(path))
            .collect();
        (!files.is_empty()).then_some(Msg::Changed(Some(files)))
    }
}

/// The files that something in a trash folder stands for: of a folder that came, what is in it, so that not
/// everything is looked at again whenever an image is discarded.
fn in_trash(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(path) = open.pop() {
        if is_trashed(&path) {
            files.push(path);
            continue;
        }
        // What is deeper inside was not put there by us.
        let below = path.symlink_metadata().ok().filter(|stat| stat.is_dir());
        let below = below
            .and_then(|_| path.read_dir().ok())
            .into_iter()
            .flatten();
        let is_whole = path.file_name().is_some_and(|name| name == TRASH_FOLDER)
            || path
                .parent()
                .and_then(Path::file_name)
                .is_some_and(|name| name == TRASH_FOLDER);
        open.extend(
            below
                .flatten()
                .map(|entry| entry.path())
                .filter(|_| is_whole),
        );
    }
    files
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|stat| stat.is_dir())
}

/// Waits for a change, then for a quiet moment; none when nothing will come any more.
fn gather(changes: &Receiver<WatchEvent>, gone: &Receiver<()>) -> Option<Changed> {
    let mut changed = Changed::default();
    select! {
        recv(changes) -> seen => changed.add(seen.ok()?),
        recv(gone) -> _ => return None,
    }
    let started = Instant::now();
    loop {
        let patience = if changed.has_names || changed.is_lost {
            LONGEST
        } else {
            WRITES
        };
        let left = patience.saturating_sub(started.elapsed());
        // Written bytes can wait; a name that came or went is shown as soon as it is quiet.
        let wait = if changed.has_names { QUIET } else { left };
        if left.is_zero() {
            return Some(changed);
        }
        match changes.recv_timeout(wait.min(left)) {
            Ok(seen) => changed.add(seen),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Some(changed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::never;

    use super::*;

    fn named(path: &str) -> WatchEvent {
        WatchEvent::Named(vec![path.into()])
    }

    #[test]
    fn changes_in_a_short_while_are_told_together_and_the_trash_is_not_told_of() {
        let (to, from) = unbounded();
        to.send(named("/nowhere/a.qcow2")).unwrap();
        to.send(named("/nowhere/.qanopy-trash/b.qcow2")).unwrap();
        to.send(WatchEvent::Written(vec!["/nowhere/c.qcow2".into()]))
            .unwrap();
        let changed = gather(&from, &never()).unwrap();
        let told = changed.told();
        let Some(Msg::Changed(Some(files))) = told else {
            panic!("{told:?}");
        };
        assert_eq!(
            files,
            [PathBuf::from("/nowhere/a.qcow2"), "/nowhere/c.qcow2".into()]
        );
        drop(to);
        assert_eq!(gather(&from, &never()), None);
    }

    #[test]
    fn what_was_missed_and_a_folder_that_came_make_everything_be_looked_at() {
        let mut changed = Changed::default();
        changed.add(WatchEvent::Lost);
        assert!(matches!(changed.told(), Some(Msg::Changed(None))));
        let dir = tempfile::tempdir().unwrap();
        let mut changed = Changed::default();
        changed.add(WatchEvent::Named(vec![dir.path().to_path_buf()]));
        assert!(matches!(changed.told(), Some(Msg::Changed(None))));
        let mut changed = Changed::default();
        changed.add(WatchEvent::Written(vec![dir.path().to_path_buf()]));
        assert!(changed.told().is_none());
    }

    #[test]
    fn where_the_system_does_not_tell_a_new_file_is_noticed_by_looking_and_it_is_said_why() {
        let dir = tempfile::tempdir().unwrap();
        let (to, from) = unbounded();
        let roots = [dir.path().to_path_buf()];
        let (changes_in, changes) = unbounded();
        let every = Duration::from_millis(20);
        std::thread::spawn(move || {
            let network = Err(untold("NFS"));
            watch_by(
                network,
                &roots,
                every,
                changes_in,
                (&changes, &never()),
                &to,
            );
        });
        let next = || from.recv_timeout(Duration::from_secs(30)).unwrap();
        let first = next();
        let Msg::Watching(Watching::Polling(why)) = first else {
            panic!("{first:?}");
        };
        assert_eq!(why, "the system does not tell of changes on NFS");
        let file = dir.path().join("new.qcow2");
        std::fs::write(&file, "x").unwrap();
        let msg = next();
        assert!(
            matches!(&msg, Msg::Changed(Some(files)) if files.contains(&file)),
            "{msg:?}"
        );
    }

    #[test]
    fn a_new_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (to, from) = crossbeam_channel::unbounded();
        let roots = [dir.path().to_path_buf()];
        std::thread::spawn(move || watch(&roots, &to, &never()));
        let next = || from.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(matches!(next(), Msg::Watching(_)));
        let file = dir.path().join("new.qcow2");
        std::fs::write(&file, "x").unwrap();
        let msg = next();
        assert!(
            matches!(&msg, Msg::Changed(Some(files)) if files == std::slice::from_ref(&file)),
            "{msg:?}"
        );
    }
}
