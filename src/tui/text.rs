//! Words and names fit for a terminal: control characters made visible, long names cut in the
//! middle by display width, sizes and ages in few characters. No styles here.

use std::path::Path;
use std::time::{Duration, SystemTime};

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::host::printable;
use crate::image::Check;
use crate::image::Snapshot;

/// Text from elsewhere (a plan, a problem) made safe to print once more: it is meant to be, and a
/// terminal is no place to find out.
#[must_use]
pub fn safe(text: &str) -> String {
    printable(text)
}

/// The file's own name, printable.
#[must_use]
pub fn file_name(path: &Path) -> String {
    printable(path.file_name().unwrap_or(path.as_os_str()))
}

/// How many cells the text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most `max` cells; what does not fit is cut out of the middle, where names differ
/// least.
#[must_use]
pub fn cut_middle(text: &str, max: usize, ascii: bool) -> String {
    if text.width() <= max {
        return text.to_owned();
    }
    let sign = if ascii { "~" } else { "…" };
    if max <= 1 {
        return sign.repeat(max);
    }
    let room = max - 1;
    let tail_room = room / 2;
    let graphemes: Vec<&str> = text.graphemes(true).collect();
    let mut head = String::new();
    let mut used = 0;
    for g in &graphemes {
        if used + g.width() > room - tail_room {
            break;
        }
        used += g.width();
        head.push_str(g);
    }
    let mut tail: Vec<&str> = Vec::new();
    let mut tail_used = 0;
    for g in graphemes.iter().rev() {
        if tail_used + g.width() > room - used {
            break;
        }
        tail_used += g.width();
        tail.push(g);
    }
    tail.reverse();
    format!("{head}{sign}{}", tail.concat())
}

/// The text in at most `max` cells, cut at the end.
#[must_use]
pub fn cut_end(text: &str, max: usize, ascii: bool) -> String {
    if text.width() <= max {
        return text.to_owned();
    }
    if max == 0 {
        return String::new();
    }
    let mut out = String::new();
    let mut used = 0;
    for g in text.graphemes(true) {
        if used + g.width() > max - 1 {
            break;
        }
        used += g.width();
        out.push_str(g);
    }
    out.push_str(if ascii { "~" } else { "…" });
    out
}

/// The text filled up with spaces to `cells`, or cut at the end to fit.
#[must_use]
pub fn pad(text: &str, cells: usize, ascii: bool) -> String {
    let mut out = cut_end(text, cells, ascii);
    let used = out.width();
    out.extend(std::iter::repeat_n(' ', cells.saturating_sub(used)));
    out
}

/// The text pushed to the right within `cells`.
#[must_use]
pub fn pad_left(text: &str, cells: usize, ascii: bool) -> String {
    let cut = cut_end(text, cells, ascii);
    let used = cut.width();
    format!("{}{cut}", " ".repeat(cells.saturating_sub(used)))
}

/// The text broken into lines of at most `cells`, at spaces where there are any; a word longer than a line is
/// broken inside. Further lines start with `indent` spaces.
#[must_use]
pub fn wrap(text: &str, cells: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    let indent = if indent + 8 > cells { 0 } else { indent };
    let room = cells.max(1);
    for word in text.split(' ') {
        let needed = word.width();
        let has_words = line.chars().any(|c| c != ' ');
        if has_words && used + 1 + needed > room {
            lines.push(std::mem::take(&mut line));
            line = " ".repeat(indent);
            used = indent;
        } else if has_words {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            let cells = c.width().unwrap_or(0);
            if used + cells > room && used > indent {
                lines.push(std::mem::take(&mut line));
                line = " ".repeat(indent);
                used = indent;
            }
            line.push(c);
            used += cells;
        }
    }
    lines.push(line);
    lines
}

