//! The command line: what the person typed becomes a request, what came of it becomes text or JSON.
//! One file a command; nothing here decides what is safe or knows what an image is made of.

mod agent;
mod amend;
mod bitmap;
mod branch;
mod cat;
mod check;
mod clone;
mod commit;
mod compare;
mod completions;
mod config;
mod contents;
mod context;
mod convert;
mod copy;
mod create;
mod demo;
mod diff;
mod discard;
mod doctor;
mod envelope;
mod examples;
mod execute;
mod exit;
mod explain;
mod export;
mod extract;
mod files;
mod filter;
mod find;
mod flatten;
mod garbage;
mod guest_image;
mod history;
mod holders;
mod hosts;
mod import;
mod index;
mod info;
mod insides;
mod interrupted;
mod job;
mod json;
mod keyslot;
mod log;
mod machine;
mod manual;
mod map;
mod mark;
mod measure;
mod mistakes;
mod mount;
mod move_image;
mod new_image;
mod note;
mod open;
mod options;
mod output;
mod passphrase;
mod progress_bar;
mod protect;
mod prune;
mod qemu_img;
mod read;
mod reading;
mod rebase;
mod receive;
mod recover;
mod redefine;
mod redo;
mod relink;
mod remedies;
mod resize;
mod revert;
mod scan;
mod schema;
mod send;
mod snapshot;
mod space;
mod squash;
mod tell;
#[cfg(test)]
mod tests;
mod transfer;
mod trash;
mod tree;
mod trim;
mod undo;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use signal_hook::consts::SIGXFSZ;

use crate::fleet::{self, HostEntry};
use crate::tui::config::Config;
use envelope::Document;
use exit::Stop;
use open::FaceArgs;
use options::{Globals, OpenArgs};
use output::Out;

/// What happens where no command is given.
const WITHOUT_COMMAND: &str = "\
Without a command qanopy opens its screen on the folders, and with --plain talks about them line by line; \
where standard output is no terminal, or TERM is dumb, it prints the tree instead. A folder that bears a command's name is written ./tree.";

