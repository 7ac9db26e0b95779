//! `qanopy undo`: takes back what was done last, or an entry of the log.

use std::path::PathBuf;

use clap::Args;

use crate::ops::undo::newest;
use crate::ops::{Context, Request, UndoEntry};

use super::execute::execute;
use super::interrupted::journal;
use super::log::entries;
use super::options::{ConsentArgs, Globals, ScanArgs, number};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{context, passphrase};

#[derive(Debug, Args)]
pub(super) struct UndoArgs {
    /// The entry's number, as `log` shows it [default: the newest]
    #[arg(value_parser = number::<u64>)]
    pub(super) entry: Option<u64>,
    /// Without a number: the newest that was done in this folder or below it; may be repeated
    #[arg(long, value_name = "DIR", conflicts_with = "entry")]
    pub(super) dir: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) passphrases: PassphraseArgs,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

impl UndoArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Undo(UndoEntry {
            entry: self.entry,
            folders: self.folders()?,
        }))
    }

    /// The folders it is to be about, absolute.
    pub(super) fn folders(&self) -> anyhow::Result<Vec<PathBuf>> {
        let folders = self.dir.iter().map(std::path::absolute);
        Ok(folders.collect::<Result<_, _>>()?)
    }

    /// What an entry that is about these files may change.
    pub(super) fn context(&self, files: &[PathBuf]) -> anyhow::Result<Context> {
        let keys = passphrase::keys(&self.passphrases)?;
        let mut context = context::around_files(files, &self.scan.scan)?;
        context.keys = keys;
        Ok(context)
    }
}

/// Takes an operation back.
pub(super) fn run(out: &mut Out, globals: Globals, args: &UndoArgs) -> anyhow::Result<()> {
    let all = entries(&journal()?)?;
    let entry = match args.entry {
        Some(id) => all.iter().find(|one| one.id == id),
        None => newest(&all, &args.folders()?).0,
    };
    let context = args.context(entry.map_or(&[], |entry| &entry.touched))?;
    execute(out, globals, args.consent, &context, &args.request()?)
}
