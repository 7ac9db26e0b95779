//! `qanopy clone`, `export` and `import`: images and whole chains as copies.

use crate::ops::{BackingStyle, Branch, CloneImage, Export, ImageOptions, Import, Request};

use super::args::{CloneArgs, ExportArgs, Globals, ImportArgs};
use super::context;
use super::execute::execute;
use super::output::Out;

/// Copies an image.
pub(super) fn clone(out: &mut Out, globals: Globals, args: CloneArgs) -> anyhow::Result<()> {
    let context = context::around(std::slice::from_ref(&args.image), &args.scan.scan)?;
    let request = if args.linked {
        Request::Branch(Branch {
            base: args.image,
            new: args.new,
            size: None,
            style: BackingStyle::Relative,
            image: ImageOptions::default(),
        })
    } else {
        Request::Clone(CloneImage {
            image: args.image,
            new: args.new,
            chain: args.chain,
            reflink: args.reflink.into(),
        })
    };
    execute(out, globals, args.consent, &context, &request)
}

/// Copies a chain into a folder of its own.
pub(super) fn export(out: &mut Out, globals: Globals, args: ExportArgs) -> anyhow::Result<()> {
    let context = context::around(std::slice::from_ref(&args.image), &args.scan.scan)?;
    let request = Request::Export(Export {
        image: args.image,
        dir: args.dir,
    });
    execute(out, globals, args.consent, &context, &request)
}

/// Copies an exported folder's images to where they are to live.
pub(super) fn import(out: &mut Out, globals: Globals, args: ImportArgs) -> anyhow::Result<()> {
    let mut also = args.scan.scan.clone();
    also.push(args.to.clone());
    let context = context::around(&[], &also)?;
    let request = Request::Import(Import {
        dir: args.dir,
        to: args.to,
    });
    execute(out, globals, args.consent, &context, &request)
}
