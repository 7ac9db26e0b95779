//! `qanopy import`: copies what an exported folder holds to where it is to live.

use std::path::PathBuf;

use clap::Args;

use crate::ops::{Import, Request};

use super::context;
use super::execute::execute;
use super::options::{ConsentArgs, Globals, ScanArgs};
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The exported folder
    dir: PathBuf,
    /// The folder that receives the images
    to: PathBuf,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl ImportArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Import(Import {
            dir: self.dir.clone(),
            to: self.to.clone(),
        }))
    }
}

/// Copies an exported folder's images to where they are to live.
pub(super) fn run(out: &mut Out, globals: Globals, args: &ImportArgs) -> anyhow::Result<()> {
    let mut also = args.scan.scan.clone();
    // A folder that is not there yet holds nothing.
    also.extend(args.to.exists().then(|| args.to.clone()));
    let context = context::around(&[], &also)?;
    execute(out, globals, args.consent, &context, &args.request()?)
}
