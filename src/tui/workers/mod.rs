//! The threads that do what the step asks for: scans, plans, jobs, questions to the disk. What comes of it
//! goes back as messages.
//!
//! | file | what |
//! |---|---|
//! | `scan` | looking at the directories, and remembering what is there |
//! | `plan` | plans for requests |
//! | `run`, `check`, `compare`, `extract`, `command` | jobs |
//! | `hosts` | other machines |
//! | `selected` | what the disk tells of the selected image |
//! | `files`, `guest_files`, `insides` | what is inside images: beside the tree, for the plan that is shown, for the filter |
//! | `browse`, `complete`, `interrupted`, `measure`, `space` | answers to dialogs |
//! | `session_log` | the log on the disk |

mod browse;
mod check;
mod command;
mod compare;
mod complete;
mod extract;
mod files;
mod guest_files;
mod hosts;
mod insides;
mod interrupted;
mod measure;
mod plan;
mod run;
mod scan;
mod selected;
mod session_log;
mod space;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::facts::TrashEntry;
use crate::fleet::{Destination, Dials, FarFolders, Peers};
use crate::forest::{Forest, KnownInsides, ScanOptions, refreshed};
use crate::host::{Host, io_text, printable};
use crate::image::{Format, Keys, Passphrases};
use crate::machines::{self, Machines};
use crate::mount::{self, Contents};
use crate::ops::{self, Context, LookedIn, Outcome, ReadOptions, SnapshotName, SpaceCache};
use crate::system::give_back_memory;

use super::far_answers::{Asking, Topic};
use super::file_changes::FilesQuery;
use super::filter::Filter;
use super::hosts::gathered_anew;
use super::jobs::Work;
use super::log::LogLine;
use super::msg::{Effect, Msg};
use super::places::Places;
use super::query::QueryId;
use super::secret::Secrets;
use super::space::SpaceFound;
use super::{clipboard, crash, watch};
use files::FileReader;
use hosts::{BesideAsker, HostLine, ScanAsker};
use selected::{look_at_selected, map_selected};
use session_log::{ToLog, write_log};

/// How long leaving waits for the session's log.
const LOG_PATIENCE: Duration = Duration::from_millis(100);

/// What the workers know, and where they answer to.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    pub(super) host: Arc<dyn Host>,
    pub(super) scan: ScanOptions,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) answers: Sender<Msg>,
    /// The other machines.
    hosts: Arc<Vec<HostLine>>,
    /// Those that are asked who uses files of shared storage.
    peers: Peers,
    /// Those who ask them about images; none before that was asked for.
    there: Arc<Vec<OnceLock<Workers>>>,
    newest: Arc<Newest>,
    selected: Sender<PathBuf>,
    mapped: Sender<(PathBuf, Option<Format>)>,
    files: Sender<FilesQuery>,
    log: Sender<ToLog>,
    secrets: Arc<Secrets>,
    keys: Keys,
    /// What images were found to hold.
    measured: Arc<SpaceCache>,
    /// What was found inside images; none where nobody asked for what is kept of it.
    insides: Arc<Mutex<Option<KnownInsides>>>,
    /// Changes on the disk are watched for until the sender is gone, which never sends.
    alive: (Sender<()>, Receiver<()>),
}

/// The newest question of each kind.
#[derive(Debug, Default)]
struct Newest {
    scan: AtomicU64,
    plan: AtomicU64,
    filter: AtomicU64,
    space: AtomicU64,
    browse: AtomicU64,
    look: AtomicU64,
    insides: AtomicU64,
}

