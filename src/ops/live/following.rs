//! A job of the machine as the progress of an operation.

use std::fmt::Display;
use std::thread;
use std::time::Duration;

use crate::forest::Node;
use crate::live::job::{self, Ended, Job, JobStatus};
use crate::machines::{DiskJob, Domain};
use crate::ops::{Error, Progress};

use super::running::Running;

/// A service tells of no event here: it is asked as often as this.
const EACH: Duration = Duration::from_millis(250);
/// A job of libvirt's that is through is gone; one that is not there at first may be about to come.
const APPEARS: u32 = 4;

/// Shows where a job stands; says whether it is still wanted. One that stands still for want of room, or since
/// somebody paused it, is waited for: it goes on when there is room.
pub(in crate::ops) fn looking(progress: &Progress) -> impl FnMut(&Job) -> bool + '_ {
    let mut seen = 0;
    move |job| {
        let step = job.done.saturating_sub(seen);
        seen = seen.max(job.done);
        progress.expect(job.total);
        let is_stuck = job.status == JobStatus::Paused && job.lacks_space;
        // Nobody makes room for a question that nobody sees: what is done so far stays, and is gone on with.
        progress.advance(step).is_ok() && !is_stuck
    }
}

/// What became of a job, as that of the operation.
///
/// # Errors
/// [`Error::Cancelled`] and [`Error::Failed`] with these sentences about what is left.
pub(in crate::ops) fn ended(
    running: &Running,
    ended: Ended,
    progress: &Progress,
    left: &str,
) -> Result<(), Error> {
    match ended {
        Ended::Done => Ok(()),
        Ended::Cancelled if progress.is_cancelled() => {
            Err(Error::cancelled(format!("stopped: {left}")))
        }
        Ended::Cancelled => Err(Error::failed(format!(
            "there is no room left for {}: {left}",
            running.name
        ))),
        Ended::Failed(why) => Err(Error::failed(format!(
            "{} says: {why}: {left}",
            running.name
        ))),
    }
}

/// How a job of libvirt's came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum DomainEnd {
    /// It is gone: it was through, or failed.
    Gone,
    /// It has been through everything, and goes on writing to both.
    Ready,
}

/// Waits for a job of libvirt's on a disk.
///
/// # Errors
/// [`Error::Cancelled`] once the job was ended for it; [`Error::Failed`] where libvirt cannot be asked any more.
pub(in crate::ops) fn follow_domain(
    running: &Running,
    domain: &mut Domain,
    disk: &str,
    progress: &Progress,
    left: &str,
) -> Result<DomainEnd, Error> {
    let failed = |error: &dyn Display| running.failed(error);
    let mut seen = 0;
    let mut waits = 0;
    let mut was_there = false;
    loop {
        match domain.job(disk).map_err(|error| failed(&error))? {
            None if was_there || waits >= APPEARS => return Ok(DomainEnd::Gone),
            None => waits += 1,
            Some(DiskJob { done, total }) => {
                was_there = true;
                progress.expect(total);
                let step = done.saturating_sub(seen);
                seen = seen.max(done);
                if progress.advance(step).is_err() {
                    domain.abort(disk).map_err(|error| failed(&error))?;
                    return Err(Error::cancelled(format!("stopped: {left}")));
                }
                if total > 0 && done == total {
                    return Ok(DomainEnd::Ready);
                }
            }
        }
        thread::sleep(EACH);
    }
}

/// The number of a job on an image: whoever comes later knows it again.
pub(in crate::ops) fn job_id(kind: &str, image: &Node) -> String {
    let file = image.file_id();
    let (device, inode) = file.map_or((0, 0), |file| (file.device, file.inode));
    format!("{}{kind}-{device:x}-{inode:x}", job::PREFIX)
}
