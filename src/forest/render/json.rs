//! The forest as JSON, for programs: names are given as they are, not as they are printed.

use std::path::Path;

use serde_json::{Map, Value, json as value};

use crate::forest::{Forest, Node, NodeId, Problem, Reads};
use crate::json_text::{json_name, json_name_bytes};
use crate::machines::{Machine, Part, Unasked, Use};
use crate::qcow2::Snapshot;

use super::order::order;

/// A problem as JSON, with what helps against it: what that is, the operations know.
pub type ProblemJson<'a> = &'a dyn Fn(&Forest, &Node, &Problem) -> Value;

/// The forest as `{"images": [...]}`: one object an image, roots first, parents before children.
/// Names are made by [`json_name`]: it is printed by [`json_text`](crate::json_text::json_text). An image with internal snapshots has
/// `snapshots`, the first of them, and `snapshots-left-out`, how many more there are. Where it is not
/// understood how an image reads what it is built on, `understood` is false; `also-reads` are other files that
/// it reads, `machines` those that use it, `read-by` the images that read it by other ways than as its `children`; `broken-below` is the
/// layer below that keeps it from being opened. `storage` is there where other machines may see it as well.
#[must_use]
pub fn json(forest: &Forest, problem: ProblemJson<'_>) -> Value {
    json_of(forest, &|_| true, problem)
}

/// As [`json`], with no images but those that `is_wanted`.
#[must_use]
pub fn json_of(
    forest: &Forest,
    is_wanted: &dyn Fn(NodeId) -> bool,
    problem: ProblemJson<'_>,
) -> Value {
    let images: Vec<Value> = order(forest)
        .iter()
        .filter(|place| is_wanted(place.id))
        .filter_map(|place| forest.get(place.id))
        .map(|node| image_json(forest, node, problem))
        .collect();
    let mut forest_json = value!({ "images": images });
    let unasked: Vec<Value> = forest.machines().unasked().iter().map(unasked).collect();
    if let Some(map) = forest_json.as_object_mut().filter(|_| !unasked.is_empty()) {
        map.insert("machines-not-asked".to_owned(), Value::Array(unasked));
    }
    forest_json
}

fn unasked(of: &Unasked) -> Value {
    value!({ "product": of.product, "place": of.place, "why": of.why })
}

/// The machines that use an image: what each is, and what the image is to it. Empty where none does.
#[must_use]
pub fn machines_json(forest: &Forest, node: &Node) -> Vec<Value> {
    let one = |Use { machine, part }: Use<'_>| {
        let mut about = machine_json(machine);
        if let Some(map) = about.as_object_mut() {
            map.insert("part".to_owned(), part.name().into());
            let (key, name) = match part {
                Part::Disk(disk) | Part::Pinned(disk, _) => ("target", &disk.target),
                Part::OwnedBy(snapshot) | Part::NeededBy(snapshot) => ("snapshot", &snapshot.name),
            };
            map.insert(key.to_owned(), name.as_str().into());
            if let Part::Disk(disk) = part {
                map.insert("read-only".to_owned(), disk.read_only.into());
                map.insert("pinned".to_owned(), disk.is_pinned().into());
            }
        }
        about
    };
    forest.uses(node).into_iter().map(one).collect()
}

fn machine_json(machine: &Machine) -> Value {
    value!({
        "name": machine.name,
        "id": machine.id,
        "product": machine.product,
        "place": machine.place,
        "managed-by": machine.managed_by,
        "state": machine.state.name(),
    })
}

fn text(path: impl AsRef<Path>) -> Value {
    json_name(path.as_ref())
}

