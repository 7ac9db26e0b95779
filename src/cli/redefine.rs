//! `qanopy redefine`: changes what the definition of a machine says of one of its disks.

use std::path::PathBuf;

use clap::Args;

use crate::ops::{Redefine, RedefineAction, Request};

use super::context;
use super::execute::execute;
use super::options::{ConsentArgs, Globals, ScanArgs};
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct RedefineArgs {
    /// The machine, by its name or its UUID; it has to be off
    machine: String,
    /// The disk, as the machine calls it: vda [default: its only one]
    #[arg(long, value_name = "TARGET")]
    disk: Option<String>,
    /// The file that the disk is from now on
    #[arg(long, value_name = "FILE", required_unless_present = "unpin")]
    source: Option<PathBuf>,
    /// Take the backingStore elements out of the definition, so that the headers say what the disk is built on
    #[arg(long, conflicts_with = "source")]
    unpin: bool,
    /// The connection, where several have a machine of that name: qemu:///session
    #[arg(long, value_name = "URI")]
    connect: Option<String>,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl RedefineArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let action = match &self.source {
            Some(file) => RedefineAction::Source(file.clone()),
            None => RedefineAction::Unpin,
        };
        Ok(Request::Redefine(Redefine {
            machine: self.machine.clone(),
            connection: self.connect.clone(),
            disk: self.disk.clone(),
            action,
        }))
    }
}

/// Changes the definition.
pub(super) fn run(out: &mut Out, globals: Globals, args: &RedefineArgs) -> anyhow::Result<()> {
    let mut files = context::disks_of(&args.machine);
    files.extend(args.source.clone());
    let context = context::around_files(&files, &args.scan.scan)?;
    execute(out, globals, args.consent, &context, &args.request()?)
}
