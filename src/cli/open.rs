//! `qanopy` without a command: opens the screen, or prints the tree where there is none.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Args;

use crate::fleet::FarFolders;
use crate::forest::Index;
use crate::tui::config::Config;
use crate::tui::{self, TuiOptions};

use super::hosts::peers;
use super::options::{Globals, OpenArgs};
use super::output::{self, Out};
use super::{config, context, tree};

/// How the folders are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(super) struct FaceArgs {
    /// Use lines of text instead of a screen: for screen readers, plain terminals and pipes
    #[arg(long, conflicts_with = "json")]
    pub(super) plain: bool,
    /// Do not ask the terminal whether its background is light and how wide signs are
    #[arg(long)]
    pub(super) no_query: bool,
}

/// How they are shown, and what there is to know of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Face {
    /// Line by line.
    pub(super) plain: bool,
    /// The terminal is asked nothing.
    pub(super) no_query: bool,
    /// They hold the sample forests.
    pub(super) is_demo: bool,
    /// The tour begins at once.
    pub(super) tour: bool,
}

impl From<FaceArgs> for Face {
    fn from(args: FaceArgs) -> Self {
        Self {
            plain: args.plain,
            no_query: args.no_query,
            ..Self::default()
        }
    }
}

/// Shows the folders; the configuration's where none are named.
pub(super) fn run(
    out: &mut Out,
    globals: Globals,
    open: &OpenArgs,
    face: Face,
) -> anyhow::Result<ExitCode> {
    let (config, warnings) = config::of_this_run();
    let mut open = open.clone();
    if open.dirs.is_empty() {
        open.dirs.clone_from(&config.roots);
    }
    open.look.follow |= config.follow;
    open.look.raw |= config.raw;
    if !face.plain && (globals.json || !is_screen()) {
        config::complain(&warnings);
        tree::plain(out, globals, &open)?;
        if !globals.json && is_terminal() {
            out.flush()?;
            output::complain(
                "This terminal cannot show the screen: `qanopy --plain` talks line by line.",
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let options = options(globals, &open, face, config, warnings)?;
    match face.plain {
        true => tui::run_plain(&options),
        false => tui::run(options),
    }
}

/// Shows folders of hosts on the screen, beside those of this machine that are named as well.
pub(super) fn beside_hosts(
    globals: Globals,
    here: &OpenArgs,
    hosts: Vec<FarFolders>,
    no_query: bool,
) -> anyhow::Result<ExitCode> {
    let (config, warnings) = config::of_this_run();
    let face = Face {
        no_query,
        ..Face::default()
    };
    let has_folders = !here.dirs.is_empty();
    let named = hosts.iter().map(|one| one.to.name.as_str());
    let peers = peers::of(&config.hosts, named);
    let mut options = options(globals, here, face, config, warnings)?;
    // Where only hosts are named, the current folder is not meant.
    options.roots.retain(|_| has_folders);
    options.hosts = hosts;
    options.peers = peers;
    tui::run(options)
}

fn options(
    globals: Globals,
    open: &OpenArgs,
    face: Face,
    config: Config,
    warnings: Vec<String>,
) -> anyhow::Result<TuiOptions> {
    Ok(TuiOptions {
        roots: context::roots(open)?,
        hosts: Vec::new(),
        follow: open.look.follow,
        raw: open.look.raw,
        read_only: globals.read_only,
        ascii: globals.charset(),
        asks_terminal: !face.no_query,
        is_demo: face.is_demo,
        tour: face.tour,
        peers: peers::of(&config.hosts, []),
        config,
        warnings,
        state_dir: Index::default_dir(),
    })
}

/// Whether the screen can be opened: input and output are a terminal that can do more than print.
pub(super) fn is_screen() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    is_terminal() && !dumb
}

fn is_terminal() -> bool {
    io::stdout().is_terminal() && io::stdin().is_terminal()
}
