//! `qanopy discard`: moves images and everything built on them to the trash.

use std::path::PathBuf;

use clap::Args;

use crate::ops::Request;

use super::context;
use super::execute::execute;
use super::options::{ConsentArgs, Globals, ScanArgs};
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct DiscardArgs {
    /// The images; what is built on them goes with them
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl DiscardArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::discard(self.images.clone()))
    }
}

/// Discards the images.
pub(super) fn run(out: &mut Out, globals: Globals, args: &DiscardArgs) -> anyhow::Result<()> {
    let context = context::around(&args.images, &args.scan.scan)?;
    execute(out, globals, args.consent, &context, &args.request()?)
}
