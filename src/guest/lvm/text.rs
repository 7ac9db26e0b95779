//! The syntax of LVM2's metadata: `key = value`, `name { ... }`, `# comment`.

use std::fmt;

/// Values of one text at the most, which bounds the memory that they take.
const MOST_VALUES: usize = 1 << 18;
/// Sections within each other; LVM2 makes four.
const MOST_DEPTH: usize = 8;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A number.
    Number(u64),
    /// A text between quotation marks.
    Text(String),
    /// Values between brackets.
    List(Vec<Value>),
    /// Keys and values between braces.
    Section(Section),
    /// A word that is none of these.
    Other,
}

/// Keys and their values in the order they are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Section(pub(super) Vec<(String, Value)>);

impl Section {
    fn value(&self, key: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(known, _)| known == key)?;
        Some(&found.1)
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self, key: &str) -> Option<&[Value]> {
        match self.value(key)? {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    pub(super) fn section(&self, key: &str) -> Option<&Self> {
        match self.value(key)? {
            Value::Section(section) => Some(section),
            _ => None,
        }
    }

    /// The sections in it with their names.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((name.as_str(), section)),
            _ => None,
        })
    }

    /// Every text in it with its key, those in lists as well.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(key, value)| {
            let values = match value {
                Value::List(list) => list.as_slice(),
                other => std::slice::from_ref(other),
            };
            values.iter().filter_map(move |value| match value {
                Value::Text(text) => Some((key.as_str(), text.as_str())),
                _ => None,
            })
        })
    }
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Something else stands there than may.
    Syntax(usize),
    /// A quotation mark, bracket or brace is not closed.
    Open,
    /// More values or deeper sections than are read.
    TooMuch,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(at) => write!(
                f,
                "at character {at} of the text there is what may not be there"
            ),
            Self::Open => f.write_str("the text ends within a value or section"),
            Self::TooMuch => f.write_str("the text has more values than are read"),
        }
    }
}

