//! The command line: what the person typed becomes a request, what came of it becomes text or JSON.
//! One file a command; nothing here decides what is safe or knows what an image is made of.

mod amend;
mod args;
mod bitmap;
mod branch;
mod check;
mod commit;
mod compare;
mod config;
mod context;
mod convert;
mod copies;
mod create;
mod demo;
mod discard;
mod execute;
mod exit;
mod flatten;
mod generate;
mod index;
mod info;
mod json;
mod keys;
mod keyslot;
mod log;
mod map;
mod measure;
mod move_image;
mod new_image;
mod open;
mod output;
mod passphrase;
mod progress_bar;
mod prune;
mod reading;
mod rebase;
mod relink;
mod resize;
mod screenshot;
mod snapshot;
mod squash;
mod trash;
mod tree;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use signal_hook::consts::SIGXFSZ;

use crate::host::printable;

use args::{Cli, Command, Globals, OpenArgs};
use exit::Stop;
use output::Out;

/// Runs the program with the process's arguments and gives its exit code: 0 fine, 1 failed, 2
/// wrong usage, 3 problems found or images that differ, 4 refused, 130 cancelled.
#[must_use]
pub fn main() -> ExitCode {
    // A write past the limit of a file's size (`ulimit -f`) then fails as one that finds no room does.
    let limit = Arc::new(AtomicBool::new(false));
    drop(signal_hook::flag::register(SIGXFSZ, limit));
    match Cli::try_parse() {
        Ok(cli) => exit::end(run(cli)),
        Err(told) => usage(told),
    }
}

/// Says what is wrong with the arguments, none of which reaches the terminal as it is. Also help and
/// version, which go to standard output. A reader that left is no failure.
fn usage(mut told: clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2));
    let odd = |arg: &std::ffi::OsString| arg.to_str().is_none_or(|text| printable(text) != text);
    if !told.use_stderr() || !std::env::args_os().any(|arg| odd(&arg)) {
        let _ = told.print();
        return code;
    }
    let mut safe = Vec::new();
    for (kind, value) in told.context() {
        let value = match value {
            ContextValue::String(text) => ContextValue::String(printable(text)),
            ContextValue::Strings(all) => {
                ContextValue::Strings(all.iter().map(printable).collect())
            }
            _ => continue,
        };
        safe.push((kind, value));
    }
    for (kind, value) in safe {
        told.insert(kind, value);
    }
    // Advice that repeats an argument: it is laid out already.
    told.remove(ContextKind::Suggested);
    output::complain(told.render().to_string().trim_end());
    code
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli {
        mut globals,
        open,
        command,
    } = cli;
    let (config, _) = config::of_this_run();
    globals.read_only |= config.read_only;
    let mut out = Out::new();
    let ended = if let Some(command) = command {
        misplaced(&open)?;
        dispatch(&mut out, globals, command)?
    } else {
        open::run(&mut out, globals, &open)?
    };
    out.flush()?;
    Ok(ended)
}

fn dispatch(out: &mut Out, globals: Globals, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Tree(args) => tree::run(out, globals, &args)?,
        Command::Info(args) => info::run(out, globals, &args)?,
        Command::Check(args) => check::run(out, globals, &args)?,
        Command::Map(args) => map::run(out, globals, &args)?,
        Command::Compare(args) => compare::run(out, globals, &args)?,
        Command::Measure(args) => measure::run(out, globals, &args)?,
        Command::Create(args) => create::run(out, globals, args)?,
        Command::Branch(args) => branch::run(out, globals, args)?,
        Command::Convert(args) => convert::run(out, globals, args)?,
        Command::Commit(args) => commit::run(out, globals, args)?,
        Command::Relink(args) => relink::run(out, globals, args)?,
        Command::Amend(args) => amend::run(out, globals, args)?,
        Command::Keyslot(command) => keyslot::run(out, globals, command)?,
        Command::Bitmap(command) => bitmap::run(out, globals, command)?,
        Command::Resize(args) => resize::run(out, globals, args)?,
        Command::Rebase(args) => rebase::run(out, globals, args)?,
        Command::Squash(args) => squash::run(out, globals, args)?,
        Command::Flatten(args) => flatten::run(out, globals, args)?,
        Command::Snapshot(command) => snapshot::run(out, globals, command)?,
        Command::Move(args) => move_image::run(out, globals, args)?,
        Command::Clone(args) => copies::clone(out, globals, args)?,
        Command::Export(args) => copies::export(out, globals, args)?,
        Command::Import(args) => copies::import(out, globals, args)?,
        Command::Undo(args) => log::undo(out, globals, &args)?,
        Command::Redo(args) => log::redo(out, globals, &args)?,
        Command::Recover(args) => log::recover(out, globals, &args)?,
        Command::Log(args) => log::run(out, globals, &args)?,
        Command::Discard(args) => discard::run(out, globals, args)?,
        Command::Prune(args) => prune::run(out, globals, args)?,
        Command::Trash(command) => trash::run(out, globals, command)?,
        Command::Index(command) => index::run(out, globals, command)?,
        Command::Demo(args) => return demo::run(out, globals, args),
        Command::Config(command) => config::run(out, globals, &command)?,
        Command::Completions { shell } => generate::completions(out, shell)?,
        Command::Man => generate::man(out)?,
        Command::Keys => keys::run(out)?,
        Command::Screenshot(args) => screenshot::run(out, globals, args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Options of the screen that stand before a command would silently do nothing: say so instead.
fn misplaced(open: &OpenArgs) -> Result<(), Stop> {
    if open.look.follow || open.look.raw || !open.dirs.is_empty() {
        return Err(Stop::Usage(
            "directories, --follow and --raw belong after the command".to_owned(),
        ));
    }
    Ok(())
}
