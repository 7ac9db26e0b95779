//! `qanopy` without a command: opens the screen, or prints the tree where there is none.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use crate::forest::Index;
use crate::tui::{self, TuiOptions};

use super::args::{Globals, OpenArgs};
use super::look;
use super::out::Out;
use super::tree;

/// Shows the directories.
pub(super) fn run(out: &mut Out, globals: Globals, open: &OpenArgs) -> anyhow::Result<ExitCode> {
    if globals.json || !is_screen() {
        tree::plain(out, globals, open)?;
        return Ok(ExitCode::SUCCESS);
    }
    tui::run(TuiOptions {
        roots: look::roots(open)?,
        follow: open.look.follow,
        raw: open.look.raw,
        read_only: globals.read_only,
        ascii: globals.ascii,
        no_color: false,
        state_dir: Index::default_dir(),
    })
}

/// Whether the screen can be opened: input and output are a terminal that can do more than print.
fn is_screen() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !dumb
}
