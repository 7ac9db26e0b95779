//! `qanopy scan`: what a scan of folders meets, line by line, for another qanopy that shows it beside its own images.
//! Nobody types it.

use std::io::{self, Write};
use std::path::{Component, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::forest::{Scan, ScanEvent, ScanOptions, far};
use crate::host::RealHost;

use super::context;
use super::exit::{FileError, Stop};
use super::options::{Globals, OpenArgs};

#[derive(Debug, Args)]
pub(super) struct ScanArgs {
    #[command(flatten)]
    open: OpenArgs,
}

/// Tells what it meets, to the end.
pub(super) fn run(globals: Globals, args: &ScanArgs) -> anyhow::Result<()> {
    if globals.json {
        let text = "scan prints lines for another qanopy: tree has --json".to_owned();
        return Err(Stop::Usage(text).into());
    }
    let roots = context::roots(&args.open)?;
    let options = ScanOptions {
        roots: roots.into_iter().map(plain).collect::<Result<_, _>>()?,
        follow: args.open.look.follow,
        raw: args.open.look.raw,
    };
    let scan = Scan::start(Arc::new(RealHost), options);
    let mut out = io::stdout().lock();
    for mut event in scan.events() {
        if globals.read_only
            && let ScanEvent::Found(files) = &mut event
        {
            // Nobody is talked into a write here.
            let shared = files.iter_mut().filter_map(|file| file.sharing.as_mut());
            shared.for_each(|sharing| sharing.is_read_only = true);
        }
        out.write_all(&far::lines(&event)?)?;
        out.flush()?;
        if matches!(event, ScanEvent::Done(_)) {
            break;
        }
    }
    Ok(())
}

/// A folder by a name that goes nowhere up: who reads the lines takes nothing that does.
fn plain(root: PathBuf) -> Result<PathBuf, FileError> {
    let goes_up = root.components().any(|part| part == Component::ParentDir);
    match goes_up {
        true => root.canonicalize().map_err(FileError::at("find", &root)),
        false => Ok(root),
    }
}
