//! `qanopy history`: in which layers of a chain a file changed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::json;

use crate::guest::filesystem::NodeKind;
use crate::host::printable;
use crate::inside::{Event, Place, States, Step};
use crate::json_text::json_name;
use crate::units;

use super::exit::Stop;
use super::guest_image::{GuestImageArgs, node_fields, time_text};
use super::options::Globals;
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    image: GuestImageArgs,
    /// The file; p2:/notes is on another volume than that of the system
    path: OsString,
    /// Also the layers in which it did not change
    #[arg(long)]
    all: bool,
}

/// Prints the layers, the newest first.
pub(super) fn run(out: &mut Out, globals: Globals, args: &HistoryArgs) -> anyhow::Result<()> {
    let states = States::open(&args.image.chain()?, args.image.keys()?)?;
    let place = Place::parse(args.path.as_bytes());
    let steps = states.history(&place)?;
    let is_known = steps
        .iter()
        .any(|step| !matches!(step.event, Ok(Event::Absent)));
    if globals.json {
        let steps = steps.iter().map(|step| {
            let mut fields = step.node.as_ref().map(node_fields).unwrap_or_default();
            fields.insert("layer".to_owned(), json_name(&step.layer));
            match &step.event {
                Ok(event) => fields.insert("event".to_owned(), json!(event.name())),
                Err(why) => fields.insert("error".to_owned(), json!(why)),
            };
            fields
        });
        out.json(json!(steps.collect::<Vec<_>>()))?;
    } else {
        let is_change =
            |step: &&Step| args.all || !matches!(step.event, Ok(Event::Absent | Event::Unchanged));
        for step in steps.iter().filter(is_change) {
            let size = step
                .node
                .as_ref()
                .filter(|node| node.kind == NodeKind::File);
            out.line(format_args!(
                "{:<9} {:>9} {:<20} {}{}",
                step.event.as_ref().map_or("unknown", |event| event.name()),
                size.map_or_else(|| "-".to_owned(), |node| units::size(node.size)),
                time_text(step.node.as_ref().and_then(|node| node.modified)),
                printable(&step.layer),
                step.event
                    .as_ref()
                    .err()
                    .map(|why| format!(" ({why})"))
                    .unwrap_or_default()
            ))?;
        }
    }
    if is_known {
        return Ok(());
    }
    out.flush()?;
    Err(Stop::Problems(format!("no layer has {}", printable(&args.path))).into())
}