/// See the forest of qcow2 images on a machine; branch, commit, discard and prune it safely.
///
/// Every command that changes something makes a plan first. --dry-run prints the plan and changes
/// nothing, --yes skips the question, --json gives the plan or the outcome as JSON.
#[derive(Debug, Parser)]
#[command(
    name = "qanopy",
    version,
    after_help = after_help(),
    override_usage = "qanopy [OPTIONS] [DIR]...\n       qanopy COMMAND ...",
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(flatten)]
    open: OpenArgs,
    #[command(flatten)]
    face: FaceArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the forest: who is built on whom
    #[command(visible_alias = "ls")]
    Tree(tree::TreeArgs),
    /// Print what the header of an image says
    #[command(visible_alias = "show")]
    Info(info::InfoArgs),
    /// Look for what is wrong with the tables of images, and repair it
    Check(check::CheckArgs),
    /// Find what is wrong with images, and what fixes it; the exit code is 3 if anything is wrong
    Doctor(doctor::DoctorArgs),
    /// Print which layer of a chain holds what, and where
    Map(map::MapArgs),
    /// Show images as folders and files: each layer as a disk, and the guest's files on it
    Mount(mount::MountArgs),
    /// Compare what two images show
    Compare(compare::CompareArgs),
    /// Show which files differ between an image and its base, or another image; end as diff does
    Diff(diff::DiffArgs),
    /// Show what is in an image: partitions, filesystems, the operating system
    Contents(contents::ContentsArgs),
    /// List the files in a folder of the guest
    Files(files::FilesArgs),
    /// Print a file of the guest
    Cat(cat::CatArgs),
    /// Tell what the bytes that a layer stores are used for in the guest: why it is so large
    Explain(explain::ExplainArgs),
    /// Copy files and folders of the guest out of an image
    Extract(extract::ExtractArgs),
    /// Tell in which layers a file of the guest changed
    #[command(visible_alias = "log-file")]
    History(history::HistoryArgs),
    /// Find files of the guest by name, in an image or in all its layers
    Find(find::FindArgs),
    /// Show how large a copy of an image, or an empty image, would be
    Measure(measure::MeasureArgs),
    /// Create an empty qcow2 or raw image
    Create(create::CreateArgs),
    /// Create an overlay on an image
    Branch(branch::BranchArgs),
    /// Copy the content of an image into a new image, in another format or with other options
    Convert(convert::ConvertArgs),
    /// Merge an overlay down into the image it is built on
    Commit(commit::CommitArgs),
    /// Change which base, or which format of the base, an image records
    Relink(relink::RelinkArgs),
    /// Make the disk of an image longer or shorter
    Resize(resize::ResizeArgs),
    /// Build an image on another base; its content stays the same
    Rebase(rebase::RebaseArgs),
    /// Remove one layer from its chain; the content of every other image stays the same
    Squash(squash::SquashArgs),
    /// Give up what the filesystems inside an image call free: deleted data that takes room
    Trim(trim::TrimArgs),
    /// Copy into an image what the layers below it hold, so that it no longer needs them
    Flatten(flatten::FlattenArgs),
    /// Change the format version, the refcount width or a feature of an image
    Amend(amend::AmendArgs),
    /// Take from everybody the right to write an image, or give it a mode
    #[command(visible_alias = "chmod")]
    Protect(protect::ProtectArgs),
    /// Print or change the note and the tags of images
    #[command(visible_alias = "tag")]
    Note(note::NoteArgs),
    /// List machines; start, stop, branch, revert, clone or try one, have one use another image as its disk
    #[command(subcommand)]
    Machine(machine::MachineCommand),
    /// List the jobs that machines run for qanopy now; pause, resume or stop one, or change its speed
    #[command(subcommand)]
    Job(job::JobCommands),
    /// Change what the definition of a machine says of one of its disks, through libvirt
    Redefine(redefine::RedefineArgs),
    /// List, add, change or erase the key slots of an image that is encrypted with LUKS
    #[command(subcommand)]
    Keyslot(keyslot::KeySlotCommand),
    /// List, add, remove, clear, enable, disable or merge the dirty bitmaps of an image
    #[command(subcommand)]
    Bitmap(bitmap::BitmapCommand),
    /// List, take, apply, delete or copy out the internal snapshots of an image
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Rename or move images; what is built on them follows
    #[command(visible_aliases = ["rename", "mv"])]
    Move(move_image::MoveArgs),
    /// Copy an image, file for file; the copy is built on the same base
    #[command(visible_alias = "cp")]
    Clone(clone::CloneArgs),
    /// Copy an image and all it is built on into a folder that needs nothing else
    Export(export::ExportArgs),
    /// Copy the images of an exported folder to the place where they are used
    Import(import::ImportArgs),
    /// Copy an image and all it is built on into a folder, from any host to any other
    Copy(copy::CopyArgs),
    /// Undo the last operation, or an entry of the log
    Undo(undo::UndoArgs),
    /// Redo what was undone last, or an entry of the log that was undone
    Redo(redo::RedoArgs),
    /// Finish an operation that was interrupted, or roll it back
    Recover(recover::RecoverArgs),
    /// List what was done, oldest first
    Log(log::LogArgs),
    /// Make a leaf empty again: what it holds goes to the trash
    Revert(revert::RevertArgs),
    /// Move images and everything built on them to the trash
    #[command(visible_alias = "rm")]
    Discard(discard::DiscardArgs),
    /// Propose leaves that nothing uses, oldest first, and discard those you choose
    Prune(prune::PruneArgs),
    /// Tell which images nobody needs, and who needs the bases; end with exit code 3 if there are any
    #[command(visible_alias = "gc")]
    Garbage(garbage::GarbageArgs),
    /// Show where the space went, and what would free most
    #[command(visible_alias = "du")]
    Space(space::SpaceArgs),
    /// List, restore or empty the trash
    #[command(subcommand)]
    Trash(trash::TrashCommand),
    /// List or forget the images that are remembered from earlier runs
    #[command(subcommand)]
    Index(index::IndexCommand),
    /// Make sample forests of real images and open them
    Demo(demo::DemoArgs),
    /// Show the configuration: what holds, where it is, whether its lines mean something
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the program or of a command
    Man(manual::ManArgs),
    /// Print the JSON Schema of what --json prints
    Schema,
    /// Serve another qanopy over standard input and output: what it starts on a host, over ssh
    Agent(agent::AgentArgs),
    /// Print what a scan meets, for another qanopy that asks for it over ssh
    #[command(hide = true)]
    Scan(scan::ScanArgs),
    /// Print what is known beside the images, for another qanopy that shows it
    #[command(hide = true)]
    Tell(tell::TellArgs),
    /// Print who uses files of shared storage here, for a plan of another qanopy
    #[command(hide = true)]
    Holders(holders::HoldersArgs),
    /// Let another qanopy read files, over ssh
    #[command(hide = true)]
    Read,
    /// Give out an image and all it is built on: one side of a copy, which an agent starts
    #[command(hide = true)]
    Send(send::SendArgs),
    /// Take an image and all it is built on: the other side
    #[command(hide = true)]
    Receive(receive::ReceiveArgs),
}

/// What stands behind the help of the program.
fn after_help() -> String {
    let codes = exit::CODES
        .iter()
        .map(|(code, says)| format!("{code} {says}"));
    let codes = codes.collect::<Vec<_>>().join(", ");
    format!("Exit codes: {codes}.\n\n{WITHOUT_COMMAND}")
}

