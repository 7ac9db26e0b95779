//! LZO1X, as the kernel's `lib/lzo` decompresses it, and the segments that Btrfs splits an extent into.
//!
//! The stream is a row of instructions: literals to copy from it, and matches, which repeat what was written before.
//! Output is bounded by the buffer; what a stream claims takes no memory.

/// Why a stream is no sound one.
pub(super) type Problem = &'static str;

const CUT: Problem = "its LZO stream is cut";
const TOO_LONG: Problem = "its LZO stream holds more than it should";
const BEFORE: Problem = "its LZO stream repeats what is before its start";

/// What is read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Result<usize, Problem> {
        let (first, rest) = self.0.split_first().ok_or(CUT)?;
        self.0 = rest;
        Ok(usize::from(*first))
    }

    fn word(&mut self) -> Result<usize, Problem> {
        Ok(self.byte()? | self.byte()? << 8)
    }

    /// A length that does not fit its instruction: 255 for every zero byte, then the byte that is none.
    fn length(&mut self, base: usize) -> Result<usize, Problem> {
        let mut len = base;
        loop {
            match self.byte()? {
                0 => len = len.checked_add(255).ok_or(TOO_LONG)?,
                last => return len.checked_add(last).ok_or(TOO_LONG),
            }
        }
    }
}

/// What is written.
struct Output<'a> {
    into: &'a mut [u8],
    len: usize,
}

impl Output<'_> {
    fn literals(&mut self, input: &mut Input<'_>, len: usize) -> Result<(), Problem> {
        let (from, rest) = input.0.split_at_checked(len).ok_or(CUT)?;
        let end = self.len.checked_add(len).ok_or(TOO_LONG)?;
        let to = self.into.get_mut(self.len..end).ok_or(TOO_LONG)?;
        to.copy_from_slice(from);
        (input.0, self.len) = (rest, end);
        Ok(())
    }

    /// Repeats `len` bytes from `distance` before the end on, what is being written included.
    fn repeat(&mut self, distance: usize, len: usize) -> Result<(), Problem> {
        let mut from = self.len.checked_sub(distance).ok_or(BEFORE)?;
        let end = self.len.checked_add(len).ok_or(TOO_LONG)?;
        if end > self.into.len() || distance == 0 {
            return Err(TOO_LONG);
        }
        while self.len < end {
            let piece = distance.min(end - self.len);
            self.into.copy_within(from..from + piece, self.len);
            self.len += piece;
            from += piece;
        }
        Ok(())
    }
}

/// Decompresses one LZO1X stream from the start of `from`, and says how many bytes that gave.
pub(super) fn decompress(from: &[u8], into: &mut [u8]) -> Result<usize, Problem> {
    let mut input = Input(from);
    let mut output = Output { into, len: 0 };
    // Literals copied by the instruction before: 0 to 3, or 4 for more.
    let mut state = 0;
    if let Some(first) = input.0.first().copied().filter(|first| *first > 17) {
        input.byte()?;
        let len = usize::from(first) - 17;
        output.literals(&mut input, len)?;
        state = len.min(4);
    }
    loop {
        let code = input.byte()?;
        // The length and distance of a match, and literals after it.
        let (len, distance, literals) = match code {
            0..16 if state == 0 => {
                let len = if code == 0 { input.length(15)? } else { code };
                output.literals(&mut input, len.checked_add(3).ok_or(TOO_LONG)?)?;
                state = 4;
                continue;
            }
            0..16 => {
                let near = (code >> 2) + (input.byte()? << 2) + 1;
                if state == 4 {
                    (3, near + 0x800, code & 3)
                } else {
                    (2, near, code & 3)
                }
            }
            16..32 => {
                let len = match code & 7 {
                    0 => input.length(7)?,
                    len => len,
                };
                let word = input.word()?;
                let distance = ((code & 8) << 11) + (word >> 2);
                if distance == 0 {
                    return Ok(output.len);
                }
                (
                    len.checked_add(2).ok_or(TOO_LONG)?,
                    distance + 0x4000,
                    word & 3,
                )
            }
            32..64 => {
                let len = match code & 31 {
                    0 => input.length(31)?,
                    len => len,
                };
                let word = input.word()?;
                (
                    len.checked_add(2).ok_or(TOO_LONG)?,
                    (word >> 2) + 1,
                    word & 3,
                )
            }
            _ => {
                let distance = ((code >> 2) & 7) + (input.byte()? << 3) + 1;
                ((code >> 5) + 1, distance, code & 3)
            }
        };
        output.repeat(distance, len)?;
        output.literals(&mut input, literals)?;
        state = literals;
    }
}

