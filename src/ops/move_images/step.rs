//! One file of a move, and whatever refers to it.

use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::ops::BackingStyle;
use crate::ops::framework::backing_name;

/// One image that moves.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    /// To another filesystem, where a file cannot have two names.
    pub(super) copied: bool,
    /// The copy was made by a move that was interrupted.
    pub(super) copy_is_there: bool,
    pub(super) bytes: u64,
    /// Relative or absolute, as it names its own backing file in the end.
    pub(super) style: BackingStyle,
    /// How it names its own backing file, if that has to be seen to.
    pub(super) own: Option<Own>,
    pub(super) children: Vec<Child>,
}

/// The moved image's own link.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) base: PathBuf,
    pub(super) style: BackingStyle,
    /// Whether the link has to hold from both places for a while.
    pub(super) bridge: bool,
}

/// An image that is built on one that moves.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) path: PathBuf,
    pub(super) style: BackingStyle,
}

/// Whether both are one name in one directory, whatever links lead there.
pub(super) fn is_one_place(host: &dyn Host, one: &Path, other: &Path) -> bool {
    let place = |path: &Path| backing_name::real_place(host, path).ok();
    one == other || place(one).is_some_and(|one| Some(one) == place(other))
}
