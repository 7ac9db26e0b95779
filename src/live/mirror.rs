//! A disk goes on in another file that shows the same, while a guest writes it (`blockdev-mirror`). The new file is
//! open on the very node that the old one is built on: on nothing, it would show zeros for all that is below.

use std::path::Path;

use serde_json::{Value, json};

use super::job::{self, Ended, Job, JobStatus};
use super::qmp::{Qmp, QmpError};
use super::snapshot::free_name;
use super::tuning::Tuning;

/// What to move.
#[derive(Debug, Clone, Copy)]
pub struct Mirror<'a> {
    /// The job's number.
    pub id: &'a str,
    /// The node that is written now.
    pub leaf: &'a str,
    /// What that one is built on.
    pub backing: Option<&'a str>,
    /// The new image, which is made already and holds nothing.
    pub target: &'a Path,
    /// Its driver: `qcow2`, `raw`.
    pub driver: &'a str,
    /// Bytes per second at most; 0 for as fast as it goes.
    pub speed: u64,
}

/// Starts the job, or takes up the one of that number, and brings it to its end: the disk is the new file then, and
/// the old one is for the caller to close. `look` hears of its progress, and ends it by giving `false`: nothing has changed then.
///
/// # Errors
/// [`QmpError`] where the conversation ended.
pub fn run(
    qmp: &mut Qmp,
    mirror: &Mirror<'_>,
    look: &mut dyn FnMut(&Job) -> bool,
) -> Result<Ended, QmpError> {
    let mut target = None;
    if job::find(qmp, mirror.id)?.is_none() {
        target = Some(start(qmp, mirror)?);
    }
    let ready = |job: &Job| matches!(job.status, JobStatus::Ready | JobStatus::Concluded);
    let (job, is_wanted) = job::follow_while(qmp, mirror.id, &ready, look)?;
    let ended = match (&job, is_wanted) {
        (None, _) => Ended::Failed("the job is gone".to_owned()),
        (Some(_), false) => {
            // One that was ready ends well by it, and has not switched.
            job::cancel(qmp, mirror.id)?;
            Ended::Cancelled
        }
        (Some(job), true) => {
            if job.status == JobStatus::Ready {
                qmp.execute("job-complete", json!({ "id": mirror.id }))?;
            }
            job::conclude(qmp, mirror.id)?
        }
    };
    if let (Some(node), Ended::Cancelled | Ended::Failed(_)) = (target, &ended) {
        drop(qmp.execute("blockdev-del", json!({ "node-name": node })));
    }
    Ok(ended)
}

fn start(qmp: &mut Qmp, mirror: &Mirror<'_>) -> Result<String, QmpError> {
    let tuning = Tuning::of(qmp, mirror.leaf)?;
    let node = free_name(qmp)?;
    let mut target = json!({
        "driver": mirror.driver,
        "node-name": node,
        "file": tuning.file(mirror.target)?,
    });
    if mirror.driver == "qcow2" {
        job::put(
            &mut target,
            "backing",
            mirror.backing.map_or(Value::Null, Value::from),
        );
    }
    tuning.add_to(&mut target);
    qmp.execute("blockdev-add", target)?;
    let asked = json!({
        "job-id": mirror.id,
        "device": mirror.leaf,
        "target": node,
        // All above the node that both are built on.
        "sync": if mirror.backing.is_some() && mirror.driver == "qcow2" { "top" } else { "full" },
        // A guest cannot write faster than it is copied.
        "copy-mode": "write-blocking",
        "auto-dismiss": false,
        "on-source-error": "report",
        "on-target-error": "report",
        "speed": mirror.speed,
    });
    match qmp.execute_within("blockdev-mirror", asked, super::SWITCHING) {
        Ok(_) => Ok(node),
        Err(error) => {
            drop(qmp.execute("blockdev-del", json!({ "node-name": node })));
            Err(error)
        }
    }
}
