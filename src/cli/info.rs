//! `qanopy info`: what an image's header says, in words or with the keys of
//! `qemu-img info --output=json`. Nothing the image names is opened unless `--chain` asks for it.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::forest::render;
use crate::forest::{BackingState, Content, Flags, Forest, Node, NodeId};
use crate::host::{Access, Host, RealHost, printable, printable_bytes};
use crate::image::{
    self, BackingName, BackingTarget, Bitmap, BitmapFlags, Encryption, ImageInfo, LuksHeader,
    STRIPES, Snapshot,
};
use crate::json_text::{json_name, json_name_bytes};
use crate::ops::{self, InsidesByPath, inspect};

use super::context;
use super::exit::FileError;
use super::insides;
use super::options::{Globals, LookArgs};
use super::output::Out;
use super::remedies;
use crate::units;

#[derive(Debug, Args)]
pub(super) struct InfoArgs {
    /// The image
    image: PathBuf,
    /// Also every image it is built on, down to the root
    #[arg(long)]
    chain: bool,
}

/// QEMU counts files in whole sectors of this many bytes.
const SECTOR: u64 = 512;

/// One image, and the name that led to it.
struct Layer<'a> {
    name: PathBuf,
    id: NodeId,
    node: &'a Node,
    inside: OwnTables,
}

/// What stands in the image's own tables. Where one cannot be read, why.
#[derive(Default)]
struct OwnTables {
    snapshots: Vec<Snapshot>,
    bitmaps: Vec<Bitmap>,
    luks: Option<LuksHeader>,
    unread: Vec<String>,
}

impl OwnTables {
    fn of(path: &Path, node: &Node) -> Self {
        let mut inside = Self::default();
        let Some(info) = node.info() else {
            return inside;
        };
        let is_luks = info.encryption == Some(Encryption::Luks);
        let has_tables = info.snapshots > 0 || info.bitmaps > 0 || is_luks;
        if has_tables && let Err(error) = inside.read(path) {
            inside.unread.push(error.to_string());
        }
        inside
    }

    fn read(&mut self, path: &Path) -> image::Result<()> {
        let found = inspect(&RealHost, path)?;
        self.snapshots = self.told(found.snapshots);
        self.luks = self.told(found.luks);
        self.bitmaps = self.told(found.bitmaps);
        Ok(())
    }

    /// What was read, or nothing, and why.
    fn told<T: Default>(&mut self, read: image::Result<T>) -> T {
        read.unwrap_or_else(|error| {
            self.unread.push(error.to_string());
            T::default()
        })
    }
}

/// Prints what the header says.
pub(super) fn run(out: &mut Out, globals: Globals, args: &InfoArgs) -> anyhow::Result<()> {
    let look = LookArgs {
        follow: args.chain,
        raw: false,
    };
    let (mut forest, id) = context::image(&args.image, look)?;
    context::ask_machines(&mut forest);
    let layers = layers(&forest, id, args);
    if let Some(Content::Unreadable(why)) = layers.first().map(|top| &top.node.content) {
        let file = &args.image;
        let opened = RealHost.open(file, Access::Read);
        opened.map_err(FileError::at("open", file))?;
        bail!("{why}");
    }
    let known = insides::known(&forest);
    if globals.json {
        let with_inside = |layer: &Layer<'_>| {
            let mut described = describe(&forest, layer);
            let fields = described.as_object_mut();
            if let Some((fields, inside)) = fields.zip(known.get(&layer.node.path)) {
                fields.insert("inside".to_owned(), insides::described(inside));
            }
            described
        };
        let mut values: Vec<Value> = layers.iter().map(with_inside).collect();
        let value = if args.chain {
            Value::Array(values)
        } else {
            values.swap_remove(0)
        };
        return Ok(out.json(value)?);
    }
    for (index, layer) in layers.iter().enumerate() {
        if index > 0 {
            out.line("")?;
        }
        print(out, &forest, layer, &known)?;
    }
    Ok(())
}

