//! What a `json:` name describes: the plain local file it boils down to, or why it is none. Nothing is
//! opened here; how QEMU 10.0.2 reads such names was observed, not guessed.
//!
//! QEMU flattens the object, so that `{"file":{"filename":"x"}}` and `{"file.filename":"x"}` are the same
//! and may be mixed. A format (or none, to be found out) lies over the protocol `file`, maybe with a raw
//! layer between; the file name is taken literally, never as a protocol, and a relative one is seen from
//! the current directory. Options that do not change what is read are allowed; everything else is not
//! understood, and left alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::image::Format;

/// A plain local file, as a `json:` name describes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Described {
    /// Its name as it stands there.
    pub(super) file: PathBuf,
    /// The format stated; none if it is to be found out.
    pub(super) format: Option<Format>,
    /// Only the file is described, without a format over it.
    pub(super) is_bare: bool,
}

/// Formats that lie over one file.
const FORMATS: [&str; 9] = [
    "qcow2",
    "raw",
    "qcow",
    "qed",
    "vmdk",
    "vdi",
    "vhdx",
    "vpc",
    "parallels",
];

/// Options of any layer that do not change what is read; those that end in a dot have parts.
const HARMLESS: [&str; 13] = [
    "aio",
    "aio-max-batch",
    "auto-read-only",
    "cache.",
    "detect-zeroes",
    "discard",
    "drop-cache",
    "force-share",
    "locking",
    "node-name",
    "pr-manager",
    "read-only",
    "x-check-cache-dropped",
];

/// Options of a qcow2 layer that change how it is read and written, not what is read.
const TUNING: [&str; 12] = [
    "cache-clean-interval",
    "cache-size",
    "discard-no-unref",
    "l2-cache-entry-size",
    "l2-cache-size",
    "lazy-refcounts",
    "overlap-check",
    "overlap-check.",
    "pass-discard-other",
    "pass-discard-request",
    "pass-discard-snapshot",
    "refcount-cache-size",
];

/// Layers that are looked through.
const MAX_LAYERS: usize = 8;

/// Reads the text after `json:`.
///
/// # Errors
/// Why it is no plain local file: a part of a sentence, not safe to print.
pub(super) fn described(json: &[u8]) -> Result<Described, String> {
    let parsed: Value = serde_json::from_slice(json).map_err(|_| "not understood".to_owned())?;
    let mut options = BTreeMap::new();
    parsed.flatten(String::new(), &mut options)?;
    let mut format = None;
    // Where the options of the layer looked at begin.
    let mut prefix = String::new();
    for _ in 0..MAX_LAYERS {
        let driver = match options.remove(&format!("{prefix}driver")) {
            Some(Value::Text(driver)) => Some(driver),
            Some(_) => return Err("a driver that is no name".to_owned()),
            None => None,
        };
        let has_file = options.keys().any(|key| {
            key.strip_prefix(&prefix)
                .is_some_and(|key| key.starts_with("file."))
        });
        let is_top = prefix.is_empty();
        match driver.as_deref() {
            Some("file") => return last(&prefix, options, format, is_top),
            None if !has_file && !is_top => return last(&prefix, options, format, is_top),
            None if is_top && has_file => {}
            Some("raw") if has_file => {
                slice(&prefix, &options)?;
                format = format.or_else(|| is_top.then_some(Format::Raw));
            }
            Some(driver) if is_top && has_file && FORMATS.contains(&driver) => {
                format = Some(Format::from_name(driver));
            }
            Some(driver) => return Err(driver.to_owned()),
            None => return Err("no driver and no file".to_owned()),
        }
        options.retain(|key, _| !is_one_of(&HARMLESS, &prefix, key));
        if is_top && format == Some(Format::Qcow2) {
            options.retain(|key, _| !is_one_of(&TUNING, &prefix, key));
        }
        prefix.push_str("file.");
        if let Some(key) = options.keys().find(|key| !key.starts_with(&prefix)) {
            return Err(format!("with the option {key}"));
        }
    }
    Err("too many layers".to_owned())
}

