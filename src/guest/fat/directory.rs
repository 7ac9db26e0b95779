//! Directories: entries of 32 bytes, each with the entries before it that hold its long name.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::utf16;

/// Bytes of an entry.
pub(super) const ENTRY: usize = 32;

/// Bytes of a directory at the most, by the specification.
pub(super) const MOST_BYTES: u64 = 65_536 * ENTRY as u64;

const READ_ONLY: u8 = 0x01;
const VOLUME_ID: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;
const LONG_NAME_MASK: u8 = 0x3f;

/// Units of UTF-16 in one entry of a long name.
const UNITS: usize = 13;

/// An entry with an 8.3 name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a>(&'a [u8; ENTRY]);

impl<'a> Record<'a> {
    pub(super) fn new(bytes: &'a [u8; ENTRY]) -> Self {
        Self(bytes)
    }

    /// `DIR_Name`, padded with spaces.
    pub(super) fn name(self) -> [u8; 11] {
        crate::field(self.0, 0)
    }

    /// `DIR_Attr`.
    fn attributes(self) -> u8 {
        let [attributes] = crate::field(self.0, 11);
        attributes
    }

    /// Whether it was deleted, or no entry is here or behind.
    pub(super) fn is_unused(self) -> bool {
        matches!(self.0.first(), Some(0 | 0xe5))
    }

    /// Whether no entry follows.
    pub(super) fn is_end(self) -> bool {
        self.0.first() == Some(&0)
    }

    /// Whether it holds a part of a long name.
    pub(super) fn is_long_name(self) -> bool {
        self.attributes() & LONG_NAME_MASK == LONG_NAME
    }

    /// Whether it is the volume's label.
    pub(super) fn is_label(self) -> bool {
        self.attributes() & (VOLUME_ID | DIRECTORY) == VOLUME_ID
    }

    pub(super) fn is_directory(self) -> bool {
        self.attributes() & DIRECTORY != 0
    }

    pub(super) fn is_read_only(self) -> bool {
        self.attributes() & READ_ONLY != 0
    }

    /// `DIR_FstClusHI` and `DIR_FstClusLO`. The former means something else where numbers have 16 bits.
    pub(super) fn first_cluster(self, is_wide: bool) -> u32 {
        let high = u16::from_le_bytes(crate::field(self.0, 20));
        let low = u16::from_le_bytes(crate::field(self.0, 26));
        let high = if is_wide { high & 0x0fff } else { 0 };
        u32::from(high) << 16 | u32::from(low)
    }

    /// `DIR_FileSize`.
    pub(super) fn size(self) -> u32 {
        u32::from_le_bytes(crate::field(self.0, 28))
    }

    /// `DIR_WrtDate` and `DIR_WrtTime`.
    pub(super) fn modified(self) -> Option<SystemTime> {
        time(
            u16::from_le_bytes(crate::field(self.0, 24)),
            u16::from_le_bytes(crate::field(self.0, 22)),
        )
    }

    /// `DIR_CrtDate`, `DIR_CrtTime` and `DIR_CrtTimeTenth` as one number: two files that had this entry one after the
    /// other differ in it, as far as they were made in different hundredths of a second.
    pub(super) fn created(self) -> u64 {
        let [hundredths, a, b, c, d] = crate::field(self.0, 13);
        u64::from_le_bytes([hundredths, a, b, c, d, 0, 0, 0])
    }

    /// All that is recorded but the name and the day it was read last.
    pub(super) fn lasting(self) -> ([u8; 1], [u8; 5], [u8; 12]) {
        (
            crate::field(self.0, 11),
            crate::field(self.0, 13),
            crate::field(self.0, 20),
        )
    }

    /// The 8.3 name in lower case where `DIR_NTRes` says so.
    fn short_name(self) -> Vec<u8> {
        let name = self.name();
        let [_, case] = crate::field(self.0, 11);
        let (base, extension) = name.split_at(8);
        let mut shown = Vec::with_capacity(16);
        push_short(&mut shown, base, case & 0x08 != 0);
        let base_len = shown.len();
        shown.push(b'.');
        push_short(&mut shown, extension, case & 0x10 != 0);
        if shown.len() == base_len + 1 {
            shown.truncate(base_len);
        }
        shown
    }

    /// The label that this entry holds, as UTF-8.
    pub(super) fn label(self) -> Vec<u8> {
        let mut label = Vec::new();
        push_short(&mut label, &self.name(), false);
        label
    }