impl Workers {
    pub(super) fn new(
        host: Arc<dyn Host>,
        scan: ScanOptions,
        hosts: &[FarFolders],
        state_dir: Option<PathBuf>,
        answers: Sender<Msg>,
    ) -> Self {
        let dials = Dials::default();
        let line = |one: &FarFolders| HostLine::new(one, dials.clone());
        let lines = hosts.iter().map(line).collect();
        let there = hosts.iter().map(|_| OnceLock::new()).collect();
        let (selected, selections) = unbounded();
        let (log, to_log) = unbounded();
        let (mapped, to_map) = unbounded();
        let (files, questions) = unbounded();
        {
            let (host, answers) = (Arc::clone(&host), answers.clone());
            let scan = scan.clone();
            thread::spawn(move || map_selected(&*host, &scan, &to_map, &answers));
        }
        if let Some(dir) = state_dir.clone() {
            thread::spawn(move || write_log(&dir, &to_log));
        }
        {
            let (host, answers) = (Arc::clone(&host), answers.clone());
            thread::spawn(move || look_at_selected(&*host, &selections, &answers));
        }
        let secrets = Arc::new(Secrets::default());
        let source: Arc<dyn Passphrases> = Arc::<Secrets>::clone(&secrets);
        let keys = Keys::from(source);
        {
            let reader = FileReader {
                host: Arc::clone(&host),
                scan: scan.clone(),
                keys: keys.clone(),
                answers: answers.clone(),
            };
            thread::spawn(move || reader.run(&questions));
        }
        Self {
            alive: bounded(0),
            hosts: Arc::new(lines),
            peers: Peers::Nobody,
            there: Arc::new(there),
            keys,
            secrets,
            host,
            scan,
            state_dir,
            answers,
            newest: Arc::default(),
            measured: Arc::default(),
            insides: Arc::default(),
            selected,
            mapped,
            files,
            log,
        }
    }

    /// The same, asking these hosts who uses files of shared storage.
    pub(super) fn asking(self, peers: Peers) -> Self {
        Self { peers, ..self }
    }

    /// The same for other directories: the scan of these stops. A sentence where one of those cannot be opened.
    pub(super) fn elsewhere(
        &self,
        roots: &[PathBuf],
        hosts: &[FarFolders],
        answers: Sender<Msg>,
    ) -> Result<Self, String> {
        if let Some(why) = roots.iter().find_map(|root| unreachable(root)) {
            return Err(why);
        }
        self.stop_scan();
        let scan = ScanOptions {
            roots: roots.to_vec(),
            ..self.scan.clone()
        };
        let (host, state_dir) = (Arc::clone(&self.host), self.state_dir.clone());
        let peers = self.peers.clone();
        Ok(Self::new(host, scan, hosts, state_dir, answers).asking(peers))
    }

    /// Watches the directories for changes.
    pub(super) fn watch(&self) {
        let (roots, answers) = (self.scan.roots.clone(), self.answers.clone());
        let gone = self.alive.1.clone();
        self.spawn(move || watch::watch(&roots, &answers, &gone));
    }

    /// Stops the scan that runs: what it finds is for nobody.
    fn stop_scan(&self) {
        self.newest.scan.store(u64::MAX, Ordering::SeqCst);
        for host in self.hosts.iter() {
            host.newest.store(u64::MAX, Ordering::SeqCst);
            host.stop_all();
        }
    }

    /// Those who ask the host at this place about its images, by the names that these have there. Each host has its
    /// own, so that one that hangs holds up nobody else.
    pub(super) fn there(&self, at: usize) -> Option<Self> {
        let (host, there) = (self.hosts.get(at)?, self.there.get(at)?);
        let number = hosts::number(at)?;
        let workers = there.get_or_init(|| {
            let scan = ScanOptions {
                roots: host.folders.clone(),
                ..self.scan.clone()
            };
            let answers = hosts::answers(&host.name, number, self.answers.clone());
            Self {
                newest: Arc::clone(&self.newest),
                ..Self::new(Arc::new(host.files()), scan, &[], None, answers)
            }
        });
        Some(workers.clone())
    }

    /// How the host at this place is reached.
    pub(super) fn destination(&self, at: usize) -> Option<&Destination> {
        self.hosts.get(at).map(HostLine::to)
    }

