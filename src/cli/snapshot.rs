//! `qanopy snapshot`: the internal snapshots of an image, listed, taken, applied, deleted, copied out.

use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::host::{Host, RealHost, printable, printable_bytes};
use crate::image::{self, Keys, Snapshot};
use crate::ops::{ChangeSnapshot, Dependants, ExtractAs, Request, SnapshotAction, SnapshotName};

use super::execute::execute;
use super::options::{ConsentArgs, DEPENDANTS, Globals, ScanArgs, Words, one_of, snapshot_named};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{context, info, passphrase, reading};
use crate::units;

/// Which internal snapshot of which image.
#[derive(Debug, Args)]
pub(super) struct SnapshotArgs {
    /// The image
    image: PathBuf,
    /// The snapshot's name
    #[arg(value_name = "NAME")]
    snapshot: OsString,
    /// NAME is the snapshot's ID, as `snapshot list` shows it
    #[arg(long)]
    id: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// List the internal snapshots of an image
    List {
        /// The image
        image: PathBuf,
    },
    #[command(flatten)]
    Change(SnapshotChange),
}

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotChange {
    /// Keep what the image shows now as a new snapshot
    Create {
        /// The image
        image: PathBuf,
        /// The new snapshot's name
        name: OsString,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Go back to a snapshot: its content replaces what the image holds now
    Apply {
        #[command(flatten)]
        which: SnapshotArgs,
        /// What becomes of images that are built on this one
        #[arg(long, value_parser = one_of(DEPENDANTS), default_value = "refuse")]
        dependants: Dependants,
        #[command(flatten)]
        scan: ScanArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Delete a snapshot; the content of the image stays the same
    Delete {
        #[command(flatten)]
        which: SnapshotArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Copy what a snapshot shows into a new image
    Extract {
        #[command(flatten)]
        which: SnapshotArgs,
        /// The file to create; an existing one is never overwritten
        new: PathBuf,
        /// Format of the new image
        #[arg(long = "as", value_parser = one_of(EXTRACTS), default_value = "qcow2")]
        form: ExtractAs,
        #[command(flatten)]
        passphrases: PassphraseArgs,
        #[command(flatten)]
        scan: ScanArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
}

/// What a snapshot is copied out as.
const EXTRACTS: &Words<ExtractAs> = &[
    (
        "qcow2",
        "A qcow2 image that is built on nothing",
        ExtractAs::Qcow2,
    ),
    ("raw", "A raw image", ExtractAs::Raw),
    (
        "overlay",
        "A qcow2 image that is built on what the image itself is built on",
        ExtractAs::Overlay,
    ),
];

impl SnapshotArgs {
    fn snapshot(&self) -> SnapshotName {
        snapshot_named(&self.snapshot, self.id)
    }
}

impl SnapshotChange {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let (image, action) = match self {
            Self::Create { image, name, .. } => {
                (image, SnapshotAction::Create { name: name.clone() })
            }
            Self::Apply {
                which, dependants, ..
            } => {
                let action = SnapshotAction::Apply {
                    snapshot: which.snapshot(),
                    dependants: *dependants,
                };
                (&which.image, action)
            }
            Self::Delete { which, .. } => {
                let snapshot = which.snapshot();
                (&which.image, SnapshotAction::Delete { snapshot })
            }
            Self::Extract {
                which, new, form, ..
            } => {
                let action = SnapshotAction::Extract {
                    snapshot: which.snapshot(),
                    new: new.clone(),
                    form: *form,
                };
                (&which.image, action)
            }
        };
        Ok(Request::Snapshot(ChangeSnapshot {
            image: image.clone(),
            action,
        }))
    }

    /// The image, where else is looked for what is built on it, and how the change is agreed to.
    fn of(&self) -> (&PathBuf, &[PathBuf], ConsentArgs) {
        match self {
            Self::Create { image, consent, .. } => (image, &[], *consent),
            Self::Delete { which, consent } => (&which.image, &[], *consent),
            Self::Apply {
                which,
                scan,
                consent,
                ..
            }
            | Self::Extract {
                which,
                scan,
                consent,
                ..
            } => (&which.image, &scan.scan, *consent),
        }
    }

    fn keys(&self) -> anyhow::Result<Keys> {
        match self {
            Self::Extract { passphrases, .. } => passphrase::keys(passphrases),
            Self::Create { .. } | Self::Apply { .. } | Self::Delete { .. } => Ok(Keys::none()),
        }
    }
}

/// Carries out one of the commands on snapshots.
pub(super) fn run(
    out: &mut Out,
    globals: Globals,
    command: &SnapshotCommand,
) -> anyhow::Result<()> {
    let change = match command {
        SnapshotCommand::List { image } => return list(out, globals, image),
        SnapshotCommand::Change(change) => change,
    };
    let (image, also, consent) = change.of();
    let keys = change.keys()?;
    let mut context = context::around(std::slice::from_ref(image), also)?;
    context.keys = keys;
    execute(out, globals, consent, &context, &change.request()?)
}

fn list(out: &mut Out, globals: Globals, path: &Path) -> anyhow::Result<()> {
    let (file, header) = reading::header(path)?;
    let snapshots = image::snapshots(&file, &header)?;
    let disk = |snapshot: &Snapshot| {
        snapshot
            .virtual_size()
            .unwrap_or_else(|| header.virtual_size())
    };
    if globals.json {
        let all = snapshots.iter().map(|snapshot| {
            let mut value = info::snapshot(snapshot);
            if let Some(map) = value.as_object_mut() {
                map.insert("disk-size".to_owned(), json!(disk(snapshot)));
            }
            value
        });
        return Ok(out.json(Value::Array(all.collect()))?);
    }
    if snapshots.is_empty() {
        out.line(format_args!(
            "{} has no internal snapshots",
            printable(path)
        ))?;
        return Ok(());
    }
    let mut rows = vec![
        [
            "ID", "NAME", "TAKEN", "DISK", "VM STATE", "VM CLOCK", "ICOUNT",
        ]
        .map(str::to_owned),
    ];
    rows.extend(snapshots.iter().map(|snapshot| {
        [
            printable_bytes(&snapshot.id),
            printable_bytes(&snapshot.name),
            taken(snapshot),
            units::size(disk(snapshot)),
            match snapshot.vm_state_size() {
                0 => "-".to_owned(),
                bytes => units::size(bytes),
            },
            clock(snapshot.vm_clock_nanoseconds),
            snapshot
                .icount()
                .map_or_else(|| "-".to_owned(), |count| count.to_string()),
        ]
    }));
    Ok(out.table(&rows)?)
}

/// How long ago it was taken.
fn taken(snapshot: &Snapshot) -> String {
    let date = UNIX_EPOCH + Duration::from_secs(snapshot.date_seconds.into());
    match RealHost.now().duration_since(date) {
        Ok(age) => format!("{} ago", units::age(age)),
        Err(_) => "in the future".to_owned(),
    }
}

/// `1:02:03.004`: how long the guest had run.
fn clock(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let millis = nanoseconds / 1_000_000 % 1000;
    format!(
        "{}:{:02}:{:02}.{millis:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clock_is_told_in_hours() {
        assert_eq!(clock(0), "0:00:00.000");
        assert_eq!(clock(3_723_004_000_000), "1:02:03.004");
    }
}
