//! Whatever touches the disk, on threads of its own: scanning, planning, running jobs, asking for
//! facts. Each answers with a message; an answer nobody waits for any more is not even looked for.
//!
//! | file | what |
//! |---|---|
//! | `compare` | two images compared, as a job |
//! | `complete` | how the name of a file can go on |
//! | `interrupted` | what crashes and kills have left |
//! | `measure` | how large copies of an image would be |

mod compare;
mod complete;
mod interrupted;
mod measure;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::forest::{Forest, Index, Scan, ScanEvent, ScanOptions, refreshed};
use crate::host::{Access, Host, give_back_memory, printable, working_as};
use crate::image::{self, Bitmap, Format, Keys, Pace, Passphrases, Snapshot};
use crate::ops::{
    self, Context, Error, LookedIn, Outcome, Progress, ReadOptions, Ready, Request, SnapshotName,
};
use crate::units;

use super::filter::Filter;
use super::jobs::Work;
use super::log::LogLine;
use super::map::MapSeen;
use super::msg::{Effect, LiveFacts, Msg, ScanEnd};
use super::query::Ticket;
use super::secret::Secrets;
use super::{crash, watch};
use compare::Stopped;

/// How long an image has to be selected before the disk is asked about it.
const REST: Duration = Duration::from_millis(60);

/// How long leaving waits for the session's log.
const LOG_PATIENCE: Duration = Duration::from_millis(100);

/// What the thread that writes the session's log is told.
enum ToLog {
    Lines(Vec<LogLine>),
    /// Whoever waits for what came before: dropped when that is written.
    Done(Sender<()>),
}

/// What the workers know, and where they answer to.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    pub(super) host: Arc<dyn Host>,
    pub(super) scan: ScanOptions,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) answers: Sender<Msg>,
    newest: Arc<Newest>,
    selected: Sender<PathBuf>,
    mapped: Sender<(PathBuf, Option<Format>)>,
    log: Sender<ToLog>,
    secrets: Arc<Secrets>,
    keys: Keys,
}

/// The newest question of each kind.
#[derive(Debug, Default)]
struct Newest {
    scan: AtomicU64,
    plan: AtomicU64,
    filter: AtomicU64,
}

impl Workers {
    pub(super) fn new(
        host: Arc<dyn Host>,
        scan: ScanOptions,
        state_dir: Option<PathBuf>,
        answers: Sender<Msg>,
    ) -> Self {
        let (selected, selections) = unbounded();
        let (log, to_log) = unbounded();
        let (mapped, to_map) = unbounded();
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
        Self {
            keys: Keys::from(source),
            secrets,
            host,
            scan,
            state_dir,
            answers,
            newest: Arc::default(),
            selected,
            mapped,
            log,
        }
    }

