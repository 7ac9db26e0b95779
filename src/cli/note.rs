//! `qanopy note`: the note and the tags of an image, kept beside its bytes.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::forest::{Annotation, FolderNotes, GOLDEN, KEEP, annotation_of, read_tag, read_text};
use crate::host::{Host, RealHost, printable, printable_lines};
use crate::ops::{Annotate, AnnotateSeveral, Request};

use super::context;
use super::execute::execute;
use super::exit::{FileError, Stop};
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
    /// More images, and last what is to be noted of all of them; "" takes notes away [default: print what is noted]
    #[arg(value_name = "IMAGE|TEXT")]
    more: Vec<OsString>,
    /// What is to be noted, where a file has that name
    #[arg(long, value_parser = read_text)]
    text: Option<String>,
    /// Give this tag: keep and golden protect an image, any other word finds it again
    #[arg(long, value_name = "TAG", value_parser = read_tag)]
    tag: Vec<String>,
    /// Take this tag off
    #[arg(long, value_name = "TAG", value_parser = read_tag)]
    untag: Vec<String>,
    /// Take off all tags and the note first
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl NoteArgs {
    /// The images, and what is to be noted of them: a word that names a file is an image, and the last one else the
    /// note.
    fn named(&self) -> anyhow::Result<(Vec<PathBuf>, Option<String>)> {
        let is_file = |word: &OsString| RealHost.stat_link(word.as_ref()).is_ok();
        let (mut images, mut text) = (vec![self.image.clone()], self.text.clone());
        let last = self.more.len().saturating_sub(1);
        for (at, word) in self.more.iter().enumerate() {
            if is_file(word) {
                images.push(word.into());
            } else if at == last && text.is_none() {
                let word = word.to_str().ok_or_else(|| usage("the note is no UTF-8"))?;
                text = Some(read_text(word).map_err(usage)?);
            } else {
                return Err(usage(format!("there is no image {}", printable(word))));
            }
        }
        Ok((images, text))
    }

    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let (images, text) = self.named()?;
        let of = |image| Annotate {
            image,
            text: text.clone(),
            tag: self.tag.clone(),
            untag: self.untag.clone(),
            clear: self.clear,
            instead_of: None,
            of_missing: false,
        };
        let mut images: Vec<Annotate> = images.into_iter().map(of).collect();
        Ok(match images.len() {
            1 => images.swap_remove(0).into(),
            _ => AnnotateSeveral { images }.into(),
        })
    }
}

fn usage(text: impl Into<String>) -> anyhow::Error {
    Stop::Usage(text.into()).into()
}

/// Prints what is noted of the image, or changes it.
pub(super) fn run(out: &mut Out, globals: Globals, args: &NoteArgs) -> anyhow::Result<()> {
    let (images, text) = args.named()?;
    let only_prints = text.is_none() && args.tag.is_empty() && args.untag.is_empty() && !args.clear;
    if !only_prints {
        let is_stale = |image: &PathBuf| FolderNotes::are_stale(&RealHost, image);
        let context = match images.iter().any(is_stale) {
            true => context::around_files(&images, &args.scan.scan)?,
            false => context::around(&images, &args.scan.scan)?,
        };
        return execute(out, globals, args.consent, &context, &args.request()?);
    }
    if images.len() > 1 {
        let text = "say what is to be noted of them: TEXT, --tag, --untag or --clear";
        return Err(usage(text));
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
