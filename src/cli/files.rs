//! `qanopy files`: the files in a folder of a guest.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::{Value, json};

use crate::guest::filesystem::{Filesystem, Node, NodeKind};
use crate::guest::path::{self, LastLink};
use crate::guest::{self};
use crate::host::printable_bytes;
use crate::inside::{Place, mode_text};
use crate::json_text::json_name_bytes;
use crate::units;

use super::guest_image::{GuestImageArgs, node_fields, target_text, time_text};
use super::options::Globals;
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct FilesArgs {
    #[command(flatten)]
    image: GuestImageArgs,
    /// The folder or file; p2:/home is on another volume than that of the system
    #[arg(default_value = "/")]
    path: OsString,
    /// Names only
    #[arg(long, short = '1')]
    names: bool,
}

/// Entries of a folder that are printed at the most.
const MOST_ENTRIES: usize = 1_000_000;

/// Prints them.
pub(super) fn run(out: &mut Out, globals: Globals, args: &FilesArgs) -> anyhow::Result<()> {
    let view = args.image.view()?;
    let place = Place::parse(args.path.as_bytes());
    let (volume, filesystem) = super::guest_image::on(&place, &view)?;
    let node = path::lookup(&**filesystem, &place.path, LastLink::Follow)?;
    let rows = rows(&**filesystem, &place, node)?;
    if globals.json {
        let files = rows
            .iter()
            .map(|(name, node)| described(&**filesystem, name, node));
        return Ok(out.json(json!({
            "volume": volume.name.to_string(),
            "path": json_name_bytes(&place.path),
            "files": files.collect::<Vec<_>>(),
        }))?);
    }
    for (name, node) in &rows {
        let (name, node) = (printable_bytes(name), node.as_ref());
        match node {
            _ if args.names => out.line(&name)?,
            Ok(node) => out.line(format_args!(
                "{} {:>5} {:>5} {:>9} {} {name}{}",
                mode_text(node),
                node.uid,
                node.gid,
                if node.kind == NodeKind::File {
                    units::size(node.size)
                } else {
                    "-".to_owned()
                },
                time_text(node.modified),
                target_text(&**filesystem, node)
            ))?,
            Err(error) => out.line(format_args!("?????????? {name} ({error})"))?,
        }
    }
    Ok(())
}

/// `ls IMAGE PATH` is about files of the guest; with folders or images alone, `ls` prints the tree.
pub(super) fn or_tree(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let mut words = arguments
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, word)| !word.as_bytes().starts_with(b"-"));
    let found = match (words.next(), words.next(), words.next()) {
        (Some((at, word)), Some((_, image)), Some((_, path))) if word == "ls" => {
            let is_inside =
                !std::path::Path::new(path).is_dir() || path.as_bytes().starts_with(b"/");
            (std::path::Path::new(image).is_file() && is_inside).then_some(at)
        }
        _ => None,
    };
    if let Some(word) = found.and_then(|at| arguments.get_mut(at)) {
        *word = OsString::from("files");
    }
    arguments
}

type Row = (Vec<u8>, guest::Result<Node>);

/// The files in a folder, or the one file that was named.
fn rows(filesystem: &dyn Filesystem, place: &Place, node: Node) -> guest::Result<Vec<Row>> {
    if !node.is_directory() {
        let name = place
            .path
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        return Ok(vec![(name.to_vec(), Ok(node))]);
    }
    let entries = path::list(filesystem, node.id, MOST_ENTRIES)?;
    Ok(entries
        .into_iter()
        .map(|(name, id)| (name, filesystem.node(id)))
        .collect())
}

fn described(filesystem: &dyn Filesystem, name: &[u8], node: &guest::Result<Node>) -> Value {
    let mut fields = serde_json::Map::new();
    fields.insert("name".to_owned(), json_name_bytes(name));
    match node {
        Ok(node) => {
            fields.extend(node_fields(node));
            if let (NodeKind::Symlink, Ok(target)) = (node.kind, filesystem.link_target(node.id)) {
                fields.insert("target".to_owned(), json_name_bytes(&target));
            }
        }
        Err(error) => {
            fields.insert("error".to_owned(), json!(error.to_string()));
        }
    }
    Value::Object(fields)
}
