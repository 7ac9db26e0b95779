//! A layer takes in what the layers below hold, while it is being read or written (`block-stream`). QEMU names the
//! new base in the header while the tables that name what was taken in are still in its memory only: one that is
//! killed then has lost all of it, and nothing shows that. So the job is held before its last step, the tables are
//! written down, and only then it may end.

use std::ffi::OsStr;

use serde_json::json;

use super::export::ExportError;
use super::flush;
use super::job::{self, Ended, Job, JobStatus, Look};
use super::qmp::{Qmp, QmpError};

/// What to take in.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    /// The job's number.
    pub id: &'a str,
    /// The node that takes in.
    pub node: &'a str,
    /// The node that it is built on afterwards; none to be built on nothing.
    pub base: Option<&'a str>,
    /// The name of that one, as it is to be recorded.
    pub backing_file: Option<&'a OsStr>,
    /// Bytes per second at most; 0 for as fast as it goes.
    pub speed: u64,
}

/// Starts the job, or takes up the one of that number, and brings it to its end; `look` hears of its progress, and
/// ends it by wanting it no more.
///
/// # Errors
/// [`ExportError`] where the conversation ended, or the tables cannot be written down: the job is taken back then, if
/// anybody can be reached.
pub fn run(
    qmp: &mut Qmp,
    pid: u32,
    stream: &Stream<'_>,
    look: &mut Look<'_>,
) -> Result<Ended, ExportError> {
    if job::find(qmp, stream.id)?.is_none() {
        start(qmp, stream)?;
    }
    let wait = |job: &Job| matches!(job.status, JobStatus::Pending | JobStatus::Concluded);
    let job = match job::reach(qmp, stream.id, &wait, look)? {
        Ok(job) => job,
        Err(ended) => return Ok(ended),
    };
    if job.status == JobStatus::Pending {
        if let Err(error) = flush::node(qmp, pid, stream.node) {
            // Without it nothing may be named that is not there.
            drop(job::cancel(qmp, stream.id));
            return Err(error);
        }
        let id = json!({ "id": stream.id });
        qmp.execute_within("job-finalize", id, super::SWITCHING)?;
    }
    Ok(job::conclude(qmp, stream.id)?)
}

fn start(qmp: &mut Qmp, stream: &Stream<'_>) -> Result<(), QmpError> {
    let mut asked = json!({
        "job-id": stream.id,
        "device": stream.node,
        "auto-finalize": false,
        "auto-dismiss": false,
        "on-error": "report",
        "speed": stream.speed,
    });
    if let Some(base) = stream.base {
        job::put(&mut asked, "base-node", json!(base));
        if let Some(name) = stream.backing_file {
            job::put(&mut asked, "backing-file", json!(job::text(name)?));
        }
    }
    qmp.execute_within("block-stream", asked, super::SWITCHING)
        .map(drop)
}
