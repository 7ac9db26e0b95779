//! `qanopy job`: the jobs that machines run for any qanopy of this user now. They are governed by whoever began them;
//! this asks for another speed, a pause or an end.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::forest::Index;
use crate::host::{Host, RealHost};
use crate::ops::{Controls, JobCommand, RunningJob, ask_job, running_jobs};
use crate::units;

use super::exit::{FileError, READ_ONLY, Stop};
use super::interrupted::tell_interrupted;
use super::options::Globals;
use super::output::Out;

/// Which job is meant.
#[derive(Debug, Clone, Args)]
pub(super) struct WhichArgs {
    /// The job, by its name in the list or by the image that it is about [default: the only one]
    #[arg(value_name = "JOB")]
    job: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum JobChange {
    /// Have a job stand still; where libvirt runs it, only its speed can be changed
    Pause(WhichArgs),
    /// Have a job go on that stands still
    Resume(WhichArgs),
    /// Have a job move so many bytes per second at most
    Speed {
        /// Bytes per second, such as 50M; 0 for as many as it can
        #[arg(value_parser = units::parse_size, value_name = "SIZE")]
        speed: u64,
        #[command(flatten)]
        which: WhichArgs,
    },
    /// Stop a job; its images show what they showed
    Cancel(WhichArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum JobCommands {
    /// List the jobs that machines run now, and how far they are
    List,
    #[command(flatten)]
    Change(JobChange),
}

/// Lists jobs, or asks one for something.
pub(super) fn run(out: &mut Out, globals: Globals, command: &JobCommands) -> anyhow::Result<()> {
    let JobCommands::Change(change) = command else {
        return list(out, globals);
    };
    if globals.read_only {
        let text = "a job is left as it is, since --read-only was given";
        return Err(Stop::refused(READ_ONLY, text.to_owned()).into());
    }
    let (which, asked) = match change {
        JobChange::Pause(which) => (which, JobCommand::Pause),
        JobChange::Resume(which) => (which, JobCommand::Resume),
        JobChange::Speed { speed, which } => (which, JobCommand::Limit(*speed)),
        JobChange::Cancel(which) => (which, JobCommand::Cancel),
    };
    let dir = state_dir()?;
    let job = chosen(jobs(&dir)?, which.job.as_deref())?;
    let answer = ask_job(&dir, &job.name, asked);
    let answer = answer.with_context(|| job.title.clone())?;
    if !answer.is_done {
        bail!("{}: {}", job.title, why_not(&answer, asked));
    }
    match globals.json {
        true => out.json(json!({ "jobs": [described(&answer)] }))?,
        false => out.line(line(&answer))?,
    }
    Ok(())
}

fn state_dir() -> anyhow::Result<PathBuf> {
    Index::default_dir().context("there is no folder for what is remembered")
}

fn jobs(dir: &Path) -> anyhow::Result<Vec<RunningJob>> {
    Ok(running_jobs(dir).map_err(FileError::at("read", dir))?)
}

fn list(out: &mut Out, globals: Globals) -> anyhow::Result<()> {
    let jobs = jobs(&state_dir()?)?;
    // A machine goes on with those whose qanopy is gone.
    tell_interrupted();
    if globals.json {
        let all: Vec<Value> = jobs.iter().map(described).collect();
        return Ok(out.json(json!({ "jobs": all }))?);
    }
    if jobs.is_empty() {
        out.line("No machine runs a job for qanopy now.")?;
    }
    for job in &jobs {
        out.line(line(job))?;
        for image in &job.images {
            out.line(format_args!("  {image}"))?;
        }
    }
    Ok(())
}

/// The job that is meant.
fn chosen(jobs: Vec<RunningJob>, named: Option<&Path>) -> anyhow::Result<RunningJob> {
    let file = named
        .and_then(|name| RealHost.stat(name).ok())
        .map(|stat| stat.id);
    let is_meant = |job: &RunningJob| {
        named.is_none_or(|name| {
            Path::new(&job.name) == name || file.is_some_and(|file| job.is_about(file))
        })
    };
    let mut meant: Vec<RunningJob> = jobs.into_iter().filter(is_meant).collect();
    match (meant.pop(), meant.len()) {
        (Some(job), 0) => Ok(job),
        (Some(_), others) => {
            let text = format!(
                "{} jobs are meant: name one as `qanopy job list` does",
                others + 1
            );
            Err(Stop::Usage(text).into())
        }
        (None, _) => bail!("no such job runs: `qanopy job list` shows those that do"),
    }
}

fn why_not(job: &RunningJob, asked: JobCommand) -> &'static str {
    match (job.controls, asked) {
        (Controls::Speed, JobCommand::Pause | JobCommand::Resume) => {
            "libvirt runs it, which has no pause for a job: a low speed holds it back (`qanopy job speed 1M`)"
        }
        _ => "it copies nothing at this moment: ask again while it does",
    }
}

fn line(job: &RunningJob) -> String {
    let mut text = format!("{}  {}: {}", job.name, job.title, job.phase);
    if job.total > 0 {
        text.push_str(&format!(
            ", {} of {}",
            units::size(job.done),
            units::size(job.total)
        ));
    }
    if let Some(rate) = job.rate.filter(|_| !job.is_paused) {
        text.push_str(&format!(", {}/s", units::size(rate)));
    }
    if job.speed > 0 {
        text.push_str(&format!(", at most {}/s", units::size(job.speed)));
    }
    for (is_so, word) in [(job.is_paused, "paused"), (job.is_stopping, "stopping")] {
        if is_so {
            text.push_str(&format!(", {word}"));
        }
    }
    text
}

fn described(job: &RunningJob) -> Value {
    json!({
        "name": job.name,
        "title": job.title,
        "images": job.images,
        "phase": job.phase,
        "done": job.done,
        "total": job.total,
        "rate": job.rate,
        "speed": job.speed,
        "controls": job.controls,
        "paused": job.is_paused,
        "stopping": job.is_stopping,
    })
}