/// The definitions of all commands, with examples in their help.
fn program() -> clap::Command {
    with_each(Cli::command(), "", &examples::shown_in_help)
}

/// The same definitions with this done to each command, which `words` name after the program.
fn with_each(
    command: clap::Command,
    words: &str,
    change: &dyn Fn(clap::Command, &str) -> clap::Command,
) -> clap::Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    let command = names.iter().fold(command, |command, name| {
        let below = format!("{words} {name}");
        command.mut_subcommand(name, |sub| with_each(sub, below.trim_start(), change))
    });
    change(command, words)
}

/// Runs the program with the process's arguments and gives its exit code: 0 fine, 1 failed, 2
/// wrong usage, 3 problems found or images that differ, 4 refused, 130 cancelled.
#[must_use]
pub fn main() -> ExitCode {
    // A write past the limit of a file's size (`ulimit -f`) then fails as one that finds no room does.
    let limit = Arc::new(AtomicBool::new(false));
    drop(signal_hook::flag::register(SIGXFSZ, limit));
    match completions::answered(program) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(told) => return usage::end(told),
    }
    let arguments: Vec<OsString> = files::or_tree(std::env::args_os().collect());
    let arguments = match qemu_img::understood(arguments) {
        Ok(arguments) => arguments,
        Err(text) => return usage::end_with(&text),
    };
    if let Some(told) = qemu_img::meant_otherwise(&arguments) {
        output::complain(told);
    }
    // Whoever is at another machine may go away at any time.
    let _ = fleet::person();
    agent::confine();
    // What another machine asked for is about this one, whatever its names look like.
    if !fleet::is_far() && hosts::may_name_hosts(&arguments) {
        let entries = config::of_this_run().0.hosts;
        match hosts::asked(&arguments, &entries) {
            Ok(None) => {}
            Ok(Some(asked)) => return over_hosts(&arguments, asked, &entries),
            Err(stop) => return usage::end_with(&stop.to_string()),
        }
    }
    let matches = program().try_get_matches_from(&arguments);
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => {
            let has_document = cli.globals.json && !cli.globals.bare_json;
            let document = has_document.then(|| Document::of(&program(), &arguments));
            let mut out = Out::new(document);
            let result = run(&mut out, cli);
            exit::end(&mut out, result)
        }
        Err(told) => match mistakes::told(&arguments, told.kind(), &command_names()) {
            Some(text) => usage::end_with(&text),
            None => usage::end(told),
        },
    }
}

/// Has a command line done by the hosts that it names.
fn over_hosts(arguments: &[OsString], asked: hosts::Asked, entries: &[HostEntry]) -> ExitCode {
    let (config, warnings) = config::of_this_run();
    let globals = holding(asked.globals, &config);
    if asked.is_screen && !globals.json && open::is_screen() {
        let no_query = asked.no_query;
        let (here, hosts) = hosts::of_screen(asked, entries);
        let mut out = Out::new(None);
        let result = open::beside_hosts(globals, &here, hosts, no_query);
        return exit::end(&mut out, result);
    }
    config::complain(&warnings);
    let has_document = globals.json && !globals.bare_json;
    let document = has_document.then(|| Document::of(&program(), arguments));
    let mut out = Out::new(document);
    let result = hosts::run(&mut out, globals, asked, entries);
    exit::end(&mut out, result)
}

/// What every command understands, with what the configuration says.
fn holding(mut globals: Globals, config: &Config) -> Globals {
    globals.read_only |= config.read_only;
    globals.ascii |= config.ascii == Some(true) && !globals.no_ascii;
    globals.json |= globals.bare_json;
    globals
}

fn run(out: &mut Out, cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli {
        globals,
        open,
        face,
        command,
    } = cli;
    let (config, warnings) = config::of_this_run();
    let globals = holding(globals, &config);
    if let Some(command) = command {
        // `config` tells them itself, and what `demo` opens does.
        if !matches!(command, Command::Config(_) | Command::Demo(_)) {
            config::complain(&warnings);
        }
        misplaced(&open, face)?;
        dispatch(out, globals, command)
    } else {
        if let Some(stop) = mistakes::no_command(&open.dirs, &command_names()) {
            return Err(stop.into());
        }
        open::run(out, globals, &open, face.into())
    }
}

