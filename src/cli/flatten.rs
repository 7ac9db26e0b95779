//! `qanopy flatten`: an image receives what the layers below it hold, in place or as a new file.

use crate::image::CompressionLevel;
use crate::ops::{Compress, Flatten, Request};

use super::args::{FlattenArgs, Globals};
use super::execute::execute;
use super::output::Out;
use super::{context, passphrase};

/// Flattens the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: FlattenArgs) -> anyhow::Result<()> {
    let mut named = vec![args.image.clone()];
    named.extend(args.onto.clone());
    let keys = passphrase::keys(&args.passphrases)?;
    let mut context = context::around(&named, &args.scan.scan)?;
    context.keys = keys;
    let request = Request::Flatten(Flatten {
        image: args.image,
        onto: args.onto,
        new: args.new,
        compress: args.compress.then(|| Compress {
            kind: args.compression_type.into(),
            level: args
                .compression_level
                .map_or(CompressionLevel::Default, CompressionLevel::Level),
        }),
    });
    execute(out, globals, args.consent, &context, &request)
}