    /// Watches the directories for changes.
    pub(super) fn watch(&self) {
        let (roots, answers) = (self.scan.roots.clone(), self.answers.clone());
        self.spawn(move || watch::watch(&roots, &answers));
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
            Effect::Scan(ticket) => {
                me.newest.scan.store(ticket, Ordering::SeqCst);
                self.spawn(move || me.scan(ticket));
            }
            Effect::Refresh(ticket, forest, changed) => {
                self.spawn(move || {
                    let fresh = refreshed(&forest, &me.host, &me.scan, &changed);
                    me.answer(Msg::Refreshed(ticket, Arc::new(fresh)));
                });
            }
            Effect::Filter(ticket, line, forest, now) => {
                me.newest.filter.store(ticket, Ordering::SeqCst);
                self.spawn(move || {
                    // A line that was typed on is not worth the work.
                    if me.newest.filter.load(Ordering::SeqCst) == ticket {
                        let hits = Filter::parse(&line).hits(&forest, now);
                        me.answer(Msg::Filtered(ticket, Arc::new(hits)));
                    }
                });
            }
            Effect::Plan {
                ticket,
                request,
                forest,
                delay,
            } => {
                me.newest.plan.store(ticket, Ordering::SeqCst);
                self.spawn(move || me.plan(ticket, &request, forest, delay));
            }
            Effect::PlanEach {
                ticket,
                requests,
                forest,
                delay,
            } => {
                me.newest.plan.store(ticket, Ordering::SeqCst);
                self.spawn(move || me.plan_each(ticket, &requests, forest, delay));
            }
            Effect::Run {
                job,
                work,
                progress,
            } => match work {
                Work::Plan(ready) => self.spawn(move || me.run(job, *ready, &progress)),
                Work::Check(images) => self.spawn(move || me.check(job, &images, &progress)),
                Work::Compare(images) => self.spawn(move || me.compare(job, &images, &progress)),
                Work::Command(words) => self.spawn(move || me.command(job, &words, &progress)),
            },
            Effect::Facts(path) => {
                // Its thread lives as long as this sender.
                let _ = me.selected.send(path);
            }
            Effect::Map(path, format) => {
                // Its thread lives as long as this sender.
                let _ = me.mapped.send((path, format));
            }
            // At once, so that a plan asked for right after finds it.
            Effect::Unlock(image, passphrase) => me.secrets.give(image, passphrase),
            Effect::Protect(images, passphrase) => me.secrets.protect(images, passphrase),
            Effect::Forget => me.secrets.forget(),
            Effect::Complete(ticket, begun) => self.spawn(move || {
                me.answer(Msg::Completed(ticket, complete::ways_on(&begun)));
            }),
            Effect::Candidates(ticket, forest) => {
                self.spawn(move || {
                    let context = me.context(forest, LookedIn::default());
                    let found = ops::candidates(&context, Duration::ZERO);
                    me.answer(Msg::Candidates(ticket, found));
                });
            }
            Effect::Trash(ticket) => {
                self.spawn(move || {
                    let dirs = &me.scan.roots;
                    let list = ops::trash::list(&*me.host, me.state_dir.as_deref(), dirs);
                    me.answer(Msg::Trash(ticket, list));
                });
            }
            Effect::Interrupted(ticket, forest) => self.spawn(move || {
                let found =
                    interrupted::find(&*me.host, me.state_dir.as_deref(), forest.as_deref());
                me.answer(Msg::Interrupted(ticket, found));
            }),
            Effect::Measure {
                ticket,
                image,
                format,
                snapshot,
            } => self.spawn(move || {
                let snapshot = snapshot.map(|id| SnapshotName::Id(OsString::from_vec(id)));
                let options = me.reading(format, snapshot);
                let found = measure::measure(&*me.host, &image, &options);
                me.answer(Msg::Measured(ticket, found));
            }),
            Effect::Remember(forest) => {
                self.spawn(move || {
                    me.remember(&forest);
                    drop(forest);
                    // All that the scan has freed by now, and this.
                    give_back_memory();
                });
            }
            Effect::Copy(_)
            | Effect::Mouse(_)
            | Effect::Shell(_)
            | Effect::OnScreen(_)
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
                ScanEvent::Held(held) => self.answer(Msg::Held(ticket, held)),
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

    /// Makes a plan. Whatever may affect other images is planned on a forest that is looked at just now,
    /// with the images remembered from elsewhere looked at again.
    fn plan(&self, ticket: Ticket, request: &Request, forest: Arc<Forest>, delay: Duration) {
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        let is_old = || self.newest.plan.load(Ordering::SeqCst) != ticket;
        if is_old() {
            return;
        }
        let (context, shown) = if request.only_adds() {
            let looked_in = LookedIn::within(self.scan.roots.clone());
            (self.context(forest, looked_in), None)
        } else {
            let (looked, shown) = Context::again(
                Arc::clone(&self.host),
                self.state_dir.clone(),
                &forest,
                &self.scan,
            );
            for complaint in looked.complaints {
                self.answer(Msg::Tell(format!("qanopy {complaint}.")));
            }
            let keys = self.keys.clone();
            let context = Context {
                keys,
                ..looked.context
            };
            (context, Some(shown))
        };
        if is_old() {
            return;
        }
        self.secrets.take_asked();
        let plan = ops::plan(&context, request);
        if !plan.refusals.is_empty() {
            self.tell_locked(ticket, &context);
        }
        self.answer(Msg::Planned(ticket, Box::new(plan), shown));
    }

    /// Makes plans that are agreed to together, and only create.
    fn plan_each(
        &self,
        ticket: Ticket,
        requests: &[Request],
        forest: Arc<Forest>,
        delay: Duration,
    ) {
        thread::sleep(delay);
        if self.newest.plan.load(Ordering::SeqCst) != ticket {
            return;
        }
        let context = self.context(forest, LookedIn::default());
        self.secrets.take_asked();
        let plans = ops::plan_each(&context, requests);
        if plans.iter().any(|plan| !plan.refusals.is_empty()) {
            self.tell_locked(ticket, &context);
        }
        self.answer(Msg::PlannedEach(ticket, plans));
    }

    /// Tells of the first image whose passphrase was asked for in vain.
    fn tell_locked(&self, ticket: Ticket, context: &Context) {
        let asked = self.secrets.take_asked();
        let mut asked = asked.into_iter();
        if let Some(image) = asked.find(|image| ops::is_locked(context, image)) {
            self.answer(Msg::Locked(ticket, image));
        }
    }

    /// Compares what two images show; the first differences are listed.
    fn compare(&self, job: u64, images: &[PathBuf; 2], progress: &Progress) {
        let options = self.reading(None, None);
        let result = compare::compare(&*self.host, images, &options, &self.keys, progress);
        self.answer(match result {
            Ok(outcome) => Msg::Ended(job, Ok(outcome)),
            Err(Stopped::Ended(error)) => Msg::Ended(job, Err(error)),
            Err(Stopped::Locked(image, error)) => Msg::JobLocked(job, image, error),
        });
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

    fn run(&self, job: u64, ready: Ready, progress: &Progress) {
        let title = ready.plan().title.clone();
        let result = catch_unwind(AssertUnwindSafe(|| {
            working_as(&format!("job {job}"), || ops::run(ready, progress))
        }));
        let result = result.unwrap_or_else(|_| {
            Err(Error::Failed(format!(
                "{title} ended by a fault of this program; the images are as its last completed step left them{}",
                crash::where_to_look()
            )))
        });
        self.answer(Msg::Ended(job, result));
    }

    /// Looks through the images one after the other; each is told as it is done.
    fn check(&self, job: u64, images: &[PathBuf], progress: &Progress) {
        let (mut clean, mut bad, mut failed) = (0_u64, 0_u64, 0_u64);
        for path in images {
            if progress.is_cancelled() {
                let text = format!(
                    "stopped; {} looked through",
                    units::count(clean + bad, "image")
                );
                self.answer(Msg::Ended(job, Err(Error::Cancelled(text))));
                return;
            }
            let found = ops::check(&*self.host, path, &Paced(progress));
            if found.is_err() && progress.is_cancelled() {
                continue;
            }
            match &found {
                Ok(check) if check.corruptions == 0 && check.leaks == 0 => clean += 1,
                Ok(_) => bad += 1,
                Err(_) => failed += 1,
            }
            let stat = self.host.stat(path).ok();
            self.answer(Msg::Checked(job, path.clone(), stat, Box::new(found)));
        }
        let mut summary = match (images, bad, failed) {
            ([only], 0, 0) => format!("{} is clean.", units::file_name(only)),
            ([only], _, 0) => format!(
                "{} has problems: its health pane tells them.",
                units::file_name(only)
            ),
            (_, 0, 0) => format!(
                "{} looked through, all clean.",
                units::count(clean, "image")
            ),
            _ => format!("{clean} clean, {bad} with problems, {failed} could not be checked."),
        };
        if let ([only], 0, 1) = (images, bad, failed) {
            summary = format!(
                "{} could not be checked: its health pane tells why.",
                units::file_name(only)
            );
        }
        self.answer(Msg::Ended(job, Ok(done(summary))));
    }

    /// Runs a program of the person's own; what it says is told when it ends.
    fn command(&self, job: u64, words: &[OsString], progress: &Progress) {
        let result = run_command(words, progress);
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
        let (snapshots, bitmaps) = inside(host, &path);
        let facts = LiveFacts {
            snapshots,
            bitmaps,
            space: host.space(dir).ok(),
            holders: holders.unwrap_or_default(),
            path,
        };
        if answers.send(Msg::Facts(Box::new(facts))).is_err() {
            return;
        }
    }
}

/// Reads the tables of the selected image once the cursor rests on it, and stops as soon as another one
/// is asked for.
fn map_selected(
    host: &dyn Host,
    scan: &ScanOptions,
    selections: &Receiver<(PathBuf, Option<Format>)>,
    answers: &Sender<Msg>,
) {
    while let Ok((mut path, mut format)) = selections.recv() {
        while let Ok(next) = selections.recv_timeout(REST) {
            (path, format) = next;
        }
        let options = ReadOptions {
            format,
            folders: scan.roots.clone(),
            follow: scan.follow,
            snapshot: None,
        };
        let seen = MapSeen::look(host, &path, &options, &|| selections.is_empty());
        let seen = match seen {
            Ok(None) => continue,
            Ok(Some(seen)) => Ok(Arc::new(seen)),
            Err(why) => Err(why),
        };
        if answers.send(Msg::Mapped(path, seen)).is_err() {
            return;
        }
    }
}

/// What there is of one kind in an image, or why that cannot be told.
type Inside<T> = Option<Result<Vec<T>, String>>;

/// The image's internal snapshots and dirty bitmaps; none where it is no qcow2 image.
fn inside(host: &dyn Host, path: &Path) -> (Inside<Snapshot>, Inside<Bitmap>) {
    let Ok(file) = host.open(path, Access::Read) else {
        return (None, None);
    };
    let Ok(header) = image::read_header(path, file.as_ref()) else {
        return (None, None);
    };
    let snapshots = image::snapshots(path, file.as_ref(), &header);
    let bitmaps = image::bitmaps(path, file.as_ref(), &header);
    (
        Some(snapshots.map_err(|error| error.to_string())),
        Some(bitmaps.map_err(|error| error.to_string())),
    )
}

/// Passes on how far a check is, and that it shall stop.
struct Paced<'a>(&'a Progress);

impl Pace for Paced<'_> {
    fn advance(&self, bytes: u64) -> bool {
        self.0.advance(bytes).is_ok()
    }
}

