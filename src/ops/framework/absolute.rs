//! Paths that hold from anywhere.

use std::path::{Path, PathBuf, absolute};

/// The path from the root of the file tree; one that cannot be made so (an empty one) stays as it is.
pub(in crate::ops) fn path(path: &Path) -> PathBuf {
    absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
