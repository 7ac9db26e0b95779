//! Sizes, ages, counts, dates and file names as people read and type them: each written and read here, and
//! nowhere else. Units of size are powers of 1024, as qemu-img has them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::host::printable;
use crate::system::Utc;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
/// A year of the Julian calendar, 365.25 days.
const YEAR: u64 = 31_557_600;

/// Bytes in up to three digits and a unit: `640 MiB`, `8.1 GiB`.
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

/// Reads a size as qemu-img does: a number, with an optional fraction where a unit follows; the units are B,
/// K, M, G, T, P and E, in either case, and also `KiB` to `EiB`. At most 2^63 - 1 bytes.
///
/// # Errors
/// A sentence that says what a size looks like, or that it is too large.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "{} is no size: write 512M, 1.5G or a number of bytes",
            quoted(text)
        )
    };
    let (whole, rest) = split_digits(text);
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let (fraction, unit) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" | "kb" => 10,
        "m" | "mib" | "mb" => 20,
        "g" | "gib" | "gb" => 30,
        "t" | "tib" | "tb" => 40,
        "p" | "pib" | "pb" => 50,
        "e" | "eib" | "eb" => 60,
        _ => return Err(wrong()),
    };
    if rest.starts_with('.') && (fraction.is_empty() || fraction.len() > 9 || shift == 0) {
        return Err(wrong());
    }
    let unit = 1_u128 << shift;
    let mut bytes = u128::from(whole) * unit;
    if !fraction.is_empty() {
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
        let part: u128 = fraction.parse().map_err(|_| wrong())?;
        bytes += part * unit / scale;
    }
    i64::try_from(bytes)
        .ok()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or_else(|| format!("{} is too large for an image", quoted(text)))
}

/// Time in one number: `59s`, `2h`, `210d`, `3y`.
#[must_use]
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => format!("{}h", seconds / HOUR),
        DAY..86_400_000 => format!("{}d", seconds / DAY),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// Time inside a sentence: `5 s`, `2 min`, `30 h`, `12 days`.
#[must_use]
pub fn ago(ago: Duration) -> String {
    match ago.as_secs() {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / MINUTE),
        s @ 7200..172_800 => format!("{} h", s / HOUR),
        s => format!("{} days", s / DAY),
    }
}

/// Reads an age: a whole number with `s`, `m`, `h`, `d`, `w` or `y`; days where no unit is given.
///
/// # Errors
/// A sentence that says what an age looks like.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let wrong = || format!("{} is no age: write 12h, 30d or 8w", quoted(text));
    let (number, unit) = split_digits(text);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" => MINUTE,
        "h" => HOUR,
        "" | "d" => DAY,
        "w" => WEEK,
        "y" => YEAR,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

/// A span of time as `0:48` or `1:02:03`.
#[must_use]
pub fn clock(span: Duration) -> String {
    let secs = span.as_secs();
    let (minutes, seconds) = (secs / MINUTE % 60, secs % 60);
    if secs >= HOUR {
        format!("{}:{minutes:02}:{seconds:02}", secs / HOUR)
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A time as a clock shows it that is so many seconds ahead of UTC: `14:05:09`.
#[must_use]
pub fn time_of_day(at: SystemTime, offset: i64) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let local = since
        .unwrap_or_default()
        .as_secs()
        .saturating_add_signed(offset);
    let at = Utc::from_seconds(local);
    format!("{:02}:{:02}:{:02}", at.hour, at.minute, at.second)
}

/// A time as `2026-01-31T12:34:56Z`.
#[must_use]
pub fn utc(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let at = Utc::from_seconds(since.unwrap_or_default().as_secs());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year, at.month, at.day, at.hour, at.minute, at.second
    )
}

/// A number with every digit, in groups of three: `8,697,308,774`.
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

/// So many of a thing, which is named in the singular: `1 image`, `3 images`, `2 leaves`.
#[must_use]
pub fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    if number == 1 {
        return format!("1 {noun}");
    }
    let plural = match noun.strip_suffix("leaf") {
        Some(before) => format!("{before}leaves"),
        None => format!("{noun}s"),
    };
    format!("{} {plural}", grouped(number))
}

/// The last part of a path, safe to print, or the path if it has none.
#[must_use]
pub fn file_name(path: &Path) -> String {
    printable(path.file_name().unwrap_or(path.as_os_str()))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text))
}

/// The digits that a text begins with, and the rest.
fn split_digits(text: &str) -> (&str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(digits.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_three_digits_and_a_unit() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(196 * 1024), "196 KiB");
        assert_eq!(size(196_616), "192 KiB");
        assert_eq!(size(1024), "1 KiB");
        assert_eq!(size(1_288_490_189), "1.2 GiB");
        assert_eq!(size(22 << 30), "22 GiB");
        assert_eq!(size(1200 << 20), "1.2 GiB");
        assert_eq!(size(u64::MAX), "16 EiB");
        assert_eq!(grouped(8_697_308_774), "8,697,308,774");
    }

    #[test]
    fn sizes_are_read_as_qemu_img_reads_them() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64K"), Ok(64 << 10));
        assert_eq!(parse_size("512M"), Ok(512 << 20));
        assert_eq!(parse_size("10g"), Ok(10 << 30));
        assert_eq!(parse_size("1T"), Ok(1 << 40));
        assert_eq!(parse_size("1.5G"), Ok(3 << 29));
        assert_eq!(parse_size("10GiB"), Ok(10 << 30));
        assert_eq!(parse_size("640mib"), Ok(640 << 20));
        assert_eq!(parse_size("0"), Ok(0));
    }

    #[test]
    fn what_is_no_size_is_said_so() {
        for wrong in [
            "",
            "G",
            "-1",
            "1X",
            "1.5",
            "1.",
            "1.G",
            "0x10",
            "16E",
            "99999999999E",
            "1 G",
            "x",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert!(!parse_size("\x1b[31m").unwrap_err().contains('\x1b'));
    }

    #[test]
    fn what_is_written_is_read_again_to_three_digits() {
        for bytes in [0, 1023, 5 << 10, 640 << 20, 3 << 29, 22 << 30, 7 << 50] {
            let text = size(bytes).replace(' ', "");
            assert_eq!(parse_size(&text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn ages_have_units() {
        assert_eq!(parse_age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_age("12h"), Ok(Duration::from_secs(12 * 3600)));
        assert_eq!(parse_age("2w"), Ok(Duration::from_secs(14 * 86_400)));
        assert_eq!(parse_age("0"), Ok(Duration::ZERO));
        assert!(parse_age("soon").is_err());
        assert!(parse_age("99999999999999999999w").is_err());
    }

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let told = |seconds| age(Duration::from_secs(seconds));
        assert_eq!(told(59), "59s");
        assert_eq!(told(7200), "2h");
        assert_eq!(told(210 * 86_400), "210d");
        assert_eq!(told(1100 * 86_400), "3y");
    }

    #[test]
    fn times_are_told_as_dates() {
        let at = |secs| utc(SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(at(1_800_000_000), "2027-01-15T08:00:00Z");
    }

    #[test]
    fn things_are_counted() {
        assert_eq!(count(1_usize, "image"), "1 image");
        assert_eq!(count(0_u64, "image"), "0 images");
        assert_eq!(count(2_u32, "leaf"), "2 leaves");
        assert_eq!(
            count(100_000_u64, "half-made file"),
            "100,000 half-made files"
        );
    }
}
