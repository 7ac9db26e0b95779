//! Sizes and ages as people type and read them. Units are powers of 1024, as qemu-img has them.

use std::time::Duration;

use bytesize::ByteSize;

use crate::ops::NewSize;

/// Reads a size as qemu-img does: a number, with an optional fraction where a unit follows; the
/// units are B, K, M, G, T, P and E, in either case, and also `KiB` to `EiB`.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (whole, rest) = text.split_at(digits);
    let wrong = || format!("{text:?} is no size; write 512M, 10G or a number of bytes");
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let (fraction, unit) = match rest.strip_prefix('.') {
        Some(after) => {
            let end = after
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(after.len());
            after.split_at(end)
        }
        None => ("", rest),
    };
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        "p" | "pib" => 50,
        "e" | "eib" => 60,
        _ => return Err(wrong()),
    };
    if rest.starts_with('.') && (fraction.is_empty() || fraction.len() > 9 || shift == 0) {
        return Err(wrong());
    }
    let too_large = || format!("{text:?} is too large for an image");
    let unit = 1_u128 << shift;
    let mut bytes = u128::from(whole) * unit;
    if !fraction.is_empty() {
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
        let part: u128 = fraction.parse().map_err(|_| wrong())?;
        bytes += part * unit / scale;
    }
    u64::try_from(bytes)
        .ok()
        .filter(|&bytes| i64::try_from(bytes).is_ok())
        .ok_or_else(too_large)
}

/// Reads a size a disk is to have: as [`parse`], or with `+` or `-` before it what it is to change by.
pub(super) fn parse_change(text: &str) -> Result<NewSize, String> {
    let text = text.trim();
    if let Some(more) = text.strip_prefix('+') {
        parse(more).map(NewSize::More)
    } else if let Some(less) = text.strip_prefix('-') {
        parse(less).map(NewSize::Less)
    } else {
        parse(text).map(NewSize::To)
    }
}

/// Reads an age: a whole number with `m`, `h`, `d` or `w`; days where no unit is given.
pub(super) fn parse_age(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let wrong = || format!("{text:?} is no age; write 12h, 30d or 8w");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "m" => 60,
        "h" => 60 * 60,
        "" | "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

/// A number of bytes for people: `8.1 GiB`.
pub(super) fn human(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// An age for people, in its largest whole unit: `210d`.
pub(super) fn human_age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_qemu_img_reads_them() {
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("64K"), Ok(64 << 10));
        assert_eq!(parse("512M"), Ok(512 << 20));
        assert_eq!(parse("10g"), Ok(10 << 30));
        assert_eq!(parse("1T"), Ok(1 << 40));
        assert_eq!(parse("1.5G"), Ok(3 << 29));
        assert_eq!(parse("10GiB"), Ok(10 << 30));
        assert_eq!(parse("0"), Ok(0));
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
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
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
        assert_eq!(human_age(Duration::from_secs(59)), "59s");
        assert_eq!(human_age(Duration::from_secs(7200)), "2h");
        assert_eq!(human_age(Duration::from_secs(210 * 86_400)), "210d");
    }
}
