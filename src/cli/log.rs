//! `qanopy log`, `undo` and `recover`: what was done, taking it back, and what was interrupted.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::forest::Index;
use crate::host::{RealHost, printable};
use crate::ops::journal::{Entry, Journal, Standing};
use crate::ops::undo::{newest, taken_back_last};
use crate::ops::{
    Context, Leftover, RecoverEntry, Recovery, RedoEntry, RemoveLeftovers, Request, UndoEntry,
    leftovers,
};

use super::args::{Globals, LogArgs, RecoverArgs, UndoArgs};
use super::execute::execute;
use super::exit::Stop;
use super::output::{Out, complain};
use super::{context, json as shape, passphrase};
use crate::units;

fn journal() -> anyhow::Result<Journal> {
    let dir = Index::default_dir().context("there is no directory for what is remembered")?;
    Ok(Journal::at(&dir))
}

fn entries(journal: &Journal) -> anyhow::Result<Vec<Entry>> {
    let path = printable(journal.path());
    journal
        .entries()
        .with_context(|| format!("cannot read {path}"))
}

/// Prints the newest entries.
pub(super) fn run(out: &mut Out, globals: Globals, args: &LogArgs) -> anyhow::Result<()> {
    let entries = entries(&journal()?)?;
    let newest = entries.split_at(entries.len().saturating_sub(args.last)).1;
    list(out, globals, newest, "nothing was done yet")
}

/// Prints entries, or `nothing` where there are none.
fn list(out: &mut Out, globals: Globals, entries: &[Entry], nothing: &str) -> anyhow::Result<()> {
    if globals.json {
        let all: Vec<Value> = entries.iter().map(described).collect();
        out.json(&json!({ "entries": all }))?;
        return Ok(());
    }
    for entry in entries {
        let text = match &entry.standing {
            Standing::Done(summary) => summary.clone(),
            Standing::Failed(why) => format!("failed: {why}"),
            other => format!("{}: {}", word(other), entry.title),
        };
        let when = SystemTime::now()
            .duration_since(entry.begun)
            .map_or_else(|_| String::new(), |age| format!("{} ago", units::age(age)));
        out.line(format_args!(
            "{:>4}  {when:>14}  {}",
            entry.id,
            printable(text)
        ))?;
    }
    if entries.is_empty() {
        out.line(nothing)?;
    }
    Ok(())
}

fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Running => "running",
        Standing::Interrupted => "interrupted",
        Standing::Done(_) => "done",
        Standing::Failed(_) => "failed",
        Standing::Undone => "taken back",
        Standing::Settled => "over",
    }
}

fn described(entry: &Entry) -> Value {
    let touched: Vec<Value> = entry.touched.iter().map(|path| shape::path(path)).collect();
    let text = match &entry.standing {
        Standing::Done(text) | Standing::Failed(text) => Some(text),
        _ => entry.why.as_ref(),
    };
    json!({
        "id": entry.id,
        "time": entry.begun.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        "title": entry.title,
        "standing": word(&entry.standing),
        "text": text,
        "undoable": entry.undo.is_some() && matches!(entry.standing, Standing::Done(_)),
        "redoable": entry.standing == Standing::Undone,
        "can-roll-back": entry.may_be_rolled_back(),
        "touched": touched,
    })
}

/// Says on standard error what was interrupted before, if anything was.
pub(super) fn tell_interrupted() {
    let Some(entries) = journal()
        .ok()
        .and_then(|journal| journal.interrupted().ok())
    else {
        return;
    };
    for entry in entries {
        let (id, title) = (entry.id, printable(&entry.title));
        complain(format_args!(
            "note: “{title}” was interrupted: `qanopy recover {id} --finish` does it to the end{}",
            if entry.may_be_rolled_back() {
                ", `--roll-back` takes it back"
            } else {
                ""
            }
        ));
    }
}

/// Takes an operation back.
pub(super) fn undo(out: &mut Out, globals: Globals, args: &UndoArgs) -> anyhow::Result<()> {
    let all = entries(&journal()?)?;
    let folders = folders_of(args)?;
    let entry = match args.entry {
        Some(id) => all.iter().find(|one| one.id == id),
        None => newest(&all, &folders).0,
    };
    let context = about(args, entry.map_or(&[], |entry| &entry.touched))?;
    let request = Request::Undo(UndoEntry {
        entry: args.entry,
        folders,
    });
    execute(out, globals, args.consent, &context, &request)
}

