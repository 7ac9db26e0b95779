//! `qanopy rebase`: builds an image on another one, and keeps what it shows.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::image::Format;
use crate::ops::{Flatten, Rebase, Request};

use super::execute::execute;
use super::options::{ConsentArgs, Globals, ScanArgs, backing_style_asked};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{context, passphrase};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true).multiple(false))]
pub(super) struct RebaseArgs {
    /// The image; what its new base shows differently is copied into it
    image: PathBuf,
    /// The new base: any image but this one and those built on it
    #[arg(long, value_name = "BASE", group = "where")]
    to: Option<PathBuf>,
    /// Build it on nothing: the same as flatten --in-place
    #[arg(long, group = "where", conflicts_with_all = ["format", "relative", "absolute", "dedupe", "compress"])]
    flatten: bool,
    /// The new base's format [default: as it was recognised]
    #[arg(long)]
    format: Option<String>,
    /// Record the name as seen from the image
    #[arg(long, conflicts_with = "absolute")]
    relative: bool,
    /// Record the name by its absolute path
    #[arg(long)]
    absolute: bool,
    /// Afterwards drop from the image what the new base shows as well
    #[arg(long)]
    dedupe: bool,
    /// Compress whole clusters that it receives, where that makes them smaller
    #[arg(long, short = 'c')]
    compress: bool,
    #[command(flatten)]
    passphrases: PassphraseArgs,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl RebaseArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let image = self.image.clone();
        Ok(match self.to.clone() {
            None => Request::Flatten(Flatten {
                image,
                onto: None,
                new: None,
                compress: None,
            }),
            Some(to) => Request::Rebase(Rebase {
                image,
                to,
                format: self.format.as_deref().map(Format::from_name),
                style: backing_style_asked(self.relative, self.absolute),
                dedupe: self.dedupe,
                compress: self.compress,
            }),
        })
    }
}

/// Rebases the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: &RebaseArgs) -> anyhow::Result<()> {
    let mut named = vec![args.image.clone()];
    named.extend(args.to.clone());
    let keys = passphrase::keys(&args.passphrases)?;
    let mut context = context::around(&named, &args.scan.scan)?;
    context.keys = keys;
    execute(out, globals, args.consent, &context, &args.request()?)
}
