//! `qanopy agent`: the other side of a connection. It is started by another qanopy; what it runs are command lines of
//! this program, each in a process of its own.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use clap::Args;

use crate::fleet::{self, Rules, Run};
use crate::host::{confine_to, keep_out_of_dumps, printable};

use super::exit::{FileError, Stop};
use super::hosts::{names_file, permitted, permitted_within, rebuilt};
use super::options::Globals;
use super::program;

/// Says to a process that an agent started it to look at one folder only, and at which.
const WITHIN: &str = "QANOPY_WITHIN";
/// What a process that may look at one folder only is not told.
const NOT_WITHIN: [&str; 5] = [
    "--follow",
    "--repair",
    "--put-back",
    "--passphrase-file",
    "--new-passphrase-file",
];

#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// Let nothing outside this folder be named; needs --read-only
    #[arg(long, value_name = "DIR")]
    restrict: Option<PathBuf>,
}

/// Serves whoever is at the other end of standard input and output, until that ends.
pub(super) fn run(globals: Globals, args: &AgentArgs) -> anyhow::Result<()> {
    if args.restrict.is_some() && !globals.read_only {
        let text = "--restrict needs --read-only".to_owned();
        return Err(Stop::Usage(text).into());
    }
    if globals.json || io::stdin().is_terminal() {
        let text = "the agent speaks with another qanopy, which starts it: `qanopy tree HOST:DIR`";
        return Err(Stop::Usage(text.to_owned()).into());
    }
    let within = args.restrict.as_ref().map(|dir| {
        let whole = dir.canonicalize();
        whole.map_err(FileError::at("read", dir))
    });
    let within = within.transpose()?;
    if let Some(dir) = &within {
        std::env::set_current_dir(dir).map_err(FileError::at("enter", dir))?;
    }
    let rules = Rules {
        read_only: globals.read_only,
        restricted_to: within.as_ref().map(|dir| dir.clone().into_os_string()),
    };
    let starts = |run: &Run| starts(run, globals.read_only, within.as_deref());
    // Passphrases pass through it.
    keep_out_of_dumps();
    fleet::serve(fleet::frames_in()?, fleet::frames_out()?, &rules, &starts)
        .context("what is at the other end does not keep to the protocol")
}

/// Looks at one folder only, if whoever started this process says so.
pub(super) fn confine() {
    if let Some(dir) = std::env::var_os(WITHIN) {
        confine_to(dir.into());
    }
}

/// The process that a command line becomes, if the rules let it.
fn starts(run: &Run, read_only: bool, within: Option<&Path>) -> Result<Command, String> {
    let mut program = program();
    program.build();
    let line = std::iter::once(OsString::from("qanopy")).chain(run.words.iter().cloned());
    let matches = program
        .try_get_matches_from_mut(line)
        .map_err(|_| "it is no command line of this version".to_owned())?;
    permitted(&program, &matches, read_only)?;
    within.map_or(Ok(()), |_| permitted_within(&matches))?;
    let mut outside = None;
    let words = rebuilt(&program, &matches, &mut |argument, value| {
        let path = Path::new(value);
        if within.is_some_and(|dir| names_file(argument) && !is_within(path, dir)) {
            outside = Some(printable(value));
        }
        Some(value.to_owned())
    });
    if let Some(dir) = within {
        let dir = printable(dir);
        if let Some(path) = outside {
            return Err(format!(
                "{path} is not in {dir}, and nothing else may be named"
            ));
        }
        let is_given = |option: &&&str| {
            words.iter().any(|word| {
                let word = word.as_bytes().split(|byte| *byte == b'=').next();
                word == Some(option.as_bytes())
            })
        };
        if let Some(option) = NOT_WITHIN.iter().find(is_given) {
            return Err(format!(
                "{option} is not for an agent that only shows {dir}"
            ));
        }
    }
    let mut command = Command::new("/proc/self/exe");
    let global = |name: &str| matches.get_flag(name);
    for (name, is_given) in [
        ("--json", global("json")),
        ("--bare-json", global("bare_json")),
        ("--ascii", global("ascii")),
        ("--no-ascii", global("no_ascii")),
        ("--read-only", read_only || global("read_only")),
    ] {
        if is_given {
            command.arg(name);
        }
    }
    command.args(words);
    if let Some(dir) = within {
        command.env(WITHIN, dir);
    }
    fleet::begin(&mut command, run);
    Ok(command)
}

/// Whether a name leads nowhere else than into the folder. What is not there yet is where its folder is.
fn is_within(path: &Path, dir: &Path) -> bool {
    let whole = path.canonicalize().or_else(|_| {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).canonicalize()?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok::<PathBuf, io::Error>(parent.join(name))
    });
    whole.is_ok_and(|whole| whole.starts_with(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(line: &str, read_only: bool, within: Option<&Path>) -> Option<String> {
        let words = line.split(' ').map(OsString::from).collect();
        let run = Run::new(words, "web");
        starts(&run, read_only, within).err()
    }

    #[test]
    fn an_agent_that_only_reads_is_talked_into_nothing_else() {
        for line in [
            "tree /a",
            "info /a",
            "doctor /a",
            "log",
            "snapshot list a",
            "trash list",
        ] {
            assert_eq!(denied(line, true, None), None, "{line}");
        }
        for line in [
            "commit a",
            "discard a",
            "trash empty",
            "extract a / b",
            "note a text",
            "undo",
        ] {
            assert!(denied(line, true, None).is_some(), "{line}");
            assert_eq!(denied(line, false, None), None, "{line}");
        }
        for line in [
            "agent",
            "mount a b",
            "demo a",
            "config path",
            "index list",
            "nonsense -x",
            "",
        ] {
            assert!(denied(line, false, None).is_some(), "{line}");
        }
    }

    #[test]
    fn an_agent_that_is_restricted_names_nothing_outside() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("/etc", dir.join("etc")).unwrap();
        std::fs::write(dir.join("a"), "").unwrap();
        let inside = dir.to_str().unwrap();
        for line in ["tree {}", "info {}/a", "info {}/not-there", "info {}/./a"] {
            let line = line.replace("{}", inside);
            assert_eq!(denied(&line, true, Some(&dir)), None, "{line}");
        }
        for line in [
            "tree /",
            "info /etc/passwd",
            "info {}/../x",
            "info {}/etc/passwd",
            "info {}/etc/none",
            "tree --follow {}",
            "info {}/no/such/../../../etc/passwd",
            "contents {}/a --passphrase-file /etc/shadow",
            "contents {}/a --passphrase-file {}/a",
            "check {}/a --repair=all",
            "check {}/a --put-back=1",
            "doctor {}",
            "space {}",
            "log",
            "machine list",
            "trash list",
            "recover",
        ] {
            let line = line.replace("{}", inside);
            assert!(denied(&line, true, Some(&dir)).is_some(), "{line}");
        }
    }
}
