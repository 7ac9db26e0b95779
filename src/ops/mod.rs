//! What can be done: one file an operation, each two functions with a value between them. `plan`
//! looks and changes nothing; its [`Plan`] says what will be read, written, created and removed,
//! who is affected and what is refused; `run` does exactly that. Every rule about what is safe
//! lives here; the faces only show plans and run them.

mod absolute;
mod amend;
mod backing_format;
mod backing_name;
mod bitmap;
mod branch;
mod branch_unchecked;
mod built_on;
mod chain_files;
mod check;
mod clone;
mod command_line;
mod commit;
mod context;
mod convert;
mod copy_file;
mod create;
mod create_raw;
mod cut_short;
mod data_files;
mod demo;
mod dependants;
mod device;
mod discard;
mod doctor;
mod empty_trash;
mod export;
mod flatten;
mod held;
mod import;
mod in_use;
pub mod journal;
mod key_slot;
mod leaks;
mod may_write;
mod members;
mod move_images;
mod new_file;
mod new_image;
mod operation;
mod options;
mod pin;
mod plan;
mod progress;
mod prune;
mod readers;
mod reading;
mod rebase;
mod recover;
mod redo;
mod refusal;
mod relink;
mod remove_leftovers;
mod repair;
mod request;
mod reroot;
mod resize;
mod resolve;
mod restore;
mod resumed;
mod revert;
mod snapshot;
mod space;
mod squash;
mod together;
pub mod trash;
pub mod undo;
mod unlock;
mod verify;
mod words;

pub use amend::AmendImage;
pub use bitmap::{BitmapAction, ChangeBitmap};
pub use branch::Branch;
pub use branch_unchecked::BranchUnchecked;
pub use check::{chain_notices, check};
pub use clone::{CloneImage, Reflink};
pub use command_line::CommandLine;
pub use commit::{Commit, CommittedLayer, Relinked, Siblings, Uncommit};
pub use context::{Context, Looked, LookedIn};
pub use convert::{Convert, ConvertForm};
pub use create::Create;
pub use create_raw::CreateRaw;
pub use demo::demo;
pub use discard::Discard;
pub use doctor::{fix_lines, fixes};
pub use empty_trash::EmptyTrash;
pub use export::Export;
pub use flatten::Flatten;
pub use import::Import;
pub use key_slot::{ChangeKeySlot, KeySlotAction};
pub use move_images::{MoveImages, Relocation};
pub use options::{
    BackingStyle, Compress, DataFileOption, Dependants, EncryptionOption, ImageOptions,
};
pub use plan::{
    Confirm, Consent, Danger, Denied, Effect, EffectKind, Line, Note, Plan, Ready, SpaceNeed, Tone,
    Undo,
};
pub use progress::{Cancelled, Phase, Progress, ProgressView};
pub use prune::{Candidate, candidates};
pub use reading::{ReadOptions, Reading, open_to_read};
pub use rebase::Rebase;
pub use recover::{RecoverEntry, Recovery};
pub use redo::RedoEntry;
pub use refusal::{Refusal, RefusalKind, WayOut};
pub use relink::{Relink, Unlink};
pub use remove_leftovers::{Leftover, RemoveLeftovers, leftovers};
pub use repair::{RepairAction, RepairImage};
pub use request::Request;
pub use resize::{NewSize, Resize};
pub use restore::Restore;
pub use resumed::moved_to;
pub use revert::Revert;
pub use snapshot::{ChangeSnapshot, ExtractAs, SnapshotAction, SnapshotName};
pub use squash::{Direction, Squash};
pub use together::plan_each;
pub use undo::UndoEntry;
pub use unlock::is_locked;
pub use words::lines_of_each;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::host::during_one_survey;
use journal::Journal;
use pin::Pins;
use words::shown;

/// What an operation that ran has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One sentence: what happened to which file.
    pub summary: String,
    /// Files created, written, renamed or removed, for the log and for rescanning.
    pub touched: Vec<PathBuf>,
    /// What would take it back, if anything can.
    pub undo: Option<Request>,
    /// Things the person should know although all went well.
    pub remarks: Vec<String>,
}

