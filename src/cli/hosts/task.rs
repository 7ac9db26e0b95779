//! A command line for one host.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use crate::fleet::{Destination, Run};

use super::super::{output, tree};

/// A command line, and where it is run.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) to: Destination,
    pub(super) words: Vec<OsString>,
}

impl Task {
    /// What is run there, where a person watches it and may be asked.
    pub(super) fn watched(&self) -> Run {
        Run {
            columns: tree::columns_of_terminal().unwrap_or(0),
            asks: io::stdin().is_terminal() && io::stderr().is_terminal(),
            ..self.unwatched()
        }
    }

    /// What is run there, where nobody can be asked.
    pub(super) fn unwatched(&self) -> Run {
        Run::new(self.words.clone(), &self.to.name)
    }

    /// The same, where others are asked at the same time.
    pub(super) fn among_others(&self) -> Run {
        Run {
            marks: true,
            ..self.unwatched()
        }
    }
}

/// Says that a host does not answer.
pub(super) fn tell_silent(host: &str, seconds: u64) {
    output::complain(format_args!(
        "qanopy: {host} has said nothing for {seconds} s; Ctrl-C stops waiting"
    ));
}
