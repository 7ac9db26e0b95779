//! What can happen to the interface, and what it can ask for in return. The update step turns the
//! one into the other; the runner carries out what is asked for.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::Receiver;

use crate::doctor::Finding;
use crate::facts::{PlanFacts, TrashEntry};
use crate::fleet::{PassphraseQuery, Program, Question as FarQuestion};
use crate::forest::{ChangedBase, Forest, Problem, ScannedFile};
use crate::host::{FileId, Holder, Space, Stat};
use crate::image::{Bitmap, Check, Format, Passphrase, Snapshot};
use crate::inside::Summary;
use crate::machines::Machines;
use crate::ops::journal::Entry;
use crate::ops::{
    Candidate, Context, Error, GuestFiles, InsidesByPath, Leftover, NotLooked, Outcome, Plan,
    Progress, ProgressView, Request, Retention,
};

use super::browse::{Answer, Question, Trouble};
use super::config::NoticeBy;
use super::far_answers::{Asking, FarAnswer, Topic};
use super::file_changes::{FilesAnswer, FilesQuery};
use super::filter::Hits;
use super::hosts::{HostRules, HostTold};
use super::insides::InsidesFound;
use super::jobs::Work;
use super::key::Key;
use super::map::MapSeen;
use super::query::{Completions, Measured, QueryId};
use super::space::{Figures, SpaceFound};

/// What the mouse did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MouseEvent {
    /// The left button went down.
    Press,
    /// The wheel turned towards the person.
    WheelDown,
    /// The wheel turned away.
    WheelUp,
}

/// How changes on the disk are noticed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Watching {
    /// Not at all: only `r` looks again.
    #[default]
    Off,
    /// The system tells of them.
    Live,
    /// By looking every few seconds: why.
    Polling(String),
}

