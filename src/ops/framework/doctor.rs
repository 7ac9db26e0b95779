//! What helps against what is wrong with an image. A problem is found in the forest, an error by whoever reads;
//! here is decided, once for plans and faces, which operations help against it. The screen shows them as a key,
//! the command line as a line.

use std::path::Path;

use crate::forest::{BackingState, Forest, Node, ProblemKind};

use crate::image::{self, ErrorKind};

use super::format::name;
use super::refusal::WayOut;
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
            vec![Request::record_format(&image)]
        }
        ProblemKind::CorruptClusters | ProblemKind::CorruptBit | ProblemKind::DirtyBit => {
            vec![Request::repair(&image)]
        }
        ProblemKind::LeakedClusters => {
            // Freeing what is lost needs less than a repair, and is refused where that is needed.
            let is_leak = |kind| kind == ProblemKind::LeakedClusters;
            match node.problems.iter().all(|problem| is_leak(problem.kind)) {
                true => vec![Request::free_leaks(&image)],
                false => vec![Request::repair(&image)],
            }
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
    Some(Request::relink_to(&node.path, &candidate.path))
}

impl WayOut {
    /// What helps against an error of an image.
    #[must_use]
    pub fn of(error: &image::Error) -> Vec<Self> {
        match error.kind {
            ErrorKind::Corruptions(_) | ErrorKind::CorruptBit | ErrorKind::Dirty => {
                vec![Self::repair(&error.path)]
            }
            _ => Vec::new(),
        }
    }

    /// Repairing what is damaged or marked so.
    pub(in crate::ops) fn repair(image: &Path) -> Self {
        Self {
            label: "repair all of it".to_owned(),
            request: Request::repair(image),
        }
    }

    /// Having an overlay record the format of the image that it is built on.
    pub(in crate::ops) fn record_format(overlay: &Path, base: &Path) -> Self {
        Self {
            label: format!("record the format of {} in {}", name(base), name(overlay)),
            request: Request::record_format(overlay),
        }
    }
}