/// Reads a text; what follows a NUL does not belong to it.
pub(super) fn parse(text: &[u8]) -> Result<Section, Wrong> {
    let end = text.iter().position(|byte| *byte == 0);
    let mut parser = Parser {
        text: text.get(..end.unwrap_or(text.len())).unwrap_or_default(),
        at: 0,
        left: MOST_VALUES,
    };
    let found = parser.section(MOST_DEPTH)?;
    match parser.next() {
        None => Ok(found),
        Some(_) => Err(Wrong::Syntax(parser.at)),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    left: usize,
}

impl Parser<'_> {
    /// The next byte that is no space and in no comment.
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' => self.at += self.until(|byte| byte == b'\n'),
                other => return Some(other),
            }
        }
    }

    /// How many bytes there are before one of this kind.
    fn until(&self, is_end: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.get(self.at..).unwrap_or_default();
        rest.iter()
            .position(|byte| is_end(*byte))
            .unwrap_or(rest.len())
    }

    /// Takes bytes up to one of this kind.
    fn take_until(&mut self, is_end: impl Fn(u8) -> bool) -> &[u8] {
        let start = self.at;
        self.at += self.until(is_end);
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn section(&mut self, depth: usize) -> Result<Section, Wrong> {
        let depth = depth.checked_sub(1).ok_or(Wrong::TooMuch)?;
        let mut found = Vec::new();
        while let Some(byte) = self.next() {
            if byte == b'}' {
                break;
            }
            let name = self.take_until(|byte| !is_word(byte));
            let name = String::from_utf8_lossy(name).into_owned();
            if name.is_empty() {
                return Err(Wrong::Syntax(self.at));
            }
            let value = match self.next().ok_or(Wrong::Open)? {
                b'{' => {
                    self.at += 1;
                    let inside = self.section(depth)?;
                    self.expect(b'}')?;
                    Value::Section(inside)
                }
                b'=' => {
                    self.at += 1;
                    self.value()?
                }
                _ => return Err(Wrong::Syntax(self.at)),
            };
            self.count()?;
            found.push((name, value));
        }
        Ok(Section(found))
    }

    fn value(&mut self) -> Result<Value, Wrong> {
        if self.next().ok_or(Wrong::Open)? != b'[' {
            return self.single();
        }
        self.at += 1;
        let mut list = Vec::new();
        loop {
            match self.next().ok_or(Wrong::Open)? {
                b']' => break,
                b',' => self.at += 1,
                _ => {
                    self.count()?;
                    list.push(self.single()?);
                }
            }
        }
        self.at += 1;
        Ok(Value::List(list))
    }

    fn single(&mut self) -> Result<Value, Wrong> {
        if self.next().ok_or(Wrong::Open)? == b'"' {
            self.at += 1;
            return self.quoted().map(Value::Text);
        }
        let start = self.at;
        let word = self.take_until(|byte| !is_word(byte));
        if word.is_empty() {
            return Err(Wrong::Syntax(start));
        }
        let number = str::from_utf8(word).ok().and_then(|word| word.parse().ok());
        Ok(number.map_or(Value::Other, Value::Number))
    }

    /// A text up to its closing mark; a backslash takes the next character as it is.
    fn quoted(&mut self) -> Result<String, Wrong> {
        let mut text = Vec::new();
        loop {
            text.extend_from_slice(self.take_until(|byte| byte == b'"' || byte == b'\\'));
            let end = *self.text.get(self.at).ok_or(Wrong::Open)?;
            self.at += 1;
            if end == b'"' {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            text.push(*self.text.get(self.at).ok_or(Wrong::Open)?);
            self.at += 1;
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Wrong> {
        match self.next() {
            Some(byte) if byte == wanted => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Wrong::Syntax(self.at)),
            None => Err(Wrong::Open),
        }
    }

    fn count(&mut self) -> Result<(), Wrong> {
        self.left = self.left.checked_sub(1).ok_or(Wrong::TooMuch)?;
        Ok(())
    }
}

/// Whether a byte is part of names and numbers.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.+-/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_lists_texts_and_comments_are_read() {
        let text = b"vg0 {\n# said\nid = \"a\\\"b\\\\\" flags=[]\nn = 12 # twelve\nl = [ \"pv0\", 3 ,]\ninner{x=1}\n}\nv=1\n\0rest";
        let found = parse(text).unwrap();
        let group = found.section("vg0").unwrap();
        assert_eq!(group.text("id"), Some("a\"b\\"));
        assert_eq!((group.number("n"), found.number("v")), (Some(12), Some(1)));
        assert_eq!(group.list("flags"), Some(&[][..]));
        assert_eq!(
            group.list("l").unwrap(),
            [Value::Text("pv0".to_owned()), Value::Number(3)]
        );
        assert_eq!(group.section("inner").unwrap().number("x"), Some(1));
        assert_eq!(
            group.texts().collect::<Vec<_>>(),
            [("id", "a\"b\\"), ("l", "pv0")]
        );
        assert_eq!(parse(b""), Ok(Section::default()));
        let odd = parse(b"a = 99999999999999999999 b = -1").unwrap();
        assert_eq!((odd.number("a"), odd.number("b")), (None, None));
    }

    #[test]
    fn what_is_forged_is_refused_and_bounded() {
        for (text, wrong) in [
            (&b"a {"[..], Wrong::Open),
            (b"a = \"b", Wrong::Open),
            (b"a = \"b\\", Wrong::Open),
            (b"a = [1, ", Wrong::Open),
            (b"a", Wrong::Open),
            (b"a = }", Wrong::Syntax(4)),
            (b"= 1", Wrong::Syntax(0)),
            (b"a b", Wrong::Syntax(2)),
            (b"}", Wrong::Syntax(0)),
        ] {
            assert_eq!(parse(text), Err(wrong), "{}", text.escape_ascii());
        }
        assert_eq!(parse(&b"a{".repeat(100_000)), Err(Wrong::TooMuch));
        assert_eq!(
            parse(&b"a=1\n".repeat(MOST_VALUES + 1)),
            Err(Wrong::TooMuch)
        );
        assert_eq!(
            parse(&[&b"a=["[..], &b"1,".repeat(MOST_VALUES + 1)].concat()),
            Err(Wrong::TooMuch)
        );
    }
}