/// Something happened.
#[derive(Debug)]
pub enum Msg {
    /// A key was pressed.
    Key(Key),
    /// The mouse did something at that column and row.
    Mouse(MouseEvent, u16, u16),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size, in columns and rows.
    Resize(u16, u16),
    /// The time; sent before whatever happened at that time.
    Clock(SystemTime),
    /// Files a scan has found.
    Found(QueryId, Vec<ScannedFile>),
    /// Which of them processes have open.
    Held(QueryId, HashMap<FileId, Vec<Holder>>),
    /// How many files a scan has looked at so far.
    Looked(QueryId, u64),
    /// A scan has ended.
    Scanned(QueryId, ScanEnd),
    /// Files that a host has met; the number is its place among the hosts.
    FarFound(QueryId, usize, Vec<ScannedFile>),
    /// Which of them processes have open there.
    FarHeld(QueryId, usize, HashMap<FileId, Vec<Holder>>),
    /// What a host lets be done.
    FarGreeted(usize, HostRules),
    /// A host that is asked has said nothing for so many seconds.
    FarSilent(QueryId, usize, u64),
    /// The images of all machines, as far as they were told when that was asked for.
    Gathered(QueryId, Arc<Forest>),
    /// A host has told of all its images, or why it cannot.
    FarScanned(QueryId, usize, Result<ScanEnd, String>),
    /// What a host tells beside its images, or why it does not.
    FarAnswered(QueryId, usize, Topic, Box<Result<FarAnswer, String>>),
    /// The plan of a change that a host makes, and what it asks.
    ThereAsked(QueryId, Box<FarQuestion>),
    /// A passphrase that a change needs which a host makes.
    ThereLocked(QueryId, Box<PassphraseQuery>),
    /// What the plan of a change that a host makes would do.
    TherePlanned(QueryId, Box<PlanFacts>),
    /// What became of a change that a host was to make.
    ThereEnded(QueryId, Box<ThereEnd>),
    /// The forest after changed files were looked at again.
    Refreshed(QueryId, Arc<Forest>),
    /// Files or folders have changed; none if so many that everything has to be looked at.
    Changed(Option<Vec<PathBuf>>),
    /// How changes are noticed from now on.
    Watching(Watching),
    /// What a filter line asks for.
    Filtered(QueryId, Arc<Hits>),
    /// The passphrase of an encrypted image is missing, or wrong; told before the plan that needs it.
    Locked(QueryId, PathBuf),
    /// How a name can go on.
    Completed(QueryId, Completions),
    /// Somebody looks at the terminal, or no longer.
    Focus(bool),
    /// A plan was made, on this forest if that is newer than the one shown.
    Planned(QueryId, Box<Plan>, Option<Arc<Forest>>),
    /// Which files inside an image a plan changes or takes away, or why that is not known: the plan, and which of its
    /// images.
    GuestFiles(QueryId, usize, Box<Result<Summary, NotLooked>>),
    /// Plans were made that are agreed to together, one for each request.
    PlannedEach(QueryId, Vec<Plan>),
    /// How far the running jobs are.
    Progress(Vec<(u64, ProgressView)>),
    /// A job has ended.
    Ended(u64, Result<Outcome, Error>),
    /// A job has looked through an image: the file as it was, and what was found or why nothing.
    Checked(u64, PathBuf, Option<Stat>, Box<Result<Check, Error>>),
    /// What the disk tells of the selected image now.
    Info(Box<LiveInfo>),
    /// Where the bytes of an image are, or why that cannot be told.
    Mapped(PathBuf, Result<Arc<MapSeen>, String>),
    /// What is known of files inside images.
    Files(FilesQuery, FilesAnswer),
    /// Leaves that could be pruned.
    Candidates(QueryId, Vec<Candidate>),
    /// Of leaves that could be pruned, why a rule keeps them, if it does.
    Kept(QueryId, Vec<Option<String>>),
    /// What some of the images hold, and what would free space there.
    SpaceSoFar(QueryId, Box<SpaceFound>),
    /// Where the space went.
    Space(QueryId, Box<SpaceFound>),
    /// Where the space of all machines went.
    SpaceJoined(QueryId, Box<SpaceFound>),
    /// What is inside images, as far as it was found.
    Insides(QueryId, Box<InsidesFound>),
    /// What earlier runs have found inside images.
    KeptInsides(InsidesByPath),
    /// What is in the trash.
    Trash(QueryId, Vec<TrashEntry>),
    /// Which machines there are.
    Machines(Arc<Machines>),
    /// What else is wrong than the scan sees.
    Examined(Vec<Finding>),
    /// What was interrupted, or why that cannot be told.
    Interrupted(QueryId, Result<Interrupted, String>),
    /// The bases that were changed under what is built on them.
    BasesChanged(Vec<ChangedBase>),
    /// How large copies of an image would be, or why that cannot be told.
    Measured(QueryId, Result<Measured, String>),
    /// What was asked about the files inside an image, or why nothing.
    Browsed(QueryId, Box<Result<Answer, Trouble>>),
    /// A job has ended since the passphrase of an image is missing, or wrong: which, and what to say of it.
    JobLocked(u64, PathBuf, Error),
    /// Something to tell the person.
    Tell(String),
}

impl Msg {
    /// Whether it may wait for more of its kind before anything is laid out and drawn: thousands of them
    /// come while a scan runs.
    #[must_use]
    pub(super) fn may_gather(&self) -> bool {
        matches!(
            self,
            Self::Found(..)
                | Self::Held(..)
                | Self::Looked(..)
                | Self::FarFound(..)
                | Self::FarHeld(..)
                | Self::FarSilent(..)
                | Self::FarScanned(..)
                | Self::FarGreeted(..)
                | Self::FarAnswered(..)
        )
    }
}

/// What a scan says at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanEnd {
    /// Files looked at.
    pub looked_at: u64,
    /// Places that could not be looked at, each as a sentence.
    pub unreadable: Vec<String>,
}

/// What became of a change that a host was to make.
#[derive(Debug)]
pub struct ThereEnd {
    /// What it printed since it asked, or at all where it did not, line by line; safe to print.
    pub printed: Vec<String>,
    /// Whether it went well.
    pub ended: Result<(), Error>,
}

