//! An overlay under a guest that runs: from one instant on it writes another file, which is built on what it wrote
//! before. Several disks are switched at the same instant, or none.

use std::path::Path;

use serde_json::{Value, json};

use super::graph::Graph;
use super::qmp::{Qmp, QmpError};
use super::tuning::Tuning;
use super::{member, named_node, named_nodes};

/// One disk and what it is to go on in.
#[derive(Debug, Clone, Copy)]
pub struct Switch<'a> {
    /// The node that is written now.
    pub leaf: &'a str,
    /// The new image, which is made already and built on that one by its header.
    pub overlay: &'a Path,
}

/// Switches all of these disks. Whatever fails, none is switched then.
///
/// # Errors
/// [`QmpError`] in the words of QEMU; the new images are not open in it then.
pub fn take(qmp: &mut Qmp, switches: &[Switch<'_>]) -> Result<(), QmpError> {
    let mut added = Vec::new();
    let taken = add_all(qmp, switches, &mut added).and_then(|()| switch_all(qmp, switches, &added));
    if taken.is_err() {
        for node in &added {
            // What was not switched is nobody's, and goes.
            let _ = qmp.execute("blockdev-del", json!({ "node-name": node }));
        }
    }
    taken
}

fn add_all(
    qmp: &mut Qmp,
    switches: &[Switch<'_>],
    added: &mut Vec<String>,
) -> Result<(), QmpError> {
    for switch in switches {
        let nodes = named_nodes(qmp)?;
        let tuning = Tuning::of(named_node(&nodes, switch.leaf)?);
        let node = free_name(&nodes)?;
        let mut overlay = json!({
            "driver": "qcow2",
            "node-name": node,
            "file": tuning.file(switch.overlay)?,
            // The node below is the one that is open, not one that the header names.
            "backing": null,
        });
        tuning.add_to(&mut overlay);
        qmp.execute("blockdev-add", overlay)?;
        added.push(node);
    }
    Ok(())
}

fn switch_all(qmp: &mut Qmp, switches: &[Switch<'_>], added: &[String]) -> Result<(), QmpError> {
    let nodes = named_nodes(qmp)?;
    let mut actions = Vec::new();
    for (switch, node) in switches.iter().zip(added) {
        actions.push(json!({
            "type": "blockdev-snapshot",
            "data": { "node": switch.leaf, "overlay": node },
        }));
        // What is recorded for backups goes on being recorded: the bitmap below says what changed before.
        for bitmap in bitmaps(named_node(&nodes, switch.leaf)?) {
            actions.push(json!({
                "type": "block-dirty-bitmap-add",
                "data": {
                    "node": node,
                    "name": bitmap.name,
                    "granularity": bitmap.granularity,
                    "persistent": bitmap.is_persistent,
                },
            }));
        }
    }
    let actions = json!({ "actions": actions });
    qmp.execute_within("transaction", actions, super::SWITCHING)
        .map(drop)
}

/// A dirty bitmap that records what a guest writes to a node.
struct Bitmap {
    name: String,
    granularity: u64,
    is_persistent: bool,
}

/// The bitmaps that record now, of those that have a name.
fn bitmaps(node: &Value) -> Vec<Bitmap> {
    let list = node.get("dirty-bitmaps").and_then(Value::as_array);
    let read = |one: &Value| {
        let is = |key: &str| one.get(key).and_then(Value::as_bool).unwrap_or(false);
        let name = one.get("name")?.as_str().filter(|name| !name.is_empty())?;
        is("recording").then_some(())?;
        Some(Bitmap {
            name: name.to_owned(),
            granularity: one.get("granularity")?.as_u64()?,
            is_persistent: is("persistent"),
        })
    };
    list.into_iter().flatten().filter_map(read).collect()
}

/// A name that no node has.
pub(super) fn free_name(nodes: &[Value]) -> Result<String, QmpError> {
    let names: Vec<&str> = nodes.iter().map(|node| member(node, "node-name")).collect();
    let free = (1_u32..).map(|number| format!("qanopy-{number}"));
    let mut free = free.filter(|name| !names.contains(&name.as_str()));
    free.next().ok_or_else(|| QmpError::lacks("a free name"))
}

/// Whether the disk that stood on this file stands on the other one now, which is built on it.
#[must_use]
pub fn is_taken(graph: &Graph, leaf: crate::host::FileId, overlay: crate::host::FileId) -> bool {
    let mut over = graph.of_file(overlay);
    over.any(|node| {
        let below = node.backing.as_ref().and_then(|name| graph.node(name));
        node.is_root && !node.read_only && below.is_some_and(|below| below.file == Some(leaf))
    })
}
