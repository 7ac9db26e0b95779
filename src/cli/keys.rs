//! `qanopy keys`: the table of keys as README.md shows it.

use crate::tui::keymap;

use super::output::Out;

/// Prints the table.
pub(super) fn run(out: &mut Out) -> anyhow::Result<()> {
    Ok(out.line(keymap::markdown_table().trim_end())?)
}
