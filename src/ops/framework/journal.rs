//! The journal: what was begun, how it ended, and what would take it back, one line of JSON an event
//! in a file of the state directory that only grows. An operation that was begun and never ended was
//! interrupted. How one is taken back is in `undo`, how one is brought to an end in `recover`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::forest::{Problem, ProblemKind};
use crate::host::{Host, is_running, printable, this_process};
use crate::system::LogFile;

use super::annotations::Carried;
use super::error::Error;
use super::nature::{Nature, Recovery, RestsOn};
use super::plan::{EffectKind, Outcome, Plan};
use super::preconditions::Preconditions;
use super::request::{Name, Request};
use super::{absolute, trash};

/// The file's name in the state directory.
const FILE: &str = "journal.jsonl";

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event {
    Begun {
        id: u64,
        /// Seconds since 1970.
        time: u64,
        process: String,
        title: String,
        request: Request,
        /// What takes back a half of it, if anything does.
        roll_back: Option<Box<Request>>,
        /// The files the plan speaks of or rests on.
        files: Vec<PathBuf>,
        /// Those of them that come into being, or come back.
        #[serde(default)]
        creates: Vec<PathBuf>,
        /// Those that go to the trash.
        #[serde(default)]
        goes: Vec<PathBuf>,
        /// What the files that it changes were before.
        #[serde(default)]
        before: Preconditions,
        /// What is noted of images that it moves, copies or brings back.
        #[serde(default, skip_serializing_if = "Carried::is_empty")]
        carried: Carried,
    },
    Done {
        id: u64,
        summary: String,
        undo: Option<Request>,
        touched: Vec<PathBuf>,
        /// What the files that taking it back would change were at the end.
        left: Preconditions,
        /// What all the files touched were at the end.
        #[serde(default)]
        after: Preconditions,
    },
    /// It failed before it had changed anything.
    Failed { id: u64, error: String },
    /// It failed or was cancelled with a part of it done.
    Stopped { id: u64, error: String },
    /// Left as it is after an interruption.
    Settled { id: u64 },
}

/// How an operation of the journal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The process that began it still runs.
    Running,
    /// It was begun and not brought to its end: the process was gone, or an error or a cancel came when a
    /// part of it was done.
    Interrupted,
    /// It ended well: one sentence.
    Done(String),
    /// It failed or was cancelled: why. The images are intact.
    Failed(String),
    /// It was taken back by an undo, and can be done again.
    Undone,
    /// It was brought to an end later, left as it is, or done again.
    Settled,
}

/// One operation of the journal.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number, counted from 1.
    pub id: u64,
    /// When it was begun.
    pub begun: SystemTime,
    /// The plan's title.
    pub title: String,
    /// What was asked.
    pub request: Request,
    /// How it stands.
    pub standing: Standing,
    /// Of one that was interrupted by an error or a cancel: its sentence.
    pub why: Option<String>,
    /// What takes it back, if anything does.
    pub undo: Option<Request>,
    /// What takes back a half of it, if anything does.
    pub roll_back: Option<Request>,
    /// Files created, written, renamed or removed; of an operation that did not end, those its plan
    /// speaks of or rests on.
    pub touched: Vec<PathBuf>,
    /// The files it was to create, or to bring back.
    pub creates: Vec<PathBuf>,
    /// The files that were to go to the trash.
    pub(in crate::ops) goes: Vec<PathBuf>,
    /// What the files that it changes were before.
    pub(in crate::ops) before: Preconditions,
    /// What is noted of images that it moves, copies or brings back.
    pub(in crate::ops) carried: Carried,
    /// What the files that taking it back would change were at the end, as later undos have left them.
    pub(in crate::ops) left: Preconditions,
    /// The undo that took it back.
    pub(in crate::ops) taken_back_by: Option<u64>,
    /// What all the files it touched were at the end.
    pub(in crate::ops) after: Preconditions,
}

impl Entry {
    /// Whether `undo` without a number may mean it: it ended well, something takes it back, and it does
    /// not itself take something back.
    #[must_use]
    pub fn can_be_undone(&self) -> bool {
        self.undo.is_some() && self.is_done()
    }

