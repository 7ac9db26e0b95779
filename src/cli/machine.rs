//! `qanopy machine`: the machines of this host, which image each has as its disk, and their power.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::host::{RealHost, printable};
use crate::machines::{Disk, Machine, Machines, Places};
use crate::ops::{
    BranchMachine, CloneMachine, DiskBranch, DiskRevert, Power, PowerAction, Redefine,
    RedefineAction, Request, RevertMachine, Talks, TryImage,
};

use super::execute::execute;
use super::json::path;
use super::options::{ConsentArgs, Globals, ScanArgs};
use super::output::Out;
use super::{config, context};

/// Which machine is meant.
#[derive(Debug, Clone, Args)]
pub(super) struct WhichArgs {
    /// The machine, by its name or its UUID
    machine: String,
    /// The connection, where several have a machine of that name: qemu:///session
    #[arg(long, value_name = "URI")]
    connect: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum MachineCommand {
    /// List the machines that are defined or run here, with their disks
    List,
    #[command(flatten)]
    Change(MachineChange),
}

#[derive(Debug, Subcommand)]
pub(super) enum MachineChange {
    /// Have a machine that is off use this image as its disk, as `redefine --source` does
    Use {
        #[command(flatten)]
        which: WhichArgs,
        /// The image that its disk is from now on
        image: PathBuf,
        /// The disk, as the machine calls it: vda [default: its only one]
        #[arg(long, value_name = "TARGET")]
        disk: Option<String>,
        #[command(flatten)]
        scan: ScanArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Have a machine that is off go on in a new overlay, on what its disk is now or on another image
    Branch {
        #[command(flatten)]
        which: WhichArgs,
        /// The overlay to create [default: every disk gets one, named after what it is built on]
        new: Option<PathBuf>,
        /// Build it on this image, not on what the disk is now
        #[arg(long, value_name = "IMAGE", requires = "new")]
        on: Option<PathBuf>,
        /// The disk, as the machine calls it: vda [default: its only one]
        #[arg(long, value_name = "TARGET")]
        disk: Option<String>,
        /// Start the machine then
        #[arg(long)]
        start: bool,
        #[command(flatten)]
        scan: ScanArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Have all disks of a machine that is off go on from layers they had before; its present state is kept
    Revert {
        #[command(flatten)]
        which: WhichArgs,
        /// The layer that a disk goes on from: others that were frozen with it follow
        #[arg(long, value_name = "IMAGE")]
        to: PathBuf,
        /// What another disk goes on from: vdb=IMAGE
        #[arg(long, value_name = "TARGET=IMAGE", value_parser = layer_of_disk)]
        disk: Vec<(String, PathBuf)>,
        /// This disk stays as it is: vdb
        #[arg(long, value_name = "TARGET")]
        keep: Vec<String>,
        /// Start the machine then
        #[arg(long)]
        start: bool,
        #[command(flatten)]
        scan: ScanArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Define another machine that has what a machine that is off has, with its own name, UUID and MAC addresses
    Clone {
        #[command(flatten)]
        which: WhichArgs,
        /// The name of the new machine
        new: String,
        /// Copy its disks, instead of building both machines on them
        #[arg(long)]
        full: bool,
        /// The folder for the new disks [default: those of the disks]
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
        #[command(flatten)]
        scan: ScanArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Run a machine on an overlay that is thrown away when it ends; the image is only read
    Try {
        /// The image
        image: PathBuf,
        /// Run it as this machine of libvirt's is defined, each disk on an overlay [default: the template of the configuration]
        #[arg(long, value_name = "MACHINE")]
        like: Option<String>,
        /// The connection, where several have a machine of that name: qemu:///session
        #[arg(long, value_name = "URI", requires = "like")]
        connect: Option<String>,
        #[command(flatten)]
        scan: ScanArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Start a machine, if its disks are there and nobody else needs them as they are
    Start {
        #[command(flatten)]
        which: WhichArgs,
        #[command(flatten)]
        scan: ScanArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Ask the guest of a machine to shut down, and wait until it has
    Stop {
        #[command(flatten)]
        which: WhichArgs,
        /// End it at once, as a power cut does
        #[arg(long)]
        kill: bool,
        #[command(flatten)]
        scan: ScanArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
}

/// Reads `vdb=IMAGE`.
fn layer_of_disk(text: &str) -> Result<(String, PathBuf), String> {
    let parts = text
        .split_once('=')
        .filter(|(disk, image)| !disk.is_empty() && !image.is_empty());
    let (disk, image) = parts.ok_or("write the disk and its layer: vdb=IMAGE")?;
    Ok((disk.to_owned(), PathBuf::from(image)))
}

impl MachineChange {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let power = |which: &WhichArgs, action| {
            Request::Power(Power {
                machine: which.machine.clone(),
                connection: which.connect.clone(),
                action,
            })
        };
        Ok(match self {
            Self::Use {
                which, image, disk, ..
            } => Request::Redefine(Redefine {
                machine: which.machine.clone(),
                connection: which.connect.clone(),
                disk: disk.clone(),
                action: RedefineAction::Source(image.clone()),
            }),
            Self::Branch {
                which,
                new,
                on,
                disk,
                start,
                ..
            } => Request::BranchMachine(BranchMachine {
                machine: which.machine.clone(),
                connection: which.connect.clone(),
                disks: match (new, disk) {
                    (None, None) => Vec::new(),
                    _ => vec![DiskBranch {
                        disk: disk.clone(),
                        on: on.clone(),
                        new: new.clone(),
                    }],
                },
                start: *start,
            }),
            Self::Revert {
                which,
                to,
                disk,
                keep,
                start,
                ..
            } => {
                let of = |(disk, to): &(String, PathBuf)| DiskRevert {
                    disk: disk.clone(),
                    to: Some(to.clone()),
                };
                let stays = |disk: &String| DiskRevert {
                    disk: disk.clone(),
                    to: None,
                };
                Request::RevertMachine(RevertMachine {
                    machine: which.machine.clone(),
                    connection: which.connect.clone(),
                    to: to.clone(),
                    disks: disk.iter().map(of).chain(keep.iter().map(stays)).collect(),
                    start: *start,
                })
            }
            Self::Clone {
                which,
                new,
                full,
                folder,
                ..
            } => Request::CloneMachine(CloneMachine {
                machine: which.machine.clone(),
                connection: which.connect.clone(),
                new: new.clone(),
                full: *full,
                folder: folder.clone(),
                found: None,
            }),
            Self::Try {
                image,
                like,
                connect,
                ..
            } => Request::TryImage(TryImage {
                image: image.clone(),
                like: like.clone(),
                connection: connect.clone(),
                template: Vec::new(),
                talks: Talks::Here,
            }),
            Self::Start { which, .. } => power(which, PowerAction::Start),
            Self::Stop {
                which, kill: true, ..
            } => power(which, PowerAction::Kill),
            Self::Stop { which, .. } => power(which, PowerAction::ShutDown),
        })
    }

    /// Which machine, the images that are named besides, and how it is allowed.
    fn parts(&self) -> (Option<&str>, Vec<PathBuf>, &ScanArgs, ConsentArgs) {
        match self {
            Self::Try {
                image,
                like,
                scan,
                consent,
                ..
            } => (like.as_deref(), vec![image.clone()], scan, *consent),
            Self::Branch {
                which,
                on,
                scan,
                consent,
                ..
            } => (
                Some(&which.machine),
                on.iter().cloned().collect(),
                scan,
                *consent,
            ),
            Self::Revert {
                which,
                to,
                disk,
                scan,
                consent,
                ..
            } => {
                let others = disk.iter().map(|(_, to)| to.clone());
                let images = std::iter::once(to.clone()).chain(others);
                (Some(&which.machine), images.collect(), scan, *consent)
            }
            Self::Use {
                which,
                image,
                scan,
                consent,
                ..
            } => (Some(&which.machine), vec![image.clone()], scan, *consent),
            Self::Start {
                which,
                scan,
                consent,
            }
            | Self::Clone {
                which,
                scan,
                consent,
                ..
            }
            | Self::Stop {
                which,
                scan,
                consent,
                ..
            } => (Some(&which.machine), Vec::new(), scan, *consent),
        }
    }
}

/// Carries out one of the commands about machines.
pub(super) fn run(out: &mut Out, globals: Globals, command: &MachineCommand) -> anyhow::Result<()> {
    let MachineCommand::Change(change) = command else {
        return list(out, globals);
    };
    let (machine, images, scan, consent) = change.parts();
    let mut files = machine.map_or_else(Vec::new, context::disks_of);
    files.extend(images);
    let context = context::around_files(&files, &scan.scan)?;
    let mut request = change.request()?;
    if let Request::TryImage(it) = &mut request {
        it.template = config::of_this_run().0.template;
        if globals.json {
            it.talks = Talks::Nowhere;
        }
    }
    execute(out, globals, consent, &context, &request)
}

fn list(out: &mut Out, globals: Globals) -> anyhow::Result<()> {
    let machines = Machines::ask(Places::here(Arc::new(RealHost), Vec::new()));
    context::tell_unasked(&machines);
    if globals.json {
        let all: Vec<Value> = machines.list().iter().map(describe).collect();
        return Ok(out.json(json!({ "machines": all }))?);
    }
    if machines.list().is_empty() {
        return Ok(out.line("No machine is defined or runs here.")?);
    }
    for machine in machines.list() {
        out.line(format_args!(
            "{}  {}, {} ({})",
            printable(&machine.name),
            machine.state.name(),
            machine.product,
            printable(&machine.place)
        ))?;
        for disk in &machine.disks {
            out.line(format_args!(
                "  {}  {}{}",
                printable(&disk.target),
                printable(&disk.file.path),
                if disk.read_only { "  read-only" } else { "" }
            ))?;
        }
    }
    Ok(())
}

fn describe(machine: &Machine) -> Value {
    let disk = |disk: &Disk| {
        json!({
            "target": printable(&disk.target),
            "path": path(&disk.file.path),
            "format": disk.format,
            "read-only": disk.read_only,
            "pinned": disk.is_pinned(),
        })
    };
    json!({
        "name": printable(&machine.name),
        "product": machine.product,
        "place": printable(&machine.place),
        "id": machine.id,
        "state": machine.state.name(),
        "disks": machine.disks.iter().map(disk).collect::<Vec<_>>(),
    })
}
