//! `qanopy redefine`: changes what the definition of a machine says of one of its disks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::host::RealHost;
use crate::machines::{Machines, Places};
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

    /// The files that the machine has as its disks.
    fn disks(&self) -> Vec<PathBuf> {
        let machines = Machines::ask(Places::here(Arc::new(RealHost), Vec::new()));
        let named = machines.list().iter().filter(|machine| {
            machine.name == self.machine || machine.id.as_ref() == Some(&self.machine)
        });
        let disks = named.flat_map(|machine| &machine.disks);
        let files = disks.map(|disk| disk.file.path.clone());
        files.filter(|path| is_below_a_folder(path)).collect()
    }
}

/// What lies beside a device is none of its layers.
fn is_below_a_folder(path: &Path) -> bool {
    !path.starts_with("/dev")
}

/// Changes the definition.
pub(super) fn run(out: &mut Out, globals: Globals, args: &RedefineArgs) -> anyhow::Result<()> {
    let mut files = args.disks();
    files.extend(args.source.clone());
    let context = context::around_files(&files, &args.scan.scan)?;
    execute(out, globals, args.consent, &context, &args.request()?)
}
