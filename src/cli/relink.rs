//! `qanopy relink`: records anew what an image is built on, or in which format.

use crate::image::Format;
use crate::ops::{BackingStyle, Request};

use super::args::{Globals, RelinkArgs};
use super::carry_out::carry_out;
use super::look;
use super::out::Out;

/// Relinks the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: RelinkArgs) -> anyhow::Result<()> {
    let mut named = vec![args.image.clone()];
    named.extend(args.to.clone());
    let context = look::around(&named, &args.scan.scan)?;
    let request = Request::Relink {
        image: args.image,
        base: args.to,
        format: args.format.as_deref().map(Format::from_name),
        style: match (args.relative, args.absolute) {
            (true, _) => Some(BackingStyle::Relative),
            (_, true) => Some(BackingStyle::Absolute),
            _ => None,
        },
    };
    carry_out(out, globals, args.consent, &context, &request)
}
