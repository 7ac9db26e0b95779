//! `qanopy contents`: what is in an image: its partitions, filesystems and operating system.

use clap::Args;
use serde_json::json;

use crate::guest::system::System;
use crate::inside::{self, VolumeContents};
use crate::units;

use super::guest_image::{GIVES_PASSPHRASE, GuestImageArgs, time_text};
use super::options::Globals;
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct ContentsArgs {
    #[command(flatten)]
    image: GuestImageArgs,
}

/// Prints what is in it.
pub(super) fn run(out: &mut Out, globals: Globals, args: &ContentsArgs) -> anyhow::Result<()> {
    let view = args.image.view()?;
    let contents = inside::contents(&view)?;
    if globals.json {
        return Ok(out.json(json!({
            "scheme": contents.scheme.name(),
            "system": contents.system().map(system),
            "volumes": contents.volumes.iter().map(volume).collect::<Vec<_>>(),
        }))?);
    }
    if let Some(system) = contents.system() {
        out.line(&system.name)?;
        for (what, value) in [("hostname", &system.hostname), ("version", &system.version)] {
            if let Some(value) = value {
                out.line(format_args!("  {what:<9} {value}"))?;
            }
        }
        out.line(format_args!(
            "  {:<9} {}",
            "changed",
            time_text(system.written)
        ))?;
    }
    let heading = ["VOLUME", "SIZE", "FILESYSTEM", "USED", "LABEL", "UUID"].map(str::to_owned);
    let rows = contents.volumes.iter().map(|volume| {
        let used = match (volume.used, volume.total) {
            (Some(used), Some(total)) => format!("{} of {}", units::size(used), units::size(total)),
            _ => "-".to_owned(),
        };
        let dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        [
            volume.name.clone(),
            units::size(volume.len),
            match volume.encryption.filter(|_| !volume.is_locked) {
                Some(how) => format!("{} in {how}", volume.kind),
                None => volume.kind.clone(),
            },
            used,
            dash(&volume.label),
            dash(&volume.uuid),
        ]
    });
    out.table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())?;
    for volume in &contents.volumes {
        if volume.is_locked {
            let name = &volume.name;
            out.line(format_args!("{name}: {GIVES_PASSPHRASE}"))?;
        }
        if let Some(caution) = &volume.caution {
            out.line(format_args!("{}: {caution}", volume.name))?;
        }
    }
    Ok(())
}

fn volume(volume: &VolumeContents) -> serde_json::Value {
    json!({
        "name": volume.name,
        "bytes": volume.len,
        "kind": volume.kind,
        "is-read": volume.is_read,
        "encryption": volume.encryption,
        "is-locked": volume.is_locked,
        "label": volume.label,
        "uuid": volume.uuid,
        "total": volume.total,
        "used": volume.used,
        "written": volume.written.map(units::utc),
        "caution": volume.caution,
    })
}

fn system(system: &System) -> serde_json::Value {
    json!({
        "id": system.id,
        "name": system.name,
        "version": system.version,
        "hostname": system.hostname,
    })
}
