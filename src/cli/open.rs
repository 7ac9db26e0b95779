//! `qanopy` without a command: opens the screen, or prints the tree where there is none.

use super::args::{Globals, OpenArgs};
use super::out::Out;
use super::tree;

/// Shows the directories.
pub(super) fn run(out: &mut Out, globals: Globals, open: &OpenArgs) -> anyhow::Result<()> {
    tree::plain(out, globals, open)
}
