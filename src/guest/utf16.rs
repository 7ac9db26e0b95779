//! Names in UTF-16, as FAT and NTFS store them.

/// A name in UTF-16 as WTF-8: UTF-8 in which a lone surrogate takes the three bytes its number would take.
pub(crate) fn to_wtf8(units: &[u16]) -> Vec<u8> {
    let mut name = Vec::with_capacity(units.len());
    let mut buf = [0; 4];
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(c) => name.extend_from_slice(c.encode_utf8(&mut buf).as_bytes()),
            Err(lone) => {
                let [high, low] = lone.unpaired_surrogate().to_be_bytes();
                let second = 0x80 | ((high & 0x0f) << 2) | (low >> 6);
                name.extend_from_slice(&[0xe0 | (high >> 4), second, 0x80 | (low & 0x3f)]);
            }
        }
    }
    name
}

/// Little-endian units of UTF-16.
pub(crate) fn units(bytes: &[u8]) -> Vec<u16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

/// Whether two names are the same but for upper and lower case. What is no text counts byte by byte.
pub(crate) fn same_name(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    match (std::str::from_utf8(one), std::str::from_utf8(other)) {
        (Ok(one), Ok(other)) => one.chars().map(upper).eq(other.chars().map(upper)),
        _ => false,
    }
}

/// The same by a table of upper-case forms of single units, as NTFS stores one.
pub(crate) fn same_name_by(table: &[u16], one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let upper = |unit: u16| table.get(usize::from(unit)).copied().unwrap_or(unit);
    match (std::str::from_utf8(one), std::str::from_utf8(other)) {
        (Ok(one), Ok(other)) => {
            let other = other.encode_utf16().map(upper);
            one.encode_utf16().map(upper).eq(other)
        }
        _ => false,
    }
}

/// The upper-case form where that is one character, as in the tables of Windows.
fn upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_surrogate_keeps_its_number() {
        assert_eq!(to_wtf8(&[0x47, 0xd83c, 0xdf89]), "G🎉".as_bytes());
        assert_eq!(to_wtf8(&[0x41, 0xd83c, 0x42]), b"A\xed\xa0\xbcB");
        assert_eq!(to_wtf8(&[0xdfff]), b"\xed\xbf\xbf");
        assert_eq!(to_wtf8(&[0x4f60, 0xfc]), "你ü".as_bytes());
        assert_eq!(units(&[1, 2, 3, 4, 5]), [0x201, 0x403]);
    }

    #[test]
    fn case_does_not_tell_names_apart() {
        assert!(same_name("grüße".as_bytes(), "GRÜßE".as_bytes()));
        assert!(!same_name(b"a", b"ab") && !same_name(b"\xff", b"\xfe"));
        assert!(same_name(b"\xff", b"\xff"));
    }
}
