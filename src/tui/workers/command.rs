//! A command of the person's own, as a job.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::fleet::Program;
use crate::host::{io_text, printable};
use crate::ops::{Error, Note, NoteKind, Outcome, Progress};
use crate::tui::msg::Msg;

use super::{Workers, done};

impl Workers {
    /// Runs a program of the person's own; what it says is told when it ends.
    pub(super) fn command(&self, job: u64, words: &[OsString], progress: &Progress) {
        let name = words.first().map(printable).unwrap_or_default();
        self.answer(Msg::Ended(job, run_command(words, &name, progress)));
    }

    /// The same on the host at this place.
    pub(super) fn command_there(
        &self,
        job: u64,
        at: usize,
        words: Vec<OsString>,
        progress: &Progress,
    ) {
        let result = match self.destination(at) {
            Some(to) => {
                let name = words.first().map(printable).unwrap_or_default();
                let name = format!("{name} on {}", printable(&to.name));
                run_command(&Program::Command(words).unseen(to), &name, progress)
            }
            None => Err(Error::failed("the host is not shown any more")),
        };
        self.answer(Msg::Ended(job, result));
    }
}

/// So much of what a program says is kept.
const SAID: usize = 4096;

/// Runs it to its end; it is called by this name in what is told of it.
fn run_command(words: &[OsString], name: &str, progress: &Progress) -> Result<Outcome, Error> {
    let Some((program, more)) = words.split_first() else {
        return Err(Error::failed("there is no program to run".to_owned()));
    };
    let failed = |error: std::io::Error| {
        Error::failed(format!(
            "{name} cannot be run: {error}",
            error = io_text(&error)
        ))
    };
    // Into files, not pipes: a program that says much must not wait for somebody to read it.
    let said = tempfile::tempfile().map_err(failed)?;
    let mut child = Command::new(program)
        .args(more)
        .stdin(Stdio::null())
        .stdout(said.try_clone().map_err(failed)?)
        .stderr(said.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if progress.is_cancelled() {
            // One that has just ended cannot be stopped any more.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::cancelled("stopped".to_owned()));
        }
        thread::sleep(Duration::from_millis(50));
    };
    let words = last_words(said).unwrap_or_default();
    if status.success() {
        let mut outcome = done(format!("{name} is done."));
        outcome.remarks = words
            .lines()
            .map(|line| Note::new(NoteKind::Manner, printable(line)))
            .collect();
        Ok(outcome)
    } else {
        Err(Error::failed(format!(
            "{name} ended with {status}: {}",
            printable(words.trim())
        )))
    }
}

/// The end of what a program has said.
fn last_words(mut file: fs::File) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let len = file.metadata()?.len();
    let kept = u64::try_from(SAID).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(len.saturating_sub(kept)))?;
    let mut bytes = Vec::new();
    file.take(kept).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
