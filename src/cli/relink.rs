//! `qanopy relink`: records anew what an image is built on, or in which format.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::image::Format;
use crate::ops::{Relink, Request, Unlink};

use super::context;
use super::execute::execute;
use super::exit::Stop;
use super::options::{ConsentArgs, Globals, ScanArgs, backing_style_asked};
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct RelinkArgs {
    /// The overlay; only its header changes
    image: PathBuf,
    /// The image it is built on, or `none` for nothing (./none for a file of that name) [default: the one
    /// its header names]
    #[arg(long, value_name = "BASE")]
    to: Option<PathBuf>,
    /// Format of the base [default: detected, where a wrong guess does no harm]
    #[arg(long)]
    format: Option<String>,
    /// Record the name as seen from the overlay
    #[arg(long, conflicts_with = "absolute")]
    relative: bool,
    /// Record the name by its absolute path
    #[arg(long)]
    absolute: bool,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl RelinkArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let image = self.image.clone();
        if !self.is_to_nothing() {
            return Ok(Request::Relink(Relink {
                image,
                base: self.to.clone(),
                format: self.format.as_deref().map(Format::from_name),
                style: backing_style_asked(self.relative, self.absolute),
            }));
        }
        if self.format.is_some() || self.relative || self.absolute {
            let text = "nothing has no format and no name: --to none stands alone".to_owned();
            return Err(Stop::Usage(text).into());
        }
        Ok(Request::Unlink(Unlink { image }))
    }

    fn is_to_nothing(&self) -> bool {
        self.to.as_deref() == Some(Path::new("none"))
    }
}

/// Relinks the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: &RelinkArgs) -> anyhow::Result<()> {
    let request = args.request()?;
    let mut named = vec![args.image.clone()];
    named.extend(args.to.clone().filter(|_| !args.is_to_nothing()));
    let context = context::around(&named, &args.scan.scan)?;
    execute(out, globals, args.consent, &context, &request)
}
