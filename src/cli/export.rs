//! `qanopy export`: copies a chain into a folder that stands alone.

use std::path::PathBuf;

use clap::Args;

use crate::ops::{Export, Request};

use super::context;
use super::execute::execute;
use super::options::{ConsentArgs, Globals, ScanArgs};
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The image
    image: PathBuf,
    /// The folder to create
    dir: PathBuf,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl ExportArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Export(Export {
            image: self.image.clone(),
            dir: self.dir.clone(),
        }))
    }
}

/// Copies a chain into a folder of its own.
pub(super) fn run(out: &mut Out, globals: Globals, args: &ExportArgs) -> anyhow::Result<()> {
    let context = context::around(std::slice::from_ref(&args.image), &args.scan.scan)?;
    execute(out, globals, args.consent, &context, &args.request()?)
}
