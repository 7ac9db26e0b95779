//! A disk goes on in another file that shows the same, while a guest writes it (`blockdev-mirror`). The new file is
//! open on the very node that the old one is built on: on nothing, it would show zeros for all that is below.

use std::path::Path;

use serde_json::json;

use super::job::{self, Ended, Look};
use super::qmp::{Qmp, QmpError};
use super::snapshot::free_name;
use super::tuning::Tuning;
use super::{named_node, named_nodes};

/// What to move.
#[derive(Debug, Clone, Copy)]
pub struct Mirror<'a> {
    /// The job's number.
    pub id: &'a str,
    /// The node that is written now.
    pub leaf: &'a str,
    /// What that one is built on.
    pub backing: Option<&'a str>,
    /// The new image, a qcow2 that is made already and holds nothing.
    pub target: &'a Path,
    /// Bytes per second at most; 0 for as fast as it goes.
    pub speed: u64,
}

/// Starts the job, or takes up the one of that number, and brings it to its end: the disk is the new file then. Which
/// of the two is no longer needed, by what came of it, is for the caller to close. `look` hears of its progress, and
/// ends it by wanting it no more: nothing has changed then.
///
/// # Errors
/// [`QmpError`] where the conversation ended.
pub fn run(qmp: &mut Qmp, mirror: &Mirror<'_>, look: &mut Look<'_>) -> Result<Ended, QmpError> {
    if job::find(qmp, mirror.id)?.is_none() {
        start(qmp, mirror)?;
    }
    job::switch_when_ready(qmp, mirror.id, look)
}

fn start(qmp: &mut Qmp, mirror: &Mirror<'_>) -> Result<(), QmpError> {
    let nodes = named_nodes(qmp)?;
    let tuning = Tuning::of(named_node(&nodes, mirror.leaf)?);
    let node = free_name(&nodes)?;
    let mut target = json!({
        "driver": "qcow2",
        "node-name": node,
        "file": tuning.file(mirror.target)?,
        "backing": mirror.backing,
    });
    tuning.add_to(&mut target);
    qmp.execute("blockdev-add", target)?;
    let asked = json!({
        "job-id": mirror.id,
        "device": mirror.leaf,
        "target": node,
        // All above the node that both are built on.
        "sync": if mirror.backing.is_some() { "top" } else { "full" },
        // A guest cannot write faster than it is copied.
        "copy-mode": "write-blocking",
        "auto-dismiss": false,
        "on-source-error": "report",
        "on-target-error": "report",
        "speed": mirror.speed,
    });
    match qmp.execute_within("blockdev-mirror", asked, super::SWITCHING) {
        Ok(_) => Ok(()),
        Err(error) => {
            drop(qmp.execute("blockdev-del", json!({ "node-name": node })));
            Err(error)
        }
    }
}