fn dispatch(out: &mut Out, globals: Globals, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Tree(args) => tree::run(out, globals, &args)?,
        Command::Info(args) => info::run(out, globals, &args)?,
        Command::Check(args) => check::run(out, globals, &args)?,
        Command::Doctor(args) => doctor::run(out, globals, &args)?,
        Command::Map(args) => map::run(out, globals, &args)?,
        Command::Mount(args) => mount::run(out, globals, &args)?,
        Command::Compare(args) => compare::run(out, globals, &args)?,
        Command::Diff(args) => diff::run(out, globals, &args)?,
        Command::Contents(args) => contents::run(out, globals, &args)?,
        Command::Files(args) => files::run(out, globals, &args)?,
        Command::Cat(args) => cat::run(out, globals, &args)?,
        Command::Explain(args) => explain::run(out, globals, &args)?,
        Command::Extract(args) => extract::run(out, globals, &args)?,
        Command::History(args) => history::run(out, globals, &args)?,
        Command::Find(args) => find::run(out, globals, &args)?,
        Command::Measure(args) => measure::run(out, globals, &args)?,
        Command::Create(args) => create::run(out, globals, &args)?,
        Command::Branch(args) => branch::run(out, globals, &args)?,
        Command::Convert(args) => convert::run(out, globals, &args)?,
        Command::Commit(args) => commit::run(out, globals, &args)?,
        Command::Relink(args) => relink::run(out, globals, &args)?,
        Command::Amend(args) => amend::run(out, globals, &args)?,
        Command::Protect(args) => protect::run(out, globals, &args)?,
        Command::Note(args) => note::run(out, globals, &args)?,
        Command::Machine(command) => machine::run(out, globals, &command)?,
        Command::Job(command) => job::run(out, globals, &command)?,
        Command::Redefine(args) => redefine::run(out, globals, &args)?,
        Command::Keyslot(command) => keyslot::run(out, globals, &command)?,
        Command::Bitmap(command) => bitmap::run(out, globals, &command)?,
        Command::Resize(args) => resize::run(out, globals, &args)?,
        Command::Rebase(args) => rebase::run(out, globals, &args)?,
        Command::Squash(args) => squash::run(out, globals, &args)?,
        Command::Trim(args) => trim::run(out, globals, &args)?,
        Command::Flatten(args) => flatten::run(out, globals, &args)?,
        Command::Snapshot(command) => snapshot::run(out, globals, &command)?,
        Command::Move(args) => move_image::run(out, globals, &args)?,
        Command::Clone(args) => clone::run(out, globals, &args)?,
        Command::Export(args) => export::run(out, globals, &args)?,
        Command::Import(args) => import::run(out, globals, &args)?,
        Command::Undo(args) => undo::run(out, globals, &args)?,
        Command::Redo(args) => redo::run(out, globals, &args)?,
        Command::Recover(args) => recover::run(out, globals, &args)?,
        Command::Log(args) => log::run(out, globals, &args)?,
        Command::Revert(args) => revert::run(out, globals, &args)?,
        Command::Discard(args) => discard::run(out, globals, &args)?,
        Command::Prune(args) => prune::run(out, globals, args)?,
        Command::Garbage(args) => garbage::run(out, globals, &args)?,
        Command::Space(args) => space::run(out, globals, &args)?,
        Command::Trash(command) => trash::run(out, globals, &command)?,
        Command::Index(command) => index::run(out, globals, command)?,
        Command::Demo(args) => return demo::run(out, globals, args),
        Command::Config(command) => config::run(out, globals, &command)?,
        Command::Completions { shell } => completions::print(out, globals, shell)?,
        Command::Man(args) => manual::run(out, globals, program(), &args)?,
        Command::Schema => schema::run(out, globals)?,
        Command::Agent(args) => agent::run(globals, &args)?,
        Command::Scan(args) => scan::run(globals, &args)?,
        Command::Tell(args) => tell::run(globals, &args)?,
        Command::Holders(args) => holders::run(globals, args)?,
        Command::Read => read::run()?,
        Command::Copy(args) => return copy::run(out, globals, &args),
        Command::Send(args) => send::run(&args)?,
        Command::Receive(args) => receive::run(out, globals, &args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Every command, by all its names.
fn command_names() -> Vec<String> {
    let cli = Cli::command();
    let names = cli.get_subcommands().flat_map(|command| {
        let aliases = command.get_all_aliases();
        aliases
            .chain([command.get_name()])
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    names.collect()
}

/// Options of the screen that stand before a command would silently do nothing: say so instead.
fn misplaced(open: &OpenArgs, face: FaceArgs) -> Result<(), Stop> {
    if open.look.follow || open.look.raw || !open.dirs.is_empty() {
        return Err(Stop::Usage(
            "folders, --follow and --raw belong after the command".to_owned(),
        ));
    }
    if face.no_query {
        return Err(Stop::Usage("--no-query is for the screen only".to_owned()));
    }
    if face.plain {
        return Err(Stop::Usage(
            "--plain is about the screen: of the commands only `demo` takes it, behind its name"
                .to_owned(),
        ));
    }
    Ok(())
}
