//! `qanopy completions` and `qanopy man`: what shells and readers of manuals want to know, made from
//! the definitions of the commands themselves.

use anyhow::Context as _;
use clap::Command;
use clap_complete::Shell;

use super::output::Out;

/// Prints a shell's completions.
pub(super) fn completions(out: &mut Out, mut program: Command, shell: Shell) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut program, "qanopy", &mut bytes);
    print(out, bytes)
}

/// Prints the manual page: the program, then each command.
pub(super) fn man(out: &mut Out, mut command: Command) -> anyhow::Result<()> {
    command.build();
    let mut bytes = Vec::new();
    let page = clap_mangen::Man::new(command.clone());
    page.render_title(&mut bytes)?;
    page.render_name_section(&mut bytes)?;
    page.render_synopsis_section(&mut bytes)?;
    page.render_description_section(&mut bytes)?;
    page.render_options_section(&mut bytes)?;
    bytes.extend(b".SH COMMANDS\n");
    sections(&command, &mut bytes)?;
    page.render_extra_section(&mut bytes)?;
    page.render_version_section(&mut bytes)?;
    print(out, bytes)
}

/// A part for each command that is not hidden, and for each of its own.
fn sections(command: &Command, bytes: &mut Vec<u8>) -> anyhow::Result<()> {
    let seen = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    for sub in command.get_subcommands().filter(seen) {
        let name = sub.get_bin_name().unwrap_or(sub.get_name());
        bytes.extend(format!(".SS \"{name}\"\n").as_bytes());
        let page = clap_mangen::Man::new(sub.clone());
        let mut parts = Vec::new();
        page.render_description_section(&mut parts)?;
        page.render_options_section(&mut parts)?;
        let text = String::from_utf8(parts).context("a manual page is not text")?;
        // Sections of their own become parts of this one.
        let lines = text
            .lines()
            .filter(|line| {
                *line != ".SH DESCRIPTION" && !line.starts_with(".ie ") && !line.starts_with(".el ")
            })
            .map(|line| if line == ".SH OPTIONS" { ".PP" } else { line });
        for line in lines {
            bytes.extend(line.as_bytes());
            bytes.push(b'\n');
        }
        sections(sub, bytes)?;
    }
    Ok(())
}

fn print(out: &mut Out, bytes: Vec<u8>) -> anyhow::Result<()> {
    let text = String::from_utf8(bytes).context("what was made is not text")?;
    Ok(out.text(&text)?)
}
