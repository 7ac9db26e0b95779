//! What is wrong with a volume, in words and as errors.

use crate::error::{Error, Printable};

/// What was checked, or what is wrong with it, in words.
pub(super) type Checked<T> = std::result::Result<T, String>;

pub(super) fn damaged(structure: impl Into<String>, offset: u64, problem: String) -> Error {
    Error::Damaged {
        filesystem: "NTFS",
        structure: structure.into(),
        offset,
        problem,
    }
}

pub(super) fn printable(number: u64) -> Printable {
    Printable(format!("MFT record {number}").into_bytes())
}

pub(super) fn not_found(number: u64) -> Error {
    Error::NotFound(printable(number))
}

pub(super) fn not_a_directory(number: u64) -> Error {
    Error::NotADirectory(printable(number))
}