/// Does again what was taken back.
pub(super) fn redo(out: &mut Out, globals: Globals, args: &UndoArgs) -> anyhow::Result<()> {
    let all = entries(&journal()?)?;
    let folders = folders_of(args)?;
    let entry = match args.entry {
        Some(id) => all.iter().find(|one| one.id == id),
        None => taken_back_last(&all, &folders),
    };
    let files = entry.map(|entry| entry.files()).unwrap_or_default();
    let context = about(args, &files)?;
    let request = Request::Redo(RedoEntry {
        entry: args.entry,
        folders,
    });
    execute(out, globals, args.consent, &context, &request)
}

fn folders_of(args: &UndoArgs) -> anyhow::Result<Vec<PathBuf>> {
    let folders = args.dir.iter().map(std::path::absolute);
    Ok(folders.collect::<Result<_, _>>()?)
}

fn about(args: &UndoArgs, files: &[PathBuf]) -> anyhow::Result<Context> {
    let keys = passphrase::keys(&args.passphrases)?;
    let mut context = around(files, &args.scan.scan)?;
    context.keys = keys;
    Ok(context)
}

/// The forest around those of the files that are there.
fn around(touched: &[PathBuf], also: &[PathBuf]) -> anyhow::Result<Context> {
    let mut images: Vec<PathBuf> = Vec::new();
    let mut folders: Vec<PathBuf> = also.to_vec();
    for path in touched {
        if path.is_file() {
            images.push(path.clone());
        } else if let Some(dir) = path.parent().filter(|dir| dir.is_dir()) {
            folders.push(dir.to_path_buf());
        }
    }
    folders.sort();
    folders.dedup();
    context::around(&images, &folders)
}

/// What is half made in the folders that the journal speaks of, in the current one, and in those named.
fn leftovers_of(entries: &[Entry], also: &[PathBuf]) -> anyhow::Result<Vec<Leftover>> {
    let mut dirs: Vec<PathBuf> = entries
        .iter()
        .flat_map(|entry| &entry.touched)
        .filter_map(|path| path.parent().map(PathBuf::from))
        .collect();
    for dir in also.iter().map(PathBuf::as_path).chain([Path::new(".")]) {
        dirs.push(std::path::absolute(dir)?);
    }
    dirs.sort();
    dirs.dedup();
    Ok(leftovers(&RealHost, &dirs))
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
        out.json(&json!({ "entries": entries, "leftovers": left }))?;
        return Ok(());
    }
    list(out, globals, &all, "nothing was interrupted")?;
    for one in left {
        let (path, bytes) = (printable(&one.path), units::size(one.bytes));
        let what = match one.runs {
            true => format!("process {} may be making it", one.process),
            false => "its process has ended: `qanopy recover --leftovers` removes it".to_owned(),
        };
        out.line(format_args!("half made: {path}, {bytes}, {what}"))?;
    }
    Ok(())
}

/// Lists what was interrupted, or brings one of it to an end.
pub(super) fn recover(out: &mut Out, globals: Globals, args: &RecoverArgs) -> anyhow::Result<()> {
    let journal = journal()?;
    let Some(id) = args.entry else {
        let all = entries(&journal)?;
        let left = leftovers_of(&all, &args.scan.scan)?;
        if args.leftovers {
            let files: Vec<PathBuf> = left
                .into_iter()
                .filter(|one| !one.runs)
                .map(|one| one.path)
                .collect();
            if files.is_empty() {
                if globals.json {
                    out.json(&json!({ "leftovers": [] }))?;
                } else {
                    out.line("nothing is left half made")?;
                }
                return Ok(());
            }
            let request = Request::RemoveLeftovers(RemoveLeftovers { files });
            return execute(out, globals, args.consent, &context::nowhere(), &request);
        }
        return list_interrupted(out, globals, all, &left);
    };
    let entry = journal.entry(id)?;
    let entry = entry.ok_or_else(|| anyhow::anyhow!("the journal has no entry {id}"))?;
    let way = match (args.finish, args.roll_back, args.forget) {
        (true, ..) => Recovery::Finish,
        (_, true, _) => Recovery::RollBack,
        (.., true) => Recovery::Forget,
        _ => {
            let title = printable(&entry.title);
            return Err(
                Stop::Usage(format!("“{title}”: say --finish, --roll-back or --forget")).into(),
            );
        }
    };
    let keys = passphrase::keys_with_new(&args.passphrases, &entry.creates)?;
    let mut context = around(&entry.files(), &args.scan.scan)?;
    context.keys = keys;
    let request = Request::Recover(RecoverEntry { entry: id, way });
    execute(out, globals, args.consent, &context, &request)
}
