//! `qanopy rebase`: builds an image on another one, and keeps what it shows.

use crate::image::Format;
use crate::ops::{BackingStyle, Flatten, Rebase, Request};

use super::args::{Globals, RebaseArgs};
use super::execute::execute;
use super::output::Out;
use super::{context, passphrase};

/// Rebases the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: RebaseArgs) -> anyhow::Result<()> {
    let mut named = vec![args.image.clone()];
    named.extend(args.to.clone());
    let keys = passphrase::keys(&args.passphrases)?;
    let mut context = context::around(&named, &args.scan.scan)?;
    context.keys = keys;
    let request = match args.to {
        None => Request::Flatten(Flatten {
            image: args.image,
            onto: None,
            new: None,
            compress: None,
        }),
        Some(to) => Request::Rebase(Rebase {
            image: args.image,
            to,
            format: args.format.as_deref().map(Format::from_name),
            style: match (args.relative, args.absolute) {
                (true, _) => Some(BackingStyle::Relative),
                (_, true) => Some(BackingStyle::Absolute),
                _ => None,
            },
            dedupe: args.dedupe,
            compress: args.compress,
        }),
    };
    execute(out, globals, args.consent, &context, &request)
}