    /// Whether what was done of it may be taken back after an interruption, as far as can be said without a
    /// look at the files.
    #[must_use]
    pub fn may_be_rolled_back(&self) -> bool {
        self.roll_back.is_some() || self.request.operation().can_roll_back()
    }

    /// Whether it ended well and does not itself take back or finish another entry.
    pub(in crate::ops) fn is_done(&self) -> bool {
        let nature = self.request.operation().nature();
        let is_redo = matches!(nature, Nature::DoesAgain(_));
        matches!(self.standing, Standing::Done(_)) && (is_redo || nature.is_of_images())
    }

    /// All files that it is about: of one that has ended, also those it changed.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.touched.clone();
        files.extend(self.concerned());
        files.sort();
        files.dedup();
        files
    }

    /// The files that it changes, as far as they can be told; those that older versions wrote down do not
    /// tell, and rest on more.
    pub(in crate::ops) fn concerned(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.before.paths().map(Path::to_path_buf).collect();
        files.extend(self.creates.iter().cloned());
        if let Nature::Moves(moves) = self.request.operation().nature() {
            files.extend(moves.iter().map(|one| one.to.clone()));
        }
        files.sort();
        files.dedup();
        files
    }

    /// Whether it is about a file at or below one of these folders; of no folders, always.
    #[must_use]
    pub fn concerns(&self, folders: &[PathBuf]) -> bool {
        folders.is_empty()
            || self
                .touched
                .iter()
                .any(|file| folders.iter().any(|dir| file.starts_with(dir)))
    }
}

/// The journal in one state directory.
#[derive(Debug, Clone)]
pub struct Journal {
    file: LogFile,
}

impl Journal {
    /// The journal of this state directory; it comes into being with its first entry.
    #[must_use]
    pub fn at(state_dir: &Path) -> Self {
        Self {
            file: LogFile::at(state_dir.join(FILE)),
        }
    }

    /// The file it is kept in.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Every operation, oldest first. A line that cannot be understood (another version's, or
    /// damaged) is passed over.
    ///
    /// # Errors
    /// The system's own, if the file cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        Ok(entries_of(&self.file.lines()?))
    }

    /// The entry of this number.
    ///
    /// # Errors
    /// As [`Journal::entries`].
    pub fn entry(&self, id: u64) -> io::Result<Option<Entry>> {
        Ok(self.entries()?.into_iter().find(|entry| entry.id == id))
    }

    /// Operations that were interrupted, oldest first.
    ///
    /// # Errors
    /// As [`Journal::entries`].
    pub fn interrupted(&self) -> io::Result<Vec<Entry>> {
        let mut entries = self.entries()?;
        entries.retain(|entry| entry.standing == Standing::Interrupted);
        Ok(entries)
    }

    /// The files that operations that were interrupted have left half done, each with that as its problem. A
    /// journal that cannot be read tells none: that is said where it is asked for.
    #[must_use]
    pub fn halves(&self) -> Vec<(PathBuf, Problem)> {
        let mut all = Vec::new();
        for entry in self.interrupted().unwrap_or_default() {
            let files = match entry.concerned() {
                files if files.is_empty() => entry.touched.clone(),
                files => files,
            };
            let title = printable(&entry.title);
            let kind = ProblemKind::Interrupted {
                entry: entry.id,
                can_roll_back: entry.may_be_rolled_back(),
            };
            for file in files {
                let message = format!(
                    "{} may be half done: “{title}” was interrupted.",
                    printable(&file)
                );
                all.push((file, Problem { kind, message }));
            }
        }
        all
    }

    /// Writes down that a plan is about to be carried out, before anything is; returns its number.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(in crate::ops) fn begin(&self, plan: &Plan, carried: &Carried) -> io::Result<u64> {
        let now = plan.host().now().duration_since(UNIX_EPOCH);
        let begun = |id| Event::Begun {
            id,
            time: now.as_ref().map_or(0, Duration::as_secs),
            process: this_process(),
            title: plan.title.clone(),
            request: plan.request.clone().absolute(),
            roll_back: plan.roll_back.clone().map(Request::absolute).map(Box::new),
            files: files_of(plan),
            creates: files_with(plan, |kind| {
                matches!(kind, EffectKind::Creates | EffectKind::Restores)
            }),
            goes: files_with(plan, |kind| kind == EffectKind::Trashes),
            before: before(plan),
            carried: carried.clone(),
        };
        self.file.append(|lines| {
            let last = lines.iter().filter_map(|line| id_of(line)).max();
            let id = last.unwrap_or(0).saturating_add(1);
            Ok((line(&begun(id))?, id))
        })
    }

    /// Writes down how it ended.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(in crate::ops) fn end(
        &self,
        id: u64,
        plan: &Plan,
        ended: &Result<Outcome, Error>,
    ) -> io::Result<()> {
        let touched = ended
            .as_ref()
            .map_or(&[] as &[PathBuf], |outcome| &outcome.touched);
        let touched: Vec<PathBuf> = touched.iter().map(|path| absolute::path(path)).collect();
        let event = match ended {
            Ok(outcome) => {
                let undo = outcome.undo.clone().map(Request::absolute);
                Event::Done {
                    id,
                    summary: outcome.summary.clone(),
                    left: undo.as_ref().map_or_else(Preconditions::default, |undo| {
                        rests_on(plan.host(), undo, &touched)
                    }),
                    after: Preconditions::of(plan.host(), &touched),
                    undo,
                    touched,
                }
            }
            Err(error) => Event::Failed {
                id,
                error: error.to_string(),
            },
        };
        self.put(&event)
    }

    /// Writes down that it was cut off by an error or a cancel with a part of it done.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(in crate::ops) fn stop(&self, id: u64, error: &Error) -> io::Result<()> {
        let error = error.to_string();
        self.put(&Event::Stopped { id, error })
    }

    fn put(&self, event: &Event) -> io::Result<()> {
        self.file.append(|_| Ok((line(event)?, ())))
    }
}

