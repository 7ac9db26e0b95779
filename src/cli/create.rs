//! `qanopy create`: a new image without a backing file.

use crate::ops::{CreateOptions, Request};

use super::args::{CreateArgs, Globals};
use super::carry_out::carry_out;
use super::look;
use super::out::Out;

/// Creates the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: CreateArgs) -> anyhow::Result<()> {
    let request = Request::Create(CreateOptions {
        path: args.new,
        size: args.size,
    });
    carry_out(out, globals, args.consent, &look::nowhere(), &request)
}
