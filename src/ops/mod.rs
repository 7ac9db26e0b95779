//! What can be done: one file an operation, each two functions with a value between them. `plan`
//! looks and changes nothing; its [`Plan`] says what will be read, written, created and removed,
//! who is affected and what is refused; `run` does exactly that. Every rule about what is safe
//! lives here; the faces only show plans and run them.

mod plan;
mod progress;
mod request;

pub use plan::{
    Confirm, Consent, Context, Danger, Denied, Effect, EffectKind, Line, LookedIn, Note, Plan,
    Ready, Refusal, SpaceNeed, Tone, Undo, WayOut,
};
pub use progress::{Cancelled, Phase, Progress, ProgressView};
pub use request::{BackingStyle, CommittedLayer, CreateOptions, Request, Siblings};

use std::path::PathBuf;

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

/// Looks at what `request` asks and says what it would do. Changes nothing, and always gives a
/// plan: what cannot be done is a plan with refusals.
#[must_use]
pub fn plan(context: &Context, request: &Request) -> Plan {
    Plan::empty(request.clone(), context)
}

/// Does what the plan says. Locks are taken and the files' identities compared first; a file that
/// changed since makes it [`Error::Stale`] before anything is written.
///
/// # Errors
/// See [`Error`]; whatever it is, every image is readable and none but the named targets changed.
pub fn run(ready: Ready, progress: &Progress) -> Result<Outcome, Error> {
    let _ = progress;
    Err(Error::Failed(ready.plan().title.clone()))
}
