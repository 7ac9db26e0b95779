//! `qanopy branch`: a new overlay on an image.

use crate::ops::{BackingStyle, Branch, Request};

use super::args::{BranchArgs, Globals};
use super::context;
use super::execute::execute;
use super::output::Out;

/// Creates the overlay.
pub(super) fn run(out: &mut Out, globals: Globals, args: BranchArgs) -> anyhow::Result<()> {
    let mut image = args.image.options();
    let (encryption, keys) = args.encryption.with_keys(&args.passphrases, &args.new)?;
    image.encryption = encryption;
    let mut context = context::around(std::slice::from_ref(&args.base), &args.scan.scan)?;
    context.keys = keys;
    let request = Request::Branch(Branch {
        base: args.base,
        new: args.new,
        size: args.size,
        style: if args.absolute {
            BackingStyle::Absolute
        } else {
            BackingStyle::Relative
        },
        image,
    });
    execute(out, globals, args.consent, &context, &request)
}
