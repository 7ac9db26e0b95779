//! What can happen to the interface, and what it can ask for in return. The update step turns the
//! one into the other; the runner carries out what is asked for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::forest::{Forest, Found};
use crate::host::{Holder, Space};
use crate::ops::trash::Entry;
use crate::ops::{Candidate, Error, Outcome, Plan, Progress, ProgressView, Ready, Request};

use super::key::Key;

/// Numbers a question, so that an answer to an older one is recognised and dropped.
pub type Ticket = u64;

/// Something happened.
#[derive(Debug)]
pub enum Msg {
    /// A key was pressed.
    Key(Key),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size, in columns and rows.
    Resize(u16, u16),
    /// The time; sent before whatever happened at that time.
    Clock(SystemTime),
    /// Files a scan has found.
    Found(Ticket, Vec<Found>),
    /// How many files a scan has looked at so far.
    Looked(Ticket, u64),
    /// A scan has ended.
    Scanned(Ticket, ScanEnd),
    /// A plan was made, on this forest if that is newer than the one shown.
    Planned(Ticket, Box<Plan>, Option<Arc<Forest>>),
    /// How far the running jobs are.
    Progress(Vec<(u64, ProgressView)>),
    /// A job has ended.
    Ended(u64, Result<Outcome, Error>),
    /// What the disk tells of the selected image now.
    Facts(Box<LiveFacts>),
    /// Leaves that could be pruned.
    Candidates(Ticket, Vec<Candidate>),
    /// What is in the trash.
    Trash(Ticket, Vec<Entry>),
    /// Something to tell the person.
    Tell(String),
}

/// What a scan says at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanEnd {
    /// Files looked at.
    pub looked_at: u64,
    /// Places that could not be looked at, each as a sentence.
    pub unreadable: Vec<String>,
}

/// What is asked of the disk when an image has been selected for a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFacts {
    /// The image.
    pub path: PathBuf,
    /// Free space on its filesystem.
    pub space: Option<Space>,
    /// Processes that have it open.
    pub holders: Vec<Holder>,
}

/// Something to be done outside the update step.
#[derive(Debug)]
pub enum Effect {
    /// Scan the directories anew.
    Scan(Ticket),
    /// Make a plan, if no newer one is asked for within the delay.
    Plan {
        /// The question's number.
        ticket: Ticket,
        /// What is asked.
        request: Request,
        /// What is known to exist.
        forest: Arc<Forest>,
        /// How long to wait for a newer question.
        delay: Duration,
    },
    /// Run what the person agreed to.
    Run {
        /// The job's number.
        job: u64,
        /// The plan agreed to.
        ready: Box<Ready>,
        /// Where it reports, and learns that it shall stop.
        progress: Progress,
    },
    /// Ask the disk about an image, if it is still the selected one after a moment.
    Facts(PathBuf),
    /// List leaves that could be pruned.
    Candidates(Ticket, Arc<Forest>),
    /// List the trash.
    Trash(Ticket),
    /// Write down which images there are, for plans of later runs elsewhere.
    Remember(Arc<Forest>),
    /// Put text on the clipboard.
    Copy(String),
    /// Draw everything anew.
    Redraw,
    /// Leave.
    Quit,
}
