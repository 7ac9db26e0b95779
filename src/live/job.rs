//! A job that goes on in a process of QEMU: stream, commit, mirror. It is started so that it never ends unseen
//! (`auto-dismiss=false`): one that dismissed itself leaves nobody who could tell success from failure.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::printable;

use super::member;
use super::qmp::{Qmp, QmpError};

/// Progress is told of no event: it is asked for as often as this.
const EACH: Duration = Duration::from_millis(250);
/// What a job does behind its last byte.
const ENDING: Duration = Duration::from_secs(120);
/// What begins the number of each job that is started here, so that it is known again.
pub const PREFIX: &str = "qanopy-";

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// It works.
    Running,
    /// It was stopped for a while, by somebody or by an error.
    Paused,
    /// All is copied, and what a guest writes now is written to both: it can be completed.
    Ready,
    /// All is done but the last step, which waits for a word.
    Pending,
    /// It is on its way to its end.
    Ending,
    /// It has ended, well or not.
    Concluded,
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: String,
    /// What it does: `stream`, `commit`, `mirror`.
    pub kind: String,
    /// Where it stands.
    pub status: JobStatus,
    /// Bytes that it has been through.
    pub done: u64,
    /// Bytes that it has to go through; grows while a guest writes.
    pub total: u64,
    /// Why it failed, once it has ended.
    pub error: Option<String>,
    /// What it stands still for, where an error has stopped it.
    pub trouble: Option<String>,
    /// Bytes per second at most; 0 for as fast as it goes.
    pub speed: u64,
}

/// What is wanted of a job that goes on; none of what is to stay as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wishes {
    /// Whether it stands still.
    pub is_paused: Option<bool>,
    /// Bytes per second at most; 0 for as fast as it goes.
    pub speed: Option<u64>,
}

/// Looks at a job as it goes on, and says what is wanted of it; none where it is not wanted any more.
pub type Look<'l> = dyn FnMut(&Job) -> Option<Wishes> + 'l;

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Well.
    Done,
    /// Because it was told to.
    Cancelled,
    /// By itself, for this reason.
    Failed(String),
}

/// All jobs of a process.
///
/// # Errors
/// [`QmpError`].
pub fn jobs(qmp: &mut Qmp) -> Result<Vec<Job>, QmpError> {
    let listed = qmp.execute("query-jobs", json!({}))?;
    let block = match qmp.execute("query-block-jobs", json!({})) {
        Ok(block) => block,
        Err(QmpError::NoCommand(_)) => json!([]),
        Err(error) => return Err(error),
    };
    let of_block = |id: &str| {
        let mut block = block.as_array().into_iter().flatten();
        block.find(|one| member(one, "device") == id)
    };
    let trouble = |id: &str| match member(of_block(id)?, "io-status") {
        "" | "ok" => None,
        "nospace" => Some("there is no room left".to_owned()),
        other => Some(format!("reading or writing failed ({})", printable(other))),
    };
    let listed = listed
        .as_array()
        .ok_or_else(|| QmpError::lacks("the list of jobs"))?;
    let read = |one: &Value| {
        let id = member(one, "id").to_owned();
        let number = |key: &str| one.get(key).and_then(Value::as_u64).unwrap_or(0);
        Job {
            kind: member(one, "type").to_owned(),
            status: status(member(one, "status")),
            done: number("current-progress"),
            total: number("total-progress"),
            error: one.get("error").and_then(Value::as_str).map(printable),
            trouble: trouble(&id),
            speed: of_block(&id)
                .and_then(|one| one.get("speed").and_then(Value::as_u64))
                .unwrap_or(0),
            id,
        }
    };
    Ok(listed.iter().map(read).collect())
}

/// A job by its number; none where there is none.
///
/// # Errors
/// [`QmpError`].
pub fn find(qmp: &mut Qmp, id: &str) -> Result<Option<Job>, QmpError> {
    Ok(jobs(qmp)?.into_iter().find(|job| job.id == id))
}

