//! `qanopy trim`: gives up what the filesystems inside an image call free.

use std::path::PathBuf;

use clap::Args;

use crate::ops::{Request, Trim};

use super::execute::execute;
use super::options::{ConsentArgs, Globals, ScanArgs};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{context, passphrase};

#[derive(Debug, Args)]
pub(super) struct TrimArgs {
    /// The image, a qcow2 that nothing depends on; what was deleted in its guest cannot be recovered then
    image: PathBuf,
    #[command(flatten)]
    passphrases: PassphraseArgs,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl TrimArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Trim(Trim {
            image: self.image.clone(),
        }))
    }
}

/// Trims the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: &TrimArgs) -> anyhow::Result<()> {
    let keys = passphrase::keys(&args.passphrases)?;
    let mut context = context::around(std::slice::from_ref(&args.image), &args.scan.scan)?;
    context.keys = keys;
    execute(out, globals, args.consent, &context, &args.request()?)
}
