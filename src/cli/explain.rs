//! `qanopy explain`: why a layer is as large as it is: what the bytes that it stores itself are used for in the guest, and
//! what of them could be given back.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::guest::{self, explain};
use crate::host::printable;
use crate::inside::{self, Until};
use crate::ops::{self, Phase, Progress, Saving, SavingKind, SpaceCache, SpaceQuery};
use crate::units;

use super::exit::Stop;
use super::guest_image::GuestImageArgs;
use super::options::{Globals, ScanArgs};
use super::output::Out;
use super::{context, progress_bar};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    image: GuestImageArgs,
    #[command(flatten)]
    scan: ScanArgs,
}

/// What gives back what is stored, and is told also where it gives back nothing.
const WAYS: [SavingKind; 3] = [SavingKind::Squash, SavingKind::Dedupe, SavingKind::Trim];

/// Prints what they are used for, and what could be given back.
pub(super) fn run(out: &mut Out, globals: Globals, args: &ExplainArgs) -> anyhow::Result<()> {
    let view = args.image.view()?;
    let own = guest::stored(&view.chain)?;
    let sums = explain::explain(&view.disk, &own)?;
    let savings = savings(args)?;
    let parts = inside::uses(&sums);
    if globals.json {
        let mut fields = Map::new();
        fields.insert("stored".to_owned(), json!(own.bytes()));
        fields.extend(
            parts
                .iter()
                .map(|(key, _, bytes)| ((*key).to_owned(), json!(bytes))),
        );
        fields.insert("gives-back".to_owned(), given_back(savings.as_deref()));
        return Ok(out.json(fields.into())?);
    }
    out.line(format_args!(
        "{:>9} stored by this layer",
        units::size(own.bytes())
    ))?;
    for (_, words, bytes) in parts.iter().filter(|(_, _, bytes)| *bytes > 0) {
        out.line(format_args!("{:>9} {words}", units::size(*bytes)))?;
    }
    let savings = savings.unwrap_or_default();
    if !savings.is_empty() {
        out.line("What would give back of it:")?;
    }
    for saving in savings {
        let line = saving.request.command_line();
        let line = line.map_or_else(String::new, |line| line.typed().to_string());
        out.line(format_args!("{:>9} {line}", units::size(saving.frees)))?;
        out.line(format_args!("{:>9} {}", "", printable(&saving.why)))?;
    }
    Ok(())
}

/// What would give back what the image stores now; none where an internal snapshot is asked about, which keeps what it
/// holds.
fn savings(args: &ExplainArgs) -> anyhow::Result<Option<Vec<Saving>>> {
    if args.image.snapshot().is_some() {
        return Ok(None);
    }
    let image = &args.image.image;
    let mut context = context::around(std::slice::from_ref(image), &args.scan.scan)?;
    context.keys = args.image.keys()?.clone();
    let progress = Progress::new();
    let query = SpaceQuery {
        older_than: std::time::Duration::MAX,
        reads: true,
        estimates_compressing: false,
        known: &SpaceCache::default(),
        until: Until::as_long_as({
            let progress = progress.clone();
            move || !progress.is_cancelled()
        }),
        advances: &|bytes| {
            // Whether to go on is asked by itself.
            let _ = progress.advance(bytes);
        },
        hears: &|_, _| {},
    };
    let found = progress_bar::watch(&progress, || {
        progress.enter(Phase::Collect, 0);
        ops::space_of(&context, image, &query)
    })?;
    if progress.is_cancelled() {
        return Err(Stop::Cancelled("nothing was changed".to_owned()).into());
    }
    let mut savings = found.map_or_else(Vec::new, |(_, savings)| savings);
    savings.retain(|saving| WAYS.contains(&saving.kind));
    savings.sort_by(Saving::order);
    Ok(Some(savings))
}

/// Bytes by what gives them back.
fn given_back(savings: Option<&[Saving]>) -> Value {
    let Some(savings) = savings else {
        return Value::Null;
    };
    let bytes = |kind| {
        let found = savings.iter().find(|saving| saving.kind == kind);
        json!(found.map_or(0, |saving| saving.frees))
    };
    let fields: Map<String, Value> = WAYS
        .iter()
        .map(|kind| (kind.name().to_owned(), bytes(*kind)))
        .collect();
    fields.into()
}