    /// What ties the entries of a long name to this one.
    fn checksum(self) -> u8 {
        self.name()
            .iter()
            .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
    }
}

/// Adds a part of an 8.3 name without its padding. Bytes above 127 are taken as code page 437, as Linux takes them where
/// nothing else is asked for: which it was is not recorded.
fn push_short(to: &mut Vec<u8>, part: &[u8], is_lower: bool) {
    let len = part.iter().rposition(|byte| *byte != b' ');
    let mut buf = [0; 4];
    for (index, byte) in part.iter().take(len.map_or(0, |at| at + 1)).enumerate() {
        let c = match *byte {
            // A first byte of 0xe5 means deleted, so one that is meant is stored otherwise.
            0x05 if index == 0 => '\u{3c3}',
            byte if byte.is_ascii() && is_lower => byte.to_ascii_lowercase().into(),
            byte if byte.is_ascii() => byte.into(),
            byte => CODE_PAGE_437
                .get(usize::from(byte - 0x80))
                .copied()
                .unwrap_or('\u{fffd}'),
        };
        to.extend_from_slice(c.encode_utf8(&mut buf).as_bytes());
    }
}

/// Bytes from 0x80 on.
const CODE_PAGE_437: [char; 128] = [
    'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å', //
    'É', 'æ', 'Æ', 'ô', 'ö', 'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ', //
    'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐', '¬', '½', '¼', '¡', '«', '»', //
    '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛', '┐', //
    '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧', //
    '╨', '╤', '╥', '╙', '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀', //
    'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ', 'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩', //
    '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²', '■', '\u{a0}',
];

/// Days since 1970 of a day of the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March, so that a leap day is the last one.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// A date and a time of day, which FAT keeps without a time zone: they are taken as UTC. None where they are no date.
fn time(date: u16, time: u16) -> Option<SystemTime> {
    let (year, month, day) = (date >> 9, date >> 5 & 0xf, date & 0x1f);
    let (hour, minute, second) = (time >> 11, time >> 5 & 0x3f, (time & 0x1f) * 2);
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !is_time {
        return None;
    }
    let days = days(1980 + u64::from(year), month.into(), day.into());
    let seconds = u64::from(hour) * 3600 + u64::from(minute) * 60 + u64::from(second);
    Some(UNIX_EPOCH + Duration::from_secs(days * 86_400 + seconds))
}

/// A name and the entry it belongs to.
#[derive(Debug)]
pub(super) struct Named {
    /// Where the entry is in the volume.
    pub(super) at: u64,
    pub(super) record: [u8; ENTRY],
    /// The long name, or the 8.3 name where there is none.
    pub(super) name: Vec<u8>,
    /// The 8.3 name.
    pub(super) short: Vec<u8>,
}

impl Named {
    pub(super) fn record(&self) -> Record<'_> {
        Record::new(&self.record)
    }
}

/// Puts long names together from the entries of a directory, which are given in order.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Units of the name from its end on, in the order they were met: the last part comes first.
    parts: Vec<[u16; UNITS]>,
    /// The number of the part that has to follow; 0 where the 8.3 name has to.
    next: u8,
    checksum: u8,
}

impl Names {
    /// Takes the next entry, which is at `at`; gives what it names. `.`, `..` and the label are no entries.
    pub(super) fn take(&mut self, at: u64, bytes: &[u8; ENTRY]) -> Option<Named> {
        let record = Record::new(bytes);
        if record.is_unused() {
            self.forget();
            return None;
        }
        if record.is_long_name() {
            self.take_part(bytes);
            return None;
        }
        let long = self.long_name(record);
        self.forget();
        if record.is_label() {
            return None;
        }
        let short = record.short_name();
        let name = long.unwrap_or_else(|| short.clone());
        let is_self = matches!(&record.name(), b".          " | b"..         ");
        let is_entry = !is_self && !matches!(&name[..], b"" | b"." | b"..");
        is_entry.then_some(Named {
            at,
            record: *bytes,
            name,
            short,
        })
    }

    fn forget(&mut self) {
        self.parts.clear();
        self.next = 0;
    }

    /// `LDIR_Ord` counts the parts down to 1; bit 6 marks the last part, which is stored first.
    fn take_part(&mut self, bytes: &[u8; ENTRY]) {
        let [order] = crate::field(bytes, 0);
        let [checksum] = crate::field(bytes, 13);
        let number = order & 0x3f;
        if order & 0x40 != 0 && (1..=20).contains(&number) {
            self.forget();
            (self.next, self.checksum) = (number, checksum);
        }
        if number == 0 || number != self.next || checksum != self.checksum {
            self.forget();
            return;
        }
        let mut part = [0; UNITS];
        let places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
        for (unit, at) in part.iter_mut().zip(places) {
            *unit = u16::from_le_bytes(crate::field(bytes, at));
        }
        self.parts.push(part);
        self.next -= 1;
    }

