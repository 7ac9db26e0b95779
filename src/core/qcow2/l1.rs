//! L1 table entries: where each L2 table is.
//!
//! The table as raw bytes is a [`super::table::EntryTable`]; what an L2 table holds is in [`super::l2`].

use super::address::HostOffset;
use super::error::FormatError;
use super::geometry::Geometry;

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The flag that says that the L2 table has one reference.
pub(crate) const COPIED: u64 = 1 << 63;
const RESERVED: u64 = 0x7f00_0000_0000_01ff;

/// One L1 entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct L1Entry {
    /// Where the L2 table is; `None` if nothing of its range is mapped.
    pub table: Option<HostOffset>,
    /// The L2 table's refcount is exactly 1, so that it may be written in place. Only to be trusted
    /// in the active L1 table.
    pub copied: bool,
}

impl L1Entry {
    /// The entry that leads nowhere. So does each that a table is too short for.
    pub const UNMAPPED: u64 = 0;

    /// Reads an entry. Reserved bits are ignored, as QEMU does when it reads; see [`reserved_bits`].
    ///
    /// # Errors
    /// [`FormatError::Unaligned`] if the L2 table is not cluster-aligned.
    pub fn parse(raw: u64, geometry: Geometry) -> Result<Self, FormatError> {
        let offset = raw & OFFSET;
        geometry.require_aligned("L2 table offset", offset)?;
        Ok(Self {
            table: (offset != 0).then_some(HostOffset(offset)),
            copied: raw & COPIED != 0,
        })
    }

    /// The entry as a number, to be stored big-endian.
    ///
    /// # Errors
    /// [`FormatError::Unaligned`] or [`FormatError::DoesNotFit`] for an offset an entry cannot hold.
    pub fn encode(self, geometry: Geometry) -> Result<u64, FormatError> {
        let offset = self.table.map_or(0, HostOffset::get);
        geometry.require_aligned("L2 table offset", offset)?;
        if offset & !OFFSET != 0 {
            return Err(FormatError::DoesNotFit {
                field: "L2 table offset",
                value: offset,
                max: OFFSET,
            });
        }
        Ok(offset | if self.copied { COPIED } else { 0 })
    }
}

/// The bits of a raw L1 entry that must be zero and are not. A check calls them corruption.
#[must_use]
pub const fn reserved_bits(raw: u64) -> u64 {
    raw & RESERVED
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_entry_is_an_offset_and_the_copied_flag() {
        let g = Geometry::new(16, 4, false).unwrap();
        let entry = L1Entry::parse(0x8000_0000_0004_0000, g).unwrap();
        assert_eq!(entry.table, Some(HostOffset(0x40000)));
        assert!(entry.copied);
        assert_eq!(entry.encode(g), Ok(0x8000_0000_0004_0000));
        assert_eq!(L1Entry::parse(0, g).unwrap(), L1Entry::default());
        assert_eq!(reserved_bits(0x8000_0000_0004_0001), 1);
        assert_eq!(reserved_bits(0x4000_0000_0004_0000), 1 << 62);
        assert!(L1Entry::parse(0x8000_0000_0004_0200, g).is_err());
    }

    proptest! {
        #[test]
        fn any_entry_that_parses_encodes_to_itself_but_for_reserved_bits(raw: u64, bits in 9u32..=21) {
            let g = Geometry::new(bits, 4, false).unwrap();
            if let Ok(entry) = L1Entry::parse(raw, g) {
                prop_assert_eq!(entry.encode(g).unwrap(), raw & !reserved_bits(raw));
            }
        }
    }
}
