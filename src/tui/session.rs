//! What happened since the program was started, and what of it can be taken back.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::doctor::Finding;
use crate::forest::{ChangedBase, Problem};
use crate::host::Stat;
use crate::image::Check;
use crate::machines::Machines;
use crate::ops::Request;

use super::actions::Action;
use super::log::Log;
use super::msg::Interrupted;

/// What a check of an image has found, and of which state of the file.
#[derive(Debug, Clone)]
pub struct Checked {
    /// When it was done.
    pub at: SystemTime,
    /// The file as it was; another state is another image.
    pub stat: Option<Stat>,
    /// What was found, or why nothing could be.
    pub found: Result<Arc<Check>, String>,
}

/// A line that tells what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toast {
    /// The sentence.
    pub text: String,
    /// Whether something went wrong.
    pub bad: bool,
}

/// What else is wrong than the scan sees.
#[derive(Debug, Default)]
pub struct Examination {
    /// What was found last.
    pub findings: Vec<Finding>,
    /// Whether somebody is looking.
    pub(super) runs: bool,
    /// Whether something has changed since they began.
    pub(super) again: bool,
}

/// What happened in this session.
#[derive(Debug, Default)]
pub struct Session {
    /// What would take back the operations of this session, newest last: what was done, and the
    /// request.
    pub undo: Vec<(String, Request)>,
    /// Why the newest operation cannot be taken back, if it cannot.
    pub no_undo: Option<String>,
    /// What happened in this session.
    pub log: Log,
    /// What happened last.
    pub toast: Option<Toast>,
    /// The last actions chosen from the palette, newest last.
    pub recent: Vec<Action>,
    /// What checks have found, by file.
    pub checks: HashMap<PathBuf, Checked>,
    /// The machines that there are, once that was answered.
    pub machines: Option<Arc<Machines>>,
    /// When they were asked for last.
    pub(super) machines_asked: Option<SystemTime>,
    /// What else is wrong than the scan sees.
    pub examination: Examination,
    /// The files that interrupted operations have left half done, each with that as its problem.
    pub halves: Vec<(PathBuf, Problem)>,
    /// What was interrupted on this machine, or why that cannot be told; none while that is looked for.
    pub interrupted: Option<Result<Interrupted, String>>,
    /// The bases that were changed under what is built on them.
    pub changed_bases: Vec<ChangedBase>,
    /// Whether rows are marked as half done, or as above a changed base.
    pub(super) had_marks: bool,
    /// Folders that were opened together in earlier runs, the newest first; not those that are open.
    pub recent_folders: Vec<Vec<PathBuf>>,
    /// The folders that are open, where there is a journal: it knows what can be taken back then.
    pub journal: Option<Vec<PathBuf>>,
}
