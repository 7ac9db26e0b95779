//! Finds images: one thread walks the directories, several look at the files, and what they find
//! comes out in batches while the walk goes on. What is done with one file is in
//! `inspect`; how the finds become a forest is `insert`'s business.

mod inspect;
mod options;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use walkdir::WalkDir;

use crate::host::{Access, FileId, FileKind, Holder, Host, LockProbe, LockSet, io_text};
use crate::image::{TRASH_FOLDER, foreign_trash, is_trashed, maker_of};

use super::trash_folder::left_alone;
use super::{Forest, ScannedFile};
pub(super) use inspect::{Looker, Visit, Why};
pub use options::{RAW_EXTENSIONS, ScanOptions};

/// Kernel filesystems at their usual places: their files are no images, and reading some of them
/// waits for ever.
const KERNEL_FILESYSTEMS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Finds in one event at most.
const BATCH: usize = 256;
/// Events that may wait for whoever listens: what waits there is held twice.
const WAITING: usize = 4;
/// How long a find waits for company.
const BATCH_TIME: Duration = Duration::from_millis(16);
/// How often progress is told while nothing is found.
const PROGRESS_TIME: Duration = Duration::from_millis(100);

/// What a running scan tells.
#[derive(Debug, Clone)]
pub enum ScanEvent {
    /// Files found, to be taken in by [`Forest::extend`]. A file may come twice; the later one holds.
    Found(Vec<ScannedFile>),
    /// Which of them processes have open, to be taken in by [`Forest::hold`].
    Held(HashMap<FileId, Vec<Holder>>),
    /// How far the scan is.
    Progress {
        /// Files looked at so far.
        files: u64,
    },
    /// The end; nothing comes after it.
    Done(ScanSummary),
}

/// What a scan did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanSummary {
    /// Files looked at, images or not.
    pub files_looked_at: u64,
    /// Image files found, each counted once whatever the number of its names.
    pub images: u64,
    /// Directories (and roots) that could not be read, each with the reason.
    pub unreadable_dirs: Vec<(PathBuf, String)>,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether it was stopped before its end.
    pub cancelled: bool,
}

/// A running scan. Dropping it stops it.
#[derive(Debug)]
pub struct Scan {
    events: Receiver<ScanEvent>,
    cancel: Arc<AtomicBool>,
}

/// What the threads of one scan share.
#[derive(Debug, Default)]
struct Counts {
    files: AtomicU64,
}

impl Scan {
    /// Starts a scan; what it finds comes through [`Scan::events`].
    #[must_use]
    pub fn start(host: Arc<dyn Host>, options: ScanOptions) -> Self {
        let cancel = Arc::new(AtomicBool::new(false));
        let (events_in, events) = bounded(WAITING);
        let counts = Arc::new(Counts::default());
        let looker = Arc::new(Looker::new(host, &options));
        let (visits_in, visits) = bounded::<Visit>(1024);
        let (found_in, found) = bounded::<ScannedFile>(1024);

        let workers = thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
        for _ in 0..workers {
            let (looker, visits, found) = (looker.clone(), visits.clone(), found_in.clone());
            let (cancel, counts) = (cancel.clone(), counts.clone());
            thread::spawn(move || work(&looker, &visits, &found, &cancel, &counts));
        }
        drop((visits, found_in));
        let walker = {
            let (looker, cancel) = (looker.clone(), cancel.clone());
            thread::spawn(move || walk(&looker, &options.roots, &visits_in, &cancel))
        };
        {
            let cancel = cancel.clone();
            thread::spawn(move || {
                let mut collector = Collector {
                    events: events_in,
                    cancel,
                    counts,
                    started: Instant::now(),
                };
                // Whoever listened went away: there is nobody left to tell.
                let _ = collector.run(&found, &looker, walker);
            });
        }
        Self { events, cancel }
    }

    /// What the scan tells, [`ScanEvent::Done`] last.
    #[must_use]
    pub fn events(&self) -> &Receiver<ScanEvent> {
        &self.events
    }

