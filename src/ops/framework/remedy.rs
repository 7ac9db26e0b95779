//! What gets a person further: an operation to plan, or where one of its words is theirs to say, which one that is.
//! The screen shows it as its key, the command line as its command line. What helps against which problem is in
//! `fixes`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::command_line::CommandLine;
use super::request::Request;

/// What gets a person further.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remedy {
    /// This operation, a plan of its own.
    Ask(Box<Request>),
    /// Recording what the image is built on, which the person knows.
    Relink(PathBuf),
    /// An overlay on the image, under a name of the person's.
    Branch(PathBuf),
    /// The same of an image that a machine writes, which goes on in the overlay.
    LiveBranch(PathBuf),
    /// Recording where the image's data file is.
    DataFile(PathBuf),
    /// Looking through the image's tables.
    Check(PathBuf),
    /// Taking a base as it is now for what its overlays were made for.
    Accept(PathBuf),
    /// Giving the passphrase that the image opens to.
    Passphrase(PathBuf),
    /// Giving the passphrase that the image is to open to.
    NewPassphrase(PathBuf),
    /// Looking in this folder too.
    LookIn(PathBuf),
}

impl Remedy {
    /// An operation.
    #[must_use]
    pub fn ask(request: impl Into<Request>) -> Self {
        Self::Ask(Box::new(request.into()))
    }

    /// Looking in the folder of a file.
    pub(in crate::ops) fn look_beside(file: &Path) -> Self {
        Self::LookIn(file.parent().unwrap_or(file).to_path_buf())
    }

    /// The command line; a word in capitals is for the person to say.
    #[must_use]
    pub fn command_line(&self) -> Option<CommandLine> {
        let line = CommandLine::new;
        Some(match self {
            Self::Ask(request) => return request.command_line(),
            Self::Relink(image) => line(&["relink"])
                .path(image)
                .option_path("--to", Some("BASE")),
            Self::Branch(image) => line(&["branch"]).path(image).path("NEW"),
            Self::LiveBranch(image) => line(&["branch"])
                .flag("--live", true)
                .path(image)
                .path("NEW"),
            Self::DataFile(image) => line(&["amend"])
                .path(image)
                .option_path("--data-file", Some("FILE")),
            Self::Check(image) => line(&["check"]).path(image),
            Self::Accept(base) => line(&["index", "accept"]).path(base),
            Self::Passphrase(_) | Self::NewPassphrase(_) | Self::LookIn(_) => return None,
        })
    }

    /// The same with each of its paths changed; none where one of them cannot be.
    #[must_use]
    pub fn with_paths(self, change: &mut dyn FnMut(&Path) -> Option<PathBuf>) -> Option<Self> {
        Some(match self {
            Self::Ask(request) => Self::ask(request.with_paths(change)?),
            Self::Relink(image) => Self::Relink(change(&image)?),
            Self::Branch(image) => Self::Branch(change(&image)?),
            Self::LiveBranch(image) => Self::LiveBranch(change(&image)?),
            Self::DataFile(image) => Self::DataFile(change(&image)?),
            Self::Check(image) => Self::Check(change(&image)?),
            Self::Accept(base) => Self::Accept(change(&base)?),
            Self::Passphrase(image) => Self::Passphrase(change(&image)?),
            Self::NewPassphrase(image) => Self::NewPassphrase(change(&image)?),
            Self::LookIn(folder) => Self::LookIn(change(&folder)?),
        })
    }

    /// Whether its command line can be run as it stands.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Ask(_) | Self::Check(_) | Self::Accept(_))
    }
}
