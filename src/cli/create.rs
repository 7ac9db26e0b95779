//! `qanopy create`: a new image, with or without a backing file.

use crate::image::Format;
use crate::ops::{BackingStyle, Branch, BranchUnchecked, Create, CreateRaw, Request};

use super::args::{CreateArgs, FormatArg, Globals};
use super::context;
use super::execute::execute;
use super::exit::Stop;
use super::new_image::preallocation_of_raw;
use super::output::Out;

/// Creates the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: CreateArgs) -> anyhow::Result<()> {
    let mut image = args.image.options();
    let (encryption, keys) = args.encryption.with_keys(&args.passphrases, &args.new)?;
    image.encryption = encryption;
    let style = if args.absolute {
        BackingStyle::Absolute
    } else {
        BackingStyle::Relative
    };
    let (mut context, request) = match (args.backing, args.size) {
        (Some(_), _) if args.format == FormatArg::Raw => {
            return Err(Stop::Usage("a raw image has no backing file".to_owned()).into());
        }
        (None, Some(size)) if args.format == FormatArg::Raw => {
            let request = Request::CreateRaw(CreateRaw {
                new: args.new,
                size,
                preallocation: preallocation_of_raw(&image)?,
            });
            (context::nowhere(), request)
        }
        (Some(base), Some(size)) if args.unchecked => {
            let request = Request::BranchUnchecked(BranchUnchecked {
                base,
                format: Format::from_name(&args.backing_format.unwrap_or_default()),
                new: args.new,
                size,
                style,
                image,
            });
            (context::around(&[], &args.scan.scan)?, request)
        }
        (Some(base), size) => {
            let context = context::around(std::slice::from_ref(&base), &args.scan.scan)?;
            let request = Request::Branch(Branch {
                base,
                new: args.new,
                size,
                style,
                image,
            });
            (context, request)
        }
        (None, Some(size)) => {
            let path = args.new;
            let request = Request::Create(Create { path, size, image });
            (context::nowhere(), request)
        }
        (None, None) => return Err(Stop::Usage("a size is missing".to_owned()).into()),
    };
    context.keys = keys;
    execute(out, globals, args.consent, &context, &request)
}
