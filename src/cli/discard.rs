//! `qanopy discard`: moves images and everything built on them to the trash.

use crate::ops::Request;

use super::args::{DiscardArgs, Globals};
use super::carry_out::carry_out;
use super::look;
use super::out::Out;

/// Discards the images.
pub(super) fn run(out: &mut Out, globals: Globals, args: DiscardArgs) -> anyhow::Result<()> {
    let context = look::around(&args.images, &args.scan.scan)?;
    let request = Request::discard(args.images);
    carry_out(out, globals, args.consent, &context, &request)
}
