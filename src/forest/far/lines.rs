//! What a host says as the lines that it holds, wherever it is cut.

use super::sent::MOST_LINE;

/// What a machine did that makes no sense: the rest of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonsense(pub &'static str);

/// What came and is no whole line yet.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// What is whole with these bytes; [`Lines::of`] takes it apart.
    ///
    /// # Errors
    /// For a line of more than [`MOST_LINE`] bytes.
    pub fn whole(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Nonsense> {
        self.rest.extend(bytes);
        let end = match self.rest.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if self.rest.len() > MOST_LINE => return Err(Nonsense("a line has no end")),
            None => 0,
        };
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        if Self::of(&whole).any(|line| line.len() > MOST_LINE) {
            return Err(Nonsense("a line is too long"));
        }
        Ok(whole)
    }

    /// The lines of what is whole, without those that hold nothing.
    pub fn of(whole: &[u8]) -> impl Iterator<Item = &[u8]> {
        let lines = whole.split(|byte| *byte == b'\n');
        lines.filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_wherever_they_are_cut_and_none_is_endless() {
        let mut lines = Lines::default();
        let fed = b"a\n\nbc\nd\n".chunks(2);
        let whole: Vec<u8> = fed.flat_map(|piece| lines.whole(piece).unwrap()).collect();
        let told: Vec<&[u8]> = Lines::of(&whole).collect();
        assert_eq!(told, [b"a".as_slice(), b"bc", b"d"]);
        let long = vec![b'x'; MOST_LINE + 1];
        assert!(lines.whole(&long).is_err());
        let ended = [&long[..], b"\n"].concat();
        assert!(Lines::default().whole(&ended).is_err());
    }
}
