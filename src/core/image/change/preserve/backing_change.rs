//! What changes below an image, how it is decided what that does to its views, and how they are kept.

use crate::image::Keys;
use crate::image::error::Result;
use crate::image::read::backing_view::BackingView;

/// What changes below an image.
#[derive(Debug, Clone, Copy)]
pub struct BackingChange<'a> {
    /// What is there now.
    pub old: &'a BackingView,
    /// What is going to be there.
    pub new: &'a BackingView,
    /// How it is decided whether the two show the same.
    pub judge: CompareBy,
    /// What opens the image that keeps its views, should it be encrypted. The backing views are open already.
    pub keys: &'a Keys,
}

/// What changes below an image whose views are kept.
#[derive(Clone, Copy)]
pub struct BackingSwitch<'a> {
    /// Opens what is there now and what is going to be there, unlocked: called for each view, since
    /// what was read before another one was written may not hold any more.
    pub backing_views: &'a dyn Fn() -> Result<(BackingView, BackingView)>,
    /// As in [`BackingChange`].
    pub judge: CompareBy,
    /// As in [`BackingChange`].
    pub keys: &'a Keys,
    /// How what is copied is stored.
    pub stores: Stores,
}

/// How copied clusters are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stores {
    /// As they are.
    #[default]
    Plain,
    /// Compressed, where a whole cluster becomes smaller by it.
    Compressed,
}

/// How it is decided whether two places hold the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareBy {
    /// By where they are stored: what is stored in two places counts as different.
    Tables,
    /// By the bytes, where tables do not tell.
    Bytes,
}

/// Which views of an image are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Views {
    /// All there are.
    All,
    /// The internal snapshots: what the guest sees now needs nothing.
    Snapshots,
}
