//! Which local files a backing name makes QEMU read that is more than a path to one: slices, filters,
//! several files at once, prefixes of protocols. Who reads what has to be known even where how it is read
//! is not: rather a file too many than one too few. Nothing is opened here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A local file that a name mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The name as it stands there: seen from the directory that a program runs in.
    pub path: PathBuf,
    /// Whether it stands where a file name belongs. Of the others only those that are there are read.
    pub surely: bool,
}

/// Prefixes that a local file name follows.
const PREFIXES: [&[u8]; 3] = [b"file:", b"host_device:", b"host_cdrom:"];

/// Keys of a description whose text is a file name.
const FILE_KEYS: [&str; 4] = ["filename", "x-image", "x-raw", "config"];

/// Keys of a description whose text is none, common ones.
const OTHER_KEYS: [&str; 4] = ["driver", "node-name", "locking", "throttle-group"];

/// Names within names that are looked through.
const MAX_DEPTH: usize = 8;

/// Files that are noted of one name: an image cannot make more work than this.
const MAX_MENTIONS: usize = 64;

/// The local files that a recorded name mentions, in their order, each once.
pub(super) fn mentioned(recorded: &[u8]) -> Vec<Mention> {
    let mut found = MentionFinder::default();
    found.name(recorded, true, 0);
    found.mentions
}

#[derive(Debug, Default)]
struct MentionFinder {
    mentions: Vec<Mention>,
}

impl MentionFinder {
    fn add(&mut self, path: &[u8], surely: bool) {
        if path.is_empty() || path.contains(&0) || self.mentions.len() >= MAX_MENTIONS {
            return;
        }
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        match self.mentions.iter_mut().find(|known| known.path == path) {
            Some(known) => known.surely |= surely,
            None => self.mentions.push(Mention { path, surely }),
        }
    }

    /// What a name with a prefix mentions; one without is a path, which is the caller's to note.
    fn name(&mut self, name: &[u8], surely: bool, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let inner = |found: &mut Self, name: &[u8]| {
            if has_protocol(name) {
                found.name(name, surely, depth + 1);
            } else {
                found.add(name, surely);
            }
        };
        if let Some(json) = name.strip_prefix(b"json:") {
            self.description(json, depth);
        } else if let Some(rest) = name.strip_prefix(b"blkdebug:") {
            // Its configuration, and what it lies over: the rest, which may have a prefix of its own.
            if let Some(at) = rest.iter().position(|byte| *byte == b':') {
                inner(self, rest.split_at(at + 1).1);
                self.add(rest.split_at(at).0, surely);
            }
        } else if let Some(rest) = name.strip_prefix(b"blkverify:") {
            if let Some(at) = rest.iter().position(|byte| *byte == b':') {
                // What is compared with comes first; what the guest sees is the other.
                inner(self, rest.split_at(at + 1).1);
                self.add(rest.split_at(at).0, surely);
            }
        } else if let Some(rest) = PREFIXES
            .iter()
            .find_map(|prefix| name.strip_prefix(*prefix))
        {
            self.add(rest, surely);
        }
    }

    fn description(&mut self, json: &[u8], depth: usize) {
        match serde_json::from_slice::<serde_json::Value>(json) {
            Ok(value) => self.value("", &value, depth),
            // QEMU reads more than this parser does, such as text in single quotes.
            Err(_) => {
                for text in quoted(json) {
                    self.text("", &text, depth);
                }
            }
        }
    }

    fn value(&mut self, key: &str, value: &serde_json::Value, depth: usize) {
        use serde_json::Value;
        match value {
            Value::String(text) => self.text(key, text.as_bytes(), depth),
            // The parser bounds the depth.
            Value::Array(values) => {
                for value in values {
                    self.value(key, value, depth);
                }
            }
            Value::Object(entries) => {
                for (key, value) in entries {
                    self.value(key, value, depth);
                }
            }
            _ => {}
        }
    }

    /// A text of a description: mostly taken literally, but where a filter names what it lies over.
    fn text(&mut self, key: &str, text: &[u8], depth: usize) {
        let key = key.rsplit('.').next().unwrap_or_default();
        if OTHER_KEYS.contains(&key) {
            return;
        }
        self.add(text, FILE_KEYS.contains(&key) && !has_protocol(text));
        if has_protocol(text) {
            self.name(text, false, depth + 1);
        }
    }
}

/// All texts in quotes, single or double.
fn quoted(json: &[u8]) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut open: Option<(u8, Vec<u8>)> = None;
    let mut bytes = json.iter().copied();
    while let Some(byte) = bytes.next() {
        match &mut open {
            None if byte == b'\'' || byte == b'"' => open = Some((byte, Vec::new())),
            None => {}
            Some((quote, text)) if byte == *quote => {
                texts.push(std::mem::take(text));
                open = None;
            }
            Some((_, text)) if byte == b'\\' => match bytes.next() {
                Some(b'u') => {
                    let digits: Vec<u8> = bytes.by_ref().take(4).collect();
                    let code = std::str::from_utf8(&digits).ok();
                    let code = code.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                    let sign = code.and_then(char::from_u32).unwrap_or('\u{fffd}');
                    text.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(b'b') => text.push(8),
                Some(b'f') => text.push(12),
                Some(b'n') => text.push(b'\n'),
                Some(b'r') => text.push(b'\r'),
                Some(b't') => text.push(b'\t'),
                Some(other) => text.push(other),
                None => {}
            },
            Some((_, text)) => text.push(byte),
        }
    }
    texts
}

