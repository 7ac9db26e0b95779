//! `qanopy diff`: which files differ between an image and what it is built on, or another image. Ends as diff does.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::guest::diff::{Change, ChangeKind, NoWatch, Options, VolumeDiff, VolumeState};
use crate::guest::filesystem::{Node, NodeKind};
use crate::inside::{self, ContentDiff, FileDiff, LineKind, Older, Place, Sides, View};
use crate::units;

use super::exit::Stop;
use super::guest_image::{
    GIVES_PASSPHRASE, GuestImageArgs, json_path, kind_name, node_fields, shown,
};
use super::options::{Globals, Words, one_of};
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    #[command(flatten)]
    image: GuestImageArgs,
    /// The newer image [default: IMAGE is the newer one, and what it is built on the older]
    #[arg(conflicts_with_all = ["root", "snapshot"])]
    other: Option<PathBuf>,
    /// Compare with the lowest layer of the chain, not with the next one
    #[arg(long, conflicts_with = "snapshot")]
    root: bool,
    /// Look at the content of every file wherever the disk changed: finds what was written past the filesystem
    #[arg(long)]
    deep: bool,
    /// Leave out logs, caches and temporary files
    #[arg(long)]
    no_noise: bool,
    /// A line for each folder instead of one for each file
    #[arg(long)]
    folders: bool,
    /// Order the files by this
    #[arg(long, value_name = "WHAT", value_parser = one_of(ORDERS), default_value = "path")]
    sort: Order,
    /// Compare one file: what is recorded of it, and its lines as diff -u does; p2:/notes is on another volume
    #[arg(long, value_name = "PATH", conflicts_with_all = ["deep", "no_noise", "folders", "sort"])]
    file: Option<OsString>,
}

/// What files are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Path,
    Size,
}

const ORDERS: &Words<Order> = &[
    ("path", "Their paths", Order::Path),
    ("size", "How much changed, the most first", Order::Size),
];

/// Compares and prints.
pub(super) fn run(out: &mut Out, globals: Globals, args: &DiffArgs) -> anyhow::Result<()> {
    compare(out, globals, args).map_err(Stop::trouble)
}

fn compare(out: &mut Out, globals: Globals, args: &DiffArgs) -> anyhow::Result<()> {
    let sides = sides(args)?;
    if let Some(file) = &args.file {
        return one_file(out, globals, args, &sides, file);
    }
    let options = Options { deep: args.deep };
    let mut volumes = inside::compare(&sides, args.image.keys()?, options, &mut NoWatch)?;
    for volume in &mut volumes {
        if args.no_noise {
            volume.changes.retain(|change| !change.is_noise());
        }
        if args.sort == Order::Size {
            volume
                .changes
                .sort_by_key(|change| std::cmp::Reverse(change.bytes));
        }
    }
    if globals.json {
        out.json(json!({ "volumes": volumes.iter().map(described).collect::<Vec<_>>() }))?;
    } else {
        for volume in &volumes {
            print(out, volume, args.folders)?;
        }
    }
    if volumes.iter().all(VolumeDiff::is_same) {
        return Ok(());
    }
    out.flush()?;
    let unread = volumes
        .iter()
        .filter(|volume| !matches!(volume.state, VolumeState::Same | VolumeState::Compared));
    let text = match unread.count() {
        0 => "files differ".to_owned(),
        count => format!(
            "{} could not be compared wholly",
            units::count(count, "volume")
        ),
    };
    Err(Stop::Differs(text).into())
}

