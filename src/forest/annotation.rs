//! What people note of an image: a text and tags. Both are kept as extended attributes of its file, so that they go
//! where the file goes, and none of its bytes is written for them; where the file can have none, in a file of its
//! folder, which `folder_notes` reads. What is read was written by anybody: whatever makes no sense is passed over.

use std::ffi::CStr;
use std::io;

use serde::{Deserialize, Serialize};

use crate::host::{HostFile, attribute, misleads};

/// The extended attribute that holds the text, in UTF-8.
const TEXT_ATTRIBUTE: &CStr = c"user.qanopy.note";
/// The extended attribute that holds the tags, in order, with commas between them.
const TAGS_ATTRIBUTE: &CStr = c"user.qanopy.tags";
/// A text has no more bytes: the attributes of a file share one block of some filesystems.
const MOST_TEXT: usize = 2048;
/// An image has no more tags.
pub const MOST_TAGS: usize = 16;
/// A tag has no more bytes.
const MOST_TAG: usize = 32;
/// No list of tags is longer.
const MOST_TAGS_BYTES: usize = MOST_TAGS * (MOST_TAG + 1);

/// The tag of images that are not to be discarded.
pub const KEEP: &str = "keep";
/// The tag of images that others are made from, and that nobody changes by the way.
pub const GOLDEN: &str = "golden";

/// A text and tags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Annotation {
    /// The text; empty where there is none.
    #[serde(rename = "note", default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The tags, in order, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whether it stands in a file of the folder, the image's own file having room for none.
    #[serde(skip)]
    pub in_folder: bool,
}

impl Annotation {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tags.is_empty()
    }

    /// Whether this tag is one of them.
    #[must_use]
    pub fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }

    /// Whether it says the same, wherever it is kept.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        (&self.text, &self.tags) == (&other.text, &other.tags)
    }

    /// The tags as people read them, `#golden #web`; safe to print, since a tag holds nothing else.
    #[must_use]
    pub fn tag_words(&self) -> String {
        let words: Vec<String> = self.tags.iter().map(|tag| format!("#{tag}")).collect();
        words.join(" ")
    }

    /// What its two attributes hold then, text and tags; none where it has none of them.
    #[must_use]
    pub fn attributes(&self) -> [(&'static CStr, Option<Vec<u8>>); 2] {
        let text = self.text.as_bytes().to_vec();
        let tags = self.tags.join(",").into_bytes();
        let some = |bytes: Vec<u8>| Some(bytes).filter(|bytes| !bytes.is_empty());
        // What protects an image comes first.
        [(TAGS_ATTRIBUTE, some(tags)), (TEXT_ATTRIBUTE, some(text))]
    }

    /// The same without what makes no sense, for what somebody else wrote.
    pub(super) fn tidied(mut self) -> Self {
        let mut most = self.text.len().min(MOST_TEXT);
        while !self.text.is_char_boundary(most) {
            most -= 1;
        }
        self.text.truncate(most);
        self.tags = tidied(self.tags.iter().map(String::as_str));
        self
    }
}

fn tidied<'a>(tags: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut tags: Vec<String> = tags.filter_map(|tag| read_tag(tag).ok()).collect();
    tags.sort();
    tags.dedup();
    tags.truncate(MOST_TAGS);
    tags
}

/// What stands in the attributes of an open file; none where it has none of them.
///
/// # Errors
/// The system's: `Unsupported` where its filesystem keeps no such attributes. An attribute that is too long to be
/// one of ours counts as none.
pub fn attributes_of(file: &dyn HostFile) -> io::Result<Option<Annotation>> {
    let read = |name, most| match attribute(file, name, most) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        other => other,
    };
    let text = read(TEXT_ATTRIBUTE, MOST_TEXT)?;
    let tags = read(TAGS_ATTRIBUTE, MOST_TAGS_BYTES)?;
    if text.is_none() && tags.is_none() {
        return Ok(None);
    }
    let text = text.unwrap_or_default();
    let tags = String::from_utf8_lossy(tags.as_deref().unwrap_or_default()).into_owned();
    let found = Annotation {
        text: String::from_utf8_lossy(&text).into_owned(),
        tags: tidied(tags.split(',')),
        in_folder: false,
    };
    Ok(Some(found.tidied()).filter(|found| !found.is_empty()))
}

