//! Why a command ends before or beside its goal, and the exit code that says so.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::host::{io_text, printable};
use crate::image::{self, ErrorKind};
use crate::ops::{self, Refusal, Remedy, WayOut};

use super::output::{self, Out};
use super::{json, remedies};

/// An end that is not a failure of the program: each has its exit code.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(String),
    /// `check` or `tree --check` found something, a map is not complete, two images differ.
    #[error("{0}")]
    Problems(String),
    /// `diff` found a difference.
    #[error("{0}")]
    Differs(String),
    /// `diff` could not compare.
    #[error("{0:#}")]
    Trouble(anyhow::Error),
    /// It will not be done.
    #[error("{text}")]
    Refused {
        /// Why, for programs to match on.
        kind: &'static str,
        /// Why, for people.
        text: String,
        /// What could be done instead.
        ways_out: Vec<WayOut>,
        /// What else gets further.
        remedies: Vec<Remedy>,
    },
    /// The person said no, or stopped it.
    #[error("{0}")]
    Cancelled(String),
}

/// As diff ends where files differ, and where it could not compare.
const DIFFERS: u8 = 1;
const TROUBLE: u8 = 2;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const PROBLEMS: u8 = 3;
const REFUSED: u8 = 4;
const CANCELLED: u8 = 130;

/// Exit codes, and what they say.
pub(super) const CODES: &[(u8, &str)] = &[
    (0, "fine"),
    (FAILED, "failed"),
    (USAGE, "wrong usage"),
    (
        PROBLEMS,
        "problems found (check, doctor, garbage, tree --check, config check, map), a difference (compare) or something unread \
         (convert --salvage)",
    ),
    (REFUSED, "refused"),
    (CANCELLED, "cancelled"),
];

/// When a command ends with the code for problems.
const PROBLEMS_OF: &[(&str, &str)] = &[
    ("check", "problems were found, or are left after a repair"),
    ("doctor", "something was found"),
    ("tree", "with --check: something is wrong with an image"),
    ("config check", "a line of the configuration does not hold"),
    (
        "map",
        "a layer cannot be opened, so the map is not complete",
    ),
    ("compare", "the images differ"),
    ("find", "no file has that name"),
    ("history", "no layer has that file"),
    ("extract", "a part was left out"),
    (
        "convert",
        "with --salvage: it is done, but a part could not be read",
    ),
];

/// The exit codes of `diff`, which are those of POSIX diff.
const DIFF_CODES: &[(u8, &str)] = &[
    (0, "no file differs"),
    (DIFFERS, "files differ, or a part could not be compared"),
    (TROUBLE, "wrong usage, or it could not be compared at all"),
    (CANCELLED, "cancelled"),
];

/// The exit codes of the command of these words, and what they say of it; none name the program.
pub(super) fn codes_of(words: &str) -> Vec<(u8, &'static str)> {
    if words == "diff" {
        return DIFF_CODES.to_vec();
    }
    let problems = PROBLEMS_OF.iter().find(|(of, _)| *of == words);
    let says = |(code, says): &(u8, &'static str)| match (*code, problems) {
        (PROBLEMS, Some((_, says))) => Some((PROBLEMS, *says)),
        (PROBLEMS, None) if !words.is_empty() => None,
        (code, _) => Some((code, *says)),
    };
    CODES.iter().filter_map(says).collect()
}

/// The kind of what is not done since nothing may be changed.
pub(super) const READ_ONLY: &str = "read-only";
/// The kind of what nobody has agreed to.
pub(super) const NOT_AGREED: &str = "not-agreed";

impl Stop {
    /// What keeps `diff` from comparing, unless it is an end of its own.
    pub(super) fn trouble(error: anyhow::Error) -> anyhow::Error {
        if error.is::<Self>() {
            error
        } else {
            Self::Trouble(error).into()
        }
    }

    /// It will not be done, for this reason.
    pub(super) fn refused(kind: &'static str, text: impl Into<String>) -> Self {
        Self::Refused {
            kind,
            text: text.into(),
            ways_out: Vec::new(),
            remedies: Vec::new(),
        }
    }

