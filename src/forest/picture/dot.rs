//! The forest as a graph for Graphviz, arrows from each overlay to what it is built on.

use std::fmt::Write;

use crate::forest::Forest;

use super::order::order;
use super::{labels, note};

/// The forest in the DOT language.
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
