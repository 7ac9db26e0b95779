//! What is wrong with a header.

use qanopy_core::qcow2::FormatError;

use crate::error::Error;

const NAME: &str = "LUKS";

pub(super) fn damaged(structure: &str, offset: u64, problem: impl Into<String>) -> Error {
    Error::Damaged {
        filesystem: NAME,
        structure: structure.to_owned(),
        offset,
        problem: problem.into(),
    }
}

pub(super) fn unsupported(feature: impl Into<String>) -> Error {
    Error::Unsupported {
        filesystem: NAME,
        feature: feature.into(),
    }
}

pub(super) fn of_format(error: &FormatError) -> Error {
    match error {
        FormatError::UnsupportedCipher { what } => unsupported(what.clone()),
        other => damaged("header", 0, other.to_string()),
    }
}