/// Reads a tag as a person writes it: `golden`, `#golden`, `Golden`.
///
/// # Errors
/// What a tag may be, as a sentence.
pub fn read_tag(text: &str) -> Result<String, String> {
    let tag = text.strip_prefix('#').unwrap_or(text).to_lowercase();
    let is_one = |c: char| (c.is_alphanumeric() || "-_.".contains(c)) && !misleads(c);
    if tag.is_empty() || tag.len() > MOST_TAG || !tag.chars().all(is_one) {
        return Err(format!(
            "a tag is a word of letters, digits, hyphens, dots and underscores, of at most {MOST_TAG} bytes: golden"
        ));
    }
    Ok(tag)
}

/// Reads a text as a person writes it.
///
/// # Errors
/// What a note may be, as a sentence.
pub fn read_text(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.len() > MOST_TEXT {
        return Err(format!(
            "a note has at most {MOST_TEXT} bytes, and this one has {}",
            text.len()
        ));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err("a note holds no control characters but ends of lines".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Access, Host, RealHost, set_attributes};

    #[test]
    fn a_tag_is_one_short_word_in_lower_case() {
        assert_eq!(read_tag("#Golden").as_deref(), Ok("golden"));
        assert_eq!(read_tag("rhel-9.4_x").as_deref(), Ok("rhel-9.4_x"));
        assert_eq!(read_tag("ключ").as_deref(), Ok("ключ"));
        let long = "a".repeat(33);
        for wrong in [
            "",
            "#",
            "a b",
            "a,b",
            "##a",
            "a\u{1b}",
            "a\u{3164}",
            "a/b",
            &long,
        ] {
            assert!(read_tag(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_text_is_bounded_and_acts_on_no_terminal() {
        assert_eq!(read_text(" two\nlines \n").as_deref(), Ok("two\nlines"));
        assert!(read_text(&"a".repeat(MOST_TEXT)).is_ok());
        for wrong in ["a\u{1b}[31m", "a\rb", &"a".repeat(MOST_TEXT + 1)] {
            assert!(read_text(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn whatever_stands_in_the_attributes_is_read_or_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"x").unwrap();
        let file = RealHost.open(&path, Access::ReadWrite).unwrap();
        let set = |text: &[u8], tags: &[u8]| {
            let values = [(TEXT_ATTRIBUTE, Some(text)), (TAGS_ATTRIBUTE, Some(tags))];
            set_attributes(&*file, &values)
        };
        if set(b"one", b"b,a").is_err() {
            eprintln!("skipped: this filesystem keeps no extended attributes");
            return;
        }
        let read = || attributes_of(&*file).unwrap();
        let found = read().unwrap();
        assert_eq!(
            (found.text.as_str(), found.tag_words().as_str()),
            ("one", "#a #b")
        );
        set(b"\xff\xfe", b"\xff,,a,a,#B, c,\x1b[0m,d\0e").unwrap();
        let found = read().unwrap();
        assert_eq!(found.text, "\u{fffd}\u{fffd}");
        assert_eq!(found.tags, ["a", "b"]);
        set(&[b'x'; MOST_TEXT + 1], &[b','; MOST_TAGS_BYTES + 1]).unwrap();
        assert_eq!(read(), None);
        let many: Vec<String> = (0..99).map(|n| n.to_string()).collect();
        set(b"", many.join(",").as_bytes()).unwrap();
        assert_eq!(read().unwrap().tags.len(), MOST_TAGS);
    }
}