/// Why an operation that was begun did not end well. The images are intact either way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The person cancelled; nothing is lost, and the same operation can be run again.
    #[error("{0}")]
    Cancelled(String),
    /// A file is not what it was when the plan was made: plan again.
    #[error("{0}")]
    Stale(String),
    /// A process uses a file.
    #[error("{0}")]
    InUse(String),
    /// Reading, writing or understanding a file failed.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// `cannot open disk.qcow2: Permission denied`.
    fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::Failed(format!("cannot {doing} {}: {error}", shown(path)))
    }

    /// The same of an operation that was cut off with a part of it done, and what can be done about it.
    fn but_half_done(self, id: u64) -> Self {
        let and = |text: String| {
            format!(
                "{text}. A part of it is done: `qanopy recover {id} --finish` does the rest, `--roll-back` takes \
                 it back where that is possible"
            )
        };
        match self {
            Self::Cancelled(text) => Self::Cancelled(and(text)),
            Self::Stale(text) => Self::Stale(and(text)),
            Self::InUse(text) => Self::InUse(and(text)),
            Self::Failed(text) => Self::Failed(and(text)),
        }
    }
}

/// What carries out one plan. Made by the operation's own planning, so that nothing but an accepted
/// plan can be run.
trait Job: fmt::Debug + Send + Sync {
    /// Takes locks, settles them (see `in_use::Locking`), does it.
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error>;
}

/// Looks at what `request` asks and says what it would do. Changes nothing, and always gives a
/// plan: what cannot be done is a plan with refusals.
#[must_use]
pub fn plan(context: &Context, request: &Request) -> Plan {
    // Who uses the files is found in one pass over the processes, however many files there are.
    during_one_survey(|| plan_anew(context, request))
}

fn plan_anew(context: &Context, request: &Request) -> Plan {
    let mut plan = Plan::empty(request.clone(), context);
    request.operation().plan(&mut plan);
    readers::refuse_all(&mut plan);
    readers::tell_names_left(&mut plan);
    cut_short::warn(&mut plan);
    data_files::warn(&mut plan);
    device::judge(&mut plan);
    if plan.refusals.is_empty() {
        may_write::refuse_unwritable(&mut plan);
    }
    plan.settle();
    plan
}

/// Does what the plan says. Locks are taken and the files' identities compared first; a file that
/// changed since makes it [`Error::Stale`] before anything is written.
///
/// # Errors
/// See [`Error`]; whatever it is, every image is readable and none but the named targets changed.
pub fn run(ready: Ready, progress: &Progress) -> Result<Outcome, Error> {
    let plan = ready.plan();
    plan.verify_pins()?;
    let Some(job) = &plan.job else {
        return Err(Error::Failed(format!("{}: nothing to do", plan.title)));
    };
    let proof = ready
        .proves()
        .then(|| verify::Proof::take(plan, progress))
        .transpose()?;
    let journal = plan.context().state_dir.as_deref().map(Journal::at);
    let begun = journal.as_ref().map(|journal| journal.begin(plan));
    let before = journal::before(plan);
    let mut ended = job.run(plan, progress);
    let mut unwritten = None;
    match (&journal, begun) {
        (Some(journal), Some(Ok(id))) => {
            let half = match &ended {
                Err(error) => half_done(plan, &before, error, progress),
                Ok(_) => false,
            };
            if half {
                ended = ended.map_err(|error| {
                    unwritten = journal.stop(id, &error).err();
                    error.but_half_done(id)
                });
            } else {
                unwritten = journal.end(id, plan, &ended).err();
            }
        }
        (_, Some(Err(error))) => unwritten = Some(error),
        _ => {}
    }
    if let (Some(error), Ok(outcome)) = (unwritten, &mut ended) {
        outcome.remarks.push(format!(
            "it could not be written down in the journal, so that `undo` does not know it: {error}"
        ));
    }
    if let Ok(outcome) = &ended {
        trash::record_again(plan, &outcome.touched);
    }
    if let (Some(proof), Ok(outcome)) = (proof, &mut ended) {
        outcome.remarks.push(proof.compare(plan, progress)?);
    }
    ended
}

/// Whether an operation that did not end well has changed something: it is interrupted then, whoever
/// interrupted it.
fn half_done(plan: &Plan, before: &Pins, error: &Error, progress: &Progress) -> bool {
    let host = plan.host();
    if plan.request.operation().nature().makes_files() {
        let mut made = plan
            .effects
            .iter()
            .filter(|effect| effect.kind == EffectKind::Creates);
        return made.any(|effect| before.has_come(host, &effect.path));
    }
    // Somebody else may have changed a file before the first switch: that is no half of this.
    let is_ours = match error {
        Error::Failed(_) | Error::Cancelled(_) => true,
        Error::Stale(_) | Error::InUse(_) => {
            matches!(progress.view().phase, Phase::Switch | Phase::CleanUp)
        }
    };
    is_ours && before.moved_on(host).is_some()
}
