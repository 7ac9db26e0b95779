//! Why an operation that was begun did not end well: of which kind it is, a sentence, what caused it, and what
//! gets a person further.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use crate::host::io_text;
use crate::image::{self, ErrorKind};

use super::format::shown;
use super::remedy::Remedy;

/// Why an operation that was begun did not end well. The images are intact either way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The person cancelled; nothing is lost, and the same operation can be run again.
    #[error("{0}")]
    Cancelled(#[source] Report),
    /// A file is not what it was when the plan was made: plan again.
    #[error("{0}")]
    Stale(#[source] Report),
    /// A process uses a file.
    #[error("{0}")]
    InUse(#[source] Report),
    /// Reading, writing or understanding a file failed.
    #[error("{0}")]
    Failed(#[source] Report),
}

/// What there is to say of one.
#[derive(Debug)]
pub struct Report {
    /// A sentence, with the files.
    pub text: String,
    /// What gets a person further.
    pub remedies: Vec<Remedy>,
    /// What caused it, where that is an error of its own.
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl<T: Into<String>> From<T> for Report {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            remedies: Vec::new(),
            source: None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Report {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

impl Error {
    /// The person cancelled.
    pub fn cancelled(text: impl Into<String>) -> Self {
        Self::Cancelled(Report::from(text))
    }

    /// A file is another one, or has changed.
    pub fn stale(text: impl Into<String>) -> Self {
        Self::Stale(Report::from(text))
    }

    /// A process uses a file.
    pub fn in_use(text: impl Into<String>) -> Self {
        Self::InUse(Report::from(text))
    }

    /// It failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(Report::from(text))
    }

    /// `cannot open disk.qcow2: Permission denied`.
    pub(in crate::ops) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::Failed(Report {
            text: format!("cannot {doing} {}: {}", shown(path), io_text(error)),
            remedies: Vec::new(),
            source: Some(Box::new(alike(error))),
        })
    }

    /// It failed for what happened to an image, which the sentence tells.
    pub fn of_image(text: impl Into<String>, error: image::Error) -> Self {
        Self::Failed(Report {
            text: text.into(),
            remedies: Remedy::of(&error),
            source: Some(Box::new(error)),
        })
    }

    /// The same with what helps besides.
    #[must_use]
    pub(in crate::ops) fn helped_by(self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        self.with(|report| report.remedies.extend(remedies))
    }

    /// The same of an operation that was cut off with a part of it done.
    pub(in crate::ops) fn but_half_done(self, id: u64, can_roll_back: bool) -> Self {
        let remedies = Remedy::recover(id, can_roll_back);
        self.with(|report| {
            report.text.push_str(". A part of it is done");
            report.remedies.extend(remedies);
        })
    }

    /// The same as one that failed: `more` goes on where the sentence ends. What caused it and what helps stay.
    #[must_use]
    pub(in crate::ops) fn and_failed(self, more: &str) -> Self {
        let mut report = match self {
            Self::Cancelled(report)
            | Self::Stale(report)
            | Self::InUse(report)
            | Self::Failed(report) => report,
        };
        report.text.push_str(more);
        Self::Failed(report)
    }

    /// What there is to say.
    #[must_use]
    pub fn report(&self) -> &Report {
        match self {
            Self::Cancelled(report)
            | Self::Stale(report)
            | Self::InUse(report)
            | Self::Failed(report) => report,
        }
    }

    /// Its name, for programs to match on: of one that failed, that of its cause.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Cancelled(_) => "cancelled",
            Self::Stale(_) => "stale",
            Self::InUse(_) => "in-use",
            Self::Failed(report) => report.cause_name().unwrap_or("failed"),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Report)) -> Self {
        match &mut self {
            Self::Cancelled(report)
            | Self::Stale(report)
            | Self::InUse(report)
            | Self::Failed(report) => change(report),
        }
        self
    }
}

impl From<image::Error> for Error {
    fn from(error: image::Error) -> Self {
        let text = error.to_string();
        Self::of_image(text, error)
    }
}

impl Report {
    fn cause_name(&self) -> Option<&'static str> {
        let source = self.source.as_deref()?;
        if let Some(error) = source.downcast_ref::<image::Error>() {
            return Some(error.kind.kind_name());
        }
        let error = source.downcast_ref::<io::Error>()?;
        Some(ErrorKind::name_of_io(error))
    }
}

/// The same error of the system, which cannot be copied.
fn alike(error: &io::Error) -> io::Error {
    let by_kind = || io::Error::from(error.kind());
    error
        .raw_os_error()
        .map_or_else(by_kind, io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_besides_leaves_the_cause_and_what_helps() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::io("move", Path::new("a"), &full)
            .helped_by([Remedy::Check("a".into())])
            .and_failed("; and b could not be moved back");
        assert_eq!(error.kind_name(), "no-space");
        assert!(
            error
                .to_string()
                .ends_with("; and b could not be moved back")
        );
        assert_eq!(error.report().remedies, [Remedy::Check("a".into())]);
        assert!(matches!(
            Error::cancelled("").and_failed(""),
            Error::Failed(_)
        ));
    }
}
