//! `qanopy` without a command: opens the screen, or prints the tree where there is none.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use crate::forest::Index;
use crate::tui::{self, TuiOptions};

use super::options::{Globals, OpenArgs};
use super::output::Out;
use super::{config, context, tree};

/// Shows the directories; the configuration's where none are named.
pub(super) fn run(
    out: &mut Out,
    globals: Globals,
    open: &OpenArgs,
    asks_terminal: bool,
) -> anyhow::Result<ExitCode> {
    let (config, warnings) = config::of_this_run();
    let mut open = open.clone();
    if open.dirs.is_empty() {
        open.dirs.clone_from(&config.roots);
    }
    open.look.follow |= config.follow;
    open.look.raw |= config.raw;
    if globals.json || !is_screen() {
        config::complain(&warnings);
        tree::plain(out, globals, &open)?;
        return Ok(ExitCode::SUCCESS);
    }
    tui::run(TuiOptions {
        roots: context::roots(&open)?,
        follow: open.look.follow,
        raw: open.look.raw,
        read_only: globals.read_only,
        ascii: globals.charset(),
        asks_terminal,
        config,
        warnings,
        state_dir: Index::default_dir(),
    })
}

/// Whether the screen can be opened: input and output are a terminal that can do more than print.
fn is_screen() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !dumb
}
