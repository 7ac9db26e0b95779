//! `qanopy copy`: copies an image and all it is built on into a folder, from any host to any other.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueHint};

use super::config;
use super::exit::Stop;
use super::hosts::copy::{Side, Sides, copy};
use super::options::{Globals, ScanArgs};
use super::output::Out;
use super::send::SendArgs;

#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// The image: IMAGE here, HOST:IMAGE on another machine
    #[arg(value_name = "[HOST:]IMAGE", value_hint = ValueHint::FilePath)]
    image: OsString,
    /// The folder that receives it: DIR here, HOST:DIR on another machine
    #[arg(value_name = "[HOST:]DIR", value_hint = ValueHint::DirPath)]
    dir: OsString,
    /// Once it is copied, move the original to the trash of its machine, and what it is built on as far as nothing else
    /// there needs that; refused where anything is built on it
    #[arg(long = "move", visible_alias = "remove-source")]
    moves: bool,
    /// Also read what it is built on in this folder of the machine that has the image
    #[arg(long, value_name = "[HOST:]DIR", value_hint = ValueHint::DirPath)]
    scan: Vec<OsString>,
    /// Print the plan and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Skip the question
    #[arg(long, short = 'y')]
    yes: bool,
}

/// Has one side give what the other takes.
pub(super) fn run(out: &mut Out, globals: Globals, args: &CopyArgs) -> anyhow::Result<ExitCode> {
    let entries = config::of_this_run().0.hosts;
    let from = Side::of(&args.image, &entries)?;
    let to = Side::of(&args.dir, &entries)?;
    let name = Path::new(&from.path).file_name();
    let Some(name) = name.and_then(OsStr::to_str) else {
        let text = "the image has no name that its copy can have: name it with its folder";
        return Err(Stop::Usage(text.to_owned()).into());
    };
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let mut scan = Vec::new();
    for dir in &args.scan {
        let dir = Side::of(dir, &entries)?;
        if !dir.is_beside(&from) {
            let text = format!("{} is not on the machine that has the image", dir.shown());
            return Err(Stop::Usage(text).into());
        }
        scan.push(PathBuf::from(dir.path));
    }
    let send = SendArgs {
        image: PathBuf::from(&from.path),
        scan: ScanArgs { scan },
    };
    let mut receive = words(&["receive"]);
    receive.extend(words(&["--dry-run"]).into_iter().filter(|_| args.dry_run));
    receive.extend(words(&["--yes"]).into_iter().filter(|_| args.yes));
    receive.extend(words(&["--", &from.shown(), name]));
    receive.push(to.path.clone());
    let discard = args.moves.then(|| {
        let mut discard = words(&["discard", "--with-bases"]);
        discard.extend(words(&["--dry-run"]).into_iter().filter(|_| args.dry_run));
        // The same folders, and the image.
        discard.extend(send.words().into_iter().skip(1));
        discard
    });
    let sides = Sides {
        from: (from, send),
        to: (to, receive),
        discard,
        yes: args.yes,
    };
    copy(out, globals, sides).map(ExitCode::from)
}
