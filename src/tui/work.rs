//! Whatever touches the disk, on threads of its own: scanning, planning, running jobs, asking for
//! facts. Each answers with a message; an answer nobody waits for any more is not even looked for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::forest::{Forest, Index, Scan, ScanEvent, ScanOptions, scan_all};
use crate::host::{Host, printable};
use crate::image::Keys;
use crate::ops::{self, Context, Error, LookedIn, Progress, Ready, Request};

use super::msg::{Effect, LiveFacts, Msg, ScanEnd, Ticket};

/// How long an image has to be selected before the disk is asked about it.
const REST: Duration = Duration::from_millis(60);

/// What the workers know, and where they answer to.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    pub(super) host: Arc<dyn Host>,
    pub(super) scan: ScanOptions,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) answers: Sender<Msg>,
    newest: Arc<Newest>,
    selected: Sender<PathBuf>,
}

/// The newest question of each kind.
#[derive(Debug, Default)]
struct Newest {
    scan: AtomicU64,
    plan: AtomicU64,
}

impl Workers {
    pub(super) fn new(
        host: Arc<dyn Host>,
        scan: ScanOptions,
        state_dir: Option<PathBuf>,
        answers: Sender<Msg>,
    ) -> Self {
        let (selected, selections) = unbounded();
        {
            let (host, answers) = (Arc::clone(&host), answers.clone());
            thread::spawn(move || look_at_selected(&*host, &selections, &answers));
        }
        Self {
            host,
            scan,
            state_dir,
            answers,
            newest: Arc::default(),
            selected,
        }
    }

    /// Starts what was asked for, if it is for the workers.
    pub(super) fn start(&self, effect: Effect) {
        let me = self.clone();
        match effect {
            Effect::Scan(ticket) => {
                me.newest.scan.store(ticket, Ordering::SeqCst);
                thread::spawn(move || me.scan(ticket));
            }
            Effect::Plan {
                ticket,
                request,
                forest,
                delay,
            } => {
                me.newest.plan.store(ticket, Ordering::SeqCst);
                thread::spawn(move || me.plan(ticket, &request, forest, delay));
            }
            Effect::Run {
                job,
                ready,
                progress,
            } => {
                thread::spawn(move || me.run(job, *ready, &progress));
            }
            Effect::Facts(path) => {
                // Its thread lives as long as this sender.
                let _ = me.selected.send(path);
            }
            Effect::Candidates(ticket, forest) => {
                thread::spawn(move || {
                    let context = me.context(forest, LookedIn::default());
                    let found = ops::candidates(&context, Duration::ZERO);
                    me.answer(Msg::Candidates(ticket, found));
                });
            }
            Effect::Trash(ticket) => {
                thread::spawn(move || {
                    let dirs = &me.scan.roots;
                    let list = ops::trash::list(&*me.host, me.state_dir.as_deref(), dirs);
                    me.answer(Msg::Trash(ticket, list));
                });
            }
            Effect::Remember(forest) => {
                thread::spawn(move || me.remember(&forest));
            }
            Effect::Copy(_) | Effect::Redraw | Effect::Quit => {}
        }
    }

    /// Tells the interface; one that is gone needs no answer.
    fn answer(&self, msg: Msg) {
        let _ = self.answers.send(msg);
    }

    fn context(&self, forest: Arc<Forest>, looked_in: LookedIn) -> Context {
        Context {
            host: Arc::clone(&self.host),
            forest,
            looked_in,
            state_dir: self.state_dir.clone(),
            keys: Keys::none(),
        }
    }

    fn scan(&self, ticket: Ticket) {
        let scan = Scan::start(Arc::clone(&self.host), self.scan.clone());
        for event in scan.events() {
            if self.newest.scan.load(Ordering::SeqCst) != ticket {
                // Dropping the scan stops it.
                return;
            }
            match event {
                ScanEvent::Found(found) => self.answer(Msg::Found(ticket, found)),
                ScanEvent::Progress { files, .. } => self.answer(Msg::Looked(ticket, files)),
                ScanEvent::Done(summary) => {
                    let unreadable = summary.unreadable_dirs.iter();
                    let end = ScanEnd {
                        looked_at: summary.files_looked_at,
                        unreadable: unreadable
                            .map(|(dir, why)| format!("{}: {why}", printable(dir)))
                            .collect(),
                    };
                    self.answer(Msg::Scanned(ticket, end));
                    return;
                }
            }
        }
    }

    /// Makes a plan. Whatever may affect other images is planned on a forest scanned just now, with
    /// the images remembered from elsewhere looked at again.
    fn plan(&self, ticket: Ticket, request: &Request, forest: Arc<Forest>, delay: Duration) {
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        let is_old = || self.newest.plan.load(Ordering::SeqCst) != ticket;
        if is_old() {
            return;
        }
        let mut looked_in = LookedIn {
            dirs: self.scan.roots.clone(),
            remembered: 0,
        };
        let (known, shown) = if request.only_adds() {
            (forest, None)
        } else {
            let (fresh, _) = scan_all(Arc::clone(&self.host), self.scan.clone());
            let shown = Arc::new(fresh);
            let mut known = Arc::clone(&shown);
            if let Some(dir) = &self.state_dir {
                match Index::at(dir).recheck(&self.host, &self.scan.roots) {
                    Ok(found) => {
                        looked_in.remembered = found.len();
                        if !found.is_empty() {
                            Arc::make_mut(&mut known).extend(found);
                        }
                    }
                    Err(error) => self.answer(Msg::Tell(format!(
                        "The index of images seen earlier cannot be read ({error}): only the scanned folders were searched."
                    ))),
                }
            }
            (known, Some(shown))
        };
        if is_old() {
            return;
        }
        let context = self.context(known, looked_in);
        let plan = ops::plan(&context, request);
        self.answer(Msg::Planned(ticket, Box::new(plan), shown));
    }

    fn run(&self, job: u64, ready: Ready, progress: &Progress) {
        let title = ready.plan().title.clone();
        let result = catch_unwind(AssertUnwindSafe(|| ops::run(ready, progress)));
        let result = result.unwrap_or_else(|_| {
            Err(Error::Failed(format!(
                "{title} ended by a fault of this program; the images are as its last completed step left them"
            )))
        });
        self.answer(Msg::Ended(job, result));
    }

    fn remember(&self, forest: &Forest) {
        if let Some(dir) = &self.state_dir
            && let Err(error) = Index::at(dir).merge(&*self.host, forest)
        {
            self.answer(Msg::Tell(format!(
                "The index of images cannot be written to {}: {error}.",
                printable(dir)
            )));
        }
    }
}

/// Asks the disk about the selected image once the cursor rests on it: passing over thousands of
/// images asks nothing.
fn look_at_selected(host: &dyn Host, selections: &Receiver<PathBuf>, answers: &Sender<Msg>) {
    while let Ok(mut path) = selections.recv() {
        while let Ok(next) = selections.recv_timeout(REST) {
            path = next;
        }
        let dir = path.parent().unwrap_or(&path);
        let id = host.stat(&path).ok().map(|stat| stat.id);
        let holders = id.and_then(|id| host.holders(&[id]).remove(&id));
        let facts = LiveFacts {
            space: host.space(dir).ok(),
            holders: holders.unwrap_or_default(),
            path,
        };
        if answers.send(Msg::Facts(Box::new(facts))).is_err() {
            return;
        }
    }
}
