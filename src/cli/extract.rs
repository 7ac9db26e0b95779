//! `qanopy extract`: files and folders of a guest copied out.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::guest::extract;
use crate::guest::path::{self, LastLink};
use crate::host::printable;
use crate::inside::{self, Place};
use crate::json_text::json_name;
use crate::units;

use super::exit::{FileError, Stop};
use super::guest_image::GuestImageArgs;
use super::options::Globals;
use super::output::{self, Out};

#[derive(Debug, Args)]
pub(super) struct ExtractArgs {
    #[command(flatten)]
    image: GuestImageArgs,
    /// The files and folders; p2:/home is on another volume than that of the system
    #[arg(required = true)]
    paths: Vec<OsString>,
    /// The folder to put them into, which must be there
    #[arg(long, short = 't', value_name = "DIR", default_value = ".")]
    to: PathBuf,
}

/// Copies them. Nothing that is there is replaced; devices are left out, and so are set-user-ID rights.
pub(super) fn run(out: &mut Out, globals: Globals, args: &ExtractArgs) -> anyhow::Result<()> {
    let is_folder = args
        .to
        .metadata()
        .map_err(FileError::at("open", &args.to))?
        .is_dir();
    if !is_folder {
        return Err(Stop::Usage(format!("{} is no folder", printable(&args.to))).into());
    }
    let view = args.image.view()?;
    let mut copied = Vec::new();
    for text in &args.paths {
        let place = Place::parse(text.as_bytes());
        let (volume, filesystem) = super::guest_image::on(&place, &view)?;
        let node = path::lookup(&**filesystem, &place.path, LastLink::Keep)?;
        let name = inside::name_outside(volume, &place.path);
        let Some(to) = extract::below(&args.to, &name) else {
            return Err(Stop::Usage(format!("{} names no file", printable(text))).into());
        };
        let done = extract::extract(&**filesystem, &node, &to, &mut |_| true)?;
        copied.push((to, done));
    }
    for (_, done) in &copied {
        for (path, why) in &done.left_out {
            output::complain(format_args!("qanopy: left out {path}: {why}"));
        }
        let told = done.left_out.len() as u64;
        if done.left_out_count > told {
            let more = units::count(done.left_out_count - told, "more file");
            output::complain(format_args!("qanopy: left out {more}"));
        }
    }
    if globals.json {
        let all = copied.iter().map(|(to, done)| {
            json!({
                "to": json_name(to),
                "files": done.files,
                "folders": done.folders,
                "links": done.links,
                "bytes": done.bytes,
                "left-out": done.left_out_count,
            })
        });
        out.json(json!(all.collect::<Vec<_>>()))?;
    } else {
        for (to, done) in &copied {
            out.line(format_args!(
                "{}: {}",
                printable(to),
                inside::extracted(done)
            ))?;
        }
    }
    if copied.iter().any(|(_, done)| done.left_out_count > 0) {
        out.flush()?;
        return Err(Stop::Problems("not everything could be copied".to_owned()).into());
    }
    Ok(())
}
