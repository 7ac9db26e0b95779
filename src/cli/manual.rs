//! `qanopy man`: a manual page for the program and one for each command, made from their definitions.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use serde_json::{Value, json};

use crate::json_text::json_name;

use super::exit::{self, FileError, Stop};
use super::options::Globals;
use super::output::Out;
use super::{WITHOUT_COMMAND, command_names, examples, mistakes};

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The command whose page it is [default: the program's own]
    #[arg(conflicts_with = "to")]
    command: Vec<String>,
    /// Write all pages into this folder, which has to be there
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Which pages something is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    /// All of them.
    All,
    /// Those of commands that look at images, and the program's.
    Images,
    /// Those of commands that change something, and the program's.
    Changes,
    /// Those of what opens the screen.
    Screen,
    /// That of the sample forests.
    Demo,
}

impl On {
    /// Whether it is on the page of the command of these words; none name the program.
    fn is_on(self, command: &Command, words: &str) -> bool {
        let group = words.split(' ').next().unwrap_or_default();
        let is_about_itself = ["config", "man", "schema", "completions"].contains(&group);
        let changes = || {
            let mut arguments = command.get_arguments();
            arguments.any(|argument| argument.get_id() == "dry_run") || group == "trash"
        };
        match self {
            Self::All => true,
            Self::Images => !is_about_itself,
            Self::Changes => group.is_empty() || changes(),
            Self::Screen => group.is_empty() || group == "demo",
            Self::Demo => group == "demo",
        }
    }
}

const FILES: &[(On, &str, &str)] = &[
    (
        On::All,
        "$XDG_CONFIG_HOME/qanopy/config.toml",
        "Settings and keys; ~/.config where the variable is not set.",
    ),
    (
        On::Images,
        "$XDG_STATE_HOME/qanopy",
        "The log of what was done, and the images that were seen; ~/.local/state where the variable is not set.",
    ),
    (
        On::Changes,
        ".qanopy-trash",
        "What was discarded, in the folder that it was in.",
    ),
    (
        On::Changes,
        ".qanopy-notes.json",
        "What is noted of images in its folder whose files can have no extended attributes.",
    ),
];

const ENVIRONMENT: &[(On, &str, &str)] = &[
    (
        On::All,
        "XDG_CONFIG_HOME, XDG_STATE_HOME, HOME",
        "Where the files above are.",
    ),
    (
        On::Images,
        "LC_ALL, LC_CTYPE, LANG",
        "Whether more than ASCII characters can be shown; the first that is set counts.",
    ),
    (
        On::Images,
        "LIMA_HOME",
        "Where Lima keeps its machines, which may use images; ~/.lima where it is not set.",
    ),
    (On::Screen, "NO_COLOR", "No colours if it is set."),
    (
        On::Screen,
        "COLORTERM, TERM",
        "How many colours there are. With TERM=dumb there is no screen.",
    ),
    (
        On::Screen,
        "SHELL",
        "The shell that the screen opens in an image's folder.",
    ),
    (
        On::Screen,
        "WAYLAND_DISPLAY, DISPLAY",
        "Which program of the desktop gets what is copied, where the terminal may not take it.",
    ),
    (
        On::Demo,
        "TMPDIR",
        "Where the forests are made if no folder is named; /tmp where it is not set.",
    ),
];

/// Prints one page, or writes all of them.
pub(super) fn run(
    out: &mut Out,
    globals: Globals,
    mut program: Command,
    args: &ManArgs,
) -> anyhow::Result<()> {
    program.build();
    if let Some(dir) = &args.to {
        let pages = write_all(&program, dir)?;
        if globals.json {
            let pages: Vec<Value> = pages.iter().map(json_name).collect();
            out.json(json!({ "pages": pages }))?;
        }
        return Ok(());
    }
    let found = args
        .command
        .iter()
        .try_fold(&program, |command, word| command.find_subcommand(word));
    let Some(command) = found else {
        let words = args.command.join(" ");
        return Err(Stop::Usage(mistakes::unknown(&words, &command_names())).into());
    };
    let page = page(&program, command)?;
    if globals.json {
        return Ok(out.json(json!({ "page": page }))?);
    }
    Ok(out.text(&page)?)
}

/// Writes a file for each command, and gives their names.
fn write_all(program: &Command, dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fn each<'a>(command: &'a Command, all: &mut Vec<&'a Command>) {
        all.push(command);
        seen(command).for_each(|sub| each(sub, all));
    }
    let mut all = Vec::new();
    each(program, &mut all);
    let write = |command: &Command| {
        let path = dir.join(format!("{}.1", page_name(command)));
        fs::write(&path, page(program, command)?).map_err(FileError::at("write", &path))?;
        Ok(path)
    };
    all.into_iter().map(write).collect()
}

/// The commands below one that have pages.
fn seen(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

/// `qanopy snapshot create`
fn words(command: &Command) -> &str {
    command.get_bin_name().unwrap_or(command.get_name())
}

/// `qanopy-snapshot-create`
fn page_name(command: &Command) -> String {
    words(command).replace(' ', "-")
}

/// A page.
fn page(program: &Command, command: &Command) -> anyhow::Result<String> {
    let is_program = std::ptr::eq(program, command);
    // What stands behind the help is in sections of its own.
    let plain = command
        .clone()
        .after_help("")
        .display_name(page_name(command));
    let man = Man::new(plain).title(page_name(command).to_uppercase());
    let mut bytes = Vec::new();
    man.render_title(&mut bytes)?;
    man.render_name_section(&mut bytes)?;
    man.render_synopsis_section(&mut bytes)?;
    man.render_description_section(&mut bytes)?;
    man.render_options_section(&mut bytes)?;
    let mut rest = Roff::new();
    let below: Vec<&Command> = seen(command).collect();
    if !below.is_empty() {
        rest.control("SH", ["COMMANDS"]);
        for sub in below {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            tagged(&mut rest, bold(format!("{}(1)", page_name(sub))), &about);
        }
    }
    let after = words(command)
        .strip_prefix(words(program))
        .unwrap_or_default();
    let after = after.trim_start();
    let shown = examples::of_page(command, after);
    if !shown.is_empty() {
        rest.control("SH", ["EXAMPLES"]);
        for (line, says) in shown {
            tagged(&mut rest, bold(line), says);
        }
    }
    rest.control("SH", ["FILES"]);
    for (on, name, says) in FILES {
        if on.is_on(command, after) {
            tagged(&mut rest, italic(*name), says);
        }
    }
    rest.control("SH", ["ENVIRONMENT"]);
    for (on, name, says) in ENVIRONMENT {
        if on.is_on(command, after) {
            tagged(&mut rest, bold(*name), says);
        }
    }
    rest.control("SH", ["EXIT STATUS"]);
    for (code, says) in exit::codes_of(after) {
        tagged(&mut rest, bold(code.to_string()), says);
    }
    if is_program {
        rest.control("SH", ["NOTES"]);
        rest.text([roman(WITHOUT_COMMAND)]);
    } else {
        rest.control("SH", ["SEE ALSO"]);
        rest.text([
            bold("qanopy"),
            roman("(1), "),
            bold("qemu-img"),
            roman("(1)"),
        ]);
    }
    rest.to_writer(&mut bytes)?;
    String::from_utf8(bytes).context("a manual page is not text")
}

/// A term and what is said of it.
fn tagged(page: &mut Roff, term: Inline, says: &str) {
    page.control("TP", []);
    page.text([term]);
    page.text([roman(says)]);
}
