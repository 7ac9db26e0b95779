//! What attributes say of a file: its names and its times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::file::File;
use super::record::{Reference, kind};
use crate::{field, utf16};

/// Bits of `fa`, the attributes of a file.
pub(super) mod bits {
    pub(in super::super) const READONLY: u32 = 0x1;
    pub(in super::super) const SYSTEM: u32 = 0x4;
    pub(in super::super) const REPARSE_POINT: u32 = 0x400;
    pub(in super::super) const DIRECTORY: u32 = 0x1000_0000;
}

/// The namespace of names that are there only for programs that know 8.3 names.
const NAMESPACE_DOS: u8 = 2;

/// A name of a file: the value of a `$FILE_NAME`, or the key of a directory's index.
#[derive(Debug, Clone)]
pub(super) struct FileName {
    pub(super) parent: Reference,
    pub(super) name: Vec<u8>,
    /// Whether it stands beside the real name.
    pub(super) is_dos: bool,
    /// Attributes, as they were when the name was written.
    pub(super) attributes: u32,
}

impl FileName {
    /// Of the bytes of one; none where they are cut.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [len, namespace] = field(bytes, 64);
        let name = bytes.get(66..66 + usize::from(len) * 2)?;
        Some(Self {
            parent: Reference::new(u64::from_le_bytes(field(bytes, 0))),
            name: utf16::to_wtf8(&utf16::units(name)),
            is_dos: namespace == NAMESPACE_DOS,
            attributes: u32::from_le_bytes(field(bytes, 56)),
        })
    }

    /// The bytes of one without the time it was read last.
    pub(super) fn lasting(bytes: &[u8]) -> [&[u8]; 2] {
        around(bytes, 32..40)
    }
}

impl File {
    /// The names that directories show.
    pub(super) fn shown_names(&self) -> impl Iterator<Item = FileName> + '_ {
        self.resident(kind::FILE_NAME)
            .filter_map(FileName::parse)
            .filter(|name| !name.is_dos)
    }
}

/// `$STANDARD_INFORMATION`.
#[derive(Debug, Clone, Copy)]
pub(super) struct StandardInformation<'a>(pub(super) &'a [u8]);

impl StandardInformation<'_> {
    /// `m_time`.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        time(u64::from_le_bytes(field(self.0, 8)))
    }

    /// `c_time`.
    pub(super) fn changed(&self) -> Option<SystemTime> {
        time(u64::from_le_bytes(field(self.0, 16)))
    }

    /// `fa`.
    pub(super) fn attributes(&self) -> u32 {
        u32::from_le_bytes(field(self.0, 32))
    }

    /// All of it without the time it was read last and the place in the change journal.
    pub(super) fn lasting(&self) -> [&[u8]; 2] {
        let [before, after] = around(self.0, 24..32);
        [before, after.get(..after.len().min(32)).unwrap_or_default()]
    }
}

fn around(bytes: &[u8], left_out: std::ops::Range<usize>) -> [&[u8]; 2] {
    [
        bytes.get(..left_out.start).unwrap_or(bytes),
        bytes.get(left_out.end..).unwrap_or_default(),
    ]
}

/// Tenths of a microsecond from 1601 to 1970.
const EPOCH: u64 = 116_444_736_000_000_000;

/// A time in tenths of a microsecond since 1601.
fn time(ticks: u64) -> Option<SystemTime> {
    let since = |ticks: u64| Duration::new(ticks / 10_000_000, nanos(ticks % 10_000_000));
    match ticks.checked_sub(EPOCH) {
        Some(after) => UNIX_EPOCH.checked_add(since(after)),
        None => UNIX_EPOCH.checked_sub(since(EPOCH - ticks)),
    }
}

fn nanos(ticks: u64) -> u32 {
    u32::try_from(ticks * 100).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_1601() {
        let second = Duration::from_secs(1);
        assert_eq!(time(EPOCH), Some(UNIX_EPOCH));
        assert_eq!(
            time(EPOCH + 10_000_001),
            Some(UNIX_EPOCH + second + Duration::from_nanos(100))
        );
        assert_eq!(time(EPOCH - 10_000_000), Some(UNIX_EPOCH - second));
        assert!(time(0) < Some(UNIX_EPOCH) && time(u64::MAX).is_some());
    }

    #[test]
    fn reading_a_file_leaves_what_lasts_as_it_was() {
        let bytes: Vec<u8> = (0..72).collect();
        let mut read = bytes.clone();
        read[24..32].fill(0xee);
        read[64..72].fill(0xee);
        let lasting = |bytes: &[u8]| StandardInformation(bytes).lasting().concat();
        assert_eq!(lasting(&bytes), lasting(&read));
        assert_eq!(lasting(&bytes).len(), 56);
        read[16] ^= 1;
        assert_ne!(lasting(&bytes), lasting(&read));
        assert_eq!(lasting(&bytes[..48]).len(), 40);
    }
}
