//! `qanopy redo`: does again what was taken back last, or an entry of the log that was taken back.

use clap::Args;

use crate::ops::undo::taken_back_last;
use crate::ops::{RedoEntry, Request};

use super::execute::execute;
use super::interrupted::journal;
use super::log::entries;
use super::options::Globals;
use super::output::Out;
use super::undo::UndoArgs;

#[derive(Debug, Args)]
pub(super) struct RedoArgs {
    #[command(flatten)]
    which: UndoArgs,
}

impl RedoArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Redo(RedoEntry {
            entry: self.which.entry,
            folders: self.which.folders()?,
        }))
    }
}

/// Does again what was taken back.
pub(super) fn run(out: &mut Out, globals: Globals, args: &RedoArgs) -> anyhow::Result<()> {
    let all = entries(&journal()?)?;
    let entry = match args.which.entry {
        Some(id) => all.iter().find(|one| one.id == id),
        None => taken_back_last(&all, &args.which.folders()?),
    };
    let files = entry.map(|entry| entry.files()).unwrap_or_default();
    let context = args.which.context(&files)?;
    execute(out, globals, args.which.consent, &context, &args.request()?)
}