/// What the person answers to a change that a host is to make.
#[derive(Debug)]
pub enum ThereReply {
    /// What is typed at the plan.
    Typed(String),
    /// The passphrase that the question of this number asks for; none where none is given.
    Passphrase(u32, Option<Passphrase>),
}

/// What crashes and kills have left.
#[derive(Debug, Clone, Default)]
pub struct Interrupted {
    /// The files they have left half done, each with that as its problem.
    pub halves: Vec<(PathBuf, Problem)>,
    /// Operations of the journal, oldest first.
    pub entries: Vec<Entry>,
    /// Files that were being made by processes that have ended.
    pub leftovers: Vec<Leftover>,
}

/// What is asked of the disk when an image has been selected for a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveInfo {
    /// The image.
    pub path: PathBuf,
    /// Free space on its filesystem.
    pub space: Option<Space>,
    /// Processes that have it open.
    pub holders: Vec<Holder>,
    /// Its internal snapshots, or why they cannot be told; none where there are none to tell of.
    pub snapshots: Option<Result<Vec<Snapshot>, String>>,
    /// Its dirty bitmaps, or why they cannot be told; none where there are none to tell of.
    pub bitmaps: Option<Result<Vec<Bitmap>, String>>,
}

/// What is told to somebody who looks elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How the terminal is asked to tell it.
    pub by: NoticeBy,
    /// A few words.
    pub title: String,
    /// A sentence.
    pub text: String,
}

