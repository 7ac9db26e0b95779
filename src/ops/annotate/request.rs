//! What is asked to be noted of an image.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::forest::{Annotation, MOST_TAGS, read_tag, read_text};
use crate::host::printable;
use crate::ops::{CommandLine, Request};

/// Change what is noted of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotate {
    /// The image.
    pub image: PathBuf,
    /// The note it gets; an empty one takes its note away.
    pub text: Option<String>,
    /// The tags it gets.
    pub tag: Vec<String>,
    /// The tags it loses.
    pub untag: Vec<String>,
    /// Whether it first loses all that is noted of it.
    pub clear: bool,
    /// What has to be noted of it now, of what takes another one back.
    #[serde(default)]
    pub instead_of: Option<Annotation>,
    /// Whether the image is not there, and only the notes of its folder are to speak of it: of what takes back that they
    /// were made to forget it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_missing: bool,
}

impl Request {
    /// To have the notes of its folder speak no longer of an image that is not there.
    #[must_use]
    pub fn forget_note(image: &Path) -> Self {
        Annotate {
            image: image.to_path_buf(),
            clear: true,
            ..Annotate::default()
        }
        .into()
    }

    /// To take one tag off an image.
    pub(in crate::ops) fn untag(image: &Path, tag: &str) -> Self {
        Annotate {
            image: image.to_path_buf(),
            untag: vec![tag.to_owned()],
            ..Annotate::default()
        }
        .into()
    }
}

impl Annotate {
    /// What a command line that names images says of them.
    pub(super) fn line(&self, mut line: CommandLine) -> CommandLine {
        if let Some(text) = &self.text {
            line = line.option("--text", Some(text));
        }
        line = line.flag("--clear", self.clear);
        for tag in &self.tag {
            line = line.option("--tag", Some(tag));
        }
        for tag in &self.untag {
            line = line.option("--untag", Some(tag));
        }
        line
    }

    /// Whether all that is noted goes, and nothing comes.
    pub(super) fn only_clears(&self) -> bool {
        self.clear && self.text.is_none() && self.tag.is_empty()
    }

    /// What is noted of the image afterwards.
    pub(super) fn after(&self, now: &Annotation) -> Result<Annotation, String> {
        let mut after = match self.clear {
            true => Annotation::default(),
            false => now.clone(),
        };
        if let Some(text) = &self.text {
            after.text = read_text(text)?;
        }
        for tag in &self.untag {
            let tag = read_tag(tag)?;
            after.tags.retain(|own| *own != tag);
        }
        for tag in &self.tag {
            after.tags.push(read_tag(tag)?);
        }
        after.tags.sort();
        after.tags.dedup();
        if after.tags.len() > MOST_TAGS {
            return Err(format!("an image has at most {MOST_TAGS} tags"));
        }
        Ok(after)
    }
}

/// `#golden #web “kernel 6.9”`, on one line.
pub(super) fn words(of: &Annotation) -> String {
    let text = of.text.replace('\n', " ");
    let text = printable(text);
    match (of.tags.is_empty(), text.is_empty()) {
        (true, true) => "nothing".to_owned(),
        (false, true) => of.tag_words(),
        (true, false) => format!("“{text}”"),
        (false, false) => format!("{} “{text}”", of.tag_words()),
    }
}
