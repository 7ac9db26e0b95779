//! What a view would lose, in bytes.

use crate::image::Growth;

/// What a view would lose, in bytes, told from tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Has to be copied.
    pub certain: u64,
    /// Has to be copied unless the bytes turn out to be the same.
    pub possible: u64,
    /// Reads as zero, and has to say so itself then.
    pub zeros: u64,
    /// What the file becomes longer by for what is certain and for the zeros, at most.
    pub growth: Growth,
    /// And by this much more if all that is possible has to be copied.
    pub possible_growth: Growth,
}

impl Loss {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.certain
            .saturating_add(self.possible)
            .saturating_add(self.zeros)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            certain: self.certain.saturating_add(other.certain),
            possible: self.possible.saturating_add(other.possible),
            zeros: self.zeros.saturating_add(other.zeros),
            growth: self.growth.and(other.growth),
            possible_growth: self.possible_growth.and(other.possible_growth),
        }
    }
}
