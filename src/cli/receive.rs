//! `qanopy receive`: the side of a copy that gets the images. It is started by the agent of its machine.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::fleet::person;
use crate::ops::{Receive, Source};

use super::context;
use super::execute::execute;
use super::exit::Stop;
use super::options::{ConsentArgs, Globals};
use super::output::Out;
use super::progress_bar::wish_to_stop;
use super::send::BY_AGENT;
use super::transfer::Taken;

#[derive(Debug, Args)]
pub(super) struct ReceiveArgs {
    /// What the image is called where it comes from
    from: String,
    /// The name that it gets
    name: String,
    /// The folder
    #[arg(value_hint = clap::ValueHint::DirPath)]
    to: PathBuf,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl ReceiveArgs {
    fn received(&self, source: Source) -> Receive {
        Receive {
            from: self.from.clone(),
            name: self.name.clone(),
            to: self.to.clone(),
            source,
        }
    }
}

/// Takes an image and all it is built on from whoever is at the other end.
pub(super) fn run(out: &mut Out, globals: Globals, args: &ReceiveArgs) -> anyhow::Result<()> {
    let Some(person) = person() else {
        return Err(Stop::Usage(BY_AGENT.to_owned()).into());
    };
    let input = person.input(wish_to_stop()?);
    let chain = Taken::open(input, |bytes| person.ask_for(bytes))?;
    let request = args.received(Source::of(Arc::new(chain)));
    let also = args.to.is_dir().then(|| args.to.clone());
    let context = context::around(&[], also.as_slice())?;
    execute(out, globals, args.consent, &context, &request.into())
}
