//! What a commit, and taking it back, is asked with.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::image::Format;

/// Merge `overlay`, and all that is between, down into an image it is built on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The uppermost layer to merge.
    pub overlay: PathBuf,
    /// The image that receives what the layers hold; none for the one the overlay is built on.
    pub into: Option<PathBuf>,
    /// What happens to the overlay afterwards; layers between go to the trash.
    pub layer: CommittedLayer,
    /// What happens to others that are built on the same base.
    pub siblings: Siblings,
    /// An overlay to create first, that keeps what the base shows now.
    pub keep_old: Option<PathBuf>,
}

/// What becomes of a layer that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CommittedLayer {
    /// To the trash; its children are then built on the base.
    #[default]
    Trash,
    /// Kept, emptied, still built on the base.
    Keep,
}

/// What becomes of other images on the base that is committed into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Siblings {
    /// Refuse if there are any.
    #[default]
    Refuse,
    /// Copy into each of them first exactly what it would lose.
    Preserve,
    /// Let them change; their number has to be typed.
    Break,
}

/// Take back a commit that kept what its base showed: the layers come back, what was built on them is
/// built on them again, and the base receives its old content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncommit {
    /// The overlay that shows the old content.
    pub old: PathBuf,
    /// The layers, the uppermost first, by the places they had.
    pub layers: Vec<PathBuf>,
    /// The trash's entry that holds them.
    pub entry: String,
    /// What was built on them.
    pub children: Vec<Relinked>,
}

/// An image that was built on something else before, and what its header said then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relinked {
    /// The image.
    pub image: PathBuf,
    /// The name it recorded.
    pub recorded: OsString,
    /// The format it recorded, or that it was taken for.
    pub format: Format,
}
