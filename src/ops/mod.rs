//! What can be done: one file an operation, each two functions with a value between them. `plan`
//! looks and changes nothing; its [`Plan`] says what will be read, written, created and removed,
//! who is affected and what is refused; `run` does exactly that. Every rule about what is safe
//! lives here; the faces only show plans and run them.

mod absolute;
mod amend;
mod backing_format;
mod backing_name;
mod bitmap;
mod built_on;
mod chain_files;
mod check;
mod clone;
mod commit;
mod context;
mod convert;
mod copy_file;
mod create;
mod cut_short;
mod data_files;
mod demo;
mod dependants;
mod device;
mod discard;
mod empty;
mod export;
mod find;
mod flatten;
mod held;
mod import;
mod in_use;
pub mod journal;
mod key_slot;
mod leaks;
mod leftovers;
mod locked;
mod may_write;
mod members;
mod new_file;
mod new_image;
mod overlay;
mod pin;
mod plan;
mod progress;
mod prune;
mod readers;
mod reading;
mod rebase;
mod recover;
mod relink;
mod relocate;
mod repair;
mod request;
mod reroot;
mod resize;
mod restore;
mod resumed;
mod snapshot;
mod space;
mod squash;
mod together;
pub mod trash;
mod unchecked;
pub mod undo;
mod verify;
mod words;

pub use check::{chain_notices, check};
pub use context::{Context, Looked, LookedIn};
pub use convert::{Convert, ConvertForm};
pub use demo::demo;
pub use key_slot::KeySlotAction;
pub use leftovers::{Leftover, leftovers};
pub use locked::is_locked;
pub use plan::{
    Confirm, Consent, Danger, Denied, Effect, EffectKind, Line, Note, Plan, Ready, Refusal,
    SpaceNeed, Tone, Undo, WayOut,
};
pub use progress::{Cancelled, Phase, Progress, ProgressView};
pub use prune::{Candidate, candidates};
pub use reading::{ReadOptions, Reading, open_to_read};
pub use request::{
    AmendImage, BackingStyle, BitmapAction, Branch, BranchUnchecked, ChangeBitmap, ChangeKeySlot,
    ChangeSnapshot, CloneImage, Commit, CommittedLayer, Compress, Create, CreateRaw,
    DataFileOption, Dependants, Direction, Discard, EmptyTrash, EncryptionOption, Export,
    ExtractAs, Flatten, ImageOptions, Import, MoveImages, NewSize, Rebase, RecoverEntry, Recovery,
    RedoEntry, Reflink, Relink, Relinked, Relocation, RemoveLeftovers, RepairAction, RepairImage,
    Request, Resize, Restore, Siblings, SnapshotAction, SnapshotName, Squash, Uncommit, UndoEntry,
    Unlink,
};
pub use resumed::moved_to;

pub use together::plan_each;
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
    match request {
        Request::Discard(Discard { images, spare }) => discard::plan(&mut plan, images, spare),
        Request::Restore(Restore { entries }) => restore::plan(&mut plan, entries),
        Request::EmptyTrash(EmptyTrash { entries }) => empty::plan(&mut plan, entries),
        Request::Branch(Branch {
            base,
            new,
            size,
            style,
            image,
        }) => overlay::plan(
            &mut plan,
            overlay::Wish {
                base,
                new,
                size: *size,
                style: *style,
                image,
            },
        ),
        Request::BranchUnchecked(wish) => unchecked::plan(&mut plan, wish),
        Request::KeySlot(ChangeKeySlot { image, action }) => {
            key_slot::plan(&mut plan, image, *action)
        }
        Request::Amend(AmendImage { image, amendment }) => amend::plan(&mut plan, image, amendment),
        Request::Bitmap(ChangeBitmap {
            image,
            bitmap,
            action,
        }) => bitmap::plan(&mut plan, image, bitmap, action),
        Request::Resize(Resize {
            image,
            size,
            shrink,
            preallocation,
            dependants,
        }) => resize::plan(
            &mut plan,
            &resize::Wish {
                image,
                size: *size,
                shrink: *shrink,
                preallocation: *preallocation,
                dependants: *dependants,
            },
        ),
        Request::Snapshot(ChangeSnapshot { image, action }) => {
            snapshot::plan(&mut plan, image, action)
        }
        Request::Relink(Relink {
            image,
            base,
            format,
            style,
        }) => relink::plan(
            &mut plan,
            relink::Wish {
                image,
                base: base.as_deref(),
                format: format.as_ref(),
                style: *style,
            },
        ),
        Request::Unlink(Unlink { image }) => relink::plan_nothing(&mut plan, image),
        Request::Repair(RepairImage { image, action }) => repair::plan(&mut plan, image, action),
        Request::Rebase(Rebase {
            image,
            to,
            format,
            style,
            dedupe,
            compress,
        }) => rebase::plan(
            &mut plan,
            rebase::Wish {
                image,
                to,
                format: format.as_ref(),
                style: *style,
                dedupe: *dedupe,
                compress: *compress,
            },
        ),
        Request::Squash(Squash { layer, direction }) => squash::plan(&mut plan, layer, *direction),
        Request::Flatten(Flatten {
            image,
            onto,
            new,
            compress,
        }) => flatten::plan(
            &mut plan,
            flatten::Wish {
                image,
                onto: onto.as_deref(),
                new: new.as_deref(),
                compress: *compress,
            },
        ),
        Request::Clone(CloneImage {
            image,
            new,
            chain,
            reflink,
        }) if *chain => clone::plan_chain(&mut plan, image, new, *reflink),
        Request::Clone(CloneImage {
            image,
            new,
            reflink,
            ..
        }) => clone::plan(&mut plan, image, new, *reflink),
        Request::Export(Export { image, dir }) => export::plan(&mut plan, image, dir),
        Request::Import(Import { dir, to }) => import::plan(&mut plan, dir, to),
        Request::Move(MoveImages { moves, subtree }) => relocate::plan(&mut plan, moves, *subtree),
        Request::RemoveLeftovers(RemoveLeftovers { files }) => leftovers::plan(&mut plan, files),
        Request::Undo(UndoEntry { entry, folders }) => undo::plan(&mut plan, *entry, folders),
        Request::Redo(RedoEntry { entry, folders }) => undo::plan_again(&mut plan, *entry, folders),
        Request::Recover(RecoverEntry { entry, way }) => recover::plan(&mut plan, *entry, *way),
        Request::Uncommit(Uncommit {
            old,
            layers,
            entry,
            children,
        }) => commit::uncommit(
            &mut plan,
            commit::Back {
                old,
                layers,
                entry,
                children,
            },
        ),
        Request::Create(options) => create::plan(&mut plan, options),
        Request::CreateRaw(CreateRaw {
            new,
            size,
            preallocation,
        }) => create::plan_raw(&mut plan, new, *size, *preallocation),
        Request::Convert(options) => convert::plan(&mut plan, options),
        Request::Commit(Commit {
            overlay,
            into,
            layer,
            siblings,
            keep_old,
        }) => commit::plan(
            &mut plan,
            commit::Wish {
                overlay,
                into: into.as_deref(),
                layer: *layer,
                siblings: *siblings,
                keep_old: keep_old.as_deref(),
            },
        ),
    }
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
    if plan.request.makes_files() {
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
