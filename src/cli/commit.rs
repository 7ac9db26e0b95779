//! `qanopy commit`: merges an overlay, and what is between, down into an image it is built on.

use crate::ops::{Commit, CommittedLayer, Request};

use super::args::{CommitArgs, Globals};
use super::execute::execute;
use super::output::Out;
use super::{context, passphrase};

/// Commits the overlay.
pub(super) fn run(out: &mut Out, globals: Globals, args: CommitArgs) -> anyhow::Result<()> {
    let keys = passphrase::keys(&args.passphrases)?;
    let mut named = vec![args.overlay.clone()];
    named.extend(args.into.clone());
    let mut context = context::around(&named, &args.scan.scan)?;
    context.keys = keys;
    let request = Request::Commit(Commit {
        overlay: args.overlay,
        into: args.into,
        layer: if args.keep {
            CommittedLayer::Keep
        } else {
            CommittedLayer::Trash
        },
        siblings: args.siblings.into(),
        keep_old: args.keep_old,
    });
    execute(out, globals, args.consent, &context, &request)
}
