//! `qanopy discard`: moves images and everything built on them to the trash.

use crate::ops::Request;

use super::args::{DiscardArgs, Globals};
use super::context;
use super::execute::execute;
use super::output::Out;

/// Discards the images.
pub(super) fn run(out: &mut Out, globals: Globals, args: DiscardArgs) -> anyhow::Result<()> {
    let context = context::around(&args.images, &args.scan.scan)?;
    let request = Request::discard(args.images);
    execute(out, globals, args.consent, &context, &request)
}
