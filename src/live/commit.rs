//! A frozen layer is merged down while the layers above it are in use (`block-commit`). It always says which layer
//! and into which: without those words QEMU merges everything into the root of the chain. Where the layer is the one
//! that is written, the guest goes on in the base (active commit).

use std::ffi::OsStr;

use serde_json::json;

use super::job::{self, Ended, Job, JobStatus, Look};
use super::qmp::{Qmp, QmpError};

/// What to merge.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// The job's number.
    pub id: &'a str,
    /// The node on which the guest stands.
    pub root: &'a str,
    /// The uppermost layer that is merged.
    pub top: &'a str,
    /// The layer that receives it.
    pub base: &'a str,
    /// The name of that one, as it is to be recorded in the layer above `top`.
    pub backing_file: &'a OsStr,
    /// Bytes per second at most; 0 for as fast as it goes.
    pub speed: u64,
}

/// Starts the job, or takes up the one of that number, and brings it to its end. `look` hears of its progress, and
/// ends it by wanting it no more, as an error does: what was merged until then stays.
///
/// # Errors
/// [`QmpError`] where the conversation ended.
pub fn run(qmp: &mut Qmp, commit: &Commit<'_>, look: &mut Look<'_>) -> Result<Ended, QmpError> {
    if job::find(qmp, commit.id)?.is_none() {
        let asked = json!({
            "job-id": commit.id,
            "device": commit.root,
            "top-node": commit.top,
            "base-node": commit.base,
            "backing-file": job::text(commit.backing_file)?,
            "auto-dismiss": false,
            "on-error": "stop",
            "speed": commit.speed,
        });
        qmp.execute_within("block-commit", asked, super::SWITCHING)?;
    }
    let ended = |job: &Job| job.status == JobStatus::Concluded;
    match job::reach(qmp, commit.id, &ended, look)? {
        // What is merged so far stays, and is gone on with.
        Err(ended) => Ok(ended),
        Ok(_) => job::conclude(qmp, commit.id),
    }
}

/// What to merge while it is written.
#[derive(Debug, Clone, Copy)]
pub struct ActiveCommit<'a> {
    /// The job's number.
    pub id: &'a str,
    /// The node that is written now.
    pub leaf: &'a str,
    /// The layer that receives all that is above it, and is written then.
    pub base: &'a str,
    /// Bytes per second at most; 0 for as fast as it goes.
    pub speed: u64,
}

/// Starts the job, or takes up the one of that number, and brings it to its end: the disk is the base then. `look`
/// hears of its progress, and ends it by wanting it no more: what was merged until then stays, and the leaf is written.
///
/// # Errors
/// [`QmpError`] where the conversation ended.
pub fn run_active(
    qmp: &mut Qmp,
    commit: &ActiveCommit<'_>,
    look: &mut Look<'_>,
) -> Result<Ended, QmpError> {
    if job::find(qmp, commit.id)?.is_none() {
        let asked = json!({
            "job-id": commit.id,
            "device": commit.leaf,
            "base-node": commit.base,
            "auto-dismiss": false,
            // An error ends it: the leaf holds everything still.
            "on-error": "report",
            "speed": commit.speed,
        });
        qmp.execute_within("block-commit", asked, super::SWITCHING)?;
    }
    job::switch_when_ready(qmp, commit.id, look)
}