/// Compares one file of both states.
fn one_file(
    out: &mut Out,
    globals: Globals,
    args: &DiffArgs,
    sides: &Sides,
    file: &OsStr,
) -> anyhow::Result<()> {
    let keys = args.image.keys()?;
    let newer = View::open(sides.after.clone(), keys)?;
    let older = View::open(sides.before.clone(), keys)?;
    let place = Place::parse(file.as_bytes());
    let found = inside::file_diff([&older, &newer], &place, None, &mut || true)?;
    let [mut before, after] = [&older, &newer].map(top);
    if args.image.snapshot().is_some() {
        before.push_str(" (snapshot)");
    }
    let lines = found.told([&before, &after]);
    if globals.json {
        out.json(json!({ "file": file_fields(&found, &lines) }))?;
    } else {
        lines
            .iter()
            .try_for_each(|(_, line)| out.text(&format!("{line}\n")))?;
    }
    if found.is_same() {
        return Ok(());
    }
    out.flush()?;
    Err(Stop::Differs("the file differs".to_owned()).into())
}

/// What a state is called: the file name of its top layer.
fn top(view: &View) -> String {
    let layer = view.chain.layers().first();
    layer.map_or_else(String::new, |layer| units::file_name(layer.path()))
}

/// A file that was compared, as JSON.
fn file_fields(found: &FileDiff, lines: &[(LineKind, String)]) -> Value {
    let side = |node: &Option<Node>| node.as_ref().map(node_fields);
    let records = found.records.iter().map(|record| record.name);
    let (content, first) = match &found.content {
        ContentDiff::Same => ("same", None),
        ContentDiff::Text(_) => ("text", None),
        ContentDiff::Bytes(first) => ("binary", Some(*first)),
        ContentDiff::SameSoFar(bytes) => ("not-compared-wholly", Some(*bytes)),
    };
    let is_of_text = |(kind, _): &&(LineKind, String)| *kind != LineKind::Word;
    let text = lines.iter().filter(is_of_text);
    let text: String = text.map(|(_, line)| format!("{line}\n")).collect();
    let path = &found.place.path;
    let mut fields = serde_json::Map::new();
    fields.insert("volume".to_owned(), json!(found.place.volume));
    fields.insert(
        "path".to_owned(),
        json_path(path.strip_prefix(b"/").unwrap_or(path)),
    );
    fields.insert("before".to_owned(), json!(side(&found.before)));
    fields.insert("after".to_owned(), json!(side(&found.after)));
    fields.insert("records".to_owned(), json!(records.collect::<Vec<_>>()));
    fields.insert("content".to_owned(), json!(content));
    fields.insert("first-difference".to_owned(), json!(first));
    fields.insert("diff".to_owned(), json!(text));
    Value::Object(fields)
}

/// The two states that are meant.
fn sides(args: &DiffArgs) -> anyhow::Result<Sides> {
    if let Some(other) = &args.other {
        return Ok(Sides {
            before: args.image.chain()?,
            after: args.image.other(other)?,
        });
    }
    if let Some(snapshot) = args.image.snapshot() {
        return Ok(Sides {
            before: args.image.chain_at(Some(snapshot))?,
            after: args.image.chain_at(None)?,
        });
    }
    let older = if args.root { Older::Root } else { Older::Base };
    Sides::of(&args.image.chain()?, older).ok_or_else(|| {
        let text = "it is built on no other image; name the image to compare it with".to_owned();
        Stop::Usage(text).into()
    })
}

