//! What gets a person further: an operation to plan, or where one of its words is theirs to say, which one that is.
//! The screen shows it as its key, the command line as its command line. What helps against which problem is in
//! `doctor`.

use std::path::{Path, PathBuf};

use crate::image::{self, ErrorKind};

use super::command_line::CommandLine;
use super::request::Request;

/// What gets a person further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// This operation, a plan of its own.
    Ask(Box<Request>),
    /// Recording what the image is built on, which the person knows.
    Relink(PathBuf),
    /// An overlay on the image, under a name of the person's.
    Branch(PathBuf),
    /// Recording where the image's data file is.
    DataFile(PathBuf),
    /// Looking through the image's tables.
    Check(PathBuf),
    /// Giving the passphrase that the image opens to.
    Passphrase(PathBuf),
    /// Giving the passphrase that the image is to open to.
    NewPassphrase(PathBuf),
    /// Looking in this folder too.
    LookIn(PathBuf),
}

impl Remedy {
    /// What helps against an error of an image.
    #[must_use]
    pub fn of(error: &image::Error) -> Vec<Self> {
        let image = &error.path;
        match &error.kind {
            kind if kind.is_mended_by_repair() => vec![Self::repair(image)],
            ErrorKind::Locked => vec![Self::Passphrase(image.clone())],
            _ => Vec::new(),
        }
    }

    /// An operation.
    #[must_use]
    pub fn ask(request: impl Into<Request>) -> Self {
        Self::Ask(Box::new(request.into()))
    }

    /// Looking in the folder of a file.
    pub(in crate::ops) fn look_beside(file: &Path) -> Self {
        Self::LookIn(file.parent().unwrap_or(file).to_path_buf())
    }

    /// A repair of all.
    pub(in crate::ops) fn repair(image: &Path) -> Self {
        Self::ask(Request::repair(image))
    }

    /// Bringing an entry back from the trash.
    pub(in crate::ops) fn restore(entry: impl Into<String>) -> Self {
        Self::ask(Request::restore(vec![entry.into()]))
    }

    /// What ends an operation that was interrupted.
    pub(in crate::ops) fn recover(entry: u64, can_roll_back: bool) -> Vec<Self> {
        let mut ways = vec![Self::ask(Request::finish(entry))];
        if can_roll_back {
            ways.push(Self::ask(Request::roll_back(entry)));
        }
        ways
    }

    /// The command line; a word in capitals is for the person to say.
    #[must_use]
    pub fn command_line(&self) -> Option<CommandLine> {
        let line = CommandLine::new;
        Some(match self {
            Self::Ask(request) => return request.command_line(),
            Self::Relink(image) => line(&["relink"]).path(image).option("--to", Some("BASE")),
            Self::Branch(image) => line(&["branch"]).path(image).word("NEW"),
            Self::DataFile(image) => line(&["amend"])
                .path(image)
                .option("--data-file", Some("FILE")),
            Self::Check(image) => line(&["check"]).path(image),
            Self::Passphrase(_) | Self::NewPassphrase(_) | Self::LookIn(_) => return None,
        })
    }

    /// Whether its command line can be run as it stands.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Ask(_) | Self::Check(_))
    }
}
