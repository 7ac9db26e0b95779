//! `qanopy squash`: takes one layer out of its chain.

use std::path::PathBuf;

use clap::Args;

use crate::ops::{Direction, Request, Squash};

use super::execute::execute;
use super::options::{ConsentArgs, Globals, ScanArgs, Words, one_of};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{context, passphrase};

#[derive(Debug, Args)]
pub(super) struct SquashArgs {
    /// The layer; it goes to the trash
    layer: PathBuf,
    /// Where its content goes [default: whichever copies less]
    #[arg(long, value_parser = one_of(DIRECTIONS))]
    direction: Option<Direction>,
    #[command(flatten)]
    passphrases: PassphraseArgs,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// Where the content of a squashed layer goes.
const DIRECTIONS: &Words<Direction> = &[
    (
        "down",
        "Into what it is built on; others there receive what they would lose",
        Direction::Down,
    ),
    ("up", "Into each image that is built on it", Direction::Up),
];

impl SquashArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Squash(Squash {
            layer: self.layer.clone(),
            direction: self.direction,
        }))
    }
}

/// Squashes the layer.
pub(super) fn run(out: &mut Out, globals: Globals, args: &SquashArgs) -> anyhow::Result<()> {
    let keys = passphrase::keys(&args.passphrases)?;
    let mut context = context::around(std::slice::from_ref(&args.layer), &args.scan.scan)?;
    context.keys = keys;
    execute(out, globals, args.consent, &context, &args.request()?)
}
