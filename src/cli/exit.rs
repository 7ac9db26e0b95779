//! Why a command ends before or beside its goal, and the exit code that says so.

use std::io;
use std::process::ExitCode;

use super::output;

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
    #[error("{0}")]
    Refused(String),
    /// The person said no, or stopped it.
    #[error("{0}")]
    Cancelled(String),
}

impl Stop {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Problems(_) => 3,
            Self::Refused(_) => 4,
            Self::Cancelled(_) => 130,
        }
    }
}

/// Tells how it ended, and gives the exit code. A reader of our output that went away (`| head`)
/// is no failure and is not mentioned.
pub(super) fn end(result: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(ended) => return ended,
        Err(error) => error,
    };
    if let Some(stop) = error.downcast_ref::<Stop>() {
        output::complain(format_args!("qanopy: {stop}"));
        return ExitCode::from(stop.code());
    }
    let reader_left = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    if reader_left {
        return ExitCode::SUCCESS;
    }
    output::complain(format_args!("qanopy: {}", sentence(&error)));
    ExitCode::FAILURE
}

/// What went wrong, and its causes as far as it does not name them itself.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