    /// It will not be done, as its plan says.
    pub(super) fn of(refusal: &Refusal) -> Self {
        let Refusal {
            kind,
            text,
            ways_out,
            remedies,
        } = refusal.clone();
        Self::Refused {
            kind: kind.name(),
            text,
            ways_out,
            remedies,
        }
    }

    /// As JSON.
    fn described(&self) -> Value {
        let (ways_out, remedies): (&[WayOut], &[Remedy]) = match self {
            Self::Refused {
                ways_out, remedies, ..
            } => (ways_out, remedies),
            Self::Usage(_)
            | Self::Problems(_)
            | Self::Differs(_)
            | Self::Trouble(_)
            | Self::Cancelled(_) => (&[], &[]),
        };
        json::error(self.kind(), &self.to_string(), None, ways_out, remedies)
    }

    /// The word for it in JSON.
    fn kind(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Problems(_) => "problems-found",
            Self::Differs(_) => "differs",
            Self::Trouble(_) => "failed",
            Self::Refused { kind, .. } => kind,
            Self::Cancelled(_) => "cancelled",
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Problems(_) => PROBLEMS,
            Self::Differs(_) => DIFFERS,
            Self::Trouble(_) => TROUBLE,
            Self::Refused { .. } => REFUSED,
            Self::Cancelled(_) => CANCELLED,
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

/// Tells how it ended, and gives the exit code. With `--json` standard output is one document, and has an error
/// unless all was done: problems that were found are its result. A reader of our output that went away (`| head`)
/// is no failure and is not mentioned.
pub(super) fn end(out: &mut Out, result: anyhow::Result<ExitCode>) -> ExitCode {
    let ended = result.and_then(|code| match out.end(None) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(code),
    });
    let error = match ended {
        Ok(code) => return code,
        Err(error) => error,
    };
    let reader_left =
        causes::<io::Error>(&error).any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    let stop = error.downcast_ref::<Stop>();
    if reader_left && stop.is_none() {
        return ExitCode::SUCCESS;
    }
    let is_error = !matches!(stop, Some(Stop::Problems(_) | Stop::Differs(_)));
    // A reader that went away hears it on standard error.
    let _ = out.end(is_error.then(|| described(&error)));
    output::complain(format_args!("qanopy: {}", sentence(&error)));
    remedies::complain(&helps(&error));
    ExitCode::from(code(&error))
}

fn code(error: &anyhow::Error) -> u8 {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return stop.code();
    }
    match causes::<ops::Error>(error).next() {
        Some(ops::Error::Stale(_) | ops::Error::InUse(_)) => REFUSED,
        Some(ops::Error::Cancelled(_)) => CANCELLED,
        Some(ops::Error::Failed(_)) | None => FAILED,
    }
}

/// What helps against it.
fn helps(error: &anyhow::Error) -> Vec<Remedy> {
    if let Some(of_operation) = causes::<ops::Error>(error).next() {
        return of_operation.report().remedies.clone();
    }
    let of_image = causes::<image::Error>(error).next();
    of_image.map_or_else(Vec::new, Remedy::of)
}

/// An error as JSON.
pub(super) fn described(error: &anyhow::Error) -> Value {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return stop.described();
    }
    let helps = helps(error);
    let of_image = causes::<image::Error>(error).next();
    let ways_out = of_image.map_or_else(Vec::new, WayOut::of);
    let path = causes::<FileError>(error).next();
    let path = path.map(|of_file| of_file.path.as_path());
    let path = of_image.map(|of_image| of_image.path.as_path()).or(path);
    json::error(kind(error), &sentence(error), path, &ways_out, &helps)
}

fn kind(error: &anyhow::Error) -> &'static str {
    if let Some(of_operation) = causes::<ops::Error>(error).next() {
        return of_operation.kind_name();
    }
    if let Some(of_image) = causes::<image::Error>(error).next() {
        return of_image.kind.kind_name();
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
    // An operation's sentence tells its causes.
    let operation = error.chain().position(|cause| cause.is::<ops::Error>());
    let told = operation.map_or(usize::MAX, |at| at + 1);
    for cause in error.chain().take(told).skip(1).map(words) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
