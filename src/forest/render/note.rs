//! What a picture says of an image beside its name.

use std::ffi::OsStr;

use crate::forest::{Content, Forest, Location, NodeId, machine_words};
use crate::host::{Volume, printable};

/// What stands in brackets below or behind a name: `Active` for a leaf, what the image is where it is
/// no qcow2 image, why it cannot be used, its tags, whose disk it is. Safe to print.
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
    if let (_, Content::Opaque(format)) = (&node.location, &node.content)
        && node.location == Location::Scanned
        && !node.in_loop
    {
        add(printable(format.name()));
    }
    if let Some(volume) = node.volume()
        && node.path.file_name() != Some(OsStr::new(&volume.name))
    {
        add(printable(volume.full_name()));
    }
    if let Some(noted) = node.annotation.as_ref().filter(|it| !it.tags.is_empty()) {
        add(noted.tag_words());
    }
    for machine in machine_words(forest, node) {
        add(printable(machine));
    }
    if forest.is_not_understood(id) {
        add("reads it in a way not understood".to_owned());
    }
    note
}

fn word(forest: &Forest, id: NodeId) -> Option<&'static str> {
    let node = forest.get(id)?;
    Some(match (&node.location, &node.content) {
        (Location::Missing, _) if Volume::of_node(&node.path).is_some() => "not activated",
        (Location::Missing, _) => "missing",
        (Location::Elsewhere, _) => "elsewhere",
        _ if node.is_awaited() => "not looked at yet",
        (Location::OutsideScan, _) => "outside the scan",
        (Location::InTrash, _) => "in trash",
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
