//! A failed call in words: without the number of the error, and without the names that Rust has for kinds.

use std::io::{Error, ErrorKind};

/// What the system says of a failed call: `no such file or directory`.
#[must_use]
pub fn io_text(error: &Error) -> String {
    // Somebody's own sentence.
    if error.get_ref().is_some() {
        return error.to_string();
    }
    if let Some(number) = error.raw_os_error() {
        let text = error.to_string();
        let text = text.trim_end_matches(&format!(" (os error {number})"));
        return lower_first(text);
    }
    let text = match error.kind() {
        ErrorKind::NotFound => "no such file or directory",
        ErrorKind::AlreadyExists => "file exists",
        ErrorKind::UnexpectedEof => "the file ends before that",
        ErrorKind::InvalidInput => "invalid argument",
        ErrorKind::InvalidData => "the data is not valid",
        ErrorKind::TimedOut => "timed out",
        ErrorKind::StorageFull => "no space left on device",
        ErrorKind::Unsupported => "operation not supported",
        _ => return error.to_string(),
    };
    text.to_owned()
}

/// `No such file` as it stands in the middle of a sentence; `RPC failed` as it is.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_and_no_name_of_a_kind_is_told() {
        for (error, text) in [
            (Error::from_raw_os_error(2), "no such file or directory"),
            (Error::from_raw_os_error(28), "no space left on device"),
            (
                Error::from(ErrorKind::NotFound),
                "no such file or directory",
            ),
            (
                Error::from(ErrorKind::PermissionDenied),
                "permission denied",
            ),
            (Error::other("Nobody is there"), "Nobody is there"),
        ] {
            assert_eq!(io_text(&error), text);
        }
        assert_eq!(lower_first("RPC failed"), "RPC failed");
    }
}
