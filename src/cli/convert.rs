//! `qanopy convert`: what an image shows as a new image of another kind.

use crate::image::{CarriedBitmaps, CompressionLevel, Format};
use crate::ops::{BackingStyle, Convert, ConvertForm, ImageOptions, Request};

use super::args::{ConvertArgs, FormatArg, Globals};
use super::execute::execute;
use super::exit::Stop;
use super::new_image::preallocation_of_raw;
use super::output::Out;
use super::{context, passphrase};

/// Converts the images.
pub(super) fn run(out: &mut Out, globals: Globals, args: ConvertArgs) -> anyhow::Result<()> {
    let mut named = args.sources.clone();
    named.extend(args.backing.clone());
    named.extend(args.into_existing.then(|| args.new.clone()));
    let keys = passphrase::keys_with_new(&args.passphrases, std::slice::from_ref(&args.new))?;
    let mut context = context::around(&named, &args.scan.scan)?;
    context.keys = keys;
    let mut image = args.image.options();
    image.encryption = args.encryption.option();
    let form = match args.to {
        _ if args.into_existing => {
            if image != ImageOptions::default() {
                let text = "an image that is there keeps its options: none for a new one goes with --into-existing";
                return Err(Stop::Usage(text.to_owned()).into());
            }
            ConvertForm::Existing
        }
        FormatArg::Raw => {
            if args.compress {
                return Err(Stop::Usage(
                    "a raw image has no clusters that could be compressed".to_owned(),
                )
                .into());
            }
            ConvertForm::Raw {
                preallocation: preallocation_of_raw(&image)?,
            }
        }
        FormatArg::Qcow2 => ConvertForm::Qcow2 {
            image,
            compress: args.compress.then(|| {
                args.compression_level
                    .map_or(CompressionLevel::Default, CompressionLevel::Level)
            }),
        },
    };
    let request = Request::Convert(Convert {
        sources: args.sources,
        format: args.source_format.map(|format| match format {
            FormatArg::Qcow2 => Format::Qcow2,
            FormatArg::Raw => Format::Raw,
        }),
        snapshot: args.snapshot.wanted(),
        bitmaps: match (args.bitmaps, args.skip_broken_bitmaps) {
            (false, _) => CarriedBitmaps::None,
            (true, false) => CarriedBitmaps::All,
            (true, true) => CarriedBitmaps::Sound,
        },
        salvage: args.salvage,
        sparse: args.sparse_size,
        new: args.new,
        form,
        backing: args.backing,
        style: if args.absolute {
            BackingStyle::Absolute
        } else {
            BackingStyle::Relative
        },
    });
    execute(out, globals, args.consent, &context, &request)
}
