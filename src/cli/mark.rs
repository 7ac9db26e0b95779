//! Which lines are about images of shared storage, for whoever shows what several hosts print: the lines behind a mark,
//! up to the next one.

use serde::{Deserialize, Serialize};

use crate::forest::{Forest, Location, Node, NodeId};
use crate::host::printable;

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
        }
    }
}
