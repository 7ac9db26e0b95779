//! Errors of this reader.

use crate::error::Error;

/// What it is called in errors, whichever of the three it is.
pub(super) const FILESYSTEM: &str = "ext4";

/// A structure that contradicts its format, with the byte of the volume where it is.
pub(super) fn damaged(
    structure: impl Into<String>,
    offset: u64,
    problem: impl Into<String>,
) -> Error {
    Error::Damaged {
        filesystem: FILESYSTEM,
        structure: structure.into(),
        offset,
        problem: problem.into(),
    }
}

/// A feature that is not read, by its name in the kernel.
pub(super) fn unsupported(feature: impl Into<String>) -> Error {
    Error::Unsupported {
        filesystem: FILESYSTEM,
        feature: feature.into(),
    }
}
