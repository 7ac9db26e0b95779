//! `qanopy demo`: makes sample forests and opens them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::host::{RealHost, printable};
use crate::ops;

use super::exit::{READ_ONLY, Stop};
use super::open::{self, Face, FaceArgs};
use super::options::{Globals, LookArgs, OpenArgs};
use super::output::{self, Out};

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where to make them; must not exist or be empty [default: a new temporary folder]
    dir: Option<PathBuf>,
    #[command(flatten)]
    face: FaceArgs,
    /// Begin the tour: five small tasks
    #[arg(long, conflicts_with = "json")]
    tour: bool,
}

/// Makes them in the folder named, or in a new temporary one that stays.
pub(super) fn run(out: &mut Out, globals: Globals, args: DemoArgs) -> anyhow::Result<ExitCode> {
    if globals.read_only {
        return Err(Stop::refused(
            READ_ONLY,
            "the demo's images are not made, since --read-only was given",
        )
        .into());
    }
    if args.tour && !args.face.plain && !open::is_screen() {
        return Err(Stop::Usage(
            "there is no terminal that can show the tour: with --plain it is taken line by line"
                .to_owned(),
        )
        .into());
    }
    let dir = match args.dir {
        Some(dir) => dir,
        None => temporary()?,
    };
    ops::demo(&RealHost, &dir)?;
    // Not among what is printed: that is the forest, perhaps for another program.
    output::complain(format_args!("sample forests are in {}", printable(&dir)));
    let open = OpenArgs {
        dirs: vec![dir],
        look: LookArgs {
            follow: false,
            raw: false,
        },
    };
    let face = Face {
        is_demo: true,
        tour: args.tour,
        ..args.face.into()
    };
    open::run(out, globals, &open, face)
}

fn temporary() -> anyhow::Result<PathBuf> {
    let dir = tempfile::Builder::new().prefix("qanopy-demo-").tempdir();
    let dir = dir.context("cannot make a temporary folder")?;
    Ok(dir.keep())
}