/// What the files that a plan changes are now.
pub(in crate::ops) fn before(plan: &Plan) -> Preconditions {
    let files = files_with(plan, |kind| kind != EffectKind::Reads);
    Preconditions::of(plan.host(), &files)
}

/// The files a plan speaks of or rests on, each once: around them everything is found that is needed to bring
/// it to an end.
fn files_of(plan: &Plan) -> Vec<PathBuf> {
    let effects = plan.effects.iter().map(|effect| effect.path.as_path());
    each_once(effects.chain(plan.preconditions.paths()))
}

/// The files to which these kinds of things happen, each once.
fn files_with(plan: &Plan, kinds: impl Fn(EffectKind) -> bool) -> Vec<PathBuf> {
    let effects = plan.effects.iter().filter(|effect| kinds(effect.kind));
    each_once(effects.map(|effect| effect.path.as_path()))
}

fn each_once<'p>(paths: impl Iterator<Item = &'p Path>) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = paths.map(absolute::path).collect();
    files.sort();
    files.dedup();
    files
}

/// A name that is no UTF-8 cannot be written: such an operation is done all the same, and is not in
/// the journal.
fn line(event: &Event) -> io::Result<Vec<u8>> {
    serde_json::to_vec(event).map_err(io::Error::from)
}

/// The number of a line, whatever else it says.
fn id_of(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        id: u64,
    }
    serde_json::from_slice::<Numbered>(line)
        .ok()
        .map(|numbered| numbered.id)
}

fn entries_of(lines: &[Vec<u8>]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for event in lines
        .iter()
        .filter_map(|line| serde_json::from_slice(line).ok())
    {
        apply(&mut entries, event);
    }
    settle_recoveries(&mut entries);
    entries
}

