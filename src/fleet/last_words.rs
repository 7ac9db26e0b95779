//! What a program that failed said last: the reason, mostly.

use crate::host::printable_bytes;

/// Bytes that are kept.
const MOST: usize = 1024;

/// The end of what is said on standard error, however much that is.
#[derive(Debug, Default)]
pub struct LastWords(Vec<u8>);

impl LastWords {
    /// It said this, which may end anywhere.
    pub fn hear(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let more = self.0.len().saturating_sub(MOST);
        self.0.drain(..more);
    }

    /// The last line that says something, such that it acts on no terminal, without the name of the program before it.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let lines = self.0.split(|byte| *byte == b'\n');
        let last = lines
            .map(<[u8]>::trim_ascii)
            .rfind(|line| !line.is_empty())?;
        let last = printable_bytes(last);
        Some(last.strip_prefix("qanopy: ").unwrap_or(&last).to_owned())
    }

    /// The same, or that it ended with this code where it said nothing.
    #[must_use]
    pub fn why(&self, code: u8) -> String {
        let said = self.line();
        said.unwrap_or_else(|| format!("it ended with {code}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_something_is_the_reason_and_no_more_is_kept_than_that() {
        let mut words = LastWords::default();
        assert_eq!(
            (words.line(), words.why(3)),
            (None, "it ended with 3".to_owned())
        );
        words.hear(b"Welcome\nqanopy: /a\x1b[2J: it is ");
        words.hear(b"in use\r\n \n");
        assert_eq!(words.line().unwrap(), "/a\\u{1b}[2J: it is in use");
        words.hear(&[b'x'; 10 * MOST]);
        assert_eq!(words.line().unwrap().len(), MOST);
    }
}
