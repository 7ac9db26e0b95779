//! Why a command ends before or beside its goal, and the exit code that says so.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::host::{io_text, printable};
use crate::image::{self, ErrorKind};
use crate::ops::{self, WayOut};

use super::json;
use super::output::{self, Out};

/// An end that is not a failure of the program: each has its exit code.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(String),
    /// `check` or `tree --check` found something, a map is not complete, two images differ.
    #[error("{0}")]
    Problems(String),
    /// It will not be done.
    #[error("{text}")]
    Refused {
        /// Why, for programs to match on.
        kind: &'static str,
        /// Why, for people.
        text: String,
    },
    /// The person said no, or stopped it.
    #[error("{0}")]
    Cancelled(String),
}

/// The kind of what is not done since nothing may be changed.
pub(super) const READ_ONLY: &str = "read-only";
/// The kind of what nobody has agreed to.
pub(super) const NOT_AGREED: &str = "not-agreed";

impl Stop {
    /// It will not be done, for this reason.
    pub(super) fn refused(kind: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::Refused { kind, text }
    }

    /// The word for it in JSON.
    fn kind(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Problems(_) => "problems-found",
            Self::Refused { kind, .. } => kind,
            Self::Cancelled(_) => "cancelled",
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Problems(_) => 3,
            Self::Refused { .. } => 4,
            Self::Cancelled(_) => 130,
        }
    }
}

/// Something that cannot be done with a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", printable(.path))]
pub(super) struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// Names the file and what was tried with it: `open`.
    pub(super) fn at<P: AsRef<Path>>(
        doing: &'static str,
        path: P,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self {
            doing,
            path,
            source,
        }
    }
}

/// Tells how it ended, and gives the exit code. With `is_json` standard output holds one document, also where
/// that is why there is no other. A reader of our output that went away (`| head`) is no failure and is not
/// mentioned.
pub(super) fn end(out: &mut Out, is_json: bool, result: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(ended) => return ended,
        Err(error) => error,
    };
    let reader_left =
        causes::<io::Error>(&error).any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    let stop = error.downcast_ref::<Stop>();
    if reader_left && stop.is_none() {
        return ExitCode::SUCCESS;
    }
    if is_json && out.is_untouched() {
        // A reader that went away hears it on standard error.
        let _ = out.json(&json!({ "error": described(&error) }));
    }
    let _ = out.flush();
    output::complain(format_args!("qanopy: {}", sentence(&error)));
    stop.map_or(ExitCode::FAILURE, |stop| ExitCode::from(stop.code()))
}

/// An error as JSON.
fn described(error: &anyhow::Error) -> Value {
    let message = sentence(error);
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return json::error(stop.kind(), &message, None, &[]);
    }
    if let Some(of_image) = causes::<image::Error>(error).next() {
        let kind = of_image.kind.kind_name();
        let ways_out = WayOut::of(of_image);
        return json::error(kind, &message, Some(&of_image.path), &ways_out);
    }
    let path = causes::<FileError>(error).next();
    let path = path.map(|of_file| of_file.path.as_path());
    json::error(kind(error), &message, path, &[])
}

fn kind(error: &anyhow::Error) -> &'static str {
    if let Some(of_operation) = causes::<ops::Error>(error).next() {
        return match of_operation {
            ops::Error::Cancelled(_) => "cancelled",
            ops::Error::Stale(_) => "stale",
            ops::Error::InUse(_) => "in-use",
            ops::Error::Failed(_) => "failed",
        };
    }
    let call = causes::<io::Error>(error).next();
    call.map_or("failed", ErrorKind::name_of_io)
}

/// The error and what caused it, as far as they are of one type.
fn causes<E: std::error::Error + 'static>(error: &anyhow::Error) -> impl Iterator<Item = &E> {
    error.chain().filter_map(|cause| cause.downcast_ref::<E>())
}

/// What went wrong, and its causes as far as it does not name them itself.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    let words = |cause: &(dyn std::error::Error + 'static)| {
        let call = cause.downcast_ref::<io::Error>();
        call.map_or_else(|| cause.to_string(), io_text)
    };
    for cause in error.chain().skip(1).map(words) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