/// The image named and, if asked, those below it that are there.
fn layers<'a>(forest: &'a Forest, top: NodeId, args: &InfoArgs) -> Vec<Layer<'a>> {
    let mut name = args.image.clone();
    let mut layers = Vec::new();
    let depth = if args.chain { usize::MAX } else { 1 };
    for id in forest.chain(top).into_iter().take(depth) {
        let Some(node) = forest.get(id) else { break };
        if matches!(node.content, Content::Unopened) && !layers.is_empty() {
            break;
        }
        let below = leads_to(&name, node);
        let inside = OwnTables::of(&name, node);
        layers.push(Layer {
            name,
            id,
            node,
            inside,
        });
        let Some(below) = below else { break };
        name = below;
    }
    layers
}

/// Where the backing name leads, as seen from the name the image was opened by.
fn leads_to(name: &Path, node: &Node) -> Option<PathBuf> {
    let backing = node.backing.as_ref()?;
    let found = BackingName::interpret(name, backing.name());
    found.file().map(Path::to_path_buf)
}

fn text(name: impl AsRef<std::ffi::OsStr>) -> Value {
    json_name(name)
}

/// The image with the keys that qemu-img uses, as far as the fact is the same.
fn describe(forest: &Forest, layer: &Layer<'_>) -> Value {
    let node = layer.node;
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("filename", text(&layer.name));
    if let Some(format) = node.format() {
        put("format", json!(format.name()));
    }
    if let Some(size) = virtual_size(node) {
        put("virtual-size", json!(size));
    }
    if let Some(stat) = &node.stat {
        put("actual-size", json!(stat.allocated));
    }
    let info = node.info();
    put("dirty-flag", json!(info.is_some_and(|info| info.dirty)));
    if let Some(info) = info {
        put("cluster-size", json!(info.cluster_size));
        if info.encryption.is_some() {
            put("encrypted", json!(true));
        }
        if let Some(backing) = &node.backing {
            put("backing-filename", text(backing.name()));
            // QEMU gives what it cannot make a path of as it is recorded.
            let full = if backing.name().as_encoded_bytes().starts_with(b"json:") {
                text(backing.name())
            } else {
                leads_to(&layer.name, node).map_or_else(|| text(backing.name()), text)
            };
            put("full-backing-filename", full);
            if let Some(format) = backing.format().filter(|_| backing.recorded.beside) {
                put("backing-filename-format", json!(format.name()));
            }
        }
        put(
            "format-specific",
            json!({ "type": "qcow2", "data": specific(info, &layer.inside.bitmaps, layer.inside.luks.as_ref()) }),
        );
        if !layer.inside.snapshots.is_empty() {
            let snapshots = layer.inside.snapshots.iter().map(snapshot).collect();
            put("snapshots", Value::Array(snapshots));
        }
    }
    if let Some(stat) = &node.stat {
        put(
            "children",
            json!([{
                "name": "file",
                "info": {
                    "children": [],
                    "virtual-size": stat.len.next_multiple_of(SECTOR),
                    "filename": text(&layer.name),
                    "format": "file",
                    "actual-size": stat.allocated,
                    "format-specific": { "type": "file", "data": {} },
                    "dirty-flag": false,
                },
            }]),
        );
    }
    if let Some(volume) = node.volume() {
        put("volume", json!(volume.full_name()));
    }
    render::put_annotation(&mut map, node);
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    let machines = render::machines_json(forest, node);
    if !machines.is_empty() {
        put("machines", Value::Array(machines));
    }
    let problems: Vec<Value> = node
        .problems
        .iter()
        .map(|problem| ops::problem_json(forest, node, problem))
        .collect();
    if !problems.is_empty() {
        put("problems", Value::Array(problems));
    }
    Value::Object(map)
}

