//! `qanopy resize`: makes the disk of an image longer or shorter.

use crate::ops::{Request, Resize};

use super::args::{Globals, ResizeArgs};
use super::execute::execute;
use super::output::Out;
use super::{context, passphrase};

/// Resizes the disk.
pub(super) fn run(out: &mut Out, globals: Globals, args: ResizeArgs) -> anyhow::Result<()> {
    let keys = passphrase::keys(&args.passphrases)?;
    let mut context = context::around(std::slice::from_ref(&args.image), &args.scan.scan)?;
    context.keys = keys;
    let request = Request::Resize(Resize {
        image: args.image,
        size: args.size,
        shrink: args.shrink,
        preallocation: args.preallocation.into(),
        dependants: args.dependants.into(),
    });
    execute(out, globals, args.consent, &context, &request)
}
