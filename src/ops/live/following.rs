//! A job of the machine as the progress of an operation.

use std::fmt::Display;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::host::{FileId, printable};
use crate::live::job::{self, Ended, Job};
use crate::machines::{DefineError, DiskJob, Domain};
use crate::ops::framework::format::shown;
use crate::ops::{Error, Note, NoteKind, Plan, Progress};

use super::running::Running;

/// A service tells of no event here: it is asked as often as this.
const EACH: Duration = Duration::from_millis(250);
/// A job of libvirt's that is through is gone; one that is not there at first may be about to come.
const APPEARS: u32 = 4;

/// Shows where a job stands; says whether it is still wanted. One that somebody paused is waited for.
pub(in crate::ops) fn looking(progress: &Progress) -> impl FnMut(&Job) -> bool + '_ {
    let mut seen = 0;
    move |job| {
        let step = job.done.saturating_sub(seen);
        seen = seen.max(job.done);
        progress.expect(job.total);
        progress.advance(step).is_ok()
    }
}

/// What became of a job, as that of the operation.
///
/// # Errors
/// [`Error::Cancelled`] and [`Error::Failed`] with these sentences about what is left.
pub(in crate::ops) fn ended(running: &Running, ended: Ended, left: &str) -> Result<(), Error> {
    match ended {
        Ended::Done => Ok(()),
        Ended::Cancelled => Err(Error::cancelled(format!("stopped: {left}"))),
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

/// What libvirt calls its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum DomainJob {
    Commit,
    ActiveCommit,
    Pull,
    Copy,
}

impl DomainJob {
    /// As `virsh blockjob` prints it.
    const fn kind(self) -> &'static str {
        match self {
            Self::Commit => "Block Commit",
            Self::ActiveCommit => "Active Block Commit",
            Self::Pull => "Block Pull",
            Self::Copy => "Block Copy",
        }
    }
}

/// Requires that a disk is this file now.
///
/// # Errors
/// [`Error::Failed`] where it is another one, or libvirt cannot be asked.
pub(in crate::ops) fn require_disk(
    plan: &Plan,
    running: &Running,
    domain: &mut Domain,
    disk: &str,
    file: &Path,
) -> Result<(), Error> {
    let now = domain
        .file_of(disk)
        .map_err(|error| running.failed(&error))?;
    let id = |path: &Path| plan.host().stat(path).map(|stat| stat.id).ok();
    let is_it = now
        .as_deref()
        .and_then(id)
        .is_some_and(|now| id(file) == Some(now));
    match is_it {
        true => Ok(()),
        false => Err(running.failed(&format!(
            "its disk {} is not {}",
            printable(disk),
            shown(file)
        ))),
    }
}

/// Has libvirt begin a job on a disk, unless it has this one still. `begin` is given the speed in MiB per second, 0
/// for as fast as it goes.
///
/// # Errors
/// [`Error::InUse`] where somebody else has one there; [`Error::Failed`] in libvirt's words.
pub(in crate::ops) fn begin_job(
    running: &Running,
    domain: &mut Domain,
    (disk, job): (&str, DomainJob),
    takes_up: bool,
    speed: Option<u64>,
    begin: impl FnOnce(&mut Domain, u64) -> Result<(), DefineError>,
) -> Result<(), Error> {
    let failed = |error: DefineError| running.failed(&error);
    match domain.job(disk).map_err(failed)? {
        Some(there) if takes_up && there.kind == job.kind() => Ok(()),
        Some(_) => Err(Error::in_use(format!(
            "{} has another job on its disk {}: wait for its end, or end it (virsh blockjob --abort)",
            running.name,
            printable(disk)
        ))),
        None => {
            let mib = speed.map_or(0, |speed| speed.div_ceil(1 << 20));
            begin(domain, mib).map_err(failed)
        }
    }
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
            Some(DiskJob { done, total, .. }) => {
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

/// Has the headers say what a disk is built on from its next start on; what to tell where that cannot be.
pub(in crate::ops) fn unpin(running: &Running, domain: &mut Domain, disk: &str) -> Option<Note> {
    let error = domain.unpin(disk).err()?;
    let text = format!(
        "the definition of {} says itself what {} is built on, and that could not be taken out: {error}",
        running.name,
        printable(disk)
    );
    Some(Note::new(NoteKind::Machine, text).warning())
}

/// The number of a job that brings an image to another one, or to none: whoever asks for just that later knows it again,
/// and nobody who asks for something else takes it for theirs.
pub(in crate::ops) fn job_id(kind: &str, image: Option<FileId>, to: Option<FileId>) -> String {
    let number = |file: Option<FileId>| {
        file.map_or_else(
            || "none".to_owned(),
            |file| format!("{:x}-{:x}", file.device, file.inode),
        )
    };
    format!("{}{kind}-{}-{}", job::PREFIX, number(image), number(to))
}
