//! `qanopy trash`: what was discarded, listed, brought back, or deleted for good.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use crate::host::printable;
use crate::ops::trash::{self, Entry};
use crate::ops::{Context, EmptyTrash, LookedIn, Request, Restore};

use super::context;
use super::execute::execute;
use super::json::path;
use super::options::{ConsentArgs, Globals};
use super::output::{self, Out};
use crate::units;

/// Where trashes are looked for.
#[derive(Debug, Clone, Args)]
pub(super) struct TrashDirs {
    /// Also look in the trash of the filesystem this folder is on
    #[arg(long, value_name = "DIR")]
    dir: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum TrashCommand {
    /// List what is in the trash
    List {
        #[command(flatten)]
        dirs: TrashDirs,
    },
    #[command(flatten)]
    Change(TrashChange),
}

#[derive(Debug, Subcommand)]
pub(super) enum TrashChange {
    /// Bring images back to where they were
    #[command(group = ArgGroup::new("what").required(true).multiple(false))]
    Restore {
        /// Entries, by the names that `trash list` shows
        #[arg(value_name = "NAME", group = "what")]
        entries: Vec<String>,
        /// Everything in the trash
        #[arg(long, group = "what")]
        all: bool,
        #[command(flatten)]
        dirs: TrashDirs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Delete what is in the trash, for good
    Empty {
        /// Only these entries, by the names that `trash list` shows [default: all]
        #[arg(value_name = "NAME")]
        entries: Vec<String>,
        #[command(flatten)]
        dirs: TrashDirs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
}

impl TrashChange {
    /// What is asked for; `everything` gives the names of all that is in the trash.
    pub(super) fn request(
        &self,
        everything: impl FnOnce() -> Vec<String>,
    ) -> anyhow::Result<Request> {
        Ok(match self {
            Self::Restore { all: true, .. } => Request::Restore(Restore {
                entries: everything(),
            }),
            Self::Restore { entries, .. } => Request::Restore(Restore {
                entries: entries.clone(),
            }),
            Self::Empty { entries, .. } if entries.is_empty() => Request::EmptyTrash(EmptyTrash {
                entries: everything(),
            }),
            Self::Empty { entries, .. } => Request::EmptyTrash(EmptyTrash {
                entries: entries.clone(),
            }),
        })
    }

    /// Where trashes are looked for, and how the change is agreed to.
    fn of(&self) -> (&TrashDirs, ConsentArgs) {
        match self {
            Self::Restore { dirs, consent, .. } | Self::Empty { dirs, consent, .. } => {
                (dirs, *consent)
            }
        }
    }
}

/// Carries out one of the trash's commands.
pub(super) fn run(out: &mut Out, globals: Globals, command: &TrashCommand) -> anyhow::Result<()> {
    let change = match command {
        TrashCommand::List { dirs } => return list(out, globals, dirs),
        TrashCommand::Change(change) => change,
    };
    let (dirs, consent) = change.of();
    let context = context_of(dirs);
    let request = change.request(|| all_names(&context))?;
    match &request {
        Request::Restore(Restore { entries }) | Request::EmptyTrash(EmptyTrash { entries })
            if entries.is_empty() =>
        {
            nothing(out, globals)
        }
        _ => execute(out, globals, consent, &context, &request),
    }
}

/// The trashes in use are noted in the state folder; the current folder and those named are
/// searched as well.
fn context_of(dirs: &TrashDirs) -> Context {
    let mut context = context::nowhere();
    let mut below = dirs.dir.clone();
    below.push(PathBuf::from("."));
    context.looked_in = LookedIn::within(below);
    context
}

fn entries(context: &Context) -> Vec<Entry> {
    trash::list(
        context.host.as_ref(),
        context.state_dir.as_deref(),
        &context.looked_in.dirs(),
    )
}

fn all_names(context: &Context) -> Vec<String> {
    entries(context)
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

fn nothing(out: &mut Out, globals: Globals) -> anyhow::Result<()> {
    if globals.json {
        out.json(json!({ "entries": [] }))?;
    } else {
        out.line("The trash is empty.")?;
    }
    Ok(())
}

fn list(out: &mut Out, globals: Globals, dirs: &TrashDirs) -> anyhow::Result<()> {
    let context = context_of(dirs);
    let entries = entries(&context);
    let dirs = context.looked_in.dirs();
    let host = context.host.as_ref();
    for sentence in trash::foreign(host, context.state_dir.as_deref(), &dirs) {
        output::complain(format_args!("qanopy: {sentence}"));
    }
    if globals.json {
        let entries: Vec<Value> = entries.iter().map(describe).collect();
        return Ok(out.json(json!({ "entries": entries }))?);
    }
    if entries.is_empty() {
        return nothing(out, globals);
    }
    let now = context.host.now();
    for entry in &entries {
        let age = entry
            .discarded
            .and_then(|when| now.duration_since(when).ok())
            .map_or_else(String::new, |age| format!(", {} ago", units::age(age)));
        let reason = printable(&entry.reason);
        out.line(format_args!(
            "{}  {reason}{age}, {}",
            printable(&entry.name),
            units::size(entry.bytes())
        ))?;
        for file in &entry.files {
            out.line(format_args!(
                "    {}  {}",
                printable(&file.original),
                units::size(file.bytes)
            ))?;
        }
        for problem in &entry.problems {
            out.line(format_args!("  ! {}", printable(problem)))?;
        }
    }
    Ok(())
}

fn describe(entry: &Entry) -> Value {
    let discarded = entry
        .discarded
        .and_then(|when| when.duration_since(UNIX_EPOCH).ok())
        .map(|since| since.as_secs());
    let files: Vec<Value> = entry
        .files
        .iter()
        .map(|file| {
            json!({
                "path": path(&file.original),
                "kept-at": path(&file.kept_at),
                "actual-size": file.bytes,
                "why": file.why,
            })
        })
        .collect();
    json!({
        "name": entry.name,
        "reason": entry.reason,
        "discarded-sec": discarded,
        "files": files,
        "problems": entry.problems,
    })
}