fn print(out: &mut Out, volume: &VolumeDiff, by_folder: bool) -> anyhow::Result<()> {
    let bytes = units::size(volume.changed_bytes);
    let head = format!("{} ({})", volume.name, volume.kind);
    match &volume.state {
        VolumeState::Same => out.line(format_args!("{head}: the same"))?,
        VolumeState::Compared | VolumeState::Partial(_) => {
            let files = units::count(volume.changes.len(), "change");
            out.line(format_args!("{head}: {files}, {bytes} stored anew"))?;
        }
        VolumeState::NotRead(why) => out.line(format_args!(
            "{head}: {bytes} differ, files not compared: {why}"
        ))?,
        VolumeState::Locked(why) => out.line(format_args!(
            "{head}: {bytes} differ, files not compared: {why} ({GIVES_PASSPHRASE})"
        ))?,
        VolumeState::Added => out.line(format_args!("{head}: new"))?,
        VolumeState::Deleted => out.line(format_args!("{head}: gone"))?,
    }
    if let VolumeState::Partial(reasons) = &volume.state {
        for reason in reasons {
            out.line(format_args!("  not complete: {reason}"))?;
        }
    }
    if by_folder {
        return folders(out, volume);
    }
    for change in &volume.changes {
        let from = change
            .from
            .as_ref()
            .map(|from| format!("{} -> ", shown(from)))
            .unwrap_or_default();
        let is_file = change.node_kind() == Some(NodeKind::File);
        let bytes = if is_file && change.content {
            units::size(change.bytes)
        } else {
            String::new()
        };
        let slash = if change.node_kind() == Some(NodeKind::Directory) {
            "/"
        } else {
            ""
        };
        let of = change.snapshot_of.as_ref();
        let of = of.map_or_else(String::new, |of| format!(" (snapshot of {})", shown(of)));
        out.line(format_args!(
            "{} {bytes:>9} {from}{}{slash}{of}",
            change.kind.letter(),
            shown(&change.path)
        ))?;
    }
    Ok(())
}

/// A line for each folder that holds changes.
fn folders(out: &mut Out, volume: &VolumeDiff) -> anyhow::Result<()> {
    let mut sums: BTreeMap<&[u8], (BTreeMap<ChangeKind, u64>, u64)> = BTreeMap::new();
    for change in &volume.changes {
        let cut = change
            .path
            .iter()
            .rposition(|byte| *byte == b'/')
            .unwrap_or(0);
        let (counts, bytes) = sums
            .entry(change.path.get(..cut).unwrap_or_default())
            .or_default();
        *counts.entry(change.kind).or_default() += 1;
        *bytes = bytes.saturating_add(change.bytes);
    }
    for (folder, (counts, bytes)) in sums {
        let counts = counts
            .iter()
            .map(|(kind, count)| format!("{count} {}", kind.name()));
        let counts = counts.collect::<Vec<_>>().join(", ");
        out.line(format_args!(
            "{:>9} {}: {counts}",
            units::size(bytes),
            shown(folder)
        ))?;
    }
    Ok(())
}

fn described(volume: &VolumeDiff) -> Value {
    let (state, reasons) = match &volume.state {
        VolumeState::Same => ("same", Vec::new()),
        VolumeState::Compared => ("compared", Vec::new()),
        VolumeState::Partial(reasons) => ("partial", reasons.clone()),
        VolumeState::NotRead(why) | VolumeState::Locked(why) => ("not-read", vec![why.clone()]),
        VolumeState::Added => ("added", Vec::new()),
        VolumeState::Deleted => ("deleted", Vec::new()),
    };
    json!({
        "name": volume.name.to_string(),
        "kind": volume.kind,
        "state": state,
        "reasons": reasons,
        "changed-bytes": volume.changed_bytes,
        "changes": volume.changes.iter().map(change).collect::<Vec<_>>(),
    })
}

fn change(change: &Change) -> Value {
    let size = |node: &Option<Node>| node.as_ref().map(|node| node.size);
    let mut fields = serde_json::Map::new();
    fields.insert("kind".to_owned(), json!(change.kind.name()));
    fields.insert("path".to_owned(), json_path(&change.path));
    if let Some(from) = &change.from {
        fields.insert("from".to_owned(), json_path(from));
    }
    if let Some(of) = &change.snapshot_of {
        fields.insert("snapshot-of".to_owned(), json_path(of));
    }
    fields.insert("type".to_owned(), json!(change.node_kind().map(kind_name)));
    fields.insert("content".to_owned(), json!(change.content));
    fields.insert("bytes".to_owned(), json!(change.bytes));
    fields.insert("size-before".to_owned(), json!(size(&change.before)));
    fields.insert("size".to_owned(), json!(size(&change.after)));
    Value::Object(fields)
}
