//! The forest drawn: as an indented tree, as boxes and arrows, as DOT, as Mermaid, as JSON. Only
//! strings and cells come out; colours, columns and terminals are the faces' business.

mod boxes;
mod charset;
mod dot;
mod inside;
mod json;
mod mermaid;
mod names;
mod note;
mod order;
mod tree;

pub use boxes::{BOX_GAP, Diagram, PlacedBox, ToPlace};
pub use charset::Charset;
pub use dot::dot;
pub use inside::{SnapshotLine, snapshot_lines, snapshot_sign};
pub use json::{
    ProblemJson, image_json, json, json_of, machines_json, put_annotation, put_storage,
};
pub use mermaid::mermaid;
pub use names::{cut_middle, labels};
pub use note::note;
pub use tree::{TreeLine, tree, tree_to};

#[cfg(test)]
mod tests;