fn done(summary: String) -> Outcome {
    Outcome {
        summary,
        touched: Vec::new(),
        undo: None,
        remarks: Vec::new(),
    }
}

/// So much of what a program says is kept.
const SAID: usize = 4096;

fn run_command(words: &[OsString], progress: &Progress) -> Result<Outcome, Error> {
    let Some((program, more)) = words.split_first() else {
        return Err(Error::Failed("there is no program to run".to_owned()));
    };
    let failed = |error: std::io::Error| {
        Error::Failed(format!("{} cannot be run: {error}", printable(program)))
    };
    // Into files, not pipes: a program that says much must not wait for somebody to read it.
    let said = tempfile::tempfile().map_err(failed)?;
    let mut child = Command::new(program)
        .args(more)
        .stdin(Stdio::null())
        .stdout(said.try_clone().map_err(failed)?)
        .stderr(said.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if progress.is_cancelled() {
            // One that has just ended cannot be stopped any more.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Cancelled("stopped".to_owned()));
        }
        thread::sleep(Duration::from_millis(50));
    };
    let words = last_words(said).unwrap_or_default();
    let name = printable(program);
    if status.success() {
        let mut outcome = done(format!("{name} is done."));
        outcome.remarks = words.lines().map(printable).collect();
        Ok(outcome)
    } else {
        Err(Error::Failed(format!(
            "{name} ended with {status}: {}",
            printable(words.trim())
        )))
    }
}

