//! Why a log is not replayed.

use crate::error::Error;

/// Why a log is not replayed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The image cannot be read.
    Image(Error),
    /// What it holds is not understood.
    Log(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Image(error)
    }
}

pub(super) type Tried<T> = std::result::Result<T, Trouble>;

/// What the log holds contradicts its format.
pub(super) fn trouble<T>(why: impl Into<String>) -> Tried<T> {
    Err(Trouble::Log(why.into()))
}
