//! Noting down what a scan saw, for plans and looks of later runs, and comparing it with what earlier ones saw.

use std::io;
use std::path::Path;

use crate::host::Host;

use super::{ChangedBase, Fingerprints, Forest, Index};

/// Notes in the folder `dir` which images are built on others, and what these look like.
///
/// # Errors
/// As [`Index::merge`].
pub fn remember(dir: &Path, host: &dyn Host, forest: &Forest) -> io::Result<()> {
    // Which bases may be forgotten is for the index to say.
    Index::at(dir).merge(host, forest)?;
    Fingerprints::at(dir).merge(host, forest)
}

/// The bases of a forest that were changed since the folder `dir` was told of them. What cannot be read there tells of
/// none: whoever writes it says so.
#[must_use]
pub fn changed_bases(dir: &Path, host: &dyn Host, forest: &Forest) -> Vec<ChangedBase> {
    let changed = Fingerprints::at(dir).changed(host, forest);
    changed.unwrap_or_default()
}
