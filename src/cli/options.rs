//! The groups of options that several commands understand, and how the words that stand for one of a
//! few things are read. What only one command understands stands in its own file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use crate::image::Format;
use crate::ops::{BackingStyle, Dependants, SnapshotName};

/// What every command understands.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Globals {
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(super) json: bool,
    /// Print JSON as qemu-img does: the result, with nothing around it
    #[arg(long, global = true, hide = true)]
    pub(super) bare_json: bool,
    /// Change nothing: whatever would is refused (--dry-run still works)
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(super) read_only: bool,
    /// Draw with ASCII characters only
    #[arg(
        long,
        global = true,
        overrides_with = "no_ascii",
        help_heading = "Everywhere"
    )]
    pub(super) ascii: bool,
    /// Draw lines and signs, whatever the locale and the configuration say
    #[arg(
        long,
        global = true,
        overrides_with = "ascii",
        help_heading = "Everywhere"
    )]
    pub(super) no_ascii: bool,
}

impl Globals {
    /// Whether only ASCII characters are asked for; none if nothing is said of it.
    pub(super) fn charset(self) -> Option<bool> {
        (self.ascii || self.no_ascii).then_some(self.ascii)
    }
}

/// Where to look.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct OpenArgs {
    /// Folders to search, and images [default: the current folder]
    #[arg(value_name = "DIR")]
    pub(super) dirs: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) look: LookArgs,
}

/// How to look.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct LookArgs {
    /// Also open backing files that lie outside the folders
    #[arg(long)]
    pub(super) follow: bool,
    /// Also list files called like a disk image (.img, .raw, .dd, .iso) on which nothing is built
    #[arg(long)]
    pub(super) raw: bool,
}

/// How far a command that reads an image with all it is built on may go.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct FollowArgs {
    /// Also open what images name outside the folders of those given here
    #[arg(long)]
    pub(super) follow: bool,
}

/// Which internal snapshot is read.
#[derive(Debug, Clone, Args)]
pub(super) struct ViewArgs {
    /// Read what this internal snapshot shows, not what the image shows now
    #[arg(long, value_name = "NAME")]
    pub(super) snapshot: Option<OsString>,
    /// NAME is the snapshot's ID, as `snapshot list` shows it
    #[arg(long, requires = "snapshot")]
    pub(super) id: bool,
}

impl ViewArgs {
    /// The internal snapshot that is meant, if one is.
    pub(super) fn wanted(&self) -> Option<SnapshotName> {
        let name = self.snapshot.as_ref();
        name.map(|name| snapshot_named(name, self.id))
    }
}

/// A snapshot, by its ID or by its name.
pub(super) fn snapshot_named(name: &OsString, by_id: bool) -> SnapshotName {
    if by_id {
        SnapshotName::Id(name.clone())
    } else {
        SnapshotName::Name(name.clone())
    }
}

/// How a command that changes something is allowed to.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct ConsentArgs {
    /// Print the plan and change nothing
    #[arg(long, short = 'n')]
    pub(super) dry_run: bool,
    /// Skip the question
    #[arg(long, short = 'y')]
    pub(super) yes: bool,
    /// Agree to a plan that asks for a number, by that number
    #[arg(long, value_name = "N", value_parser = number::<u64>)]
    pub(super) confirm: Option<u64>,
    /// Where a defined machine would lose a disk or see another one, change its definition too, through libvirt
    #[arg(long)]
    pub(super) redefine: bool,
    /// Go on although a defined machine would lose a disk or no longer match it; needs --confirm with a number
    #[arg(long)]
    pub(super) despite_machines: bool,
    /// Read all related images before and after, and prove that the content of the others did not change
    #[arg(long)]
    pub(super) verify: bool,
}

/// Where else to search for images that are built on the ones named, and what they are built on may be read.
#[derive(Debug, Clone, Args)]
pub(super) struct ScanArgs {
    /// Also search this folder for images that are built on the ones named, and read what they are built on there
    #[arg(long, value_name = "DIR")]
    pub(super) scan: Vec<PathBuf>,
}

/// What an image is converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatArg {
    /// A qcow2 image
    Qcow2,
    /// A raw image
    Raw,
}

impl FormatArg {
    /// The format of that name.
    pub(super) fn format(self) -> Format {
        match self {
            Self::Qcow2 => Format::Qcow2,
            Self::Raw => Format::Raw,
        }
    }
}

/// Reads a whole number that the type has room for.
pub(super) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    let wrong = |_| "write a whole number that is not too large".to_owned();
    text.parse().map_err(wrong)
}

/// Reads how long trying one passphrase is to take, in milliseconds.
pub(super) fn iter_time(text: &str) -> Result<u32, String> {
    let time = number(text).ok();
    let time = time.filter(|time| (1..=60_000).contains(time));
    time.ok_or_else(|| "write a number of milliseconds from 1 to 60000".to_owned())
}

/// Words that stand for one thing each: the word, its help text, what it stands for.
pub(super) type Words<T> = [(&'static str, &'static str, T)];

/// What becomes of images that are built on one whose content changes.
pub(super) const DEPENDANTS: &Words<Dependants> = &[
    ("refuse", "Refuse if there are any", Dependants::Refuse),
    (
        "break",
        "Let them change; their number has to be given with --confirm",
        Dependants::Break,
    ),
];

/// Reads one of the words, and gives what it stands for.
pub(super) fn one_of<T>(words: &'static Words<T>) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    let known = words.iter();
    let known = known.map(|(word, help, _)| PossibleValue::new(*word).help(*help));
    PossibleValuesParser::new(known).try_map(move |typed| {
        let found = words.iter().find(|(word, ..)| *word == typed);
        found
            .map(|(.., meant)| meant.clone())
            .ok_or("that is none of the words")
    })
}

/// How a backing file is recorded, which is its relative path unless the absolute one is asked for.
pub(super) fn backing_style(is_absolute: bool) -> BackingStyle {
    if is_absolute {
        BackingStyle::Absolute
    } else {
        BackingStyle::Relative
    }
}

/// The same where nothing asked for leaves it as it is recorded now.
pub(super) fn backing_style_asked(is_relative: bool, is_absolute: bool) -> Option<BackingStyle> {
    (is_relative || is_absolute).then(|| backing_style(!is_relative))
}
