//! `qanopy protect`: lets nobody write an image, or gives it a mode.

use std::path::PathBuf;

use clap::Args;

use crate::ops::{Protect, Request};

use super::context;
use super::execute::execute;
use super::options::{ConsentArgs, Globals, ScanArgs};
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct ProtectArgs {
    /// The image; its bytes stay as they are
    image: PathBuf,
    /// The new mode, in octal digits: 644 [default: the present one, without the right to write]
    #[arg(long, value_parser = mode)]
    mode: Option<u32>,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl ProtectArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Protect(Protect {
            image: self.image.clone(),
            mode: self.mode,
        }))
    }
}

/// Reads permission bits.
fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "write three octal digits, as for chmod: 644".to_owned())
}

/// Protects the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: &ProtectArgs) -> anyhow::Result<()> {
    let context = context::around(std::slice::from_ref(&args.image), &args.scan.scan)?;
    execute(out, globals, args.consent, &context, &args.request()?)
}
