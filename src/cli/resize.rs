//! `qanopy resize`: makes the disk of an image longer or shorter.

use std::path::PathBuf;

use clap::Args;

use crate::image::Preallocation;
use crate::ops::{Dependants, NewSize, Request, Resize};

use super::execute::execute;
use super::new_image::PREALLOCATIONS;
use super::options::{ConsentArgs, DEPENDANTS, Globals, ScanArgs, one_of};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{context, mistakes, passphrase};

#[derive(Debug, Args)]
pub(super) struct ResizeArgs {
    /// The image, qcow2 or raw
    image: PathBuf,
    /// Its virtual size: 20G, or by how much it grows (+5G) or shrinks (-5G)
    #[arg(allow_hyphen_values = true)]
    size: NewSize,
    /// Allow a shorter disk; what lies past the new end is lost
    #[arg(long)]
    shrink: bool,
    /// How to allocate the space after the old end
    #[arg(long, value_parser = one_of(PREALLOCATIONS), value_name = "HOW", default_value = "off")]
    preallocation: Preallocation,
    /// What becomes of images that read what is cut off
    #[arg(long, value_parser = one_of(DEPENDANTS), default_value = "refuse")]
    dependants: Dependants,
    #[command(flatten)]
    passphrases: PassphraseArgs,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl ResizeArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Resize(Resize {
            image: self.image.clone(),
            size: self.size,
            shrink: self.shrink,
            preallocation: self.preallocation,
            dependants: self.dependants,
        }))
    }
}

/// Resizes the disk.
pub(super) fn run(out: &mut Out, globals: Globals, args: &ResizeArgs) -> anyhow::Result<()> {
    mistakes::tell_small_size(args.size.bytes());
    let keys = passphrase::keys(&args.passphrases)?;
    let mut context = context::around(std::slice::from_ref(&args.image), &args.scan.scan)?;
    context.keys = keys;
    execute(out, globals, args.consent, &context, &args.request()?)
}
