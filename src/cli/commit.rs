//! `qanopy commit`: merges an overlay down into the image it is built on.

use crate::ops::{CommittedLayer, Request};

use super::args::{CommitArgs, Globals};
use super::carry_out::carry_out;
use super::out::Out;
use super::{look, passphrase};

/// Commits the overlay.
pub(super) fn run(out: &mut Out, globals: Globals, args: CommitArgs) -> anyhow::Result<()> {
    let keys = passphrase::keys(&args.passphrases)?;
    let mut context = look::around(std::slice::from_ref(&args.overlay), &args.scan.scan)?;
    context.keys = keys;
    let request = Request::Commit {
        overlay: args.overlay,
        layer: if args.keep {
            CommittedLayer::Keep
        } else {
            CommittedLayer::Trash
        },
        siblings: args.siblings.into(),
    };
    carry_out(out, globals, args.consent, &context, &request)
}