/// Has streams forgotten that have ended, as one has whose program was killed before it did so. QEMU (10.0.2) follows a
/// pointer to nothing, and the guest is gone, where it is asked for its nodes while there is one.
///
/// # Errors
/// [`QmpError::EndedStream`] where it is another program's.
pub(super) fn dismiss_ended_streams(qmp: &mut Qmp) -> Result<(), QmpError> {
    let jobs = match jobs(qmp) {
        Err(QmpError::NoCommand(_)) => return Ok(()),
        jobs => jobs?,
    };
    let is_ended = |job: &&Job| job.kind == "stream" && job.status == JobStatus::Concluded;
    for job in jobs.iter().filter(is_ended) {
        if !job.id.starts_with(PREFIX) {
            return Err(QmpError::EndedStream(printable(&job.id)));
        }
        qmp.execute("job-dismiss", json!({ "id": job.id }))?;
    }
    Ok(())
}

/// How waiting for a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Followed {
    /// It stands where it was waited for.
    There(Job),
    /// It was not wanted any more before that.
    Unwanted,
    /// An error has stopped it before that: which.
    Stuck(String),
    /// There is none of that number.
    Gone,
}

/// Waits until the job stands where `until` says. Before that it ends where `look` wants it no more, and where an error
/// has stopped it: nobody makes room for a question that nobody sees.
///
/// # Errors
/// [`QmpError`] where the conversation ended; within, how the job did.
pub(super) fn reach(
    qmp: &mut Qmp,
    id: &str,
    until: &dyn Fn(&Job) -> bool,
    look: &mut Look<'_>,
) -> Result<Result<Job, Ended>, QmpError> {
    Ok(match follow(qmp, id, until, look)? {
        Followed::There(job) => Ok(job),
        Followed::Gone => Err(gone()),
        Followed::Unwanted => Err(cancel(qmp, id)?),
        Followed::Stuck(why) => Err(give_up(qmp, id, why)?),
    })
}

/// Waits until the job stands where `until` says, telling `look` each time that it is looked at: that one ends the
/// wait, and says how it is to go on.
///
/// # Errors
/// [`QmpError`].
fn follow(
    qmp: &mut Qmp,
    id: &str,
    until: &dyn Fn(&Job) -> bool,
    look: &mut Look<'_>,
) -> Result<Followed, QmpError> {
    let mut held = None;
    loop {
        let Some(job) = find(qmp, id)? else {
            return Ok(Followed::Gone);
        };
        let Some(wishes) = look(&job) else {
            return Ok(Followed::Unwanted);
        };
        if until(&job) {
            return Ok(Followed::There(job));
        }
        let held = held.get_or_insert(Wishes {
            is_paused: Some(job.status == JobStatus::Paused),
            speed: Some(job.speed),
        });
        steer(qmp, id, held, wishes)?;
        if let (JobStatus::Paused, Some(why)) = (job.status, job.trouble) {
            return Ok(Followed::Stuck(why));
        }
        // What changes is told at once; what only goes on is asked for.
        let next = Instant::now() + EACH;
        while let Some(event) = qmp.event(next)? {
            if [member(&event.data, "id"), member(&event.data, "device")].contains(&id) {
                break;
            }
        }
    }
}

/// Has a job go on as it is wanted to; `held` is what it was told before. One that cannot at this moment, since it comes
/// to its end, is told again when it is looked at next.
fn steer(qmp: &mut Qmp, id: &str, held: &mut Wishes, wishes: Wishes) -> Result<(), QmpError> {
    let mut is_done = |command: &str, arguments: Value| match qmp.execute(command, arguments) {
        Ok(_) => Ok(true),
        Err(QmpError::Refused { .. }) => Ok(false),
        Err(error) => Err(error),
    };
    if let Some(speed) = wishes.speed.filter(|_| wishes.speed != held.speed) {
        // QEMU counts in numbers with a sign.
        let most = speed.min(i64::MAX.unsigned_abs());
        if is_done(
            "block-job-set-speed",
            json!({ "device": id, "speed": most }),
        )? {
            held.speed = wishes.speed;
        }
    }
    match wishes
        .is_paused
        .filter(|_| wishes.is_paused != held.is_paused)
    {
        Some(true) if is_done("job-pause", json!({ "id": id }))? => held.is_paused = Some(true),
        Some(false) => {
            // One that stands still by itself for a moment says no, and goes on.
            is_done("job-resume", json!({ "id": id }))?;
            held.is_paused = Some(false);
        }
        Some(true) | None => {}
    }
    Ok(())
}