/// Whether a colon comes before any slash.
fn has_protocol(name: &[u8]) -> bool {
    let first = name.iter().find(|byte| matches!(byte, b':' | b'/'));
    first == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sure(recorded: &str) -> Vec<String> {
        let found = mentioned(recorded.as_bytes()).into_iter();
        let sure = found.filter(|mention| mention.surely);
        sure.map(|mention| mention.path.to_string_lossy().into_owned())
            .collect()
    }

    fn all(recorded: &str) -> Vec<String> {
        let found = mentioned(recorded.as_bytes()).into_iter();
        found
            .map(|mention| mention.path.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn every_file_of_a_description_is_mentioned() {
        for (json, files) in [
            (
                r#"json:{"driver":"raw","offset":512,"size":1024,"file":{"driver":"file","filename":"/x"}}"#,
                &["/x"][..],
            ),
            (
                r#"json:{"driver":"qcow2","file":{"driver":"blkdebug","config":"/c","image":{"driver":"file","filename":"/x"}}}"#,
                &["/c", "/x"],
            ),
            (
                r#"json:{"driver":"blkverify","test":{"driver":"qcow2","file.filename":"/x"},"raw":{"driver":"file","filename":"/y"}}"#,
                &["/y", "/x"],
            ),
            (
                r#"json:{"driver":"copy-on-read","file":{"driver":"qcow2","file":{"driver":"file","filename":"/x"}}}"#,
                &["/x"],
            ),
            (
                r#"json:{"driver":"throttle","throttle-group":"g","file.driver":"qcow2","file.file.filename":"/x"}"#,
                &["/x"],
            ),
            (
                r#"json:{"driver":"luks","key-secret":"s","file":{"driver":"host_device","filename":"/dev/x"},"header":{"driver":"file","filename":"/h"}}"#,
                &["/dev/x", "/h"],
            ),
            (
                r#"json:{"driver":"qcow2","file":{"filename":"/x"},"backing":{"driver":"raw","file":{"filename":"/y"}},"data-file":{"driver":"file","filename":"/z"}}"#,
                &["/y", "/z", "/x"],
            ),
            (
                r#"json:{"driver":"quorum","vote-threshold":1,"children":[{"driver":"raw","file.filename":"/x"},{"driver":"raw","file.filename":"/y"}]}"#,
                &["/x", "/y"],
            ),
            (
                r#"json:{"driver":"qcow2","file":{"driver":"preallocate","file":{"filename":"/x"}}}"#,
                &["/x"],
            ),
        ] {
            let found = sure(json);
            for file in files {
                assert!(found.iter().any(|found| found == file), "{json}: {found:?}");
            }
            assert_eq!(found.len(), files.len(), "{json}: {found:?}");
        }
    }

    #[test]
    fn prefixes_are_looked_through_as_deep_as_they_go() {
        assert_eq!(sure("file:/x"), ["/x"]);
        assert_eq!(sure("host_device:/dev/x"), ["/dev/x"]);
        assert_eq!(sure("host_cdrom:/dev/sr0"), ["/dev/sr0"]);
        assert_eq!(sure("blkdebug:/cfg:/x"), ["/x", "/cfg"]);
        assert_eq!(sure("blkdebug::x"), ["x"]);
        assert_eq!(sure("blkverify:/raw:/x"), ["/x", "/raw"]);
        assert_eq!(sure("blkdebug::blkverify:/a:file:/b"), ["/b", "/a"]);
        assert_eq!(
            sure(r#"blkdebug::json:{"driver":"raw","file.filename":"/x"}"#),
            ["/x"]
        );
        assert_eq!(all("nbd:host:1"), [] as [&str; 0]);
        assert_eq!(all("https://host/x"), [] as [&str; 0]);
        assert_eq!(all("blkdebug:x"), [] as [&str; 0]);
    }

    #[test]
    fn what_only_qemu_can_parse_still_mentions_its_files() {
        assert_eq!(
            all("json:{'driver':'qcow2','file':{'driver':'file','filename':'/a\\u0062\\/c'}}"),
            ["driver", "qcow2", "file", "filename", "/ab/c"]
        );
        assert!(all("json:{\"filename\":\"/x\", oops").contains(&"/x".to_owned()));
        // A text anywhere may be a file name, and a filter's may have a prefix.
        assert!(all(r#"json:{"driver":"new","base":"/x"}"#).contains(&"/x".to_owned()));
        assert!(sure(r#"json:{"driver":"new","base":"/x"}"#).is_empty());
        let nested = r#"json:{"driver":"blkdebug","x-image":"blkdebug::/x"}"#;
        assert!(all(nested).contains(&"/x".to_owned()));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = format!("{}{}", "blkdebug::".repeat(100_000), "/x");
        assert_eq!(all(&deep), [] as [&str; 0]);
        let many: Vec<String> = (0..10_000)
            .map(|i| format!("{{\"filename\":\"/{i}\"}}"))
            .collect();
        let many = format!("json:{{\"children\":[{}]}}", many.join(","));
        assert_eq!(all(&many).len(), MAX_MENTIONS);
        assert!(all(&format!("json:{}", "[".repeat(1 << 16))).is_empty());
    }
}