/// The protocol layer.
fn last(
    prefix: &str,
    mut options: BTreeMap<String, Value>,
    format: Option<Format>,
    is_bare: bool,
) -> Result<Described, String> {
    let name = match options.remove(&format!("{prefix}filename")) {
        Some(Value::Text(name)) if !name.is_empty() && !name.contains('\0') => name,
        Some(_) => return Err("a file name that is none".to_owned()),
        None => return Err("no file name".to_owned()),
    };
    options.retain(|key, _| !is_one_of(&HARMLESS, prefix, key));
    match options.into_keys().next() {
        Some(key) => Err(format!("with the option {key}")),
        None => Ok(Described {
            file: PathBuf::from(name),
            // Without a format over it the guest sees the file's own bytes.
            format: if is_bare { Some(Format::Raw) } else { format },
            is_bare,
        }),
    }
}

/// A raw layer that shows a part of its file only is not that file.
fn slice(prefix: &str, options: &BTreeMap<String, Value>) -> Result<(), String> {
    let is_set = |key: &str| options.contains_key(&format!("{prefix}{key}"));
    if is_set("offset") || is_set("size") {
        return Err("a part of a file (offset, size)".to_owned());
    }
    Ok(())
}

fn is_one_of(names: &[&str], prefix: &str, key: &str) -> bool {
    key.strip_prefix(prefix).is_some_and(|key| {
        names.iter().any(|name| {
            if name.ends_with('.') {
                key.starts_with(name)
            } else {
                key == *name
            }
        })
    })
}

/// A JSON value, as far as it matters. Unlike the usual type it knows of keys that come twice, which
/// QEMU refuses.
#[derive(Debug)]
enum Value {
    Object(Vec<(String, Value)>),
    Text(String),
    Other,
}

