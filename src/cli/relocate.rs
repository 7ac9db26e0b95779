//! `qanopy move`: images get another name or place, and whatever refers to them follows.

use crate::ops::{Relocation, Request};

use super::args::{Globals, MoveArgs};
use super::carry_out::carry_out;
use super::look;
use super::out::Out;
use super::stop::Stop;

/// Moves the images.
pub(super) fn run(out: &mut Out, globals: Globals, args: MoveArgs) -> anyhow::Result<()> {
    let mut images = args.paths;
    let Some(to) = images.pop() else {
        return Err(Stop::Usage("name the images and where they go".to_owned()).into());
    };
    let context = look::around(&images, &args.scan.scan)?;
    let moves = images
        .into_iter()
        .map(|from| Relocation {
            from,
            to: to.clone(),
            style: None,
        })
        .collect();
    let request = Request::Move {
        moves,
        subtree: args.subtree,
    };
    carry_out(out, globals, args.consent, &context, &request)
}