/// Bytes of a length in front of the whole, and of each segment.
const LENGTH: usize = 4;

/// Decompresses an extent: its length, then segments of a sector each, each with its length in front. No such length
/// lies across the border of two sectors.
pub(super) fn decompress_extent(
    from: &[u8],
    into: &mut [u8],
    sectorsize: usize,
) -> Result<usize, Problem> {
    let length_at = |at: usize| -> Option<usize> {
        let bytes = from.get(at..at.checked_add(LENGTH)?)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let total = length_at(0).filter(|total| *total <= from.len());
    let total = total.ok_or("its length is more than is stored")?;
    let (mut at, mut done) = (LENGTH, 0);
    while at < total && done < into.len() {
        let left = sectorsize - at % sectorsize;
        if left < LENGTH {
            at += left;
            continue;
        }
        let len = length_at(at).ok_or(CUT)?;
        at += LENGTH;
        let end = at.checked_add(len).filter(|end| *end <= total).ok_or(CUT)?;
        let segment = from.get(at..end).ok_or(CUT)?;
        let room = into.len().min(done + sectorsize);
        let room = into.get_mut(done..room).ok_or(TOO_LONG)?;
        done += decompress(segment, room)?;
        at = end;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stream: &[u8], room: usize) -> Result<Vec<u8>, Problem> {
        let mut into = vec![0xee; room];
        let len = decompress(stream, &mut into)?;
        into.truncate(len);
        Ok(into)
    }

    #[test]
    fn literals_and_matches_of_every_length_are_decompressed() {
        // Literals first, a match of each kind with what it repeats, the end.
        let end = [0x11, 0, 0];
        let literals = [&[17 + 5][..], b"abcde"].concat();
        let stream = |code: &[u8]| [&literals[..], code, &end].concat();
        // Three bytes from five before: 0x40 is a length of 3, a distance of 1 + 4.
        assert_eq!(of(&stream(&[0x40 | 4 << 2, 0]), 99).unwrap(), b"abcdeabc");
        // 2 + 4 bytes from one before, then one literal.
        let code = [0x20 | 4, 1, 0, b'X'];
        assert_eq!(of(&stream(&code), 99).unwrap(), b"abcdeeeeeeeX");
        // A length past its instruction: 31 + 255 + 1 + 2.
        let long = of(&stream(&[0x20, 0, 1, 0, 0]), 999).unwrap();
        assert_eq!(long.len(), 5 + 289);
        assert!(long[5..].iter().all(|byte| *byte == b'e'));
        // Literals after literals of the first instruction: not a match of state 0.
        let many = [&[0][..], &[2], &[b'z'; 20], &end].concat();
        assert_eq!(of(&many, 20).unwrap(), [b'z'; 20]);
    }

    #[test]
    fn a_stream_that_is_wrong_is_refused_within_its_bounds() {
        let good = [&[17 + 5][..], b"abcde", &[0x11, 0, 0]].concat();
        assert_eq!(of(&good, 5).unwrap(), b"abcde");
        assert_eq!(of(&good, 4), Err(TOO_LONG));
        for cut in 0..good.len() {
            assert_eq!(of(&good[..cut], 5), Err(CUT), "{cut}");
        }
        assert_eq!(
            of(&[17 + 1, b'a', 0x40 | 7 << 2, 0, 0x11, 0, 0], 9),
            Err(BEFORE)
        );
        assert_eq!(of(&[0; 100], 9), Err(CUT));
    }
}
