//! What a terminal answers when it is asked about itself, told apart from what the person types: its ground's
//! colour (OSC 11), where its cursor is (a position report), and what it is (DA1). Pure; asking is
//! `terminal_query`'s business.

/// An answer of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its ground is so bright, from 0 to 1000; none if the colour makes no sense.
    Ground(Option<u32>),
    /// The column its cursor is in, from 1.
    Column(u16),
    /// What it is: the last of its answers.
    Identity,
}

/// What a byte was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fed {
    /// It belongs to what may become an answer.
    Held,
    /// The last byte of an answer.
    Answer(Answer),
    /// So many of the bytes held, from the first, are no answer; the others may be.
    NoAnswer(usize),
}

/// Bytes that may become an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sieve {
    held: Vec<u8>,
}

/// No answer is longer.
const LONGEST: usize = 80;

impl Sieve {
    /// Takes in the next byte.
    pub(super) fn feed(&mut self, byte: u8) -> Fed {
        self.held.push(byte);
        match read(&self.held) {
            Read::Answer(answer) => {
                self.held.clear();
                Fed::Answer(answer)
            }
            Read::Begun => Fed::Held,
            Read::Nothing => {
                // An answer may begin at any later byte.
                let len = self.held.len();
                let begins = (1..len).find(|at| {
                    let rest = self.held.get(*at..).unwrap_or_default();
                    matches!(read(rest), Read::Begun)
                });
                let passed = begins.unwrap_or(len);
                self.held.drain(..passed);
                Fed::NoAnswer(passed)
            }
        }
    }

    /// Whether bytes are held that nobody types: the beginning of an answer whose rest is to come.
    #[must_use]
    pub(super) fn is_inside(&self) -> bool {
        self.held.len() > 2
    }

    /// The bytes held.
    #[must_use]
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Gives up on what is held.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }
}

/// What bytes are.
enum Read {
    Answer(Answer),
    /// They may become one.
    Begun,
    Nothing,
}

fn read(bytes: &[u8]) -> Read {
    match bytes {
        [0x1b] | [0x1b, b'['] => Read::Begun,
        [0x1b, b'[', rest @ ..] => report(rest),
        [0x1b, rest @ ..] => ground(rest),
        _ => Read::Nothing,
    }
}

/// What stands behind `ESC [`: `row ; column R`, or `? numbers c`.
fn report(rest: &[u8]) -> Read {
    let (is_identity, rest) = match rest {
        [b'?', rest @ ..] => (true, rest),
        _ => (false, rest),
    };
    let digits = rest
        .iter()
        .position(|byte| !matches!(byte, b'0'..=b'9' | b';'));
    let Some(end) = digits else {
        return if rest.len() < LONGEST {
            Read::Begun
        } else {
            Read::Nothing
        };
    };
    let numbers = rest.get(..end).unwrap_or_default();
    match (is_identity, rest.get(end..).unwrap_or_default()) {
        (true, b"c") => Read::Answer(Answer::Identity),
        (false, b"R") => {
            let text = str::from_utf8(numbers).unwrap_or_default();
            let column = text
                .split_once(';')
                .and_then(|(_, column)| column.parse().ok());
            column.map_or(Read::Nothing, |column| Read::Answer(Answer::Column(column)))
        }
        _ => Read::Nothing,
    }
}

/// What stands behind `ESC`: `] 11 ; colour`, and `BEL` or `ESC \` behind it.
fn ground(rest: &[u8]) -> Read {
    const HEAD: &[u8] = b"]11;";
    if rest.len() <= HEAD.len() {
        return if HEAD.starts_with(rest) {
            Read::Begun
        } else {
            Read::Nothing
        };
    }
    let Some(colour) = rest.strip_prefix(HEAD) else {
        return Read::Nothing;
    };
    let end = colour.iter().position(|byte| !matches!(byte, b' '..=b'~'));
    let (colour, end) = colour.split_at(end.unwrap_or(colour.len()));
    match end {
        [] | [0x1b] if colour.len() < LONGEST => Read::Begun,
        [0x07] | [0x1b, b'\\'] => Read::Answer(Answer::Ground(brightness(colour))),
        _ => Read::Nothing,
    }
}

/// How bright `rgb:1e1e/1e1e/2e2e` is, from 0 to 1000, as the eye weighs the colours (ITU-R BT.709).
fn brightness(colour: &[u8]) -> Option<u32> {
    let text = str::from_utf8(colour).ok()?;
    let parts = text
        .strip_prefix("rgb:")
        .or_else(|| text.strip_prefix("rgba:"))?;
    let mut parts = parts.split('/').map(|part| {
        let most = 16_u32
            .checked_pow(u32::try_from(part.len()).ok()?)?
            .checked_sub(1)?;
        let value = u32::from_str_radix(part, 16).ok()?;
        (1..=4).contains(&part.len()).then(|| value * 1000 / most)
    });
    let mut next = || parts.next().flatten();
    let (red, green, blue) = (next()?, next()?, next()?);
    Some((red * 2126 + green * 7152 + blue * 722) / 10_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The answers in these bytes, and the others.
    fn sieved(bytes: &[u8]) -> (Vec<Answer>, Vec<u8>) {
        let mut sieve = Sieve::default();
        let (mut answers, mut others) = (Vec::new(), Vec::new());
        let mut waiting: Vec<u8> = Vec::new();
        for byte in bytes {
            waiting.push(*byte);
            match sieve.feed(*byte) {
                Fed::Held => {}
                Fed::Answer(answer) => {
                    answers.push(answer);
                    waiting.clear();
                }
                Fed::NoAnswer(count) => others.extend(waiting.drain(..count)),
            }
        }
        assert_eq!(waiting, sieve.held());
        others.extend(waiting);
        (answers, others)
    }

    #[test]
    fn answers_are_told_apart_from_what_is_typed_between_them() {
        let (answers, others) =
            sieved(b"j\x1b]11;rgb:ffff/ffff/ffff\x1b\\k\x1b[A\x1b[3;7Rq\x1b\x1b]11;rgb:00/00/00\x07\x1b[?62;4cX\x1b");
        let white = Answer::Ground(Some(1000));
        let black = Answer::Ground(Some(0));
        assert_eq!(answers, [white, Answer::Column(7), black, Answer::Identity]);
        assert_eq!(others, b"jk\x1b[Aq\x1bX\x1b");
    }

    #[test]
    fn a_ground_is_light_or_dark_in_any_number_of_digits() {
        for (colour, brightness_is) in [
            ("rgb:fdfd/f6f6/e3e3", Some(964)),
            ("rgb:f/f/f", Some(1000)),
            ("rgba:1e1e/1e1e/2e2e/ffff", Some(121)),
            ("rgb:12345/0/0", None),
            ("#ffffff", None),
        ] {
            assert_eq!(brightness(colour.as_bytes()), brightness_is, "{colour}");
        }
    }

    /// Keys as a terminal sends them.
    fn typed() -> impl Strategy<Value = Vec<u8>> {
        let key = prop::sample::select(vec![
            "j", "X", "[", "]", "1", "\x1b", "\x1b[A", "\x1b[5~", "é",
        ]);
        prop::collection::vec(key, 0..8).prop_map(|keys| keys.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn an_answer_is_found_wherever_it_stands_and_no_key_is_lost(before in typed(), after in typed()) {
            let answer = b"\x1b]11;rgb:1e1e/1e1e/1e1e\x1b\\";
            let (answers, others) = sieved(&[&before, &answer[..], &after].concat());
            prop_assert_eq!(answers, [Answer::Ground(Some(117))]);
            prop_assert_eq!(others, [before, after].concat());
        }
    }
}
