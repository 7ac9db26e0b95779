//! `qanopy cat`: a file of a guest on standard output, byte for byte.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::json;

use crate::guest::filesystem::NodeKind;
use crate::guest::path::{self, LastLink};
use crate::guest::{self, Printable};
use crate::host::printable_lines;
use crate::inside::Place;

use super::guest_image::{GuestImageArgs, json_path, node_fields};
use super::options::Globals;
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct CatArgs {
    #[command(flatten)]
    image: GuestImageArgs,
    /// The file; p2:/notes is on another volume than that of the system
    path: OsString,
}

/// Bytes read at a time.
const PIECE: usize = 1 << 20;
/// Bytes of a file that are put into JSON at the most.
const MOST_IN_JSON: usize = 16 << 20;

/// Prints it. What would act on a terminal is escaped there, and only there.
pub(super) fn run(out: &mut Out, globals: Globals, args: &CatArgs) -> anyhow::Result<()> {
    let view = args.image.view()?;
    let place = Place::parse(args.path.as_bytes());
    let (volume, filesystem) = super::guest_image::on(&place, &view)?;
    let node = path::lookup(&**filesystem, &place.path, LastLink::Follow)?;
    if node.kind != NodeKind::File {
        return Err(guest::Error::NotAFile(Printable::from(&*place.path)).into());
    }
    if globals.json {
        let (bytes, is_cut) = path::content(&**filesystem, &node, MOST_IN_JSON)?;
        let mut fields = node_fields(&node);
        fields.insert("volume".to_owned(), json!(volume.name.to_string()));
        fields.insert(
            "path".to_owned(),
            json_path(place.path.strip_prefix(b"/").unwrap_or(&place.path)),
        );
        fields.insert("is-cut".to_owned(), json!(is_cut));
        match String::from_utf8(bytes) {
            Ok(text) => fields.insert("text".to_owned(), json!(text)),
            Err(error) => {
                let hex: String = error
                    .into_bytes()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                fields.insert("hex".to_owned(), json!(hex))
            }
        };
        return Ok(out.json(fields.into())?);
    }
    let to_terminal = io::stdout().is_terminal();
    let mut stdout = io::stdout().lock();
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < node.size {
        let read = filesystem.read(node.id, at, &mut piece)?;
        let bytes = piece.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        if to_terminal {
            stdout.write_all(printable_lines(&String::from_utf8_lossy(bytes)).as_bytes())?;
        } else {
            stdout.write_all(bytes)?;
        }
        at += read as u64;
    }
    Ok(stdout.flush()?)
}