/// Something to be done outside the update step.
#[derive(Debug)]
pub enum Effect {
    /// Scan the directories anew.
    Scan(QueryId),
    /// Have a host scan its folders anew; the number is its place among the hosts.
    ScanHost(QueryId, usize),
    /// Ask a host what it knows beside its images.
    AskHost(QueryId, usize, Asking),
    /// Have a host make a change once its plan is agreed to.
    ChangeThere {
        /// The question's number.
        query_id: QueryId,
        /// The host's place.
        at: usize,
        /// The command line, without the program's name.
        words: Vec<OsString>,
        /// How far it is; cancelled where nobody wants it any more.
        progress: Progress,
        /// What the person answers.
        replies: Receiver<ThereReply>,
    },
    /// Make a plan, if no newer one is asked for within the delay.
    Plan {
        /// The question's number.
        query_id: QueryId,
        /// What is asked.
        request: Request,
        /// What is known to exist.
        forest: Arc<Forest>,
        /// How long to wait for a newer question.
        delay: Duration,
    },
    /// Make a plan for each of these, all of which only create, if no newer one is asked for within the delay.
    PlanEach {
        /// The question's number.
        query_id: QueryId,
        /// What is asked.
        requests: Vec<Request>,
        /// What is known to exist.
        forest: Arc<Forest>,
        /// How long to wait for a newer question.
        delay: Duration,
    },
    /// Look again at files that changed, and at what they belong to.
    Refresh(QueryId, Arc<Forest>, Vec<PathBuf>),
    /// Make one forest of the images of this machine, of these that are known, and of what each host has told.
    Gather(QueryId, Arc<Forest>, Vec<HostTold>),
    /// Find out what a filter line asks for.
    Filter {
        /// The question's number.
        query_id: QueryId,
        /// The line.
        line: String,
        /// The images.
        forest: Arc<Forest>,
        /// The directories looked at, from which paths are shown.
        roots: Vec<PathBuf>,
        /// The person's home.
        home: Option<PathBuf>,
        /// The time that ages are counted from.
        now: SystemTime,
        /// What is known of the space that images take.
        space: Arc<Figures>,
        /// What is known of the inside of images.
        insides: Arc<InsidesByPath>,
    },
    /// Run what the person agreed to.
    Run {
        /// The job's number.
        job: u64,
        /// What to do.
        work: Work,
        /// Where it reports, and learns that it shall stop.
        progress: Progress,
    },
    /// Ask the disk about an image, if it is still the selected one after a moment.
    Info(PathBuf),
    /// Find out where the bytes of an image are, if it is still the selected one after a moment.
    Map(PathBuf, Option<Format>),
    /// Find out what is known of files inside images; only the newest question is answered.
    Files(FilesQuery),
    /// Use a passphrase for an encrypted image.
    Unlock(PathBuf, Passphrase),
    /// Hold the passphrase that images still to be made are to have, instead of any others'.
    Protect(Vec<PathBuf>, Passphrase),
    /// Wipe the passphrase of what was to be made.
    Forget,
    /// Find out how the name of a file can go on.
    Complete(QueryId, PathBuf),
    /// Tell somebody who looks elsewhere.
    Notify(Notice),
    /// List leaves that could be pruned.
    Candidates(QueryId, Arc<Forest>),
    /// Find out which of these a rule keeps.
    Keep {
        /// The question's number.
        query_id: QueryId,
        /// What is known to exist.
        forest: Arc<Forest>,
        /// Leaves that could be pruned.
        candidates: Vec<Candidate>,
        /// The rule.
        rule: Retention,
    },
    /// Find out where the space went.
    Space {
        /// The question's number.
        query_id: QueryId,
        /// What is known to exist.
        forest: Arc<Forest>,
        /// Whether the images' data is read as well.
        reads: bool,
        /// Of leaves that nobody uses, those may go that were not changed for so many days.
        prune_days: u64,
    },
    /// Put together where the space of each machine went.
    JoinSpace(QueryId, Vec<Arc<SpaceFound>>),
    /// Nobody waits for that any more.
    StopSpace,
    /// Find out something about the files inside an image.
    Browse(QueryId, Question),
    /// Nobody waits for that any more.
    StopBrowsing,
    /// Find out which files inside images the plan that is shown changes or takes away.
    LookInside {
        /// The plan's number.
        query_id: QueryId,
        /// What it was planned with.
        context: Context,
        /// The images.
        files: Vec<GuestFiles>,
    },
    /// Nobody waits for that any more.
    StopLookingInside,
    /// Look into images, as far as nobody knows what is inside.
    Insides(QueryId, Arc<Forest>),
    /// Nobody waits for that any more.
    StopInsides,
    /// List the trash.
    Trash(QueryId),
    /// Find out which machines there are, around these images.
    Machines(Arc<Forest>),
    /// Look for what else is wrong than the scan sees.
    Examine(Arc<Forest>),
    /// Find out what was interrupted; with a forest also what was left half made in its folders.
    Interrupted(QueryId, Option<Arc<Forest>>),
    /// Find out how large copies of an image would be.
    Measure {
        /// The question's number.
        query_id: QueryId,
        /// The image.
        image: PathBuf,
        /// Its format, where that is known.
        format: Option<Format>,
        /// The ID of the internal snapshot to be copied, if it is one.
        snapshot: Option<Vec<u8>>,
    },
    /// Write down which images there are, for plans of later runs elsewhere, and find out which bases are no longer what
    /// they were.
    Remember(Arc<Forest>),
    /// Take a base as it is now for what its overlays were made for, and compare the bases of the forest again.
    Accept(PathBuf, Arc<Forest>),
    /// Look at these directories from now on, in place of those that are open.
    Open(Vec<PathBuf>),
    /// Put text on the clipboard.
    Copy(String),
    /// Listen to the mouse, or leave it to the terminal.
    Mouse(bool),
    /// Give the terminal to a shell in this directory until it ends.
    Shell(PathBuf),
    /// Mount an image of this format, and give the terminal to a shell there until it ends.
    Mount(PathBuf, Option<Format>),
    /// Give the terminal to a program, with its words, until it ends.
    OnScreen(Vec<OsString>),
    /// Give the terminal to a program on the host of this place until it ends.
    OnScreenThere(usize, Program),
    /// Stop like any program that is told to by Ctrl-Z.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// Leave.
    Quit,
}
