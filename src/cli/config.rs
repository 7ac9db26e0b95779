//! `qanopy config`: where the configuration is, what holds, and whether every line of the file means
//! something.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;

use crate::host::{io_text, printable};
use crate::json_text::json_name;
use crate::tui::config::{Config, Warning};

use super::exit::{FileError, Stop};
use super::options::Globals;
use super::output::{self, Out};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the whole configuration as it holds, as a file to start from
    Print,
    /// Print where the file is looked for
    Path,
    /// Tell every line of the file that does not hold; ends with 3 if there is one
    Check,
}

/// Lines that do not hold that are told where something else was asked for.
const MOST_TOLD: usize = 5;

/// Does what is asked.
pub(super) fn run(out: &mut Out, globals: Globals, command: &ConfigCommand) -> anyhow::Result<()> {
    let path = path()?;
    match command {
        ConfigCommand::Path if globals.json => out.json(json!({ "path": json_name(&path) }))?,
        ConfigCommand::Path => out.line(printable(&path))?,
        ConfigCommand::Print => {
            let (config, warnings) = load(&path)?;
            for warning in &warnings {
                output::complain(sentence(&path, warning));
            }
            if globals.json {
                out.json(json!({ "path": json_name(&path), "toml": config.print() }))?;
            } else {
                out.text(&config.print())?;
            }
        }
        ConfigCommand::Check => {
            let (_, warnings) = load(&path)?;
            if globals.json {
                let list: Vec<_> = warnings
                    .iter()
                    .map(|warning| json!({ "line": warning.line, "text": warning.text }))
                    .collect();
                out.json(json!({ "path": json_name(&path), "warnings": list }))?;
            } else {
                for warning in &warnings {
                    out.line(sentence(&path, warning))?;
                }
                if warnings.is_empty() {
                    let is_there = path.exists();
                    out.line(if is_there {
                        format!("{}: every line holds", printable(&path))
                    } else {
                        format!(
                            "{}: there is no such file, the defaults hold",
                            printable(&path)
                        )
                    })?;
                }
            }
            out.flush()?;
            match warnings.len() {
                0 => {}
                1 => return Err(Stop::Problems("1 line does not hold".to_owned()).into()),
                n => return Err(Stop::Problems(format!("{n} lines do not hold")).into()),
            }
        }
    }
    Ok(())
}

/// What holds for this run; what is wrong with the file is told and goes no further.
pub(super) fn of_this_run() -> (Config, Vec<String>) {
    let Some(path) = Config::default_path() else {
        return (Config::default(), Vec::new());
    };
    match Config::load(&path) {
        Ok((config, warnings)) => {
            let warnings = warnings.iter().map(|warning| sentence(&path, warning));
            (config, warnings.collect())
        }
        Err(error) => {
            let text = format!(
                "{} cannot be read ({error}): the defaults hold, and nothing is changed, since it may say so",
                printable(&path),
                error = io_text(&error)
            );
            let mut config = Config::default();
            config.read_only = true;
            (config, vec![text])
        }
    }
}

/// Tells what is wrong with the configuration on standard error: the first of it.
pub(super) fn complain(warnings: &[String]) {
    for warning in warnings.iter().take(MOST_TOLD) {
        output::complain(format_args!("qanopy: {warning}"));
    }
    if warnings.len() > MOST_TOLD {
        output::complain(format_args!(
            "qanopy: `qanopy config check` tells {} more lines that do not hold",
            warnings.len() - MOST_TOLD
        ));
    }
}

fn path() -> anyhow::Result<PathBuf> {
    Config::default_path().context("there is no home directory to keep a configuration in")
}

fn load(path: &std::path::Path) -> anyhow::Result<(Config, Vec<Warning>)> {
    Ok(Config::load(path).map_err(FileError::at("read", path))?)
}

fn sentence(path: &std::path::Path, warning: &Warning) -> String {
    format!(
        "{}:{}: {}",
        printable(path),
        warning.line,
        printable(&warning.text)
    )
}
