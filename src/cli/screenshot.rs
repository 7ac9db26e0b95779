//! `qanopy screenshot`: the screen as an SVG picture, as README.md shows it.

use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;

use crate::host::RealHost;
use crate::ops;
use crate::tui::TuiOptions;
use crate::tui::svg::{self, Screen};

use super::options::Globals;
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct ScreenshotArgs {
    /// What to show [default: the demo's forests, in a directory that is removed again]
    dir: Option<PathBuf>,
    /// What is open: tree, diagram, help, commit, discard, health, map or job
    #[arg(long, value_parser = view, default_value = "tree")]
    view: Screen,
    /// The image the cursor is on, by its file name
    #[arg(long, value_name = "NAME")]
    at: Option<String>,
    /// Columns of the screen
    #[arg(long, default_value_t = 120)]
    width: u16,
    /// Rows of the screen
    #[arg(long, default_value_t = 30)]
    height: u16,
}

/// Prints the picture of the directory named, or of the demo's forests.
pub(super) fn run(out: &mut Out, globals: Globals, args: ScreenshotArgs) -> anyhow::Result<()> {
    let (dir, _demo) = match args.dir {
        Some(dir) => (dir, None),
        None => {
            // Always of one name, since the picture shows it; removed when dropped.
            let demo = tempfile::Builder::new()
                .prefix("qanopy-demo")
                .rand_bytes(0)
                .tempdir()
                .context("cannot make the demo's directory")?;
            ops::demo(&RealHost, demo.path())?;
            (demo.path().to_path_buf(), Some(demo))
        }
    };
    let options = TuiOptions {
        roots: vec![dir],
        read_only: globals.read_only,
        ascii: globals.ascii,
        ..TuiOptions::default()
    };
    let size = (args.width, args.height);
    let picture = svg::screen(&options, size, args.view, args.at.as_deref())?;
    Ok(out.text(&picture)?)
}

/// The view of that name.
pub(super) fn view(name: &str) -> Result<Screen, String> {
    let mut known = Screen::NAMES.into_iter();
    known.find(|(known, _)| *known == name).map_or_else(
        || {
            let names = Screen::NAMES.map(|(name, _)| name).join(", ");
            Err(format!("{name:?} is none of {names}"))
        },
        |(_, screen)| Ok(screen),
    )
}
