//! From how many zeros in a row on nothing is stored for them.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// The largest there is, as in qemu-img: what is looked at together is no longer.
const MAX: u64 = 16 << 20;
/// What is looked at together at most, unless one unit of the target is longer.
pub(super) const LONGEST: u64 = 2 << 20;
/// The unit, in bytes.
const SECTOR: u64 = 512;

/// Bytes of zeros in a row, a multiple of 512 up to 16 MiB, from which on a copy stores nothing for them; with
/// 0 zeros are looked for nowhere, and everything is stored. What tables say to be zero is never stored but
/// with 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct SparseSize(u64);

impl Default for SparseSize {
    /// 4 KiB, as in qemu-img.
    fn default() -> Self {
        Self(4096)
    }
}

impl SparseSize {
    /// So many bytes, if that is a size there is.
    #[must_use]
    pub fn new(bytes: u64) -> Option<Self> {
        (bytes.is_multiple_of(SECTOR) && bytes <= MAX).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Whether everything is stored.
    #[must_use]
    pub fn stores_all(self) -> bool {
        self.0 == 0
    }

    /// What is looked at as a whole, where units of `least` bytes are stored or not: zeros that are not
    /// aligned to it may be stored.
    pub(super) fn unit(self, least: u64) -> u64 {
        let floor = 1u64 << self.0.max(1).ilog2();
        floor.min(LONGEST).max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sizes_that_qemu_img_takes_are_sizes() {
        for bytes in [0, 512, 4096, 12 << 10, 16 << 20] {
            assert_eq!(SparseSize::new(bytes).map(SparseSize::bytes), Some(bytes));
        }
        for bytes in [1, 1000, (16 << 20) + 512] {
            assert_eq!(SparseSize::new(bytes), None);
        }
        let unit = |bytes| SparseSize::new(bytes).map(|size| size.unit(4096));
        assert_eq!(unit(512), Some(4096));
        assert_eq!(unit(12 << 10), Some(8 << 10));
    }
}
