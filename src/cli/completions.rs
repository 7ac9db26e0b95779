//! `qanopy completions`: what shells want to know, made from the definitions of the commands themselves.

use anyhow::Context as _;
use clap::Command;
use clap_complete::Shell;

use super::output::Out;

/// Prints a shell's completions.
pub(super) fn print(out: &mut Out, mut program: Command, shell: Shell) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut program, "qanopy", &mut bytes);
    let text = String::from_utf8(bytes).context("what was made is not text")?;
    Ok(out.text(&text)?)
}
