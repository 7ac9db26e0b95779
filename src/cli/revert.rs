//! `qanopy revert`: starts a leaf anew, or gives it back what it held.

use std::path::PathBuf;

use clap::Args;

use crate::ops::{Request, Revert};

use super::execute::execute;
use super::options::{ConsentArgs, Globals, ScanArgs};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{context, passphrase};

#[derive(Debug, Args)]
pub(super) struct RevertArgs {
    /// The leaf: what it holds goes to the trash, and it shows its base again
    image: PathBuf,
    /// Put back what this entry of the trash holds, as `trash list` names it
    #[arg(long, value_name = "ENTRY")]
    to: Option<String>,
    #[command(flatten)]
    passphrases: PassphraseArgs,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl RevertArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Revert(Revert {
            image: self.image.clone(),
            to: self.to.clone(),
            anew: None,
        }))
    }
}

/// Reverts the leaf.
pub(super) fn run(out: &mut Out, globals: Globals, args: &RevertArgs) -> anyhow::Result<()> {
    let images = std::slice::from_ref(&args.image);
    let keys = passphrase::keys_with_new(&args.passphrases, images)?;
    let mut context = context::around(images, &args.scan.scan)?;
    context.keys = keys;
    execute(out, globals, args.consent, &context, &args.request()?)
}