    /// Has a host scan its folders.
    fn scan_host(&self, query_id: QueryId, at: usize) {
        let Some(host) = self.hosts.get(at) else {
            return;
        };
        host.newest.store(query_id, Ordering::SeqCst);
        // They take long, and are asked for anew once its images are told.
        for topic in [Topic::Findings, Topic::Space, Topic::Machines] {
            let _ = host.stop(hosts::Kind::Beside(topic));
        }
        let (newest, answers) = (Arc::clone(&host.newest), self.answers.clone());
        if let Some(asker) = ScanAsker::new(&host.name, (at, query_id), newest, answers) {
            host.ask(hosts::Question {
                words: host.scan.clone(),
                asker: Box::new(asker),
                stops: host.stop(hosts::Kind::Scan),
            });
        }
    }

    /// Asks a host what it knows beside its images.
    fn ask_host(&self, query_id: QueryId, at: usize, asking: Asking) {
        let Some(host) = self.hosts.get(at) else {
            return;
        };
        let (topic, answers) = (asking.topic, self.answers.clone());
        let Some(number) = hosts::number(at) else {
            return;
        };
        let asker = BesideAsker::new(&host.name, topic, number, (at, query_id), answers);
        host.ask(hosts::Question {
            words: asking.words(&host.tell),
            asker: Box::new(asker),
            stops: host.stop(hosts::Kind::Beside(topic)),
        });
    }

    /// Has hosts stop to find out something that nobody waits for any more.
    fn stop_asking(&self, topic: Topic) {
        for host in self.hosts.iter() {
            // The next question has a count of its own.
            let _ = host.stop(hosts::Kind::Beside(topic));
        }
    }

    /// Writes lines into the session's log; where nothing is kept they are for the pane alone.
    pub(super) fn write_down(&self, lines: Vec<LogLine>) {
        // Nobody writes: no state is kept.
        let _ = self.log.send(ToLog::Lines(lines));
    }

    /// Waits until all that was sent to the session's log is written, a moment at most.
    pub(super) fn finish_log(&self) {
        let (done, told) = bounded(0);
        if self.log.send(ToLog::Done(done)).is_ok() {
            // A disk that hangs shall not keep the person from leaving.
            let _ = told.recv_timeout(LOG_PATIENCE);
        }
    }

    /// Gives text to a program of the desktop, where the terminal may not put it on the clipboard.
    pub(super) fn copy(&self, text: String) {
        let programs = clipboard::programs(|name| std::env::var_os(name));
        if programs.is_empty() {
            return;
        }
        let me = self.clone();
        self.spawn(move || {
            if let Err(why) = clipboard::copy(&programs, &text) {
                me.answer(Msg::Tell(why));
            }
        });
    }

