//! What others than the scan know to be wrong: what a check of an image's tables found, and which operations
//! on it were interrupted, as problems of its node. Checking reads every table and
//! is never part of a scan: whoever checks says so here, and the problems stay until the image is
//! looked at anew.

use std::path::PathBuf;

use crate::host::printable;
use crate::image::{Check, Severity};

use super::node::index;
use super::{Forest, Node, NodeId, Problem, ProblemKind};

impl Forest {
    /// Notes what a check of that node's file found; what an earlier check found is replaced.
    pub fn note_check(&mut self, id: NodeId, check: &Check) {
        let Some(node) = self.nodes.get_mut(index(id)) else {
            return;
        };
        node.problems.retain(|problem| {
            !matches!(
                problem.kind,
                ProblemKind::CorruptClusters | ProblemKind::LeakedClusters
            )
        });
        let found = checked(node, check);
        node.problems.extend(found);
        self.generation += 1;
    }

    /// Notes which files are half done by operations that were interrupted; those noted before that are not among
    /// them are so no longer.
    pub fn note_interrupted(&mut self, halves: &[(PathBuf, Problem)]) {
        let mut changed = false;
        for node in &mut self.nodes {
            let before = node.problems.len();
            node.problems
                .retain(|problem| !matches!(problem.kind, ProblemKind::Interrupted { .. }));
            changed |= node.problems.len() != before;
        }
        for (path, problem) in halves {
            let Some(id) = self.by_path(path).map(|node| node.id) else {
                continue;
            };
            if let Some(node) = self.nodes.get_mut(index(id)) {
                node.problems.push(problem.clone());
                changed = true;
            }
        }
        if changed {
            self.generation += 1;
        }
    }
}

/// The problems that a check found; the marks in the header are told by the scan.
fn checked(node: &Node, check: &Check) -> Vec<Problem> {
    let name = printable(&node.path);
    let mut problems = Vec::new();
    let first = check
        .findings
        .iter()
        .find(|finding| finding.kind.severity() == Severity::Corruption);
    if let Some(first) = first {
        let more = match check.corruptions {
            0 | 1 => String::new(),
            n => format!(" ({n} corruptions)"),
        };
        problems.push(Problem {
            kind: ProblemKind::CorruptClusters,
            message: format!("The tables of {name} are damaged{more}: {}.", first.text),
        });
    }
    if check.leaks > 0 {
        problems.push(Problem {
            kind: ProblemKind::LeakedClusters,
            message: format!(
                "{name} takes {} bytes that belong to nothing. No harm is done by them.",
                check.leaked_bytes
            ),
        });
    }
    problems
}
