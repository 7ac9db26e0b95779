//! The forest drawn: as an indented tree, as boxes and arrows, as DOT, as Mermaid, as JSON. Only
//! strings and cells come out; colours, columns and terminals are the faces' business.

mod boxes;
mod dot;
mod inside;
mod json;
mod mermaid;
mod names;
mod order;
mod tree;

pub use boxes::{BOX_GAP, Diagram, PlacedBox, ToPlace};
pub use dot::dot;
pub use inside::{SnapshotLine, snapshot_lines, snapshot_sign};
pub use json::{FixLines, image_json, json};
pub use mermaid::mermaid;
pub use names::{cut_middle, labels};
pub use tree::{TreeLine, tree};

use std::ffi::OsStr;

use super::{Content, Forest, NodeId, Whereabouts};
use crate::host::{Volume, printable};

/// The signs a picture may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Charset {
    /// Line-drawing characters.
    #[default]
    Unicode,
    /// ASCII only, for terminals where the others may be missing or two cells wide.
    Ascii,
}

/// What stands in brackets below or behind a name: `Active` for a leaf, what the image is where it is
/// no qcow2 image, why it cannot be used. Safe to print.
#[must_use]
pub fn note(forest: &Forest, id: NodeId) -> Option<String> {
    let node = forest.get(id)?;
    let mut note = word(forest, id).map(str::to_owned);
    let mut add = |more: String| {
        note = Some(match note.take() {
            Some(note) => format!("{note}, {more}"),
            None => more,
        });
    };
    if let (_, Content::Opaque(format)) = (&node.whereabouts, &node.content)
        && node.whereabouts == Whereabouts::Scanned
        && !node.in_loop
    {
        add(printable(format.name()));
    }
    if let Some(volume) = node.volume()
        && node.path.file_name() != Some(OsStr::new(&volume.name))
    {
        add(printable(volume.full_name()));
    }
    if forest.is_not_understood(id) {
        add("reads it in a way not understood".to_owned());
    }
    note
}

fn word(forest: &Forest, id: NodeId) -> Option<&'static str> {
    let node = forest.get(id)?;
    Some(match (&node.whereabouts, &node.content) {
        (Whereabouts::Missing, _) if Volume::of_node(&node.path).is_some() => "not activated",
        (Whereabouts::Missing, _) => "missing",
        (Whereabouts::Elsewhere, _) => "elsewhere",
        _ if node.is_awaited() => "not looked at yet",
        (Whereabouts::OutsideScan, _) => "outside the scan",
        (Whereabouts::InTrash, _) => "in trash",
        _ if node.in_loop => "loop",
        (_, Content::Unreadable(_)) => "unreadable",
        (_, Content::Damaged(_)) => "damaged",
        (_, Content::Opaque(_)) => return None,
        (_, Content::Raw) if forest.is_leaf(node) => "raw, Active",
        (_, Content::Raw) => "raw",
        _ if forest.is_leaf(node) => "Active",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