/// That somebody else had the job forgotten.
fn gone() -> Ended {
    Ended::Failed("the job is gone".to_owned())
}

/// Waits for the end of a job that needs nothing more, and has it forgotten.
///
/// # Errors
/// [`QmpError`] where the conversation ended.
pub(super) fn conclude(qmp: &mut Qmp, id: &str) -> Result<Ended, QmpError> {
    let ended = |job: &Job| job.status == JobStatus::Concluded;
    let until = Instant::now() + ENDING;
    let mut look = |_: &Job| (Instant::now() < until).then(Wishes::default);
    match follow(qmp, id, &ended, &mut look)? {
        Followed::There(job) => {
            qmp.execute("job-dismiss", json!({ "id": id }))?;
            Ok(job.error.map_or(Ended::Done, Ended::Failed))
        }
        Followed::Gone => Ok(gone()),
        Followed::Stuck(why) => Ok(Ended::Failed(why)),
        Followed::Unwanted => Ok(Ended::Failed("its job does not come to an end".to_owned())),
    }
}

/// Waits until all is copied, has the disk become the copy, and waits for the end of that.
///
/// # Errors
/// [`QmpError`] where the conversation ended.
pub(super) fn switch_when_ready(
    qmp: &mut Qmp,
    id: &str,
    look: &mut Look<'_>,
) -> Result<Ended, QmpError> {
    let ready = |job: &Job| matches!(job.status, JobStatus::Ready | JobStatus::Concluded);
    match reach(qmp, id, &ready, look)? {
        // One that was ready ends well by being ended, and has not switched.
        Err(Ended::Done) => Ok(Ended::Cancelled),
        Err(ended) => Ok(ended),
        Ok(job) => {
            if job.status == JobStatus::Ready {
                qmp.execute_within("job-complete", json!({ "id": id }), super::SWITCHING)?;
            }
            conclude(qmp, id)
        }
    }
}

/// Ends a job that an error has stopped.
///
/// # Errors
/// [`QmpError`] where the conversation ended.
fn give_up(qmp: &mut Qmp, id: &str, why: String) -> Result<Ended, QmpError> {
    Ok(match cancel(qmp, id)? {
        Ended::Done => Ended::Done,
        Ended::Cancelled | Ended::Failed(_) => Ended::Failed(why),
    })
}

/// Ends a job before it is through.
///
/// # Errors
/// [`QmpError`] where the conversation ended.
pub(super) fn cancel(qmp: &mut Qmp, id: &str) -> Result<Ended, QmpError> {
    match qmp.execute("job-cancel", json!({ "id": id })) {
        // It has just ended by itself.
        Ok(_) | Err(QmpError::Refused { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(match conclude(qmp, id)? {
        // It was through before it heard of it.
        Ended::Done => Ended::Done,
        Ended::Cancelled | Ended::Failed(_) => Ended::Cancelled,
    })
}

/// A name as QMP takes it.
pub(super) fn text(name: &OsStr) -> Result<&str, QmpError> {
    name.to_str().ok_or_else(|| {
        QmpError::Malformed(format!(
            "it cannot be told the name {}, which is no UTF-8",
            printable(name)
        ))
    })
}

/// Adds an argument.
pub(super) fn put(arguments: &mut Value, key: &str, value: Value) {
    if let Some(map) = arguments.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

fn status(text: &str) -> JobStatus {
    match text {
        "paused" | "standby" => JobStatus::Paused,
        "ready" => JobStatus::Ready,
        "pending" => JobStatus::Pending,
        "waiting" | "aborting" | "undefined" | "null" => JobStatus::Ending,
        "concluded" => JobStatus::Concluded,
        // What newer ones may have besides goes on.
        _ => JobStatus::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_is_not_known_goes_on() {
        assert_eq!(status("pending"), JobStatus::Pending);
        assert_eq!(status("standby"), JobStatus::Paused);
        assert_eq!(status("aborting"), JobStatus::Ending);
        assert_eq!(status("levitating"), JobStatus::Running);
    }
}
