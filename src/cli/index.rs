//! `index`: what is remembered of images elsewhere. It only says where to look, so that forgetting changes no
//! image: what is still there is met again by the next run that looks where it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf, absolute};

use anyhow::Context as _;
use clap::{ArgGroup, Subcommand};
use serde_json::{Value, json};

use crate::forest::{Fingerprints, Index, Insides, Remembered};
use crate::host::{Host, RealHost, printable};

use super::exit::{FileError, READ_ONLY, Stop};
use super::json::path;
use super::options::Globals;
use super::output::Out;

#[derive(Debug, Subcommand)]
pub(super) enum IndexCommand {
    /// List the images that are remembered, each with what it is built on
    List {
        /// Only those built on these images [default: all]
        #[arg(value_name = "BASE")]
        bases: Vec<PathBuf>,
    },
    /// Take bases as they are now for what their overlays were made for, where the doctor says that one was changed
    Accept {
        /// The bases
        #[arg(value_name = "BASE", required = true)]
        bases: Vec<PathBuf>,
    },
    /// Forget images: they are met again by the next run that looks where they are
    #[command(group = ArgGroup::new("what").required(true).multiple(true))]
    Forget {
        /// These images, and those below these folders
        #[arg(value_name = "PATH", group = "what")]
        paths: Vec<PathBuf>,
        /// Those that are not there any more
        #[arg(long, group = "what", conflicts_with = "all")]
        gone: bool,
        /// All of them
        #[arg(long, group = "what", conflicts_with = "paths")]
        all: bool,
        /// Only say which
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
}

pub(super) fn run(out: &mut Out, globals: Globals, command: IndexCommand) -> anyhow::Result<()> {
    let dir = Index::default_dir().context("there is no folder for what is remembered")?;
    let index = Index::at(&dir);
    let unread = || FileError::at("read", index.file());
    match command {
        IndexCommand::List { bases } => {
            let mut entries = index.all().map_err(unread())?;
            if !bases.is_empty() {
                let bases: BTreeSet<PathBuf> = bases.iter().flat_map(|base| names(base)).collect();
                entries.retain(|entry| bases.contains(&entry.backing));
            }
            tell(out, globals, &entries, "No image is remembered.", "images")
        }
        IndexCommand::Accept { bases } => accept(out, globals, &bases),
        IndexCommand::Forget {
            paths,
            gone,
            all,
            dry_run,
        } => {
            let places: Vec<PathBuf> = paths.iter().flat_map(|path| names(path)).collect();
            // Where both are named it is those of them that are gone.
            let goes = |entry: &Remembered| is_meant(&entry.path, &places, (all, gone));
            let entries = if dry_run {
                let mut entries = index.all().map_err(unread())?;
                entries.retain(|entry| goes(entry));
                entries
            } else if globals.read_only {
                return Err(Stop::refused(
                    READ_ONLY,
                    "Forget images: not done, since --read-only was given",
                )
                .into());
            } else {
                let insides = Insides::at(&dir);
                insides
                    .forget(|path| is_meant(path, &places, (all, gone)))
                    .map_err(FileError::at("write", insides.file()))?;
                index
                    .forget(goes)
                    .map_err(FileError::at("write", index.file()))?
            };
            let what = if dry_run { "would-forget" } else { "forgotten" };
            tell(
                out,
                globals,
                &entries,
                "No image was to be forgotten.",
                what,
            )
        }
    }
}

fn accept(out: &mut Out, globals: Globals, bases: &[PathBuf]) -> anyhow::Result<()> {
    if globals.read_only {
        let text = "Accept bases: not done, since --read-only was given";
        return Err(Stop::refused(READ_ONLY, text).into());
    }
    for base in bases {
        RealHost.stat(base).map_err(FileError::at("find", base))?;
    }
    let dir = Index::default_dir().context("there is no folder for what is remembered")?;
    let state = Fingerprints::at(dir);
    let accepted = state
        .renew(&RealHost, bases.iter().map(PathBuf::as_path))
        .map_err(FileError::at("write", state.file()))?;
    if globals.json {
        let rows: Vec<Value> = accepted.iter().map(|base| path(base)).collect();
        return Ok(out.json(json!({ "accepted": rows }))?);
    }
    if accepted.is_empty() {
        return Ok(out.line("None of them is known as a base: nothing was to be accepted.")?);
    }
    for base in &accepted {
        out.line(format_args!("accepted {}", printable(base)))?;
    }
    Ok(())
}

/// The names by which the index may know a path.
fn names(path: &Path) -> Vec<PathBuf> {
    let in_folder = || {
        let folder = match path.parent()? {
            empty if empty.as_os_str().is_empty() => Path::new("."),
            folder => folder,
        };
        Some(RealHost.canonical(folder).ok()?.join(path.file_name()?))
    };
    let ways = [
        in_folder(),
        RealHost.canonical(path).ok(),
        absolute(path).ok(),
    ];
    ways.into_iter().flatten().collect()
}

/// Whether an image is to be forgotten: all are, or those that lie in one of these places, if any is named, and are not
/// there any more, if only those are meant.
fn is_meant(path: &Path, places: &[PathBuf], (all, gone): (bool, bool)) -> bool {
    let lies_there = places.is_empty() || places.iter().any(|place| path.starts_with(place));
    all || lies_there && (!gone || !is_there(path))
}

fn is_there(path: &Path) -> bool {
    RealHost.stat_link(path).is_ok()
}

/// The entries, each image once with all that it is built on.
fn tell(
    out: &mut Out,
    globals: Globals,
    entries: &[Remembered],
    none: &str,
    what: &str,
) -> anyhow::Result<()> {
    if globals.json {
        let rows: Vec<Value> = entries
            .iter()
            .map(|entry| {
                json!({
                    "path": path(&entry.path),
                    "backing": path(&entry.backing),
                    "seen": (entry.seen > 0).then_some(entry.seen),
                    "there": is_there(&entry.path),
                })
            })
            .collect();
        return Ok(out.json(json!({ what: rows }))?);
    }
    if entries.is_empty() {
        return Ok(out.line(none)?);
    }
    let verb = match what {
        "would-forget" => "would forget ",
        "forgotten" => "forgot ",
        _ => "",
    };
    for entry in entries {
        let gone = if is_there(&entry.path) {
            ""
        } else {
            "  (not there)"
        };
        out.line(format_args!(
            "{verb}{}  on {}{gone}",
            printable(&entry.path),
            printable(&entry.backing)
        ))?;
    }
    Ok(())
}