    fn long_name(&self, record: Record<'_>) -> Option<Vec<u8>> {
        let is_whole =
            self.next == 0 && !self.parts.is_empty() && self.checksum == record.checksum();
        let units: Vec<u16> = self.parts.iter().rev().flatten().copied().collect();
        let end = units.iter().position(|unit| *unit == 0);
        let name = units.get(..end.unwrap_or(units.len()))?;
        is_whole.then(|| utf16::to_wtf8(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8; 11], attributes: u8, case: u8) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..11].copy_from_slice(name);
        (bytes[11], bytes[12]) = (attributes, case);
        bytes
    }

    fn part(order: u8, checksum: u8, text: &str) -> [u8; ENTRY] {
        let mut bytes = [0xff; ENTRY];
        (bytes[0], bytes[11], bytes[12], bytes[13]) = (order, LONG_NAME, 0, checksum);
        let units: Vec<u16> = text.encode_utf16().chain([0]).take(UNITS).collect();
        for (unit, at) in units
            .iter()
            .zip([1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30])
        {
            bytes[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        bytes
    }

    fn names(entries: &[[u8; ENTRY]]) -> Vec<String> {
        let mut names = Names::default();
        entries
            .iter()
            .filter_map(|bytes| names.take(0, bytes))
            .map(|named| String::from_utf8(named.name).unwrap())
            .collect()
    }

    #[test]
    fn a_long_name_belongs_to_the_entry_with_its_checksum() {
        let short = entry(b"ANAME~1 TXT", 0x20, 0);
        let sum = Record::new(&short).checksum();
        let (last, first) = (
            part(0x42, sum, "beginning.txt"),
            part(1, sum, "A name with a"),
        );
        let gone = entry(b"\xe5NAME~1 TXT", 0x20, 0);
        for (entries, want) in [
            (vec![last, first, short], "A name with abeginning.txt"),
            (vec![first, short], "ANAME~1.TXT"),
            (vec![last, short], "ANAME~1.TXT"),
            (vec![last, first, gone, short], "ANAME~1.TXT"),
            (
                vec![last, part(1, sum ^ 1, "A name with a"), short],
                "ANAME~1.TXT",
            ),
            (vec![last, last, first, short], "A name with abeginning.txt"),
        ] {
            assert_eq!(names(&entries), [want]);
        }
    }

    #[test]
    fn an_8_3_name_is_shown_as_linux_shows_it() {
        for (bytes, want) in [
            (entry(b"README  TXT", 0x20, 0x00), "README.TXT"),
            (entry(b"README  TXT", 0x20, 0x08), "readme.TXT"),
            (entry(b"README  TXT", 0x20, 0x18), "readme.txt"),
            (entry(b"EFI        ", 0x10, 0x00), "EFI"),
            (entry(b"\x05BC     D  ", 0x20, 0x00), "σBC.D"),
            (entry(b"GR\x9a\xe1E   X Y", 0x20, 0x08), "grÜße.X Y"),
        ] {
            assert_eq!(names(&[bytes]), [want]);
        }
        for none in [
            entry(b".          ", 0x10, 0),
            entry(b"..         ", 0x10, 0),
            entry(b"A LABEL    ", 0x08, 0),
            entry(b"\xe5GONE      ", 0x20, 0),
            entry(b"           ", 0x20, 0),
        ] {
            assert_eq!(names(&[none]), [""; 0]);
        }
    }

    #[test]
    fn a_date_is_taken_as_utc() {
        let seconds = |date, of_day| {
            let since = time(date, of_day)?.duration_since(UNIX_EPOCH);
            Some(since.unwrap().as_secs())
        };
        // 1980-01-01 00:00:00, 2000-02-29 23:59:58, 2107-12-31 12:00:00.
        assert_eq!(seconds(0x0021, 0), Some(315_532_800));
        assert_eq!(seconds(0x285d, 0xbf7d), Some(951_868_798));
        assert_eq!(seconds(0xff9f, 0x6000), Some(4_354_776_000));
        assert_eq!(seconds(0, 0), None);
        assert_eq!(seconds(0x0021, 0xffff), None);
    }
}
