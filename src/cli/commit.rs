//! `qanopy commit`: merges an overlay, and what is between, down into an image it is built on.

use std::path::PathBuf;

use clap::Args;

use crate::ops::{ActiveCommit, Commit, CommittedLayer, LiveCommit, Request, Siblings};
use crate::units;

use super::execute::execute;
use super::options::{ConsentArgs, Globals, ScanArgs, Words, one_of};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{context, passphrase};

#[derive(Debug, Args)]
pub(super) struct CommitArgs {
    /// The overlay to merge down
    overlay: PathBuf,
    /// The image of its chain that receives it and all layers between [default: the one it is built on]
    #[arg(long, value_name = "ANCESTOR")]
    into: Option<PathBuf>,
    /// Keep the overlay, emptied, instead of moving it to the trash
    #[arg(long)]
    keep: bool,
    /// What becomes of other images that are built on the same base
    #[arg(long, value_parser = one_of(SIBLINGS), default_value = "refuse")]
    siblings: Siblings,
    /// First create this overlay, which keeps what the base shows now: with it the commit can be undone
    #[arg(long, value_name = "NEW")]
    keep_old: Option<PathBuf>,
    /// Have the machine do it that reads the overlay now; its guest goes on meanwhile
    #[arg(long, conflicts_with_all = ["keep", "keep_old"])]
    live: bool,
    /// Merge what the machine writes now as well: its guest goes on in the base
    #[arg(long, requires = "live", conflicts_with = "siblings")]
    active: bool,
    /// Bytes per second at most, such as 50M
    #[arg(long, value_parser = units::parse_size, value_name = "SIZE", requires = "live")]
    speed: Option<u64>,
    #[command(flatten)]
    passphrases: PassphraseArgs,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// What becomes of other images on the base that is committed into.
const SIBLINGS: &Words<Siblings> = &[
    ("refuse", "Refuse if there are any", Siblings::Refuse),
    (
        "preserve",
        "First copy into each of them exactly what it would lose",
        Siblings::Preserve,
    ),
    (
        "break",
        "Let them change; their number has to be given with --confirm",
        Siblings::Break,
    ),
];

impl CommitArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        if self.active {
            return Ok(Request::ActiveCommit(ActiveCommit {
                overlay: self.overlay.clone(),
                into: self.into.clone(),
                speed: self.speed,
                takes_up: false,
            }));
        }
        if self.live {
            return Ok(Request::LiveCommit(LiveCommit {
                overlay: self.overlay.clone(),
                into: self.into.clone(),
                siblings: self.siblings,
                speed: self.speed,
                takes_up: false,
            }));
        }
        Ok(Request::Commit(Commit {
            overlay: self.overlay.clone(),
            into: self.into.clone(),
            layer: if self.keep {
                CommittedLayer::Keep
            } else {
                CommittedLayer::Trash
            },
            siblings: self.siblings,
            keep_old: self.keep_old.clone(),
        }))
    }
}

/// Commits the overlay.
pub(super) fn run(out: &mut Out, globals: Globals, args: &CommitArgs) -> anyhow::Result<()> {
    let keys = passphrase::keys(&args.passphrases)?;
    let mut named = vec![args.overlay.clone()];
    named.extend(args.into.clone());
    let mut context = context::around(&named, &args.scan.scan)?;
    context.keys = keys;
    execute(out, globals, args.consent, &context, &args.request()?)
}
