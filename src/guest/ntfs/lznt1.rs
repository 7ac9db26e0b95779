//! LZNT1, which NTFS compresses with: chunks of 4 KiB, each of them literal bytes and copies of what came before it.

use super::error::Checked;

/// Bytes that a chunk unpacks to.
const CHUNK: usize = 4096;

/// Fills `to` with what `packed` unpacks to, and with zeros after its end.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn unpack(packed: &[u8], to: &mut [u8]) -> Checked<()> {
    let mut rest = packed;
    let mut is_over = false;
    for chunk in to.chunks_mut(CHUNK) {
        let header = match rest.split_first_chunk::<2>() {
            Some((header, after)) if !is_over => {
                rest = after;
                u16::from_le_bytes(*header)
            }
            _ => 0,
        };
        if header == 0 {
            is_over = true;
            chunk.fill(0);
            continue;
        }
        let len = usize::from(header & 0xfff) + 1;
        let Some((body, after)) = rest.split_at_checked(len) else {
            return Err(format!(
                "a chunk of {len} bytes, of which {} are there",
                rest.len()
            ));
        };
        rest = after;
        let filled = match header & 0x8000 {
            0 => literal(body, chunk),
            _ => unpack_chunk(body, chunk)?,
        };
        if let Some(unfilled) = chunk.get_mut(filled..) {
            unfilled.fill(0);
        }
    }
    Ok(())
}

/// A chunk that is stored as it is.
fn literal(body: &[u8], to: &mut [u8]) -> usize {
    let len = body.len().min(to.len());
    if let (Some(to), Some(from)) = (to.get_mut(..len), body.get(..len)) {
        to.copy_from_slice(from);
    }
    len
}

/// Unpacks one chunk; how many bytes it gave.
fn unpack_chunk(body: &[u8], to: &mut [u8]) -> Checked<usize> {
    let mut rest = body;
    let mut at = 0;
    while let Some((flags, after)) = rest.split_first() {
        rest = after;
        for bit in 0..8 {
            if rest.is_empty() || at >= to.len() {
                break;
            }
            if flags >> bit & 1 == 0 {
                if let (Some((byte, after)), Some(place)) = (rest.split_first(), to.get_mut(at)) {
                    (*place, rest) = (*byte, after);
                }
                at += 1;
                continue;
            }
            let Some((pair, after)) = rest.split_first_chunk::<2>() else {
                return Err("a copy that ends too early".to_owned());
            };
            rest = after;
            let (distance, len) = copy(u16::from_le_bytes(*pair), at);
            if distance > at {
                return Err(format!("a copy from {distance} bytes before byte {at}"));
            }
            for _ in 0..len.min(to.len() - at) {
                // It may reach into what it writes.
                let byte = to.get(at - distance).copied().unwrap_or_default();
                if let Some(place) = to.get_mut(at) {
                    *place = byte;
                }
                at += 1;
            }
        }
    }
    Ok(at)
}

/// How far back a copy reaches from byte `at` of its chunk, and how long it is: the further on, the more bits are for the
/// distance.
fn copy(pair: u16, at: usize) -> (usize, usize) {
    let mut len_bits = 12;
    while len_bits > 4 && at > 1 << (16 - len_bits) {
        len_bits -= 1;
    }
    let len = usize::from(pair & ((1 << len_bits) - 1)) + 3;
    (usize::from(pair >> len_bits) + 1, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_may_reach_into_what_they_write() {
        // The example of [MS-XCA] section 3.3.
        let packed = [
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2,
            0x47, 0x01, 0xa0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0,
            0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xb4, 0x02, 0x4a, 0x44, 0xef, 0x03, 0x58,
            0x02, 0x8c, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00, 0x04, 0x01,
            0x18, 0x90, 0x00,
        ];
        let want = b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E \
            F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        let mut to = vec![0xee; 200];
        unpack(&packed, &mut to).unwrap();
        assert_eq!(to[..want.len()], *want);
        assert!(to[want.len()..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn chunks_that_are_wrong_are_refused() {
        let mut to = vec![0; 8192];
        assert!(unpack(&[0xff, 0xbf, 1, 2], &mut to).is_err(), "cut");
        assert!(
            unpack(&[0x02, 0xb0, 0x01, 0x00, 0x10], &mut to).is_err(),
            "before the start"
        );
        assert!(
            unpack(&[0x01, 0xb0, 0x01, 0x00], &mut to).is_err(),
            "half a copy"
        );
        unpack(&[0x02, 0x30, b'a', b'b', b'c', 0, 0], &mut to).unwrap();
        assert_eq!(&to[..5], b"abc\0\0");
    }
}
