//! What another machine prints, made safe for a terminal here, line by line: it comes in pieces that end anywhere.

use crate::host::{misleads, printable, printable_bytes};

/// A line that is longer than this is shown in parts.
const LONGEST: usize = 64 << 10;

/// Holds back what is not a whole line yet.
#[derive(Debug, Default)]
pub(super) struct Filter {
    rest: Vec<u8>,
}

impl Filter {
    /// What of it can be shown now.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> String {
        self.rest.extend(bytes);
        let whole = match self.rest.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if self.rest.len() > LONGEST => self.rest.len(),
            None => 0,
        };
        let text: Vec<u8> = self.rest.drain(..whole).collect();
        safe(&text)
    }

    /// What is left.
    pub(super) fn end(&mut self) -> String {
        safe(&std::mem::take(&mut self.rest))
    }
}

/// Text without anything that acts on a terminal but line ends and tabs.
fn safe(bytes: &[u8]) -> String {
    let Ok(text) = str::from_utf8(bytes) else {
        let lines = bytes.split(|byte| *byte == b'\n');
        return lines.map(printable_bytes).collect::<Vec<_>>().join("\n");
    };
    let acts = |c: char| misleads(c) && !matches!(c, '\n' | '\t');
    if !text.chars().any(acts) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(['\n', '\t']) {
        let plain = part.strip_suffix(['\n', '\t']).unwrap_or(part);
        shown.push_str(&printable(plain));
        shown.push_str(part.get(plain.len()..).unwrap_or_default());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_the_terminal_wherever_pieces_end() {
        let text = "a\tb \u{1b}[31mred\r\nbéta\u{202e}\nlast\u{9b}".as_bytes();
        let expected = "a\tb \\u{1b}[31mred\\r\nbéta\\u{202e}\nlast\\u{9b}";
        for cut in 0..text.len() {
            let mut filter = Filter::default();
            let mut shown = filter.pass(&text[..cut]);
            shown.push_str(&filter.pass(&text[cut..]));
            shown.push_str(&filter.end());
            assert_eq!(shown, expected, "{cut}");
        }
        let mut filter = Filter::default();
        assert_eq!(filter.pass(b"\xff\x1b\n"), "\\xff\\u{1b}\n");
        assert_eq!(filter.pass(&vec![b'a'; LONGEST + 1]).len(), LONGEST + 1);
    }
}