/// The end of what a program has said.
fn last_words(mut file: fs::File) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let len = file.metadata()?.len();
    let kept = u64::try_from(SAID).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(len.saturating_sub(kept)))?;
    let mut bytes = Vec::new();
    file.take(kept).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A log that has grown beyond this begins anew; the one before is kept.
const LOG_BYTES: u64 = 2 << 20;

/// Writes the log's lines to `session.log`, for as long as there are any. A log that cannot be written
/// keeps nobody from anything.
fn write_log(dir: &Path, to_log: &Receiver<ToLog>) {
    let path = dir.join("session.log");
    for told in to_log {
        let lines = match told {
            ToLog::Lines(lines) => lines,
            ToLog::Done(done) => {
                drop(done);
                continue;
            }
        };
        let _ = fs::create_dir_all(dir);
        if fs::metadata(&path).is_ok_and(|stat| stat.len() > LOG_BYTES) {
            let _ = fs::rename(&path, dir.join("session.log.old"));
        }
        let file = fs::OpenOptions::new().create(true).append(true).open(&path);
        let Ok(mut file) = file else { continue };
        let mut text = String::new();
        for line in lines {
            let job = line
                .job
                .map_or_else(String::new, |job| format!(" job {job}"));
            text.push_str(&format!(
                "{}{job} {}{}\n",
                units::utc(line.at),
                line.kind.sign(),
                line.text
            ));
        }
        let _ = file.write_all(text.as_bytes());
    }
}