/// What is qcow2's own. Version 2 knows less of itself, and qemu-img leaves out the same keys.
fn specific(info: &ImageInfo, bitmaps: &[Bitmap], luks: Option<&LuksHeader>) -> Value {
    let mut data = Map::new();
    let mut put = |key: &str, value: Value| data.insert(key.to_owned(), value);
    let is_v3 = info.version >= 3;
    put("compat", json!(compat(info)));
    put("compression-type", json!(info.compression.name()));
    if is_v3 {
        put("lazy-refcounts", json!(info.lazy_refcounts));
    }
    put("refcount-bits", json!(info.refcount_bits));
    if is_v3 {
        put("corrupt", json!(info.corrupt));
        put("extended-l2", json!(info.extended_l2));
        if info.external_data {
            if let Some(file) = &info.data_file {
                put("data-file", text(file));
            }
            put("data-file-raw", json!(info.data_file_raw));
        }
    }
    if !bitmaps.is_empty() {
        put("bitmaps", bitmaps.iter().map(bitmap).collect());
    }
    match (info.encryption, luks) {
        (Some(_), Some(luks)) => drop(put("encrypt", encryption(luks))),
        (Some(encryption), None) => {
            drop(put(
                "encrypt",
                json!({ "format": encryption_name(encryption) }),
            ));
        }
        (None, _) => {}
    }
    Value::Object(data)
}

/// What a LUKS header says, with the keys that qemu-img uses.
fn encryption(luks: &LuksHeader) -> Value {
    let slots = luks.slots.iter().map(|slot| {
        if slot.active {
            json!({
                "active": true,
                "iters": slot.iterations,
                "key-offset": slot.key_offset,
                "stripes": STRIPES,
            })
        } else {
            json!({ "active": false, "key-offset": slot.key_offset })
        }
    });
    let mut value = json!({
        "ivgen-alg": luks.ivgen,
        "detached-header": false,
        "hash-alg": luks.hash,
        "cipher-alg": cipher_name(luks),
        "uuid": json_name_bytes(&luks.uuid),
        "format": "luks",
        "cipher-mode": luks.mode,
        "slots": slots.collect::<Vec<_>>(),
        "payload-offset": luks.payload_offset,
        "master-key-iters": luks.digest_iterations,
    });
    // Other generators ignore a hash, and so does qemu-img.
    if let (Some(hash), "essiv", Some(map)) =
        (&luks.ivgen_hash, luks.ivgen.as_str(), value.as_object_mut())
    {
        map.insert("ivgen-hash-alg".to_owned(), json!(hash));
    }
    value
}

fn cipher_name(luks: &LuksHeader) -> String {
    format!("{}-{}", luks.cipher, luks.cipher_key_bytes() * 8)
}

/// A snapshot with the keys that qemu-img uses.
pub(super) fn snapshot(snapshot: &Snapshot) -> Value {
    let clock = snapshot.vm_clock_nanoseconds;
    let mut value = json!({
        "id": json_name_bytes(&snapshot.id),
        "name": json_name_bytes(&snapshot.name),
        "vm-state-size": snapshot.vm_state_size(),
        "date-sec": snapshot.date_seconds,
        "date-nsec": snapshot.date_nanoseconds,
        "vm-clock-sec": clock / 1_000_000_000,
        "vm-clock-nsec": clock % 1_000_000_000,
    });
    if let (Some(icount), Some(map)) = (snapshot.icount(), value.as_object_mut()) {
        map.insert("icount".to_owned(), json!(icount));
    }
    value
}

fn bitmap(bitmap: &Bitmap) -> Value {
    json!({
        "name": json_name_bytes(&bitmap.name),
        "granularity": bitmap.granularity(),
        "flags": bitmap_flags(bitmap),
    })
}

fn bitmap_flags(bitmap: &Bitmap) -> Vec<&'static str> {
    [(BitmapFlags::IN_USE, "in-use"), (BitmapFlags::AUTO, "auto")]
        .into_iter()
        .filter(|(flag, _)| bitmap.flags.contains(*flag))
        .map(|(_, name)| name)
        .collect()
}

fn compat(info: &ImageInfo) -> &'static str {
    if info.version >= 3 { "1.1" } else { "0.10" }
}

fn encryption_name(encryption: Encryption) -> &'static str {
    match encryption {
        Encryption::Aes => "aes",
        Encryption::Luks => "luks",
    }
}

/// What the guest sees; of a raw file its sectors.
fn virtual_size(node: &Node) -> Option<u64> {
    let size = node.virtual_size()?;
    Some(match node.content {
        Content::Raw => size.next_multiple_of(SECTOR),
        _ => size,
    })
}

