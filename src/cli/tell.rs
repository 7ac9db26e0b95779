//! `qanopy tell`: what is known of this machine beside its images, line by line, for another qanopy that shows it
//! beside what it knows itself. Nobody types it.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use crate::doctor;
use crate::facts::{END, Fact, Halted, SpareLeaf, TrashEntry, line};
use crate::host::RealHost;
use crate::inside::Until;
use crate::ops::journal::Standing;
use crate::ops::{self, SpaceCache, SpaceQuery};

use super::exit::Stop;
use super::options::{Globals, OpenArgs, Words, one_of};
use super::prune::{KeepArgs, proposed};
use super::recover::leftovers_in;
use super::{context, interrupted, log};

#[derive(Debug, Args)]
pub(super) struct TellArgs {
    /// What is told
    #[arg(long, value_name = "WHAT", value_parser = one_of(ABOUT))]
    about: About,
    /// Of space: read the images' data as well
    #[arg(long)]
    read: bool,
    /// Of space and leaves: those may go that were not changed for so many days
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    older_than: u64,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    open: OpenArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Findings,
    Space,
    Trash,
    Prune,
    Interrupted,
    Machines,
}

const ABOUT: &Words<About> = &[
    (
        "findings",
        "What is wrong that a scan does not see",
        About::Findings,
    ),
    (
        "space",
        "What images hold, and what would free space",
        About::Space,
    ),
    ("trash", "What is in the trash", About::Trash),
    (
        "prune",
        "Leaves that nothing uses, and which of them are kept by rule",
        About::Prune,
    ),
    (
        "interrupted",
        "What was interrupted, or is half made",
        About::Interrupted,
    ),
    (
        "machines",
        "Which machines are defined or run",
        About::Machines,
    ),
];

/// Tells it, to the end.
pub(super) fn run(globals: Globals, args: &TellArgs) -> anyhow::Result<()> {
    if globals.json {
        let text = "tell prints lines for another qanopy: doctor, space and trash have --json";
        return Err(Stop::Usage(text.to_owned()).into());
    }
    let mut out = io::stdout().lock();
    for fact in facts(args)? {
        out.write_all(&line(fact)?)?;
    }
    out.write_all(END)?;
    Ok(out.flush()?)
}

impl TellArgs {
    fn older_than(&self) -> Duration {
        Duration::from_secs(self.older_than.saturating_mul(86_400))
    }
}

fn facts(args: &TellArgs) -> anyhow::Result<Vec<Fact>> {
    Ok(match args.about {
        About::Findings => {
            let context = context::below_and_remembered(&args.open)?;
            let found = doctor::examine_further(&context).into_iter();
            found.map(Fact::Finding).collect()
        }
        About::Space => space(args)?,
        About::Trash => {
            let dirs = context::roots(&args.open)?;
            let context = context::nowhere();
            let found = ops::trash::list(&RealHost, context.state_dir.as_deref(), &dirs);
            let found = found.into_iter().map(TrashEntry::from);
            found.map(Fact::Trashed).collect()
        }
        About::Prune => spare_leaves(args)?,
        About::Interrupted => interrupted(args)?,
        About::Machines => machines(args)?,
    })
}

fn space(args: &TellArgs) -> anyhow::Result<Vec<Fact>> {
    let context = context::below_and_remembered(&args.open)?;
    let query = SpaceQuery {
        older_than: args.older_than(),
        reads: args.read,
        estimates_compressing: args.read,
        known: &SpaceCache::default(),
        // A wish to stop ends the process: nothing is written here.
        until: Until::as_long_as(|| true),
        advances: &|_| {},
        hears: &|_, _| {},
    };
    let report = ops::space(&context, &query).unwrap_or_default();
    let trash = Fact::TrashBytes(report.trash);
    let images = report.images.into_iter().map(Fact::Image);
    let savings = report.savings.into_iter().map(Fact::Saving);
    Ok([trash].into_iter().chain(images).chain(savings).collect())
}

fn machines(args: &TellArgs) -> anyhow::Result<Vec<Fact>> {
    let context = context::below(&args.open)?.context;
    let machines = context.forest.machines();
    let unasked = machines.unasked().iter().cloned().map(Fact::Unasked);
    let list = machines.list().iter().cloned();
    let list = list.map(|machine| Fact::Machine(Box::new(machine)));
    Ok(unasked.chain(list).collect())
}

fn spare_leaves(args: &TellArgs) -> anyhow::Result<Vec<Fact>> {
    let context = context::below_and_remembered(&args.open)?;
    let found = proposed(&context, args.older_than());
    let mut kept = args.keep.rule().reasons(&context, &found);
    let leaves = found.into_iter().map(|one| {
        let why = kept.remove(&one.node);
        Fact::Spare(SpareLeaf::new(one, why))
    });
    Ok(leaves.collect())
}

fn interrupted(args: &TellArgs) -> anyhow::Result<Vec<Fact>> {
    let all = log::entries(&interrupted::journal()?)?;
    let left = leftovers_in(&all, context::roots(&args.open)?).into_iter();
    let left = left.filter(|one| !one.runs).map(Fact::Leftover);
    let halted = all.iter();
    let halted = halted.filter(|entry| entry.standing == Standing::Interrupted);
    let halted = halted.map(|entry| Fact::Halted(Halted::from(entry)));
    Ok(halted.chain(left).collect())
}
