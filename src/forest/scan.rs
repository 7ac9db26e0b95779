//! Finds images: one thread walks the directories, several look at the files, and what they find
//! comes out in batches while the walk goes on. How the directories are read is in `walk`, what is done with one file
//! in `inspect`; how the finds become a forest is `insert`'s business.

mod inspect;
mod options;
mod walk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use crate::host::{Access, FileId, FileKind, Holder, Host, LockProbe, LockSet};
use crate::system::{is_over_network, on_threads};

use super::{Forest, ScannedFile};
pub(super) use inspect::{Looker, Visit, Why};
pub use options::{RAW_EXTENSIONS, ScanOptions};
pub(super) use walk::entries_below;
use walk::{Unreadable, walk};

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
    /// Threads that look at files, once that is known.
    lookers: AtomicUsize,
}

/// How many threads do what: a disk keeps as many busy as there are processors, a network as many as wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hands {
    /// Those that look at files.
    lookers: usize,
    /// Those that read folders.
    readers: usize,
}

impl Hands {
    const OVER_NETWORK: Self = Self {
        lookers: 32,
        readers: 32,
    };

    fn for_roots(roots: &[PathBuf]) -> Self {
        if roots.iter().any(|root| is_over_network(root)) {
            return Self::OVER_NETWORK;
        }
        let processors = thread::available_parallelism().map_or(2, usize::from);
        Self {
            lookers: processors.clamp(2, 8),
            readers: 1,
        }
    }
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

        let walker = {
            let (looker, cancel, counts) = (looker.clone(), cancel.clone(), counts.clone());
            thread::spawn(move || {
                // A server that does not answer holds up the scan, and not whoever started it.
                let hands = Hands::for_roots(&options.roots);
                counts.lookers.store(hands.lookers, Ordering::Relaxed);
                for _ in 0..hands.lookers {
                    let (looker, visits, found) =
                        (looker.clone(), visits.clone(), found_in.clone());
                    let (cancel, counts) = (cancel.clone(), counts.clone());
                    thread::spawn(move || work(&looker, &visits, &found, &cancel, &counts));
                }
                drop((visits, found_in));
                walk(&looker, &options.roots, &visits_in, &cancel, hands.readers)
            })
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
            for visits in left_over.chunks(BATCH) {
                let lookers = self.counts.lookers.load(Ordering::Relaxed);
                let found = on_threads(lookers, visits, |visit| {
                    let goes_on = !self.cancelled();
                    goes_on.then(|| {
                        self.counts.files.fetch_add(1, Ordering::Relaxed);
                        looker.look(visit)
                    })
                });
                let Some(found) = found else {
                    break;
                };
                batch.extend(found.into_iter().flatten());
                self.flush(&mut batch)?;
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