fn print(
    out: &mut Out,
    forest: &Forest,
    layer: &Layer<'_>,
    known: &InsidesByPath,
) -> std::io::Result<()> {
    let node = layer.node;
    out.line(printable(&layer.name))?;
    for other in &node.other_names {
        field(out, "also", printable(other))?;
    }
    let info = node.info();
    let format = node.format().map_or_else(
        || "not known: it was not opened".to_owned(),
        |format| printable(format.name()),
    );
    match info {
        Some(info) => field(
            out,
            "format",
            format!(
                "{format}, version {} (compat {})",
                info.version,
                compat(info)
            ),
        )?,
        None => field(out, "format", format)?,
    }
    if let Some(size) = virtual_size(node) {
        field(
            out,
            "virtual size",
            format!("{} ({size} bytes)", units::size(size)),
        )?;
    }
    if let Some(stat) = &node.stat {
        let told = format!(
            "{} on disk, {} long",
            units::size(stat.allocated),
            units::size(stat.len)
        );
        field(out, "file", told)?;
    }
    if let Some(volume) = node.volume() {
        let name = printable(volume.full_name());
        field(out, "volume", format!("{name}, a logical volume"))?;
    }
    if let Some(system) = known
        .get(&node.path)
        .and_then(|inside| inside.system_text())
    {
        field(out, "system", system)?;
    }
    if let Some(noted) = &node.annotation {
        if !noted.tags.is_empty() {
            field(out, "tags", noted.tag_words())?;
        }
        for line in noted.text.lines() {
            field(out, "note", printable(line))?;
        }
    }
    if let Some(info) = info {
        print_info(out, info, layer.inside.luks.as_ref())?;
        print_inside(out, info, &layer.inside)?;
    }
    print_backing(out, layer)?;
    // Whether others are built on it was not looked for.
    let unknown = Flags::ACTIVE | Flags::FROZEN | Flags::OUTSIDE_SCAN;
    let flags = forest.flags(layer.id).difference(unknown);
    let flags: Vec<&str> = flags.names().collect();
    if !flags.is_empty() {
        field(out, "state", flags.join(", "))?;
    }
    for holder in &node.holders {
        let does = if holder.writes {
            "writes it"
        } else {
            "reads it"
        };
        let told = if holder.is_unseen() {
            format!("by whom cannot be seen: it {does}")
        } else {
            format!("{holder} {does}")
        };
        field(out, "in use by", told)?;
    }
    for used in forest.uses(node) {
        field(out, "machine", printable(used.to_string()))?;
    }
    for problem in &node.problems {
        field(out, "problem", printable(&problem.message))?;
    }
    for line in remedies::of_node(forest, node) {
        field(out, remedies::HELPS, line)?;
    }
    Ok(())
}

fn print_info(out: &mut Out, info: &ImageInfo, luks: Option<&LuksHeader>) -> std::io::Result<()> {
    let clusters = units::size(info.cluster_size);
    if info.extended_l2 {
        let part = units::size(info.cluster_size / 32);
        field(
            out,
            "clusters",
            format!("{clusters}, 32 subclusters of {part}"),
        )?;
    } else {
        field(out, "clusters", clusters)?;
    }
    let late = if info.lazy_refcounts {
        ", written late (lazy)"
    } else {
        ""
    };
    field(
        out,
        "refcounts",
        format!("{} bits{late}", info.refcount_bits),
    )?;
    field(out, "compression", info.compression.name())?;
    if let Some(encryption) = info.encryption {
        field(out, "encrypted", encryption_name(encryption))?;
    }
    if let Some(luks) = luks {
        let (cipher, mode, ivgen, hash) = (cipher_name(luks), &luks.mode, &luks.ivgen, &luks.hash);
        field(out, "", format!("{cipher}, {mode}-{ivgen}, {hash}"))?;
        let used = luks.slots.iter().filter(|slot| slot.active).count();
        field(
            out,
            "",
            format!("{used} of {} key slots in use", luks.slots.len()),
        )?;
        field(out, "", format!("UUID {}", printable_bytes(&luks.uuid)))?;
    }
    if info.external_data {
        let name = info
            .data_file
            .as_ref()
            .map_or_else(|| "not recorded".to_owned(), printable);
        let raw = if info.data_file_raw { " (raw)" } else { "" };
        field(out, "data file", format!("{name}{raw}"))?;
    }
    Ok(())
}