    /// Stops the scan soon; [`ScanEvent::Done`] still comes.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Scans to the end and builds the forest.
#[must_use]
pub fn scan_all(host: Arc<dyn Host>, options: ScanOptions) -> (Forest, ScanSummary) {
    let scan = Scan::start(host, options);
    let mut forest = Forest::new();
    let mut summary = ScanSummary::default();
    for event in scan.events() {
        match event {
            ScanEvent::Found(found) => forest.extend(found),
            ScanEvent::Held(held) => forest.hold(held),
            ScanEvent::Progress { .. } => {}
            ScanEvent::Done(done) => {
                summary = done;
                break;
            }
        }
    }
    (forest, summary)
}

/// One file, as a scan finds it that was told of no other: by this thread alone, so that it costs no
/// more than opening it. Processes are looked for only where the file's locks say that there are some.
#[must_use]
pub fn look_at(host: Arc<dyn Host>, path: &Path) -> Option<ScannedFile> {
    let looker = Looker::new(Arc::clone(&host), &ScanOptions::default());
    let symlink = host
        .stat_link(path)
        .is_ok_and(|stat| stat.kind == FileKind::Symlink);
    let visit = Visit::new(path.to_path_buf(), symlink, Why::Given);
    let mut found = looker.look(&visit)?;
    let probed = host
        .open(path, Access::Read)
        .and_then(|file| file.probe_lock(LockSet::ReadWrite));
    let file = found.stat.as_ref().map(|stat| stat.id);
    found.holders = match (probed, file) {
        (Ok(LockProbe::Busy(conflict)), _) => {
            let mut holders = conflict.holders;
            if !holders.iter().any(|holder| holder.locks) {
                holders.push(Holder::unseen(conflict.writer));
            }
            holders
        }
        (Ok(LockProbe::Unsupported), Some(id)) => {
            host.holders(&[id]).remove(&id).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    Some(found)
}

/// These files and all that they are built on, wherever it is, looked at by this thread alone. Nobody is asked who
/// has them open.
#[must_use]
pub fn follow(host: Arc<dyn Host>, files: &[PathBuf]) -> Forest {
    let options = ScanOptions {
        roots: files.to_vec(),
        follow: true,
        raw: false,
    };
    let looker = Looker::new(host, &options);
    let mut open: Vec<Visit> = files
        .iter()
        .map(|path| {
            let link = looker.host().stat_link(path);
            let symlink = link.is_ok_and(|link| link.kind == FileKind::Symlink);
            Visit::new(path.clone(), symlink, Why::Given)
        })
        .collect();
    let mut forest = Forest::new();
    while !open.is_empty() {
        forest.extend(open.iter().filter_map(|visit| looker.look(visit)));
        open = looker.left_over();
    }
    forest
}

type Unreadable = Vec<(PathBuf, String)>;

/// Sends every file below the roots to the workers; returns what could not be read.
fn walk(
    looker: &Looker,
    roots: &[PathBuf],
    visits: &Sender<Visit>,
    cancel: &AtomicBool,
) -> Unreadable {
    let mut unreadable = Unreadable::new();
    let mut not_read = |what: (PathBuf, String)| unreadable.push(what);
    let told = |path: &Path, error: &io::Error| (path.to_path_buf(), io_text(error));
    for (i, root) in roots.iter().enumerate() {
        if roots.iter().take(i).any(|before| before == root) {
            continue;
        }
        match looker.host().stat(root) {
            Err(error) => {
                // A dangling link given by name still gets its row.
                let why = Why::Given;
                if looker.host().stat_link(root).is_ok() {
                    if visits.send(Visit::new(root.clone(), true, why)).is_err() {
                        return unreadable;
                    }
                } else {
                    not_read(told(root, &error));
                }
                continue;
            }
            Ok(stat) if stat.kind != FileKind::Directory => {
                let link = looker.host().stat_link(root);
                let symlink = link.is_ok_and(|link| link.kind == FileKind::Symlink);
                let visit = Visit::new(root.clone(), symlink, Why::Given);
                if visits.send(visit).is_err() {
                    return unreadable;
                }
                continue;
            }
            Ok(_) if looker.is_inside_another_root(root) => continue,
            Ok(_) => {}
        }
        for entry in entries_below(looker.host(), root) {
            if cancel.load(Ordering::Relaxed) {
                return unreadable;
            }
            match entry {
                Err(error) => {
                    let path = error.path().unwrap_or(root).to_path_buf();
                    if let Some(error) = error.io_error() {
                        not_read(told(&path, error));
                    }
                }
                Ok(entry) => {
                    let kind = entry.file_type();
                    if entry.file_name() == TRASH_FOLDER {
                        let why = foreign_trash(looker.host(), entry.path());
                        why.into_iter()
                            .for_each(|why| not_read(left_alone(entry.path(), &why)));
                    }
                    if kind.is_file() || kind.is_symlink() || kind.is_block_device() {
                        let visit = Visit::new(entry.into_path(), kind.is_symlink(), Why::Met);
                        if visits.send(visit).is_err() {
                            return unreadable;
                        }
                    }
                }
            }
        }
    }
    unreadable
}

/// Everything below a directory that a scan looks at: of trash folders, the files that were put there, and
/// only where the folder is believed.
pub(super) fn entries_below<'a>(
    host: &'a dyn Host,
    root: &Path,
) -> impl Iterator<Item = walkdir::Result<walkdir::DirEntry>> + 'a {
    let mut in_trash: Option<PathBuf> = None;
    let mut is_ours = false;
    WalkDir::new(root).into_iter().filter_entry(move |entry| {
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

/// Looks at files until there are no more.
fn work(
    looker: &Looker,
    visits: &Receiver<Visit>,
    found: &Sender<ScannedFile>,
    cancel: &AtomicBool,
    counts: &Counts,
) {
    for visit in visits {
        if cancel.load(Ordering::Relaxed) {
            return;
        }
        counts.files.fetch_add(1, Ordering::Relaxed);
        if let Some(find) = looker.look(&visit)
            && found.send(find).is_err()
        {
            return;
        }
    }
}

/// Gathers the finds of all workers into events.
struct Collector {
    events: Sender<ScanEvent>,
    cancel: Arc<AtomicBool>,
    counts: Arc<Counts>,
    started: Instant,
}

/// Nobody listens any more.
struct Unheard;

impl Collector {
    fn run(
        &mut self,
        found: &Receiver<ScannedFile>,
        looker: &Looker,
        walker: thread::JoinHandle<Unreadable>,
    ) -> Result<(), Unheard> {
        self.gather(found)?;
        let unreadable_dirs = walker.join().unwrap_or_default();
        // What images name and the walk did not recognise; in turn, what these name.
        let mut batch = Vec::new();
        loop {
            let left_over = looker.left_over();
            if left_over.is_empty() || self.cancelled() {
                break;
            }
            for visit in left_over {
                if self.cancelled() {
                    break;
                }
                self.counts.files.fetch_add(1, Ordering::Relaxed);
                batch.extend(looker.look(&visit));
                self.flush_full(&mut batch)?;
            }
        }
        if !self.cancelled() {
            self.flush(&mut batch)?;
            self.send(ScanEvent::Held(looker.held()))?;
        }
        self.send(ScanEvent::Done(ScanSummary {
            files_looked_at: self.counts.files.load(Ordering::Relaxed),
            images: looker.images(),
            unreadable_dirs,
            elapsed: self.started.elapsed(),
            cancelled: self.cancelled(),
        }))
    }

    fn gather(&self, found: &Receiver<ScannedFile>) -> Result<(), Unheard> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut due = Instant::now() + PROGRESS_TIME;
        loop {
            match found.recv_deadline(due) {
                Ok(find) => {
                    if batch.is_empty() {
                        due = Instant::now() + BATCH_TIME;
                    }
                    batch.push(find);
                    if batch.len() < BATCH && Instant::now() < due {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return self.flush(&mut batch);
                }
            }
            self.flush(&mut batch)?;
            due = Instant::now() + PROGRESS_TIME;
        }
    }

    fn flush_full(&self, batch: &mut Vec<ScannedFile>) -> Result<(), Unheard> {
        if batch.len() >= BATCH {
            self.flush(batch)?;
        }
        Ok(())
    }

    fn flush(&self, batch: &mut Vec<ScannedFile>) -> Result<(), Unheard> {
        if !batch.is_empty() {
            // All of one size, so that one takes the room of another.
            let found = std::mem::replace(batch, Vec::with_capacity(BATCH));
            self.send(ScanEvent::Found(found))?;
        }
        self.send(ScanEvent::Progress {
            files: self.counts.files.load(Ordering::Relaxed),
        })
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Waits while the listener is busy; gives up when it has gone or has stopped the scan and does
    /// not listen.
    fn send(&self, mut event: ScanEvent) -> Result<(), Unheard> {
        loop {
            match self.events.send_timeout(event, PROGRESS_TIME) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) if !self.cancelled() => event = back,
                Err(_) => return Err(Unheard),
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
