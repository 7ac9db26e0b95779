//! An L2 table's entries in runs, for whoever counts the clusters they refer to: nearly all tables are
//! a few long runs of clusters in a row. What one entry means is in [`super::l2`].

use std::ops::Range;

use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::U64;

use super::address::HostOffset;
use super::error::FormatError;
use super::geometry::Geometry;
use super::l2::{COPIED, L2Context, OFFSET};

/// Entries of an L2 table, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterRun {
    /// Entries in a row without a fault, each with a cluster of the image itself, which lie in a row
    /// as well.
    Clusters {
        /// Index of the first entry.
        at: usize,
        /// How many.
        len: usize,
        /// The first one's cluster.
        host: HostOffset,
        /// The copied flag, which all have or none.
        copied: bool,
    },
    /// One entry of any other kind that is not all zero, valid or not.
    Entry {
        /// Its index.
        at: usize,
        /// Its bits.
        raw: u64,
        /// Its second half; 0 without extended L2 entries.
        bitmap: u64,
    },
}

/// The entries of a table, given as the bytes it has on disk, in order. Entries that are all zero are
/// left out.
pub fn cluster_runs(table: &[u8], context: L2Context) -> impl Iterator<Item = ClusterRun> + '_ {
    let whole = table.len() / 8 * 8;
    let words = <[U64]>::ref_from_bytes(table.get(..whole).unwrap_or_default());
    ClusterRuns {
        words: words.unwrap_or_default(),
        extended: context.geometry.extended_l2(),
        // Whatever is not an aligned offset and the copied flag.
        unusual: if context.data_file {
            u64::MAX
        } else {
            !(OFFSET & !(context.geometry.cluster_size() - 1) | COPIED)
        },
        size: context.geometry.cluster_size(),
        at: 0,
    }
}

struct ClusterRuns<'a> {
    words: &'a [U64],
    extended: bool,
    unusual: u64,
    size: u64,
    at: usize,
}

impl ClusterRuns<'_> {
    fn entry(&self, at: usize) -> Option<(u64, u64)> {
        if self.extended {
            let (raw, bitmap) = (self.words.get(2 * at)?, self.words.get(2 * at + 1)?);
            Some((raw.get(), bitmap.get()))
        } else {
            Some((self.words.get(at)?.get(), 0))
        }
    }

    fn is_usual(&self, raw: u64) -> bool {
        raw & self.unusual == 0 && raw & OFFSET != 0
    }

    /// How many entries from the one at `at` on, which is `raw`, lie in a row.
    fn run(&self, at: usize, raw: u64) -> usize {
        let mut next = raw;
        let mut goes_on = |raw: u64| {
            let fits = raw == next && self.is_usual(raw);
            next = next.wrapping_add(self.size);
            fits
        };
        if self.extended {
            let entries = self.words.get(2 * at..).unwrap_or_default().chunks_exact(2);
            let in_row = entries.take_while(|pair| match pair {
                [raw, bitmap] => goes_on(raw.get()) && is_consistent(bitmap.get()),
                _ => false,
            });
            in_row.count()
        } else {
            let entries = self.words.get(at..).unwrap_or_default().iter();
            entries.take_while(|raw| goes_on(raw.get())).count()
        }
    }
}

/// Whether no subcluster both holds data and reads as zeros.
const fn is_consistent(bitmap: u64) -> bool {
    bitmap >> 32 & bitmap & 0xffff_ffff == 0
}

impl Iterator for ClusterRuns<'_> {
    type Item = ClusterRun;

    fn next(&mut self) -> Option<ClusterRun> {
        loop {
            let at = self.at;
            let (raw, bitmap) = self.entry(at)?;
            if raw == 0 && bitmap == 0 {
                self.at += 1;
                continue;
            }
            if !self.is_usual(raw) || !is_consistent(bitmap) {
                self.at += 1;
                return Some(ClusterRun::Entry { at, raw, bitmap });
            }
            let len = self.run(at, raw).max(1);
            self.at += len;
            return Some(ClusterRun::Clusters {
                at,
                len,
                host: HostOffset(raw & OFFSET),
                copied: raw & COPIED != 0,
            });
        }
    }
}

/// The first byte of each entry of a table, where the copied flag is.
fn flag_bytes(table: &[u8], geometry: Geometry) -> impl Iterator<Item = &u8> {
    table.iter().step_by(entry_len(geometry))
}

const fn entry_len(geometry: Geometry) -> usize {
    if geometry.extended_l2() { 16 } else { 8 }
}

/// Whether any entry of a table has the copied flag.
#[must_use]
pub fn any_copied(table: &[u8], geometry: Geometry) -> bool {
    flag_bytes(table, geometry).any(|byte| byte & 0x80 != 0)
}

/// Gives entries of a table the copied flag, or takes it from them, whatever they are.
///
/// # Errors
/// [`FormatError::NoSuchEntry`] beyond the end; the table is then unchanged.
pub fn set_copied(
    table: &mut [u8],
    geometry: Geometry,
    entries: Range<usize>,
    copied: bool,
) -> Result<(), FormatError> {
    let len = entry_len(geometry);
    let missing = FormatError::NoSuchEntry {
        table: "the L2 table",
        index: entries.end as u64,
        len: (table.len() / len) as u64,
    };
    let bytes = entries.start.saturating_mul(len)..entries.end.saturating_mul(len);
    for byte in table.get_mut(bytes).ok_or(missing)?.iter_mut().step_by(len) {
        *byte = (*byte & 0x7f) | (u8::from(copied) << 7);
    }
    Ok(())
}

