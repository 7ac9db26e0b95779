//! The size that a disk is to have, as a person gives it: whole, or as so much more or less than now.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units;

/// The size a disk is to have, in bytes; rounded up to a multiple of 512.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewSize {
    /// This size.
    To(u64),
    /// So much more than now.
    More(u64),
    /// So much less than now.
    Less(u64),
}

impl NewSize {
    /// The bytes that are named, whether all of them or more or less.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::To(bytes) | Self::More(bytes) | Self::Less(bytes) => bytes,
        }
    }
}

impl std::str::FromStr for NewSize {
    type Err = String;

    /// Reads `40G`, `+10G` or `-512M`: see [`units::parse_size`].
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (kind, number): (fn(u64) -> Self, &str) = match text.split_at_checked(1) {
            Some(("+", more)) => (Self::More, more),
            Some(("-", less)) => (Self::Less, less),
            _ => (Self::To, text),
        };
        units::parse_size(number)
            .map(kind)
            .map_err(|why| format!("{why}, +10G for so much more"))
    }
}

impl fmt::Display for NewSize {
    /// In bytes, as [`FromStr`](std::str::FromStr) reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(size) => write!(f, "{size}"),
            Self::More(more) => write!(f, "+{more}"),
            Self::Less(less) => write!(f, "-{less}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_new_or_so_much_more_or_less() {
        let parse = str::parse::<NewSize>;
        assert_eq!(parse("40G"), Ok(NewSize::To(40 << 30)));
        assert_eq!(parse("1.5G"), Ok(NewSize::To(3 << 29)));
        assert_eq!(parse("+512MiB"), Ok(NewSize::More(512 << 20)));
        assert_eq!(parse("-1t"), Ok(NewSize::Less(1 << 40)));
        for bad in ["", "+", "ten", "+-1G", "é"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
