//! A base that is not what it was when others were built on it, in words, and as a problem of all of these. How it is
//! seen is in `fingerprints`.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::host::printable;
use crate::units;

use super::node::index;
use super::{Forest, Location, Node, NodeId, Problem, ProblemKind};

/// A base that is not what it was when others were built on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedBase {
    /// The name that the forest shows for the base.
    pub base: PathBuf,
    /// When it was seen as it was.
    pub noted: SystemTime,
    /// When it was changed last.
    pub modified: SystemTime,
    /// Whether the bytes that were compared are others; only its time is, if not.
    pub bytes_differ: bool,
    /// Its length then and now, where they differ.
    pub lengths: Option<(u64, u64)>,
    /// What is built on it, through others as well, and was there before the change: by the names that the forest
    /// shows.
    pub affected: Vec<PathBuf>,
}

impl ChangedBase {
    /// Whether what the base shows is another thing for sure.
    fn is_certain(&self) -> bool {
        self.bytes_differ || self.lengths.is_some()
    }

    /// What differs, and since when.
    fn difference(&self) -> String {
        let noted = units::utc(self.noted);
        match (self.lengths, self.bytes_differ) {
            (Some((then, now)), _) => format!(
                "its length was {} on {noted}, and is {} now",
                units::size(then),
                units::size(now)
            ),
            (None, true) => format!("its bytes are others since {noted}"),
            (None, false) => format!(
                "its time is another one since {noted}; the samples of its bytes are the same"
            ),
        }
    }

    /// A sentence about the base itself.
    fn of_base(&self) -> String {
        format!(
            "{} was changed on {}, with {} built on it: {}.",
            printable(&self.base),
            units::utc(self.modified),
            units::count(self.affected.len(), "image"),
            self.difference()
        )
    }

    /// A sentence about one of those that are built on it.
    fn of_affected(&self, node: &Node) -> String {
        format!(
            "{} is built on {}, which was changed on {}, after it was made: {}.",
            printable(&node.path),
            printable(&self.base),
            units::utc(self.modified),
            self.difference()
        )
    }
}

impl Forest {
    /// Notes which bases were changed under what is built on them, as problems of them and of each of these; those noted
    /// before that are not among them are so no longer.
    pub fn note_changed_bases(&mut self, changed: &[ChangedBase]) {
        let is_of_base =
            |problem: &Problem| matches!(problem.kind, ProblemKind::BaseChanged { .. });
        let mut has_changed = false;
        for node in &mut self.nodes {
            let before = node.problems.len();
            node.problems.retain(|problem| !is_of_base(problem));
            has_changed |= node.problems.len() != before;
        }
        for one in changed {
            let Some(base) = self.by_path(&one.base).map(|node| node.id) else {
                continue;
            };
            let kind = ProblemKind::BaseChanged {
                base,
                certain: one.is_certain(),
            };
            has_changed |= self.note(base, kind, |_| one.of_base());
            for path in &one.affected {
                if let Some(id) = self.by_path(path).map(|node| node.id) {
                    has_changed |= self.note(id, kind, |node| one.of_affected(node));
                }
            }
        }
        if has_changed {
            self.generation += 1;
        }
    }

    /// Adds a problem to an image that the scan met; whether it is one.
    fn note(&mut self, id: NodeId, kind: ProblemKind, tell: impl Fn(&Node) -> String) -> bool {
        let node = self.nodes.get_mut(index(id));
        let Some(node) = node.filter(|node| node.location == Location::Scanned) else {
            return false;
        };
        let message = tell(node);
        node.problems.push(Problem { kind, message });
        true
    }
}
