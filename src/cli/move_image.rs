//! `qanopy move`: images get another name or place, and whatever refers to them follows.

use std::path::PathBuf;

use clap::Args;

use crate::forest::Index;
use crate::host::{Host, RealHost};
use crate::ops::{LiveMove, MoveImages, Relocation, Request, moved_to};

use crate::units;

use super::context;
use super::execute::execute;
use super::exit::Stop;
use super::options::{ConsentArgs, Globals, ScanArgs};
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct MoveArgs {
    /// The images, then their new name or a folder to hold them
    #[arg(value_name = "IMAGE", num_args = 2.., required = true)]
    paths: Vec<PathBuf>,
    /// Everything built on them moves along
    #[arg(long)]
    subtree: bool,
    /// Have the machine do it that has the image open now; its guest goes on meanwhile
    #[arg(long, conflicts_with = "subtree")]
    live: bool,
    /// Bytes per second at most, such as 50M
    #[arg(long, value_parser = units::parse_size, value_name = "SIZE", requires = "live")]
    speed: Option<u64>,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl MoveArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let (images, to) = self.images_and_place()?;
        if self.live {
            let [image] = images else {
                let text = "with --live one image is moved at a time".to_owned();
                return Err(Stop::Usage(text).into());
            };
            return Ok(Request::LiveMove(LiveMove {
                image: image.clone(),
                to: to.clone(),
                speed: self.speed,
                takes_up: false,
            }));
        }
        let moves = images.iter().map(|from| Relocation {
            from: from.clone(),
            to: to.clone(),
            style: None,
        });
        Ok(Request::Move(MoveImages {
            moves: moves.collect(),
            subtree: self.subtree,
        }))
    }

    /// The last of the paths is where the others go.
    fn images_and_place(&self) -> Result<(&[PathBuf], &PathBuf), Stop> {
        match self.paths.split_last() {
            Some((to, images)) => Ok((images, to)),
            None => Err(Stop::Usage("name the images and where they go".to_owned())),
        }
    }
}

/// Moves the images.
pub(super) fn run(out: &mut Out, globals: Globals, args: &MoveArgs) -> anyhow::Result<()> {
    let (images, _) = args.images_and_place()?;
    // What a move that was interrupted has moved already is looked for where it is.
    let state_dir = Index::default_dir();
    let there = images.iter().map(|from| {
        let gone = RealHost.stat_link(from).is_err();
        let moved = gone.then(|| moved_to(state_dir.as_deref(), from)).flatten();
        moved.unwrap_or_else(|| from.clone())
    });
    let there: Vec<PathBuf> = there.collect();
    let context = context::around(&there, &args.scan.scan)?;
    execute(out, globals, args.consent, &context, &args.request()?)
}
