//! `qanopy snapshot`: the internal snapshots of an image, listed, taken, applied, deleted, copied out.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::host::{Access, Host, RealHost, printable, printable_bytes};
use crate::image::{self, Keys, Snapshot};
use crate::ops::{ChangeSnapshot, ExtractAs, Request, SnapshotAction, SnapshotName};

use super::args::{ExtractArg, Globals, SnapshotArgs, SnapshotCommand};
use super::execute::execute;
use super::output::Out;
use super::{context, info, passphrase, reading};
use crate::units;

/// Carries out one of the commands on snapshots.
pub(super) fn run(out: &mut Out, globals: Globals, command: SnapshotCommand) -> anyhow::Result<()> {
    let mut keys = Keys::none();
    let (image, action, also, consent) = match command {
        SnapshotCommand::List { image } => return list(out, globals, &image),
        SnapshotCommand::Create {
            image,
            name,
            consent,
        } => (image, SnapshotAction::Create { name }, Vec::new(), consent),
        SnapshotCommand::Apply {
            which,
            dependants,
            scan,
            consent,
        } => {
            let snapshot = name_of(&which);
            let action = SnapshotAction::Apply {
                snapshot,
                dependants: dependants.into(),
            };
            (which.image, action, scan.scan, consent)
        }
        SnapshotCommand::Delete { which, consent } => {
            let snapshot = name_of(&which);
            let action = SnapshotAction::Delete { snapshot };
            (which.image, action, Vec::new(), consent)
        }
        SnapshotCommand::Extract {
            which,
            new,
            form,
            passphrases,
            scan,
            consent,
        } => {
            keys = passphrase::keys(&passphrases)?;
            let form = match form {
                ExtractArg::Qcow2 => ExtractAs::Qcow2,
                ExtractArg::Raw => ExtractAs::Raw,
                ExtractArg::Overlay => ExtractAs::Overlay,
            };
            let snapshot = name_of(&which);
            let action = SnapshotAction::Extract {
                snapshot,
                new,
                form,
            };
            (which.image, action, scan.scan, consent)
        }
    };
    let mut context = context::around(std::slice::from_ref(&image), &also)?;
    context.keys = keys;
    let request = Request::Snapshot(ChangeSnapshot { image, action });
    execute(out, globals, consent, &context, &request)
}

fn name_of(which: &SnapshotArgs) -> SnapshotName {
    reading::named(which.snapshot.clone(), which.id)
}

fn list(out: &mut Out, globals: Globals, path: &Path) -> anyhow::Result<()> {
    let file = RealHost
        .open(path, Access::Read)
        .with_context(|| format!("cannot open {}", printable(path)))?;
    let header = image::read_header(path, file.as_ref())?;
    let snapshots = image::snapshots(path, file.as_ref(), &header)?;
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
        return Ok(out.json(&Value::Array(all.collect()))?);
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