/// Bytes in three digits and a unit: `640 MiB`, `8.1 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit: u128 = 1024;
    for (i, name) in UNITS.iter().enumerate() {
        // Tenths of the unit, rounded, so that no floating point is needed.
        let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
        if tenths < 10_240 || i + 1 == UNITS.len() {
            return if tenths < 1000 && !tenths.is_multiple_of(10) {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            } else {
                format!("{} {name}", (tenths + 5) / 10)
            };
        }
        unit *= 1024;
    }
    format!("{bytes} B")
}

/// Bytes with every digit, in groups of three: `8,697,308,774`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Time since `then` in one number: `2h`, `44d`.
#[must_use]
pub fn age(then: SystemTime, now: SystemTime) -> String {
    let secs = now.duration_since(then).unwrap_or_default().as_secs();
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m", secs / 60),
        3600..86_400 => format!("{}h", secs / 3600),
        86_400..86_400_000 => format!("{}d", secs / 86_400),
        _ => format!("{}y", secs / 31_557_600),
    }
}

/// A span of time as `0:48` or `1:02:03`.
#[must_use]
pub fn clock(span: Duration) -> String {
    let secs = span.as_secs();
    if secs >= 3600 {
        format!("{}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
    } else {
        format!("{}:{:02}", secs / 60, secs % 60)
    }
}

/// `1 image`, `3 images`.
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

/// A time as `2026-01-31T12:34:56Z`.
#[must_use]
pub fn utc(at: SystemTime) -> String {
    let secs = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days since the first of March of the year 0, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year_of_era + later;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// An internal snapshot for people: its name, and its ID where that tells more.
#[must_use]
pub fn snapshot_name(snapshot: &Snapshot) -> String {
    let part = |bytes: &[u8]| safe(&String::from_utf8_lossy(bytes));
    let (name, id) = (part(&snapshot.name), part(&snapshot.id));
    if name.is_empty() {
        format!("(ID {id})")
    } else {
        format!("{name} (ID {id})")
    }
}

/// When an internal snapshot was taken.
#[must_use]
pub fn snapshot_taken(snapshot: &Snapshot) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(snapshot.date_seconds.into())
}

/// What a check amounts to: `clean`, `3 corruptions`, `212 leaked clusters, 13 MiB`.
#[must_use]
pub fn verdict(check: &Check) -> String {
    let leaks = format!(
        "{}, {}",
        count(check.leaks, "leaked cluster", "leaked clusters"),
        size(check.leaked_bytes)
    );
    let corruptions = count(check.corruptions, "corruption", "corruptions");
    match (check.corruptions, check.leaks) {
        (0, 0) => "clean".to_owned(),
        (0, _) => leaks,
        (_, 0) => corruptions,
        _ => format!("{corruptions}, {leaks}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_in_the_middle_by_display_width() {
        assert_eq!(
            cut_middle("Overlay-1B.qcow2", 16, false),
            "Overlay-1B.qcow2"
        );
        assert_eq!(cut_middle("Overlay-1B.qcow2", 9, false), "Over…cow2");
        assert_eq!(cut_middle("日本語の名前.img", 8, false), "日本…img");
        for max in 0..20 {
            assert!(width(&cut_middle("日本語の名前.qcow2", max, false)) <= max);
            assert!(width(&cut_end("日本語の名前.qcow2", max, true)) <= max);
        }
    }

    #[test]
    fn sizes_take_three_digits_and_a_unit() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(196 * 1024), "196 KiB");
        assert_eq!(size(1024), "1 KiB");
        assert_eq!(size(1_288_490_189), "1.2 GiB");
        assert_eq!(size(22 << 30), "22 GiB");
        assert_eq!(size(1200 << 20), "1.2 GiB");
        assert_eq!(size(u64::MAX), "16 EiB");
        assert_eq!(grouped(8_697_308_774), "8,697,308,774");
    }

    #[test]
    fn times_are_told_as_dates() {
        let at = |secs| utc(SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(at(1_800_000_000), "2027-01-15T08:00:00Z");
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_inside() {
        assert_eq!(wrap("one two three", 7, 0), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3, 0), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3, 0), [""]);
    }
}
