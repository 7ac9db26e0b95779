//! What happened in this session, line by line: what was begun, each step, the same as commands, how
//! it ended. The pane shows it; the runner writes it down. No line is ever changed.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::host::printable;

/// So many lines are kept for the pane; the file has them all.
const KEPT: usize = 2000;

/// What a line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something began, or went on to its next step.
    Step,
    /// The same as a command for a shell.
    Command,
    /// It ended well.
    Good,
    /// It ended badly, or something is wrong.
    Bad,
    /// Anything else.
    Note,
}

impl Kind {
    /// What a line of this kind begins with in the file.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::Step | Self::Note => "",
            Self::Command => "$ ",
            Self::Good => "done: ",
            Self::Bad => "failed: ",
        }
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: SystemTime,
    /// The job it is about.
    pub job: Option<u64>,
    /// What it tells of.
    pub kind: Kind,
    /// The words, safe to print.
    pub text: String,
}

/// All lines, oldest first.
#[derive(Debug, Default)]
pub struct Log {
    lines: VecDeque<LogLine>,
    /// How many of the newest are not written down yet.
    unwritten: usize,
}

impl Log {
    /// Adds a line.
    pub fn add(&mut self, at: SystemTime, job: Option<u64>, kind: Kind, text: &str) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(LogLine {
            at,
            job,
            kind,
            text: printable(text),
        });
        self.unwritten = (self.unwritten + 1).min(KEPT);
    }

    /// The lines of one job, or all.
    pub fn of(&self, job: Option<u64>) -> impl DoubleEndedIterator<Item = &LogLine> {
        let lines = self.lines.iter();
        lines.filter(move |line| job.is_none() || line.job == job)
    }

    /// The lines added since this was asked last.
    pub fn take_new(&mut self) -> Vec<LogLine> {
        let first = self.lines.len().saturating_sub(self.unwritten);
        self.unwritten = 0;
        self.lines.iter().skip(first).cloned().collect()
    }
}
