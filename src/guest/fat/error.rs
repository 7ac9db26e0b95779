//! What is damaged on a FAT volume.

use crate::error::Error;

pub(super) fn damaged(structure: impl Into<String>, offset: u64, problem: String) -> Error {
    Error::Damaged {
        filesystem: "FAT",
        structure: structure.into(),
        offset,
        problem,
    }
}
