//! `qanopy squash`: takes one layer out of its chain.

use crate::ops::{Request, Squash};

use super::args::{Globals, SquashArgs};
use super::execute::execute;
use super::output::Out;
use super::{context, passphrase};

/// Squashes the layer.
pub(super) fn run(out: &mut Out, globals: Globals, args: SquashArgs) -> anyhow::Result<()> {
    let keys = passphrase::keys(&args.passphrases)?;
    let mut context = context::around(std::slice::from_ref(&args.layer), &args.scan.scan)?;
    context.keys = keys;
    let request = Request::Squash(Squash {
        layer: args.layer,
        direction: args.direction.map(Into::into),
    });
    execute(out, globals, args.consent, &context, &request)
}
