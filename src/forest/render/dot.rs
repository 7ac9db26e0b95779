//! The forest as a graph for Graphviz, arrows from each overlay to what it is built on.

use std::fmt::Write;

use crate::forest::Forest;

use super::order::order;
use super::{Charset, labels, note, snapshot_lines};

/// The forest in the DOT language; an internal snapshot is a note beside its image.
#[must_use]
pub fn dot(forest: &Forest) -> String {
    let names = labels(forest);
    let mut text = String::from("digraph forest {\n  rankdir=RL;\n  node [shape=box];\n");
    let places = order(forest);
    for place in &places {
        let name = names.get(&place.id).map_or("", String::as_str);
        let mut label = escaped(name);
        if let Some(note) = note(forest, place.id) {
            label.push_str("\\n(");
            label.push_str(&escaped(&note));
            label.push(')');
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, "  n{} [label=\"{label}\"];", place.id.0);
    }
    for node in places.iter().filter_map(|place| forest.get(place.id)) {
        let (lines, more) = snapshot_lines(node, Charset::Unicode);
        let lines = lines
            .into_iter()
            .map(|line| format!("{}\\n{}", escaped(&line.name), escaped(&line.about)));
        let rest = (more > 0).then(|| format!("{more} more"));
        for (at, label) in lines.chain(rest).enumerate() {
            let id = node.id.0;
            let _ = writeln!(text, "  n{id}s{at} [label=\"{label}\", shape=note];");
            let _ = writeln!(text, "  n{id}s{at} -> n{id} [style=dotted];");
        }
    }
    for place in &places {
        if let Some(parent) = forest.get(place.id).and_then(|node| node.parent) {
            let _ = writeln!(text, "  n{} -> n{};", place.id.0, parent.0);
        }
    }
    text.push_str("}\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
