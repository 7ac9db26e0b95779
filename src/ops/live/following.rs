//! A job of the machine as the progress of an operation.

use std::fmt::Display;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::host::{FileId, printable};
use crate::live::job::{self, Ended, Job, Wishes};
use crate::machines::{DefineError, DiskJob, Domain};
use crate::ops::framework::format::shown;
use crate::ops::{Controls, Error, Note, NoteKind, Plan, Progress};

use super::running::Running;
use super::weight::Weight;

/// A service tells of no event here: it is asked as often as this.
const EACH: Duration = Duration::from_millis(250);
/// A job of libvirt's that is through is gone; one that is not there at first may be about to come.
const APPEARS: u32 = 4;

/// Shows where a job stands; says what is wanted of it, nothing where it is to end. One that somebody paused before goes
/// on.
pub(in crate::ops) fn looking<'p>(
    progress: &'p Progress,
    weight: &'p Weight,
) -> impl FnMut(&Job) -> Option<Wishes> + 'p {
    let mut shown = Shown::new(progress, weight, Controls::SpeedAndPause);
    move |job| {
        if !shown.is_wanted(job.done, job.total, job.speed) {
            return None;
        }
        let view = progress.view();
        Some(Wishes {
            is_paused: Some(view.is_paused),
            speed: Some(view.speed),
        })
    }
}

/// A job as it is shown.
struct Shown<'p> {
    progress: &'p Progress,
    weight: &'p Weight,
    controls: Controls,
    /// Bytes that were shown as done; none before it was seen.
    seen: Option<u64>,
}

impl<'p> Shown<'p> {
    const fn new(progress: &'p Progress, weight: &'p Weight, controls: Controls) -> Self {
        Self {
            progress,
            weight,
            controls,
            seen: None,
        }
    }

    /// Shows where it stands; says whether it is still wanted.
    fn is_wanted(&mut self, done: u64, total: u64, speed: u64) -> bool {
        if self.seen.is_none() {
            self.progress.offer(self.controls, speed);
        }
        let seen = self.seen.get_or_insert(0);
        let (done, total) = self.weight.of(done, total);
        let step = done.saturating_sub(*seen);
        *seen = (*seen).max(done);
        self.progress.expect(total);
        self.progress.advance(step).is_ok()
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

/// Has libvirt begin a job on a disk, unless it has this one still. `begin` is given the speed in bytes per second, 0
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
        None => begin(domain, speed.unwrap_or(0)).map_err(failed),
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
    (progress, weight): (&Progress, &Weight),
    left: &str,
) -> Result<DomainEnd, Error> {
    let failed = |error: &dyn Display| running.failed(error);
    let mut waits = 0;
    let mut held = None;
    // libvirt has no word for a pause.
    let mut shown = Shown::new(progress, weight, Controls::Speed);
    loop {
        match domain.job(disk).map_err(|error| failed(&error))? {
            None if held.is_some() || waits >= APPEARS => return Ok(DomainEnd::Gone),
            None => waits += 1,
            Some(DiskJob {
                done, total, speed, ..
            }) => {
                if !shown.is_wanted(done, total, speed) {
                    domain.abort(disk).map_err(|error| failed(&error))?;
                    return Err(Error::cancelled(format!("stopped: {left}")));
                }
                let wanted = progress.view().speed;
                // One that has just come to its end takes no word any more.
                if *held.get_or_insert(speed) != wanted && domain.limit(disk, wanted).is_ok() {
                    held = Some(wanted);
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
