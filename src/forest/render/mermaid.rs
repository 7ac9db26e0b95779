//! The forest as a Mermaid flowchart, arrows from each overlay to what it is built on.

use std::fmt::Write;

use crate::forest::Forest;

use super::order::order;
use super::{Charset, labels, note, snapshot_lines};

/// The forest in Mermaid's language; an internal snapshot is a rounded box beside its image.
#[must_use]
pub fn mermaid(forest: &Forest) -> String {
    let names = labels(forest);
    let mut text = String::from("flowchart RL\n");
    let places = order(forest);
    for place in &places {
        let name = names.get(&place.id).map_or("", String::as_str);
        let mut label = escaped(name);
        if let Some(note) = note(forest, place.id) {
            label.push_str("<br/>(");
            label.push_str(&escaped(&note));
            label.push(')');
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, "  n{}[\"{label}\"]", place.id.0);
    }
    for node in places.iter().filter_map(|place| forest.get(place.id)) {
        let (lines, more) = snapshot_lines(node, Charset::Unicode);
        let lines = lines
            .into_iter()
            .map(|line| format!("{}<br/>{}", escaped(&line.name), escaped(&line.about)));
        let rest = (more > 0).then(|| format!("{more} more"));
        for (at, label) in lines.chain(rest).enumerate() {
            let id = node.id.0;
            let _ = writeln!(text, "  n{id}s{at}(\"{label}\")");
            let _ = writeln!(text, "  n{id}s{at} -.-> n{id}");
        }
    }
    for place in &places {
        if let Some(parent) = forest.get(place.id).and_then(|node| node.parent) {
            let _ = writeln!(text, "  n{} --> n{}", place.id.0, parent.0);
        }
    }
    text
}

/// Everything with a meaning to Mermaid, to Markdown or to HTML as a character code.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\"#&<>`*_\\;[]{}|$~".contains(c) {
            let _ = write!(out, "#{};", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}
