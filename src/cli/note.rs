//! `qanopy note`: the note and the tags of an image, kept beside its bytes.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::forest::{Annotation, GOLDEN, KEEP, annotation_of, read_tag, read_text};
use crate::host::{Host, RealHost, printable_lines};
use crate::ops::{Annotate, Request};

use super::context;
use super::execute::execute;
use super::exit::FileError;
use super::json::path;
use super::mistakes;
use super::options::{ConsentArgs, Globals, ScanArgs};
use super::output::Out;

/// Tags that mean something to the program, and what.
pub(super) const MEANING: [(&str, &str); 2] = [
    (
        KEEP,
        "never proposed by prune or garbage, and not discarded",
    ),
    (GOLDEN, "changed or taken away by number only"),
];

#[derive(Debug, Args)]
pub(super) struct NoteArgs {
    /// The image; none of its bytes is written
    image: PathBuf,
    /// What is to be noted of it; "" takes the note away [default: print what is noted]
    #[arg(value_parser = read_text)]
    text: Option<String>,
    /// Give it this tag: keep and golden protect it, any other word finds it again
    #[arg(long, value_name = "TAG", value_parser = read_tag)]
    tag: Vec<String>,
    /// Take this tag off
    #[arg(long, value_name = "TAG", value_parser = read_tag)]
    untag: Vec<String>,
    /// Take off all tags and the note it has first
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl NoteArgs {
    fn only_prints(&self) -> bool {
        self.text.is_none() && self.tag.is_empty() && self.untag.is_empty() && !self.clear
    }

    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Annotate(Annotate {
            image: self.image.clone(),
            text: self.text.clone(),
            tag: self.tag.clone(),
            untag: self.untag.clone(),
            clear: self.clear,
            instead_of: None,
        }))
    }
}

/// Prints what is noted of the image, or changes it.
pub(super) fn run(out: &mut Out, globals: Globals, args: &NoteArgs) -> anyhow::Result<()> {
    if !args.only_prints() {
        let context = context::around(std::slice::from_ref(&args.image), &args.scan.scan)?;
        return execute(out, globals, args.consent, &context, &args.request()?);
    }
    let image = &args.image;
    mistakes::no_folder(image)?;
    RealHost.stat(image).map_err(FileError::at("open", image))?;
    let noted = annotation_of(&RealHost, image).unwrap_or_default();
    if globals.json {
        let Annotation { text, tags, .. } = &noted;
        return Ok(out.json(json!({ "path": path(image), "note": text, "tags": tags }))?);
    }
    if noted.is_empty() {
        return Ok(out.line("Nothing is noted of it.")?);
    }
    if !noted.tags.is_empty() {
        out.line(noted.tag_words())?;
    }
    for line in printable_lines(&noted.text).lines() {
        out.line(line)?;
    }
    Ok(())
}