/// Takes the copied flag from all entries of a table.
pub fn clear_copied(table: &mut [u8], geometry: Geometry) {
    for byte in table.iter_mut().step_by(entry_len(geometry)) {
        *byte &= 0x7f;
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::Version;
    use super::super::l2::{L2Buf, L2Entry, faults};
    use super::*;
    use proptest::prelude::*;

    fn context(extended: bool, data_file: bool) -> L2Context {
        L2Context {
            geometry: Geometry::new(14, 4, extended).unwrap(),
            version: Version::V3,
            data_file,
        }
    }

    #[test]
    fn clusters_in_a_row_are_one_stretch_and_everything_else_stands_alone() {
        let c = context(false, false);
        let mut table = L2Buf::zeroed(c);
        let raws = [
            (1, 0x8000_0000_0001_0000),
            (2, 0x8000_0000_0001_4000),
            (3, 0x0000_0000_0001_8000),
            (4, 0x0000_0000_0001_c001),
            (5, 0x4000_0000_0002_0000),
            (2047, 0x00ff_ffff_ffff_c000),
        ];
        for (at, raw) in raws {
            table.set_raw(at, raw, 0).unwrap();
        }
        let clusters = |at, len, host, copied| ClusterRun::Clusters {
            at,
            len,
            host: HostOffset(host),
            copied,
        };
        let entry = |at, raw| ClusterRun::Entry { at, raw, bitmap: 0 };
        let found: Vec<_> = cluster_runs(table.as_bytes(), c).collect();
        assert_eq!(
            found,
            [
                clusters(1, 2, 0x10000, true),
                clusters(3, 1, 0x18000, false),
                entry(4, raws[3].1),
                entry(5, raws[4].1),
                clusters(2047, 1, 0x00ff_ffff_ffff_c000, false),
            ]
        );
        assert_eq!(cluster_runs(&[], c).count(), 0);
    }

    fn entries() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let step = prop_oneof![
            6 => Just(0x4000u64),
            1 => any::<u64>(),
            1 => Just(0u64),
            1 => Just(1 << 63),
        ];
        let bitmap = prop_oneof![
            4 => Just(0xffff_ffffu64),
            1 => any::<u64>(),
            1 => Just(0u64),
        ];
        prop::collection::vec((step, bitmap), 1..60)
    }

    proptest! {
        #[test]
        fn stretches_tell_each_entry_that_is_not_zero_once_and_as_it_is(
            start in prop_oneof![Just(0x10000u64), any::<u64>()],
            steps in entries(),
            extended: bool,
            data_file: bool,
        ) {
            let c = context(extended, data_file);
            let mut table = L2Buf::zeroed(c);
            let mut raw = start;
            for (at, (step, bitmap)) in steps.iter().enumerate() {
                raw = if *step == 0 { 0 } else { raw.wrapping_add(*step) };
                table.set_raw(at, raw, if extended { *bitmap } else { 0 }).unwrap();
            }
            let mut told = vec![false; table.len()];
            for run in cluster_runs(table.as_bytes(), c) {
                match run {
                    ClusterRun::Entry { at, raw, bitmap } => {
                        prop_assert!(!told[at]);
                        told[at] = true;
                        prop_assert_eq!(table.raw(at), Some((raw, bitmap)));
                    }
                    ClusterRun::Clusters { at, len, host, copied } => {
                        for index in 0..len {
                            prop_assert!(!told[at + index]);
                            told[at + index] = true;
                            let (raw, bitmap) = table.raw(at + index).unwrap();
                            prop_assert_eq!(faults(raw, bitmap, c), []);
                            let entry = L2Entry::parse(raw, bitmap, c).unwrap();
                            let cluster = host.get() + index as u64 * 0x4000;
                            prop_assert_eq!(entry.host(), Some(HostOffset(cluster)));
                            prop_assert_eq!(entry.copied(), copied);
                        }
                    }
                }
            }
            for (at, told) in told.into_iter().enumerate() {
                prop_assert_eq!(told, table.raw(at) != Some((0, 0)));
            }
        }

        #[test]
        fn the_copied_flag_is_set_where_asked_and_nowhere_else(
            extended: bool, range in (0usize..80, 0usize..80), copied: bool,
        ) {
            let c = context(extended, false);
            let mut table = L2Buf::zeroed(c);
            for at in 0..64 {
                table.set_raw(at, 0x10000 | (at as u64 % 3) << 63, u64::from(extended)).unwrap();
            }
            let range = range.0.min(range.1)..range.0.max(range.1);
            let mut bytes = table.as_bytes().to_vec();
            set_copied(&mut bytes, c.geometry, range.clone(), copied).unwrap();
            prop_assert_eq!(any_copied(&bytes, c.geometry), bytes.contains(&0x80));
            let now = L2Buf::from_bytes(bytes, c).unwrap();
            for at in 0..table.len() {
                let expected = match table.raw(at) {
                    Some((raw, bitmap)) if range.contains(&at) => {
                        Some((raw & !COPIED | u64::from(copied) << 63, bitmap))
                    }
                    other => other,
                };
                prop_assert_eq!(now.raw(at), expected);
            }
        }
    }
}