fn print_inside(out: &mut Out, info: &ImageInfo, inside: &OwnTables) -> std::io::Result<()> {
    if info.snapshots > 0 {
        field(out, "snapshots", info.snapshots)?;
    }
    for snapshot in &inside.snapshots {
        let state = match snapshot.vm_state_size() {
            0 => String::new(),
            bytes => format!(", machine state {}", units::size(bytes)),
        };
        let (id, name) = (&snapshot.id, &snapshot.name);
        let told = format!("{}  {}{state}", printable_bytes(id), printable_bytes(name));
        field(out, "", told)?;
    }
    if info.bitmaps > 0 {
        field(out, "bitmaps", info.bitmaps)?;
    }
    for bitmap in &inside.bitmaps {
        let flags: String = bitmap_flags(bitmap)
            .into_iter()
            .map(|flag| format!(", {flag}"))
            .collect();
        let each = units::size(bitmap.granularity());
        let told = format!("{}  {each} a bit{flags}", printable_bytes(&bitmap.name));
        field(out, "", told)?;
    }
    for why in &inside.unread {
        field(out, "problem", printable(why))?;
    }
    Ok(())
}

fn print_backing(out: &mut Out, layer: &Layer<'_>) -> std::io::Result<()> {
    let Some(backing) = &layer.node.backing else {
        return Ok(());
    };
    let format = backing.format().map_or_else(
        || "no format recorded".to_owned(),
        |format| printable(format.name()),
    );
    let recorded = printable(backing.name());
    field(out, "built on", format!("{recorded} ({format})"))?;
    let leads_to = match (leads_to(&layer.name, layer.node), &backing.state) {
        _ if !backing.is_understood() => {
            let found = BackingName::interpret(&layer.name, backing.name());
            match found.target {
                BackingTarget::NotUnderstood { files, what } => {
                    let files: Vec<String> = files
                        .iter()
                        .filter(|mention| mention.surely)
                        .map(|mention| printable(&mention.path))
                        .collect();
                    let files = files.join(", ");
                    format!(
                        "{files}, read in a way not understood ({})",
                        printable(what)
                    )
                }
                BackingTarget::File(_) | BackingTarget::Elsewhere { .. } => return Ok(()),
            }
        }
        (_, BackingState::Elsewhere(protocol)) => {
            format!("no plain local file ({})", printable(&**protocol))
        }
        (Some(path), BackingState::Present(_)) => printable(path),
        (Some(path), BackingState::Missing) => format!("{}, which is not there", printable(path)),
        (_, BackingState::Unreachable(why)) => printable(&**why),
        (None, BackingState::Present(_) | BackingState::Missing) => return Ok(()),
    };
    field(out, "which is", leads_to)
}

fn field(out: &mut Out, name: &str, value: impl std::fmt::Display) -> std::io::Result<()> {
    out.line(format_args!("  {name:13}{value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Compression;

    #[test]
    fn version_2_leaves_out_what_it_does_not_know() {
        let mut info = ImageInfo {
            version: 2,
            virtual_size: 1 << 20,
            cluster_size: 65536,
            refcount_bits: 16,
            extended_l2: false,
            lazy_refcounts: false,
            compression: Compression::Zlib,
            encryption: None,
            dirty: false,
            corrupt: false,
            snapshots: 0,
            first_snapshots: Vec::new(),
            bitmaps: 0,
            external_data: false,
            data_file: None,
            backing_name_is_far: false,
            data_file_raw: false,
            unknown_features: Vec::new(),
            truncated: None,
            lost_map: false,
            unopenable: None,
        };
        let keys = |info: &ImageInfo| -> Vec<String> {
            specific(info, &[], None)
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect()
        };
        assert_eq!(keys(&info), ["compat", "compression-type", "refcount-bits"]);
        info.version = 3;
        assert!(keys(&info).contains(&"extended-l2".to_owned()));
    }
}
