//! `qanopy send`: the side of a copy that has the images. It is started by the agent of its machine.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;

use crate::fleet::{frames_out, person};
use crate::ops::{Error, Sending};

use super::context;
use super::exit::Stop;
use super::options::ScanArgs;
use super::remedies;
use super::transfer::give;

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// The image
    image: PathBuf,
    #[command(flatten)]
    scan: ScanArgs,
}

/// What is said to who types what only an agent starts.
pub(super) const BY_AGENT: &str = "it is one side of a copy, which `qanopy copy` starts";

/// Gives an image and all it is built on to whoever is at the other end.
pub(super) fn run(args: &SendArgs) -> anyhow::Result<()> {
    let Some(person) = person() else {
        return Err(Stop::Usage(BY_AGENT.to_owned()).into());
    };
    let context = context::around(std::slice::from_ref(&args.image), &args.scan.scan);
    let chain = match context {
        Ok(context) => Sending::open(&context, &args.image),
        Err(error) => Err(Error::failed(format!("{error:#}"))),
    };
    if let Err(error) = &chain {
        remedies::complain(&error.report().remedies);
    }
    // It holds nothing that a signal would leave half done.
    let stop = AtomicBool::new(false);
    give(chain, &mut person.input(&stop), &mut frames_out()?)
}
