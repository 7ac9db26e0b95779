//! `qanopy find`: files of a guest by name, in an image or in every layer it is built on.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::json;

use crate::host::printable;
use crate::inside::{self, Event, Pattern, Place, States, View};
use crate::json_text::json_name;
use crate::units;

use super::exit::Stop;
use super::guest_image::{GuestImageArgs, json_path, node_fields, shown};
use super::options::Globals;
use super::output::{self, Out};

#[derive(Debug, Args)]
pub(super) struct FindArgs {
    #[command(flatten)]
    image: GuestImageArgs,
    /// Part of a name, or a whole name with * and ?, or a whole path with them
    name: OsString,
    /// Look through every layer, and tell in which ones each file changed
    #[arg(long)]
    layers: bool,
}

/// Prints the files.
pub(super) fn run(out: &mut Out, globals: Globals, args: &FindArgs) -> anyhow::Result<()> {
    let pattern = Pattern::parse(args.name.as_bytes());
    let count = if args.layers {
        in_layers(
            out,
            globals,
            &States::open(&args.image.chain()?, args.image.keys()?)?,
            &pattern,
        )?
    } else {
        in_view(out, globals, &args.image.view()?, &pattern)?
    };
    if count > 0 {
        return Ok(());
    }
    out.flush()?;
    Err(Stop::Problems(format!("no file is called {}", printable(&args.name))).into())
}

fn in_view(
    out: &mut Out,
    globals: Globals,
    view: &View,
    pattern: &Pattern,
) -> anyhow::Result<usize> {
    let (hits, problems) = inside::search(view, pattern, &mut || true)?;
    complain(&problems);
    let mut documents = Vec::new();
    for hit in &hits {
        if !globals.json {
            out.line(format_args!("{}:{}", hit.volume, shown(&hit.path)))?;
            continue;
        }
        let filesystem = view
            .disk
            .filesystems()
            .find(|(volume, _)| volume.name.to_string() == hit.volume);
        let node = filesystem.and_then(|(_, filesystem)| filesystem.node(hit.id).ok());
        let mut fields = node.as_ref().map(node_fields).unwrap_or_default();
        fields.insert("volume".to_owned(), json!(hit.volume));
        fields.insert("path".to_owned(), json_path(&hit.path));
        documents.push(fields);
    }
    if globals.json {
        out.json(json!(documents))?;
    }
    Ok(hits.len())
}

fn complain(problems: &[String]) {
    for problem in problems {
        output::complain(format_args!("qanopy: {problem}"));
    }
}

fn in_layers(
    out: &mut Out,
    globals: Globals,
    states: &States,
    pattern: &Pattern,
) -> anyhow::Result<usize> {
    let mut found: BTreeMap<(String, Vec<u8>), ()> = BTreeMap::new();
    for (_, view) in states.views() {
        let (hits, problems) = inside::search(view, pattern, &mut || true)?;
        complain(&problems);
        found.extend(hits.into_iter().map(|hit| ((hit.volume, hit.path), ())));
    }
    let mut documents = Vec::new();
    for (volume, path) in found.keys() {
        let place = Place {
            volume: Some(volume.clone()),
            path: path.clone(),
        };
        let steps = states.history(&place)?;
        let changed = steps
            .iter()
            .filter(|step| !matches!(step.event, Ok(Event::Absent | Event::Unchanged)));
        let layers: Vec<_> = changed
            .map(|step| {
                (
                    step.event.as_ref().map_or("unknown", |event| event.name()),
                    &step.layer,
                )
            })
            .collect();
        if globals.json {
            let layers = layers
                .iter()
                .map(|(event, layer)| json!({ "event": event, "layer": json_name(layer) }));
            documents.push(json!({
                "volume": volume,
                "path": json_path(path),
                "layers": layers.collect::<Vec<_>>(),
            }));
            continue;
        }
        out.line(format_args!("{volume}:{}", shown(path)))?;
        for (event, layer) in layers {
            out.line(format_args!("  {event:<9} {}", units::file_name(layer)))?;
        }
    }
    if globals.json {
        out.json(json!(documents))?;
    }
    Ok(found.len())
}
