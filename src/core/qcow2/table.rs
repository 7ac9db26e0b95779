//! A table of big-endian 64-bit entries, kept as the bytes it has on disk: L1 tables, refcount
//! tables, bitmap tables.
//!
//! What an entry means is in the file of its concept.

use zerocopy::FromBytes;
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U64;

use super::address::HostOffset;
use super::error::FormatError;

/// Where a table of such entries lies in the image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TablePlace {
    /// Where it begins.
    pub offset: HostOffset,
    /// How many entries it has.
    pub entries: u64,
}

impl TablePlace {
    /// Its length in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.entries.saturating_mul(8)
    }
}

/// A table of raw entries; an entry is swapped when it is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryTable {
    bytes: Vec<u8>,
}

impl EntryTable {
    /// Takes a table's bytes; up to seven trailing bytes that make no whole entry are dropped.
    #[must_use]
    pub fn from_bytes(mut bytes: Vec<u8>) -> Self {
        bytes.truncate(bytes.len() / 8 * 8);
        Self { bytes }
    }

    /// A table of zeros. The caller has checked `entries` against the bound of its kind of table.
    #[must_use]
    pub fn zeroed(entries: usize) -> Self {
        Self {
            bytes: vec![0; entries.saturating_mul(8)],
        }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / 8
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn entries(&self) -> &[U64] {
        <[U64]>::ref_from_bytes(&self.bytes).unwrap_or_default()
    }

    /// The raw entry; `None` beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<u64> {
        self.entries().get(index).map(|entry| entry.get())
    }

    /// The raw entry.
    ///
    /// # Errors
    /// [`FormatError::NoSuchEntry`] beyond the end.
    pub fn entry(&self, index: usize) -> Result<u64, FormatError> {
        self.get(index).ok_or(FormatError::NoSuchEntry {
            table: "the table",
            index: index as u64,
            len: self.len() as u64,
        })
    }

    /// Replaces a raw entry.
    ///
    /// # Errors
    /// [`FormatError::NoSuchEntry`] beyond the end.
    pub fn set(&mut self, index: usize, raw: u64) -> Result<(), FormatError> {
        let len = self.len();
        let entry = <[U64]>::mut_from_bytes(&mut self.bytes)
            .ok()
            .and_then(|entries| entries.get_mut(index))
            .ok_or(FormatError::NoSuchEntry {
                table: "the table",
                index: index as u64,
                len: len as u64,
            })?;
        entry.set(raw);
        Ok(())
    }

    /// Appends zero entries or drops entries so that there are `entries`. The caller has checked the
    /// number against the bound of its kind of table.
    pub fn resize(&mut self, entries: usize) {
        self.bytes.resize(entries.saturating_mul(8), 0);
    }

    /// All raw entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.entries().iter().map(|entry| entry.get())
    }

    /// The bytes as they are on disk.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_big_endian_on_disk() {
        let mut table = EntryTable::zeroed(2);
        table.set(1, 0x0102).unwrap();
        assert_eq!(table.as_bytes()[8..], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(table.get(1), Some(0x0102));
        assert_eq!(table.get(2), None);
        assert!(table.set(2, 0).is_err());
        assert_eq!(EntryTable::from_bytes(vec![0; 15]).len(), 1);
    }
}
