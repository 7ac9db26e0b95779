//! `qanopy move`: images get another name or place, and whatever refers to them follows.

use std::path::PathBuf;

use crate::forest::Index;
use crate::host::{Host, RealHost};
use crate::ops::{MoveImages, Relocation, Request, moved_to};

use super::args::{Globals, MoveArgs};
use super::context;
use super::execute::execute;
use super::exit::Stop;
use super::output::Out;

/// Moves the images.
pub(super) fn run(out: &mut Out, globals: Globals, args: MoveArgs) -> anyhow::Result<()> {
    let mut images = args.paths;
    let Some(to) = images.pop() else {
        return Err(Stop::Usage("name the images and where they go".to_owned()).into());
    };
    // What a move that was interrupted has moved already is looked for where it is.
    let state_dir = Index::default_dir();
    let there = images.iter().map(|from| {
        let gone = RealHost.stat_link(from).is_err();
        let moved = gone.then(|| moved_to(state_dir.as_deref(), from)).flatten();
        moved.unwrap_or_else(|| from.clone())
    });
    let there: Vec<PathBuf> = there.collect();
    let context = context::around(&there, &args.scan.scan)?;
    let moves = images
        .into_iter()
        .map(|from| Relocation {
            from,
            to: to.clone(),
            style: None,
        })
        .collect();
    let request = Request::Move(MoveImages {
        moves,
        subtree: args.subtree,
    });
    execute(out, globals, args.consent, &context, &request)
}
