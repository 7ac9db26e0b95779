//! By which ways an image reads another file.

use std::path::Path;

use crate::host::FileId;

/// How an image reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reads {
    /// As its backing file: it is one of the node's children.
    Backing,
    /// By its backing name, in a way that is not understood: a part of it, through a filter, together with
    /// other files. It may be one of the node's children, or none.
    NotUnderstood,
    /// As its backing file when it is opened by another of its names.
    OtherName,
    /// As its external data file.
    DataFile,
}

impl Reads {
    /// The word in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Backing => "backing",
            Self::NotUnderstood => "not-understood",
            Self::OtherName => "by-another-name",
            Self::DataFile => "data-file",
        }
    }
}

/// A file that an image reads besides its backing file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// How.
    pub how: Reads,
    /// By which path.
    pub path: Box<Path>,
    /// Which file that is.
    pub file: FileId,
}