fn apply(entries: &mut Vec<Entry>, event: Event) {
    match event {
        Event::Begun {
            id,
            time,
            process,
            title,
            request,
            roll_back,
            files,
            creates,
            goes,
            before,
            carried,
        } => entries.push(Entry {
            id,
            begun: UNIX_EPOCH
                .checked_add(Duration::from_secs(time))
                .unwrap_or(UNIX_EPOCH),
            title,
            request,
            standing: if is_running(&process) {
                Standing::Running
            } else {
                Standing::Interrupted
            },
            why: None,
            undo: None,
            roll_back: roll_back.map(|back| *back),
            touched: files,
            creates,
            goes,
            before,
            carried,
            left: Preconditions::default(),
            taken_back_by: None,
            after: Preconditions::default(),
        }),
        Event::Done {
            id,
            summary,
            undo,
            touched,
            left,
            after,
        } => {
            let request = with(entries, id, |entry| {
                entry.standing = Standing::Done(summary);
                entry.undo = undo;
                entry.touched = touched;
                entry.left = left;
                entry.after = after;
                entry.request.clone()
            });
            if let Some(request) = request {
                is_through(entries, id, &request);
            }
        }
        Event::Failed { id, error } => {
            with(entries, id, |entry| {
                entry.standing = Standing::Failed(error);
            });
        }
        Event::Stopped { id, error } => {
            with(entries, id, |entry| {
                entry.standing = Standing::Interrupted;
                entry.why = Some(error);
            });
        }
        Event::Settled { id } => {
            with(entries, id, |entry| {
                // What an undo took back stays so: an older version wrote this as well.
                if entry.standing != Standing::Undone {
                    entry.standing = Standing::Settled;
                }
            });
        }
    }
}

/// What the end of the entry `id` means for those before it.
fn is_through(entries: &mut [Entry], id: u64, request: &Request) {
    match request.operation().nature() {
        Nature::TakesBack(Some(undone)) => take_back(entries, undone, id),
        Nature::DoesAgain(Some(redone)) => do_again(entries, redone, id),
        Nature::EndsInterrupted(about, way) => ended(entries, about, way, id),
        Nature::TakesBack(None)
        | Nature::DoesAgain(None)
        | Nature::CreatesImage(_)
        | Nature::CreatesFiles
        | Nature::Restores
        | Nature::Repairs
        | Nature::Moves(_)
        | Nature::Changes => {}
    }
    // Done again from the start: what was interrupted before is through as well.
    for entry in entries {
        if entry.id < id
            && entry.standing == Standing::Interrupted
            && entry.request.itself() == request.itself()
        {
            entry.standing = Standing::Settled;
        }
    }
}

/// The interrupted entry `about` was brought to an end in this way by the entry `id`.
fn ended(entries: &mut [Entry], about: u64, way: Recovery, id: u64) {
    let was = with(entries, about, |entry| {
        entry.standing = Standing::Settled;
        entry.request.clone()
    });
    match way {
        Recovery::Finish => {
            let nature = was.as_ref().map(|was| was.operation().nature());
            // An undo or a redo that was interrupted and is through now.
            if let Some(Nature::TakesBack(Some(undone))) = nature {
                take_back(entries, undone, id);
            } else if let Some(Nature::DoesAgain(Some(redone))) = nature {
                do_again(entries, redone, id);
            }
        }
        Recovery::RollBack => pass_on(entries, about, id),
        Recovery::Forget => {}
    }
}

fn take_back(entries: &mut [Entry], undone: u64, by: u64) {
    with(entries, undone, |entry| {
        entry.standing = Standing::Undone;
        entry.taken_back_by = Some(by);
    });
    pass_on(entries, undone, by);
    rename_batches(entries, undone, by);
}

/// What came back from the trash and went there again when that was taken back has another name there now.
fn rename_batches(entries: &mut [Entry], undone: u64, by: u64) {
    let names = |request: Option<&Request>| request.cloned().map_or_else(Vec::new, trash_entries);
    let find = |id| entries.iter().find(|entry| entry.id == id);
    // What was done again is what was done first.
    let first = find(undone).map(|entry| origin(entries, entry));
    let first_id = first.map(|first| first.id);
    let old = names(first.map(|first| &first.request));
    let new = names(find(by).and_then(|entry| entry.undo.as_ref()));
    if old.is_empty() || new.is_empty() {
        return;
    }
    let rename = |name: Name<'_>| match name {
        Name::TrashEntries(named) if named.iter().any(|name| old.contains(name)) => {
            named.retain(|name| !old.contains(name));
            named.extend(new.iter().cloned());
        }
        Name::TrashEntry(named) if old.contains(named) => {
            if let Some(new) = new.first() {
                named.clone_from(new);
            }
        }
        Name::TrashEntries(_) | Name::TrashEntry(_) | Name::Path(_) | Name::Connection(_) => {}
    };
    for entry in entries.iter_mut() {
        if entry.id < undone
            && let Some(undo) = &mut entry.undo
        {
            undo.each_name(&mut { rename });
        }
        // It may be done again.
        if Some(entry.id) == first_id {
            entry.request.each_name(&mut { rename });
        }
    }
}

