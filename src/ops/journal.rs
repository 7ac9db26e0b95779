//! The journal: what was begun, how it ended, and what would take it back, one line of JSON an event
//! in a file of the state directory that only grows. An operation that was begun and never ended was
//! interrupted. How one is taken back is in `undo`, how one is brought to an end in `recover`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::host::{LogFile, is_running, this_process};

use super::absolute;
use super::pin::Pins;
use super::{Direction, EffectKind, Outcome, Plan, RepairAction, Request};

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
        roll_back: Option<Request>,
        /// The files the plan speaks of or rests on.
        files: Vec<PathBuf>,
        /// Those of them that come into being, or come back.
        #[serde(default)]
        creates: Vec<PathBuf>,
        /// Those that go to the trash.
        #[serde(default)]
        goes: Vec<PathBuf>,
    },
    Done {
        id: u64,
        summary: String,
        undo: Option<Request>,
        touched: Vec<PathBuf>,
        /// What the files touched were at the end.
        left: Pins,
    },
    Failed {
        id: u64,
        error: String,
    },
    /// Taken back, or brought to an end after an interruption.
    Settled {
        id: u64,
    },
}

/// How an operation of the journal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The process that began it still runs.
    Running,
    /// It was begun, and the process ended without a word.
    Interrupted,
    /// It ended well: one sentence.
    Done(String),
    /// It failed or was cancelled: why. The images are intact.
    Failed(String),
    /// It was taken back, or brought to an end later.
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
    /// What takes it back, if anything does.
    pub undo: Option<Request>,
    /// What takes back a half of it, if anything does.
    pub roll_back: Option<Request>,
    /// Files created, written, renamed or removed; of an operation that did not end, those its plan
    /// speaks of or rests on.
    pub touched: Vec<PathBuf>,
    /// The files it was to create, or to bring back.
    pub(super) creates: Vec<PathBuf>,
    /// The files that were to go to the trash.
    pub(super) goes: Vec<PathBuf>,
    /// What they were at the end.
    pub(super) left: Pins,
}

impl Entry {
    /// Whether `undo` without a number may mean it: it ended well, something takes it back, and it is
    /// not itself about another entry.
    #[must_use]
    pub fn can_be_undone(&self) -> bool {
        self.undo.is_some() && self.is_done()
    }

    /// Whether what was done of it may be taken back after an interruption, as far as can be said without a
    /// look at the files.
    #[must_use]
    pub fn may_be_rolled_back(&self) -> bool {
        self.roll_back.is_some()
            || match &self.request {
                Request::Export { .. }
                | Request::Repair {
                    action: RepairAction::PutBack { .. },
                    ..
                } => false,
                Request::Discard { .. }
                | Request::Commit {
                    keep_old: Some(_), ..
                }
                | Request::Squash {
                    direction: Some(Direction::Up),
                    ..
                } => true,
                other => other.only_adds(),
            }
    }

    /// Whether it ended well and is not itself about another entry.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.standing, Standing::Done(_)) && self.request.is_plain()
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

    /// Writes down that a plan is about to be carried out, before anything is; returns its number.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(super) fn begin(&self, plan: &Plan) -> io::Result<u64> {
        let now = plan.host().now().duration_since(UNIX_EPOCH);
        let begun = |id| Event::Begun {
            id,
            time: now.as_ref().map_or(0, Duration::as_secs),
            process: this_process(),
            title: plan.title.clone(),
            request: absolute::request(&plan.request),
            roll_back: plan.roll_back.as_ref().map(absolute::request),
            files: files_of(plan),
            creates: files_with(plan, |kind| {
                matches!(kind, EffectKind::Creates | EffectKind::Restores)
            }),
            goes: files_with(plan, |kind| kind == EffectKind::Trashes),
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
    pub(super) fn end(
        &self,
        id: u64,
        plan: &Plan,
        ended: &Result<Outcome, super::Error>,
    ) -> io::Result<()> {
        let touched = ended
            .as_ref()
            .map_or(&[] as &[PathBuf], |outcome| &outcome.touched);
        let touched: Vec<PathBuf> = touched.iter().map(|path| absolute::path(path)).collect();
        let event = match ended {
            Ok(outcome) => Event::Done {
                id,
                summary: outcome.summary.clone(),
                undo: outcome.undo.as_ref().map(absolute::request),
                left: Pins::of(plan.host(), &touched),
                touched,
            },
            Err(error) => Event::Failed {
                id,
                error: error.to_string(),
            },
        };
        self.put(&event)
    }

    /// Writes down that nothing is left to do about this entry.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn settle(&self, id: u64) -> io::Result<()> {
        self.put(&Event::Settled { id })
    }

    fn put(&self, event: &Event) -> io::Result<()> {
        self.file.append(|_| Ok((line(event)?, ())))
    }
}

/// The files a plan speaks of or rests on, each once: around them everything is found that is needed to bring
/// it to an end.
fn files_of(plan: &Plan) -> Vec<PathBuf> {
    let effects = plan.effects.iter().map(|effect| effect.path.as_path());
    each_once(effects.chain(plan.pins.paths()))
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
                undo: None,
                roll_back,
                touched: files,
                creates,
                goes,
                left: Pins::default(),
            }),
            Event::Done {
                id,
                summary,
                undo,
                touched,
                left,
            } => {
                let request = with(&mut entries, id, |entry| {
                    entry.standing = Standing::Done(summary);
                    entry.undo = undo;
                    entry.touched = touched;
                    entry.left = left;
                    entry.request.clone()
                });
                // Done again from the start: what was interrupted before is through as well.
                for entry in &mut entries {
                    if entry.id < id
                        && entry.standing == Standing::Interrupted
                        && Some(&entry.request) == request.as_ref()
                    {
                        entry.standing = Standing::Settled;
                    }
                }
            }
            Event::Failed { id, error } => {
                with(&mut entries, id, |entry| {
                    entry.standing = Standing::Failed(error);
                });
            }
            Event::Settled { id } => {
                with(&mut entries, id, |entry| entry.standing = Standing::Settled);
            }
        }
    }
    entries
}

fn with<T>(entries: &mut [Entry], id: u64, act: impl FnOnce(&mut Entry) -> T) -> Option<T> {
    entries
        .iter_mut()
        .rev()
        .find(|entry| entry.id == id)
        .map(act)
}
