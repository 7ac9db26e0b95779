//! What helps against what is wrong with an image. A problem is found in the forest; here is decided, once for
//! every face, which operations help against it. The screen shows them as a key, the command line as a line.

use std::path::Path;

use crate::forest::{BackingState, Forest, Node, ProblemKind};
use crate::ops::relink::request::Relink;
use crate::ops::repair::{RepairAction, RepairImage};

use super::request::Request;

/// The operations that help against this kind of problem of an image, the best first. Each is a plan of its own
/// when it is asked for. None where it is for the person to say what the image was made from, or where nothing
/// here helps.
#[must_use]
pub fn fixes(forest: &Forest, node: &Node, kind: ProblemKind) -> Vec<Request> {
    let image = node.path.clone();
    match kind {
        ProblemKind::MissingBacking | ProblemKind::UnresolvableBacking => {
            found_elsewhere(forest, node).into_iter().collect()
        }
        ProblemKind::NoBackingFormat | ProblemKind::WrongBackingFormat => {
            vec![record_format(&image)]
        }
        ProblemKind::CorruptClusters | ProblemKind::CorruptBit | ProblemKind::DirtyBit => {
            vec![repair(&image, RepairAction::All)]
        }
        ProblemKind::LeakedClusters => {
            // Freeing what is lost needs less than a repair, and is refused where that is needed.
            let is_leak = |kind| kind == ProblemKind::LeakedClusters;
            let action = match node.problems.iter().all(|problem| is_leak(problem.kind)) {
                true => RepairAction::Leaks,
                false => RepairAction::All,
            };
            vec![repair(&image, action)]
        }
        // One image of a circle, too, has to be pointed at what it was made from.
        ProblemKind::Loop
        | ProblemKind::UnreachableBacking
        | ProblemKind::DirectoryDependentBacking
        | ProblemKind::DirectoryDependentDataFile
        | ProblemKind::MissingDataFile
        | ProblemKind::WrittenUnder
        | ProblemKind::Interrupted
        | ProblemKind::BrokenBelow
        | ProblemKind::BackingSize
        | ProblemKind::Unreadable
        | ProblemKind::Damaged
        | ProblemKind::Truncated
        | ProblemKind::Unopenable
        | ProblemKind::UnknownFeature => Vec::new(),
    }
}

/// The command lines of what helps.
#[must_use]
pub fn fix_lines(forest: &Forest, node: &Node, kind: ProblemKind) -> Vec<String> {
    let fixes = fixes(forest, node, kind).into_iter();
    let lines = fixes.filter_map(|fix| fix.command_line());
    lines.map(|line| line.to_string()).collect()
}

/// A relink to the file of that name that is somewhere else: whether it is the same disk is judged by its plan.
fn found_elsewhere(forest: &Forest, node: &Node) -> Option<Request> {
    let backing = node.backing.as_ref()?;
    if !matches!(
        backing.state,
        BackingState::Missing | BackingState::Elsewhere(_)
    ) {
        return None;
    }
    let candidate = forest.namesake(node)?;
    Some(
        Relink {
            image: node.path.clone(),
            base: Some(candidate.path.clone()),
            // What it looks like may be its guest's doing: that is the plan's to judge.
            format: None,
            style: None,
        }
        .into(),
    )
}

/// Which format that is the plan finds out where a guess cannot hurt.
fn record_format(image: &Path) -> Request {
    Relink {
        image: image.to_path_buf(),
        base: None,
        format: None,
        style: None,
    }
    .into()
}

fn repair(image: &Path, action: RepairAction) -> Request {
    RepairImage {
        image: image.to_path_buf(),
        action,
    }
    .into()
}