/// The entries of the trash that a request names.
fn trash_entries(mut request: Request) -> Vec<String> {
    let mut entries = Vec::new();
    request.each_name(&mut |name| match name {
        Name::TrashEntry(entry) => entries.push(entry.clone()),
        Name::TrashEntries(named) => entries.extend(named.iter().cloned()),
        Name::Path(_) | Name::Connection(_) => {}
    });
    entries
}

fn do_again(entries: &mut [Entry], redone: u64, by: u64) {
    let undo = with(entries, redone, |entry| {
        entry.standing = Standing::Settled;
        entry.taken_back_by
    });
    if let Some(undo) = undo.flatten() {
        pass_on(entries, undo, by);
    }
}

/// What rested on the files as they were before `undone` rests from now on on them as `by`, which took it
/// back, has left them.
fn pass_on(entries: &mut [Entry], undone: u64, by: u64) {
    let preconditions = |id, of: fn(&Entry) -> &Preconditions| {
        let entry = entries.iter().find(|entry| entry.id == id);
        entry.map(of).cloned().unwrap_or_default()
    };
    let (mut before, mut after) = (
        preconditions(undone, |e| &e.before),
        preconditions(by, |e| &e.after),
    );
    // What only the way back had to write shows what it showed.
    before.join(&preconditions(by, |e| &e.before));
    // What shows the same either way stays as the operation left it.
    after.join(&preconditions(undone, |e| &e.after));
    for entry in entries.iter_mut().filter(|entry| entry.id < undone) {
        for preconditions in [&mut entry.left, &mut entry.after] {
            preconditions.follow(&before, &after);
            // What went to the trash meanwhile, or came from there, is followed under its other name.
            preconditions.follow_files(&before, &after);
        }
    }
}

/// A recovery that was itself cut off is a part of what it was about, and settled with it.
fn settle_recoveries(entries: &mut [Entry]) {
    for entry in entries {
        if let Nature::EndsInterrupted(about, _) = entry.request.operation().nature()
            && about < entry.id
            && entry.standing == Standing::Interrupted
        {
            entry.standing = Standing::Settled;
        }
    }
}

fn with<T>(entries: &mut [Entry], id: u64, act: impl FnOnce(&mut Entry) -> T) -> Option<T> {
    entries
        .iter_mut()
        .rev()
        .find(|entry| entry.id == id)
        .map(act)
}

/// What has to be as the operation left it, so that `undo` takes back that and nothing more: the files
/// that it would change, and of a file whose content it keeps only which one it is.
pub(in crate::ops) fn rests_on(
    host: &dyn Host,
    undo: &Request,
    touched: &[PathBuf],
) -> Preconditions {
    // What is in the trash is looked at there, by the name it has then.
    let in_trash = |path: &&PathBuf| {
        let mut parts = path.components();
        parts.any(|part| part.as_os_str() == trash::DIR)
    };
    let files: Vec<PathBuf> = touched
        .iter()
        .filter(|path| !in_trash(path))
        .cloned()
        .collect();
    match undo.operation().rests_on() {
        RestsOn::Image(image, watch) => {
            Preconditions::comparing(host, &[image.to_path_buf()], watch)
        }
        RestsOn::Made(_) | RestsOn::Trashed { .. } => Preconditions::of(host, &files),
        RestsOn::Touched(watch) => Preconditions::comparing(host, &files, watch),
    }
}

/// What an entry did: of one that did another one again, what that did.
pub(in crate::ops) fn origin<'e>(entries: &'e [Entry], entry: &'e Entry) -> &'e Entry {
    let mut at = entry;
    while let Nature::DoesAgain(Some(id)) = at.request.operation().nature()
        && id < at.id
        && let Some(earlier) = entries.iter().find(|one| one.id == id)
    {
        at = earlier;
    }
    at
}
