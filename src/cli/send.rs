//! `qanopy send`: the side of a copy that has the images. It is started by the agent of its machine.

use std::ffi::OsString;
use std::io::{Read, Write};
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
    pub(super) image: PathBuf,
    #[command(flatten)]
    pub(super) scan: ScanArgs,
}

impl SendArgs {
    /// The words that ask for it.
    pub(super) fn words(&self) -> Vec<OsString> {
        let dirs = self.scan.scan.iter();
        let scan = dirs.flat_map(|dir| ["--scan".into(), dir.into()]);
        let image = ["--".into(), OsString::from(&self.image)];
        std::iter::once("send".into())
            .chain(scan)
            .chain(image)
            .collect()
    }
}

/// What is said to who types what only an agent starts.
pub(super) const BY_AGENT: &str = "it is one side of a copy, which `qanopy copy` starts";

/// Gives an image and all it is built on to whoever is at the other end.
pub(super) fn run(args: &SendArgs) -> anyhow::Result<()> {
    let Some(person) = person() else {
        return Err(Stop::Usage(BY_AGENT.to_owned()).into());
    };
    // It holds nothing that a signal would leave half done.
    let stop = AtomicBool::new(false);
    send(args, &mut person.input(&stop), &mut frames_out()?)
}

/// The same to whoever asks for it so.
///
/// # Errors
/// When they cannot be written to, or ask for nonsense.
pub(super) fn send(args: &SendArgs, from: &mut dyn Read, to: &mut dyn Write) -> anyhow::Result<()> {
    let context = context::around(std::slice::from_ref(&args.image), &args.scan.scan);
    let chain = match context {
        Ok(context) => Sending::open(&context, &args.image),
        Err(error) => Err(Error::failed(format!("{error:#}"))),
    };
    if let Err(error) = &chain {
        remedies::complain(&error.report().remedies);
    }
    give(chain, from, to)
}
