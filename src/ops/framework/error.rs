//! Why an operation that was begun did not end well.

use std::io;
use std::path::Path;

use super::format::shown;

/// Why an operation that was begun did not end well. The images are intact either way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The person cancelled; nothing is lost, and the same operation can be run again.
    #[error("{0}")]
    Cancelled(String),
    /// A file is not what it was when the plan was made: plan again.
    #[error("{0}")]
    Stale(String),
    /// A process uses a file.
    #[error("{0}")]
    InUse(String),
    /// Reading, writing or understanding a file failed.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// `cannot open disk.qcow2: Permission denied`.
    pub(in crate::ops) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::Failed(format!(
            "cannot {doing} {}: {error}",
            shown(path),
            error = io_text(error)
        ))
    }

    /// The same of an operation that was cut off with a part of it done, and what can be done about it.
    pub(in crate::ops) fn but_half_done(self, id: u64) -> Self {
        let and = |text: String| {
            format!(
                "{text}. A part of it is done: `qanopy recover {id} --finish` does the rest, `--roll-back` takes \
                 it back where that is possible"
            )
        };
        match self {
            Self::Cancelled(text) => Self::Cancelled(and(text)),
            Self::Stale(text) => Self::Stale(and(text)),
            Self::InUse(text) => Self::InUse(and(text)),
            Self::Failed(text) => Self::Failed(and(text)),
        }
    }
}
use crate::host::io_text;