/// One image as it is among those of [`json`].
#[must_use]
pub fn image_json(forest: &Forest, node: &Node, problem: ProblemJson<'_>) -> Value {
    let mut names = vec![text(&node.path)];
    names.extend(node.other_names.iter().map(text));
    let backing = node.backing.as_ref().map(|link| {
        value!({
            "recorded": text(link.name()),
            "path": forest.leads_to(node).map(text),
            "format": link.format().map(|format| format.name()),
        })
    });
    let reads: Vec<Value> = forest
        .also_reads(node.id)
        .iter()
        .map(|edge| value!({ "path": text(&edge.path), "how": edge.how.name() }))
        .collect();
    let read_by: Vec<Value> = forest
        .readers(node.id)
        .into_iter()
        .filter(|reader| reader.how != Reads::Backing)
        .filter_map(|reader| Some((reader.how, forest.get(reader.node)?)))
        .map(|(how, image)| value!({ "path": text(&image.path), "how": how.name() }))
        .collect();
    let children: Vec<Value> = node
        .children
        .iter()
        .filter_map(|id| forest.get(*id))
        .map(|child| text(&child.path))
        .collect();
    let flags: Vec<&str> = forest.flags(node.id).names().collect();
    let problems: Vec<Value> = node
        .problems
        .iter()
        .map(|one| problem(forest, node, one))
        .collect();
    let mut image = value!({
        "path": text(&node.path),
        "names": names,
        "format": node.format().map(|format| format.name().to_owned()),
        "virtual-size": node.virtual_size(),
        "actual-size": node.size_on_disk(),
        "backing": backing,
        "children": children,
        "flags": flags,
        "problems": problems,
    });
    if let Some(map) = image.as_object_mut() {
        if let Some(volume) = node.volume() {
            map.insert("volume".to_owned(), text(Path::new(&volume.full_name())));
        }
        if forest.is_not_understood(node.id) {
            map.insert("understood".to_owned(), false.into());
        }
        put_storage(map, forest, node);
        put_annotation(map, node);
        let machines = machines_json(forest, node);
        for (key, list) in [
            ("also-reads", reads),
            ("read-by", read_by),
            ("machines", machines),
        ] {
            if !list.is_empty() {
                map.insert(key.to_owned(), Value::Array(list));
            }
        }
    }
    if let Some((found, map)) = forest.broken_below(node.id).zip(image.as_object_mut()) {
        let layer = forest.get(found.layer).map(|layer| text(&layer.path));
        let below = value!({ "layer": layer, "distance": found.distance });
        map.insert("broken-below".to_owned(), below);
    }
    if let Some((info, map)) = node.info().zip(image.as_object_mut())
        && info.snapshots > 0
    {
        let known: Vec<Value> = info.first_snapshots.iter().map(snapshot).collect();
        let all = usize::try_from(info.snapshots).unwrap_or(usize::MAX);
        let more = all.saturating_sub(known.len());
        map.insert("snapshots".to_owned(), Value::Array(known));
        map.insert("snapshots-left-out".to_owned(), more.into());
    }
    image
}

/// Adds which file of shared storage an image is, if it is one.
pub fn put_storage(map: &mut Map<String, Value>, forest: &Forest, node: &Node) {
    if let Some(storage) = forest.storage_json(node) {
        map.insert("storage".to_owned(), storage);
    }
}

/// Adds what people have noted of an image, if anything.
pub fn put_annotation(map: &mut Map<String, Value>, node: &Node) {
    let Some(noted) = &node.annotation else {
        return;
    };
    if !noted.text.is_empty() {
        map.insert("note".to_owned(), noted.text.as_str().into());
    }
    if !noted.tags.is_empty() {
        map.insert("tags".to_owned(), noted.tags.clone().into());
    }
}

fn snapshot(snapshot: &Snapshot) -> Value {
    value!({
        "id": json_name_bytes(&snapshot.id),
        "name": json_name_bytes(&snapshot.name),
        "vm-state-size": snapshot.vm_state_size(),
        "date-sec": snapshot.date_seconds,
        "date-nsec": snapshot.date_nanoseconds,
        "disk-size": snapshot.virtual_size(),
    })
}
