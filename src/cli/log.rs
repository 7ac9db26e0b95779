//! `qanopy log`: what was done, oldest first.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use crate::host::printable;
use crate::ops::journal::{Entry, Journal, Standing};
use crate::units;

use super::exit::FileError;
use super::interrupted::journal;
use super::json as shape;
use super::options::Globals;
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// At most so many of the newest entries
    #[arg(long, default_value_t = 50, value_name = "N")]
    last: usize,
}

/// Prints the newest entries.
pub(super) fn run(out: &mut Out, globals: Globals, args: &LogArgs) -> anyhow::Result<()> {
    let entries = entries(&journal()?)?;
    let newest = entries.split_at(entries.len().saturating_sub(args.last)).1;
    list(out, globals, newest, "nothing was done yet")
}

/// All that the journal holds, oldest first.
///
/// # Errors
/// If it cannot be read.
pub(super) fn entries(journal: &Journal) -> anyhow::Result<Vec<Entry>> {
    let entries = journal.entries();
    Ok(entries.map_err(FileError::at("read", journal.path()))?)
}

/// Prints entries, or `nothing` where there are none.
pub(super) fn list(
    out: &mut Out,
    globals: Globals,
    entries: &[Entry],
    nothing: &str,
) -> anyhow::Result<()> {
    if globals.json {
        let all: Vec<Value> = entries.iter().map(described).collect();
        out.json(json!({ "entries": all }))?;
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

/// An entry as JSON.
pub(super) fn described(entry: &Entry) -> Value {
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
