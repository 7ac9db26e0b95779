//! Noting down what a scan saw, for plans and looks of later runs.

use std::io;
use std::path::Path;

use crate::host::Host;

use super::{Fingerprints, Forest, Index};

/// Notes in the folder `dir` which images are built on others, and what these look like.
///
/// # Errors
/// As [`Index::merge`].
pub fn remember(dir: &Path, host: &dyn Host, forest: &Forest) -> io::Result<()> {
    // Which bases may be forgotten is for the index to say.
    Index::at(dir).merge(host, forest)?;
    Fingerprints::at(dir).merge(host, forest)
}
