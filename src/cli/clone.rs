//! `qanopy clone`: copies an image, file for file, with or without all it is built on.

use std::path::PathBuf;

use clap::Args;

use crate::ops::{BackingStyle, Branch, CloneImage, ImageOptions, Reflink, Request};

use super::context;
use super::execute::execute;
use super::options::{ConsentArgs, Globals, ScanArgs, Words, one_of};
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct CloneArgs {
    /// The image
    image: PathBuf,
    /// The file to create; with --chain the folder that receives the copies
    new: PathBuf,
    /// Copy everything it is built on as well: the copy is then built on copies
    #[arg(long, conflicts_with = "linked")]
    chain: bool,
    /// Copy nothing: a new overlay on the image, as `qanopy branch` makes it
    #[arg(long, conflicts_with = "reflink")]
    linked: bool,
    /// Whether the copy shares the blocks of the original until either is written
    #[arg(long, value_parser = one_of(REFLINKS), value_name = "WHEN", default_value = "auto")]
    reflink: Reflink,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// Whether blocks are shared.
const REFLINKS: &Words<Reflink> = &[
    ("auto", "Where the filesystem can", Reflink::Auto),
    (
        "always",
        "Always: nothing is created where the filesystem cannot",
        Reflink::Always,
    ),
    ("never", "Never: every byte is written", Reflink::Never),
];

impl CloneArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(if self.linked {
            Request::Branch(Branch {
                base: self.image.clone(),
                new: self.new.clone(),
                format: None,
                size: None,
                style: BackingStyle::Relative,
                image: ImageOptions::default(),
            })
        } else {
            Request::Clone(CloneImage {
                image: self.image.clone(),
                new: self.new.clone(),
                chain: self.chain,
                reflink: self.reflink,
            })
        })
    }
}

/// Copies an image.
pub(super) fn run(out: &mut Out, globals: Globals, args: &CloneArgs) -> anyhow::Result<()> {
    let context = context::around(std::slice::from_ref(&args.image), &args.scan.scan)?;
    execute(out, globals, args.consent, &context, &args.request()?)
}