    /// Does something on a thread of its own; one that breaks is told of.
    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        let answers = self.answers.clone();
        thread::spawn(move || {
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                let text = format!(
                    "Something broke off by a fault of this program; no image is harmed{}.",
                    crash::where_to_look()
                );
                // An interface that is gone needs no answer.
                let _ = answers.send(Msg::Tell(text));
            }
        });
    }

    /// Starts what was asked for, if it is for the workers.
    pub(super) fn start(&self, effect: Effect) {
        let me = self.clone();
        match effect {
            Effect::Scan(query_id) => {
                me.newest.scan.store(query_id, Ordering::SeqCst);
                self.spawn(move || me.scan(query_id));
            }
            Effect::ScanHost(query_id, at) => me.scan_host(query_id, at),
            Effect::AskHost(query_id, at, asking) => me.ask_host(query_id, at, asking),
            Effect::ChangeThere {
                query_id,
                at,
                words,
                progress,
                replies,
            } => self.spawn(move || {
                if let Some(host) = me.hosts.get(at) {
                    let change = hosts::Change {
                        query_id,
                        words,
                        progress,
                        replies,
                        peers: me.peers.clone(),
                        secrets: Arc::clone(&me.secrets),
                    };
                    hosts::change(host, change, &me.answers);
                }
            }),
            Effect::Refresh(query_id, forest, changed) => {
                self.spawn(move || {
                    let fresh = refreshed(&forest, &me.host, &me.scan, &changed);
                    me.answer(Msg::Refreshed(query_id, Arc::new(fresh)));
                });
            }
            Effect::Gather(query_id, known, told) => self.spawn(move || {
                me.answer(Msg::Gathered(query_id, gathered_anew(known, &told)));
            }),
            Effect::Filter {
                query_id,
                line,
                forest,
                roots,
                home,
                now,
                space,
                insides,
            } => {
                me.newest.filter.store(query_id, Ordering::SeqCst);
                self.spawn(move || {
                    // A line that was typed on is not worth the work.
                    if me.newest.filter.load(Ordering::SeqCst) == query_id {
                        let places = Places {
                            roots: &roots,
                            home: home.as_deref(),
                        };
                        let filter = Filter::parse(&line).knowing(space).seeing(insides);
                        let hits = filter.hits(&forest, places, now);
                        me.answer(Msg::Filtered(query_id, Arc::new(hits)));
                    }
                });
            }
            Effect::Plan {
                query_id,
                request,
                forest,
                delay,
            } => {
                me.newest.plan.store(query_id, Ordering::SeqCst);
                self.spawn(move || me.plan(query_id, &request, forest, delay));
            }
            Effect::PlanEach {
                query_id,
                requests,
                forest,
                delay,
            } => {
                me.newest.plan.store(query_id, Ordering::SeqCst);
                self.spawn(move || me.plan_each(query_id, &requests, forest, delay));
            }
            Effect::Run {
                job,
                work,
                progress,
            } => match work {
                Work::Plan(ready) => self.spawn(move || me.run(job, *ready, &progress)),
                Work::Check(images) => self.spawn(move || me.check(job, &images, &progress)),
                Work::Compare(images) => self.spawn(move || me.compare(job, &images, &progress)),
                Work::Extract(what) => self.spawn(move || me.extract(job, &what, &progress)),
                Work::Command(words) => self.spawn(move || me.command(job, &words, &progress)),
                Work::CommandThere(at, words) => {
                    self.spawn(move || me.command_there(job, at, words, &progress));
                }
            },
            Effect::Info(path) => {
                // Its thread lives as long as this sender.
                let _ = me.selected.send(path);
            }
            Effect::Files(query) => {
                // Its thread lives as long as this sender.
                let _ = me.files.send(query);
            }
            Effect::Map(path, format) => {
                // Its thread lives as long as this sender.
                let _ = me.mapped.send((path, format));
            }
            // At once, so that a plan asked for right after finds it.
            Effect::Unlock(image, passphrase) => me.secrets.give(image, passphrase),
            Effect::Protect(images, passphrase) => me.secrets.protect(images, passphrase),
            Effect::Forget => me.secrets.forget(),
            Effect::Complete(query_id, begun) => self.spawn(move || {
                me.answer(Msg::Completed(
                    query_id,
                    complete::ways_on(&*me.host, &begun),
                ));
            }),
            Effect::Candidates(query_id, forest) => {
                self.spawn(move || {
                    let mut context = me.context(forest, LookedIn::default());
                    context.ask_machines();
                    let found = ops::candidates(&context, Duration::ZERO);
                    me.answer(Msg::Candidates(query_id, found));
                });
            }
            Effect::Keep {
                query_id,
                forest,
                candidates,
                rule,
            } => self.spawn(move || {
                let context = me.context(forest, LookedIn::default());
                let mut kept = rule.reasons(&context, &candidates);
                let kept = candidates.iter().map(|one| kept.remove(&one.node));
                me.answer(Msg::Kept(query_id, kept.collect()));
            }),
            Effect::Space {
                query_id,
                forest,
                reads,
                prune_days,
            } => {
                me.newest.space.store(query_id, Ordering::SeqCst);
                let older_than = Duration::from_secs(prune_days.saturating_mul(86_400));
                self.spawn(move || me.space(query_id, forest, reads, older_than));
            }
            Effect::Insides(query_id, forest) => {
                me.newest.insides.store(query_id, Ordering::SeqCst);
                self.spawn(move || me.look_into(query_id, forest));
            }
            Effect::StopInsides => me.newest.insides.store(0, Ordering::SeqCst),
            Effect::StopSpace => {
                me.newest.space.store(0, Ordering::SeqCst);
                me.stop_asking(Topic::Space);
            }
            Effect::JoinSpace(query_id, parts) => self.spawn(move || {
                let joined = SpaceFound::joined(&parts);
                me.answer(Msg::SpaceJoined(query_id, Box::new(joined)));
            }),
            Effect::Browse(query_id, question) => {
                me.newest.browse.store(query_id, Ordering::SeqCst);
                self.spawn(move || me.browse(query_id, question));
            }
            Effect::LookInside {
                query_id,
                context,
                files,
            } => {
                me.newest.look.store(query_id, Ordering::SeqCst);
                self.spawn(move || me.look_inside(query_id, &context, &files));
            }
            Effect::StopLookingInside => me.newest.look.store(0, Ordering::SeqCst),
            Effect::StopBrowsing => me.newest.browse.store(0, Ordering::SeqCst),
            Effect::Trash(query_id) => {
                self.spawn(move || {
                    let dirs = &me.scan.roots;
                    let list = ops::trash::list(&*me.host, me.state_dir.as_deref(), dirs);
                    let list = list.into_iter().map(TrashEntry::from).collect();
                    me.answer(Msg::Trash(query_id, list));
                });
            }
            Effect::Machines(forest) => self.spawn(move || {
                let places = machines::Places::here(Arc::clone(&me.host), forest.folders());
                drop(forest);
                me.answer(Msg::Machines(Arc::new(Machines::ask(places))));
            }),
            Effect::Examine(forest) => self.spawn(move || {
                me.examine(forest);
            }),
            Effect::Interrupted(query_id, forest) => self.spawn(move || {
                let found =
                    interrupted::find(&*me.host, me.state_dir.as_deref(), forest.as_deref());
                me.answer(Msg::Interrupted(query_id, found));
            }),
            Effect::Measure {
                query_id,
                image,
                format,
                snapshot,
            } => self.spawn(move || {
                let snapshot = snapshot.map(|id| SnapshotName::Id(OsString::from_vec(id)));
                let options = me.reading(format, snapshot);
                let found = measure::measure(&*me.host, &image, &options);
                me.answer(Msg::Measured(query_id, found));
            }),
            Effect::Remember(forest) => {
                self.spawn(move || {
                    me.remember(&forest);
                    me.compare_bases(&forest);
                    me.tell_kept_insides(&forest);
                    drop(forest);
                    // All that the scan has freed by now, and this.
                    give_back_memory();
                });
            }
            Effect::Accept(base, forest) => self.spawn(move || {
                me.accept(&base);
                me.compare_bases(&forest);
            }),
            Effect::Copy(_)
            | Effect::Open(_)
            | Effect::Mouse(_)
            | Effect::Shell(_)
            | Effect::Mount(..)
            | Effect::OnScreen(_)
            | Effect::OnScreenThere(..)
            | Effect::Suspend
            | Effect::Notify(_)
            | Effect::Redraw
            | Effect::Quit => {}
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
            keys: self.keys.clone(),
            peers: self.peers.clone(),
        }
    }

    /// An image as a mount shows it, opened with the passphrases that were given so far.
    pub(super) fn shown(&self, image: &Path, format: Option<Format>) -> Contents {
        let (host, keys) = (Arc::clone(&self.host), self.keys.clone());
        mount::one_image(host, image, format, self.reading(None, None), keys)
    }

    /// How images are read that the scan may look at.
    fn reading(&self, format: Option<Format>, snapshot: Option<SnapshotName>) -> ReadOptions {
        ReadOptions {
            format,
            folders: self.scan.roots.clone(),
            follow: self.scan.follow,
            snapshot,
        }
    }
}

/// Why a directory cannot be opened, if it cannot.
fn unreachable(root: &Path) -> Option<String> {
    let error = std::fs::metadata(root).err()?;
    let (name, why) = (printable(root), io_text(&error));
    Some(format!("{name} cannot be opened: {why}."))
}

/// What comes of a job that changes no image.
fn done(summary: String) -> Outcome {
    Outcome {
        summary,
        touched: Vec::new(),
        undo: None,
        remarks: Vec::new(),
    }
}
