//! JSON that may stand on a terminal and still says exactly what a name is: what misleads comes as `\u`
//! escapes, and a name that is no UTF-8 brings its bytes along. What the values are is decided above.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use crate::host::misleads;

/// The key of a name that is no text yet: no object that is printed has one like it.
const NAME: &str = "\0name";
const BYTES: &str = "\0bytes";

/// A name as a value: text. Of one that is no UTF-8, [`json_text`] prints the text with U+FFFD, and beside
/// it, under the same key with `-bytes` behind it, all its bytes in hexadecimal.
#[must_use]
pub fn json_name(name: impl AsRef<OsStr>) -> Value {
    json_name_bytes(name.as_ref().as_bytes())
}

/// [`json_name`] for bytes, such as a string out of an image.
#[must_use]
pub fn json_name_bytes(name: &[u8]) -> Value {
    if let Ok(text) = str::from_utf8(name) {
        return Value::from(text);
    }
    let bytes: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut map = Map::new();
    map.insert(
        NAME.to_owned(),
        Value::from(String::from_utf8_lossy(name).as_ref()),
    );
    map.insert(BYTES.to_owned(), Value::from(bytes));
    Value::Object(map)
}

/// The value as text, indented. Nothing in it acts on a terminal; every string reads back as it was.
#[must_use]
pub fn json_text(value: Value) -> String {
    written(value, PrettyFormatter::new())
}

/// [`json_text`] on one line.
#[must_use]
pub fn json_line(value: Value) -> String {
    written(value, serde_json::ser::CompactFormatter)
}

fn written(value: Value, formatter: impl Formatter) -> String {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, Escaping(formatter));
    // Writing to memory does not fail, and what is a value can be written.
    let _ = serde::Serialize::serialize(&settled(value), &mut serializer);
    String::from_utf8_lossy(&out).into_owned()
}

/// The value with each name as text, its bytes beside it where it is no UTF-8.
fn settled(value: Value) -> Value {
    match value {
        Value::Array(all) => Value::Array(all.into_iter().map(|one| parted(one).0).collect()),
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                let (value, bytes) = match value {
                    Value::Array(all) => of_each(all),
                    one => parted(one),
                };
                if let Some(bytes) = bytes {
                    let beside = format!("{key}-bytes");
                    out.insert(key, value);
                    out.insert(beside, bytes);
                } else {
                    out.insert(key, value);
                }
            }
            Value::Object(out)
        }
        plain => plain,
    }
}

/// A list of names, and the list of their bytes: null where the text says all.
fn of_each(all: Vec<Value>) -> (Value, Option<Value>) {
    let (texts, bytes): (Vec<Value>, Vec<Option<Value>>) = all.into_iter().map(parted).unzip();
    let bytes = bytes
        .iter()
        .any(Option::is_some)
        .then(|| bytes.into_iter().map(Option::unwrap_or_default).collect());
    (Value::Array(texts), bytes)
}

/// A value, and its bytes if it is a name that is no UTF-8.
fn parted(value: Value) -> (Value, Option<Value>) {
    match value {
        Value::Object(mut map) if map.contains_key(NAME) => {
            let bytes = map.remove(BYTES);
            (map.remove(NAME).unwrap_or_default(), bytes)
        }
        other => (settled(other), None),
    }
}

/// Writes as another formatter does, but for the characters that mislead.
struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| misleads(*c)) {
            let (plain, from) = rest.split_at(at);
            self.0.write_string_fragment(writer, plain)?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = from.get(c.len_utf8()..).unwrap_or_default();
        }
        self.0.write_string_fragment(writer, rest)
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_misleads_is_escaped_and_reads_back_exactly() {
        let name = "a\u{9b}31m\u{7f}\u{202e}b\u{200b}\u{2066}\u{e0041}\u{1d173}\n\u{1b}\"\\é";
        for text in [
            json_text(json!({ name: [name] })),
            json_line(json!({ name: [name] })),
        ] {
            let shown = text.chars().filter(|c| *c != '\n');
            assert!(!shown.clone().any(misleads), "{text:?}");
            assert!(text.contains("\\u009b") && text.contains("\\u007f") && text.contains('é'));
            let back: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(back, json!({ name: [name] }));
        }
    }

    #[test]
    fn a_name_that_is_no_utf8_brings_its_bytes_along() {
        let odd = || json_name_bytes(b"a\xff");
        let value = json!({ "path": odd(), "names": [odd(), json_name("b")], "plain": ["c"],
            "inner": [{ "id": odd() }] });
        let back: Value = serde_json::from_str(&json_text(value)).unwrap();
        assert_eq!(
            back,
            json!({
                "path": "a\u{fffd}", "path-bytes": "61ff",
                "names": ["a\u{fffd}", "b"], "names-bytes": ["61ff", null],
                "plain": ["c"],
                "inner": [{ "id": "a\u{fffd}", "id-bytes": "61ff" }],
            })
        );
    }

    #[test]
    fn names_that_are_text_say_nothing_twice() {
        let value = json!({ "path": json_name("b"), "names": [json_name("c")] });
        assert_eq!(json_line(value), r#"{"path":"b","names":["c"]}"#);
    }
}
