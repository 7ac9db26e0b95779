//! Which lines are about images of shared storage, for whoever shows what several hosts print: the lines behind a mark,
//! up to the next one.

use serde::{Deserialize, Serialize};

use crate::forest::{Forest, Location, Node, NodeId};
use crate::host::printable;
use crate::units;

/// What a line that is a mark begins with: no other line has control characters.
pub(super) const MARK: &str = "\u{1e}";

/// What the lines behind it are about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The image, as it is called where this is printed.
    pub(super) name: String,
    /// By what it is known on all machines that see it, and what the lines tell of it; none where any part of what they
    /// are about is of this machine alone.
    pub(super) ids: Vec<String>,
    /// What they count in each of the sums that follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) counts: Vec<u64>,
    /// Where they are a sum: what it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sum: Vec<Piece>,
}

/// A piece of a line that is a sum. A number stands behind its place among those that images count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Piece {
    /// As it is.
    Text(String),
    /// Bytes, ten columns wide.
    Size(usize, u64),
    /// The same in a table: none where it is not known, and a line for nothing.
    Cell(usize, Option<u64>),
    /// So many of something.
    Count(usize, u64, String),
}

/// A sum as it is printed, less these numbers.
pub(super) fn sum_less(pieces: &[Piece], less: &[u64]) -> String {
    let rest = |at: &usize, all: &u64| all.saturating_sub(less.get(*at).copied().unwrap_or(0));
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Size(at, bytes) => format!("{:>10}", units::size(rest(at, bytes))),
        Piece::Cell(at, bytes) => cell(bytes.as_ref().map(|bytes| rest(at, bytes))),
        Piece::Count(at, count, word) => units::count(rest(at, count), word),
    };
    pieces.iter().map(piece).collect()
}

/// Bytes in a table.
pub(super) fn cell(bytes: Option<u64>) -> String {
    let text = match bytes {
        None => "?".to_owned(),
        Some(0) => "-".to_owned(),
        Some(bytes) => units::size(bytes),
    };
    format!("{text:>10}  ")
}

impl Mark {
    /// Lines that tell `what` of these images, of which the first gives the name.
    pub(super) fn of(forest: &Forest, images: &[NodeId], what: &str) -> Self {
        let nodes = images.iter().filter_map(|id| forest.get(*id));
        // What is not there is seen by nobody.
        let is_there = |node: &&Node| node.location != Location::Missing;
        let nodes: Vec<&Node> = nodes.filter(is_there).collect();
        let id = |node: &Node| {
            let storage = forest.storage_json(node)?;
            Some(format!("{what} {}", storage.get("id")?.as_str()?))
        };
        let ids: Option<Vec<String>> = nodes.iter().copied().map(id).collect();
        Self {
            name: nodes
                .first()
                .map(|node| printable(&node.path))
                .unwrap_or_default(),
            ids: ids.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// The same, where these numbers are in the sums that follow.
    pub(super) fn counting(self, counts: Vec<u64>) -> Self {
        Self { counts, ..self }
    }

    /// A line that is a sum.
    pub(super) fn of_sum(sum: Vec<Piece>) -> Self {
        Self {
            sum,
            ..Self::default()
        }
    }

    /// The sum less these numbers.
    pub(super) fn sum_less(&self, less: &[u64]) -> String {
        sum_less(&self.sum, less)
    }
}