impl Value {
    /// Adds the leaves of an object, each under the names that lead to it, joined by dots.
    fn flatten(self, name: String, into: &mut BTreeMap<String, Value>) -> Result<(), String> {
        let Self::Object(entries) = self else {
            let twice = into.insert(name, self).is_some();
            return if twice {
                Err("an option that comes twice".to_owned())
            } else {
                Ok(())
            };
        };
        for (key, value) in entries {
            let name = if name.is_empty() {
                key
            } else {
                format!("{name}.{key}")
            };
            value.flatten(name, into)?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(String, Value)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            if entries.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom("a key comes twice"));
            }
            entries.push((key, value));
        }
        Ok(Value::Object(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str) -> Option<(String, Option<String>)> {
        let found = described(json.as_bytes()).ok()?;
        let format = found.format.map(|format| format.name().to_owned());
        Some((found.file.to_string_lossy().into_owned(), format))
    }

    fn why(json: &str) -> String {
        described(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn every_way_to_describe_a_plain_file_is_understood() {
        let qcow2 = Some(("x".to_owned(), Some("qcow2".to_owned())));
        for json in [
            r#"{"driver":"qcow2","file":{"driver":"file","filename":"x"}}"#,
            r#"{"driver":"qcow2","file.driver":"file","file.filename":"x"}"#,
            r#"{"driver":"qcow2","file":{"driver":"file"},"file.filename":"x"}"#,
            r#"{"driver":"qcow2","file":{"filename":"x"}}"#,
            r#" {"driver":"qcow2","file":{"driver":"file","filename":"\u0078"}} "#,
            r#"{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"x"}}}"#,
            r#"{"driver":"qcow2","l2-cache-size":1048576,"overlap-check":{"template":"all"},"file":{
                "filename":"x"}}"#,
            r#"{"driver":"qcow2","read-only":true,"cache":{"direct":true},"file":{"driver":"file",
                "filename":"x","locking":"off","node-name":"n","cache.no-flush":false}}"#,
        ] {
            assert_eq!(file(json), qcow2, "{json}");
        }
        let raw = Some(("x".to_owned(), Some("raw".to_owned())));
        assert_eq!(file(r#"{"driver":"raw","file.filename":"x"}"#), raw);
        assert_eq!(file(r#"{"driver":"file","filename":"x"}"#), raw);
        assert!(
            described(br#"{"driver":"file","filename":"x"}"#)
                .unwrap()
                .is_bare
        );
        assert_eq!(
            file(r#"{"file.filename":"x"}"#),
            Some(("x".to_owned(), None))
        );
        // Taken literally.
        let literal = r#"{"driver":"raw","file":{"filename":"nbd:host:1"}}"#;
        assert_eq!(file(literal).unwrap().0, "nbd:host:1");
    }

    #[test]
    fn what_is_more_or_less_than_a_plain_file_is_left_alone_and_named() {
        for (json, reason) in [
            (
                r#"{"driver":"raw","offset":512,"file":{"filename":"x"}}"#,
                "a part of a file",
            ),
            (
                r#"{"driver":"raw","size":512,"file.filename":"x"}"#,
                "a part of a file",
            ),
            (
                r#"{"driver":"qcow2","file":{"driver":"raw","offset":0,"file":{"filename":"x"}}}"#,
                "a part",
            ),
            (
                r#"{"driver":"qcow2","file":{"driver":"nbd","host":"h"}}"#,
                "nbd",
            ),
            (r#"{"driver":"nbd","host":"h"}"#, "nbd"),
            (r#"{"driver":"quorum","children":[]}"#, "quorum"),
            (
                r#"{"driver":"qcow2","file":{"driver":"host_device","filename":"/dev/x"}}"#,
                "host_device",
            ),
            (
                r#"{"driver":"qcow2","backing":null,"file":{"filename":"x"}}"#,
                "option backing",
            ),
            (
                r#"{"driver":"qcow2","data-file":{"filename":"y"},"file":{"filename":"x"}}"#,
                "data-file.filename",
            ),
            (
                r#"{"driver":"qcow2","data-file":"n","file":{"filename":"x"}}"#,
                "option data-file",
            ),
            (
                r#"{"driver":"raw","l2-cache-size":1,"file":{"filename":"x"}}"#,
                "option l2-cache-size",
            ),
            (r#"{"driver":"qcow2","file":"x"}"#, "qcow2"),
            (r#"{"filename":"x"}"#, "no driver and no file"),
            (
                r#"{"driver":"qcow2","file":{"driver":"file"}}"#,
                "no file name",
            ),
            (
                r#"{"driver":"qcow2","file":{"driver":"file","filename":7}}"#,
                "a file name that is none",
            ),
            (
                r#"{"driver":"qcow2","file":{"driver":"file","filename":""}}"#,
                "a file name that is none",
            ),
            (
                r#"{"driver":"file","filename":"a\u0000b"}"#,
                "a file name that is none",
            ),
            (
                r#"{"driver":["file"],"filename":"x"}"#,
                "a driver that is no name",
            ),
            (
                r#"{"driver":"qcow2","file":{"filename":"a","filename":"b"}}"#,
                "not understood",
            ),
            (
                r#"{"driver":"qcow2","file":{"filename":"a"},"file.filename":"b"}"#,
                "comes twice",
            ),
            ("{'driver':'qcow2'}", "not understood"),
            ("", "not understood"),
            ("[]", "no driver"),
            ("\"x\"", "no driver"),
        ] {
            assert!(why(json).contains(reason), "{json}: {}", why(json));
        }
    }

    #[test]
    fn depth_and_length_do_no_harm() {
        let deep = |n: usize| format!("{}1{}", r#"{"file":"#.repeat(n), "}".repeat(n));
        for n in [1, 100, 127, 128, 100_000] {
            assert!(described(deep(n).as_bytes()).is_err());
        }
        let raws = r#"{"driver":"raw","file":"#.repeat(30);
        let json = format!("{raws}{{\"filename\":\"x\"}}{}", "}".repeat(30));
        assert!(why(&json).contains("too many layers"));
        let long = format!(
            r#"{{"driver":"file","filename":"{}"}}"#,
            "x".repeat(1 << 20)
        );
        assert_eq!(file(&long).unwrap().0.len(), 1 << 20);
        assert!(described(&[b'[', 0xff, 0xfe]).is_err());
        assert!(described("[".repeat(1 << 16).as_bytes()).is_err());
    }
}
