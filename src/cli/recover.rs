//! `qanopy recover`: what was interrupted or left half made, listed and brought to an end.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use crate::host::{RealHost, printable};
use crate::ops::journal::{Entry, Standing};
use crate::ops::{
    Leftover, RecoverEntry, Recovery, RefusalKind, RemoveLeftovers, Request, leftovers,
};
use crate::units;

use super::execute::execute;
use super::exit::Stop;
use super::interrupted::journal;
use super::log::{described, entries, list};
use super::options::{ConsentArgs, Globals, ScanArgs, number};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::remedies::typed_line;
use super::{context, json as shape, passphrase};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("way").multiple(false))]
pub(super) struct RecoverArgs {
    /// The entry's number [default: list what was interrupted]
    #[arg(value_parser = number::<u64>)]
    entry: Option<u64>,
    /// Bring it to its end
    #[arg(long, group = "way", requires = "entry")]
    finish: bool,
    /// Roll back what was done of it
    #[arg(long, group = "way", requires = "entry")]
    roll_back: bool,
    /// Leave everything as it is, and do not ask again
    #[arg(long, group = "way", requires = "entry")]
    forget: bool,
    /// Remove unfinished files of processes that have ended
    #[arg(long, group = "way", conflicts_with = "entry")]
    leftovers: bool,
    #[command(flatten)]
    passphrases: PassphraseArgs,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl RecoverArgs {
    /// What is asked for, where an entry is to be brought to an end.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        match (self.entry, self.way()) {
            (Some(entry), Some(way)) => Ok(Request::Recover(RecoverEntry { entry, way })),
            _ => {
                let text = "name an entry, and say --finish, --roll-back or --forget";
                Err(Stop::Usage(text.to_owned()).into())
            }
        }
    }

    fn way(&self) -> Option<Recovery> {
        match (self.finish, self.roll_back, self.forget) {
            (true, ..) => Some(Recovery::Finish),
            (_, true, _) => Some(Recovery::RollBack),
            (.., true) => Some(Recovery::Forget),
            _ => None,
        }
    }
}

/// Lists what was interrupted, or brings one of it to an end.
pub(super) fn run(out: &mut Out, globals: Globals, args: &RecoverArgs) -> anyhow::Result<()> {
    let journal = journal()?;
    let Some(id) = args.entry else {
        let all = entries(&journal)?;
        let left = leftovers_of(&all, &args.scan.scan)?;
        if args.leftovers {
            return remove(out, globals, args.consent, left);
        }
        return list_interrupted(out, globals, all, &left);
    };
    let entry = journal.entry(id)?;
    let kind = RefusalKind::NotFound.name();
    let entry = entry.ok_or_else(|| Stop::refused(kind, format!("the log has no entry {id}")))?;
    if args.way().is_none() {
        let title = printable(&entry.title);
        let text = format!("“{title}”: say --finish, --roll-back or --forget");
        return Err(Stop::Usage(text).into());
    }
    let keys = passphrase::keys_with_new(&args.passphrases, &entry.creates)?;
    let mut context = context::around_files(&entry.files(), &args.scan.scan)?;
    context.keys = keys;
    execute(out, globals, args.consent, &context, &args.request()?)
}

/// Removes what was half made by processes that have ended.
fn remove(
    out: &mut Out,
    globals: Globals,
    consent: ConsentArgs,
    left: Vec<Leftover>,
) -> anyhow::Result<()> {
    let ended = left.into_iter().filter(|one| !one.runs);
    let files: Vec<PathBuf> = ended.map(|one| one.path).collect();
    if files.is_empty() {
        if globals.json {
            out.json(json!({ "leftovers": [] }))?;
        } else {
            out.line("nothing is left half made")?;
        }
        return Ok(());
    }
    let request = Request::RemoveLeftovers(RemoveLeftovers { files });
    execute(out, globals, consent, &context::nowhere(), &request)
}

/// What is half made in the folders that the journal speaks of, in the current one, and in those named.
fn leftovers_of(entries: &[Entry], also: &[PathBuf]) -> anyhow::Result<Vec<Leftover>> {
    let also = also.iter().map(PathBuf::as_path).chain([Path::new(".")]);
    let also: std::io::Result<Vec<PathBuf>> = also.map(std::path::absolute).collect();
    Ok(leftovers_in(entries, also?))
}

/// What is half made in these folders, and in those that the entries speak of.
pub(super) fn leftovers_in(entries: &[Entry], mut dirs: Vec<PathBuf>) -> Vec<Leftover> {
    let touched = entries.iter().flat_map(|entry| &entry.touched);
    dirs.extend(touched.filter_map(|path| path.parent().map(PathBuf::from)));
    dirs.sort();
    dirs.dedup();
    leftovers(&RealHost, &dirs)
}

fn list_interrupted(
    out: &mut Out,
    globals: Globals,
    mut all: Vec<Entry>,
    left: &[Leftover],
) -> anyhow::Result<()> {
    all.retain(|entry| entry.standing == Standing::Interrupted);
    if globals.json {
        let entries: Vec<Value> = all.iter().map(described).collect();
        let left: Vec<Value> = left
            .iter()
            .map(|one| {
                json!({
                    "path": shape::path(&one.path),
                    "bytes": one.bytes,
                    "process": one.process,
                    "running": one.runs,
                })
            })
            .collect();
        out.json(json!({ "entries": entries, "leftovers": left }))?;
        return Ok(());
    }
    list(out, globals, &all, "nothing was interrupted")?;
    for one in left {
        let (path, bytes) = (printable(&one.path), units::size(one.bytes));
        let what = match one.runs {
            true => format!("process {} may be making it", one.process),
            false => format!(
                "its process has ended: `{}` removes it",
                typed_line("recover", "--leftovers")
            ),
        };
        out.line(format_args!("half made: {path}, {bytes}, {what}"))?;
    }
    Ok(())
}
