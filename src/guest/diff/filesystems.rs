//! The comparison of two states of one filesystem.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::filesystem::{Filesystem, Node};
use crate::ranges::Ranges;

use super::change::{Change, ChangeKind};
use super::pair::{Options, Pair, Watch};
use super::paths::Paths;
use super::{by_candidates, by_walk, content};

/// What came of a comparison.
#[derive(Debug, Default)]
pub struct Diff {
    /// The changes, sorted by path.
    pub changes: Vec<Change>,
    /// What could not be read, so that changes there may be missing. Bounded; empty means complete.
    pub problems: Vec<Error>,
}

/// Compares two states of one filesystem. `changed` are the bytes of the volume that can differ between them.
///
/// # Errors
/// [`Error::Cancelled`], and when the images cannot be read. What is damaged inside the guest is no error but a
/// problem of the answer.
pub fn filesystems(
    before: &dyn Filesystem,
    after: &dyn Filesystem,
    changed: &Ranges,
    options: Options,
    watch: &mut dyn Watch,
) -> Result<Diff> {
    let mut changed = changed.clone();
    changed.extend(&before.replayed());
    changed.extend(&after.replayed());
    let snapshots = before.snapshots(after);
    let mut pair = Pair {
        before,
        after,
        snapshots: &[],
        changed: &changed,
        options,
        watch,
        problems: Vec::new(),
    };
    let snapshots = pair.noted(snapshots)?.flatten();
    if let Some(snapshots) = &snapshots {
        (pair.before, pair.snapshots) = (&*snapshots.before, &snapshots.told);
    }
    let mut changes = match pair.candidates()? {
        Some(nodes) => by_candidates::changes(&mut pair, nodes)?,
        None => by_walk::changes(&mut pair)?,
    };
    name_origins(&mut pair, &mut changes)?;
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Diff {
        changes,
        problems: pair.problems,
    })
}

/// Says of snapshots that came or went what they are snapshots of.
fn name_origins(pair: &mut Pair<'_>, changes: &mut [Change]) -> Result<()> {
    for snapshot in pair.snapshots {
        let has_it = |node: &Option<Node>| node.as_ref().map(|node| node.id) == Some(snapshot.root);
        let told = changes.iter_mut().find(|change| match change.kind {
            ChangeKind::Added | ChangeKind::Replaced => has_it(&change.after),
            ChangeKind::Deleted => has_it(&change.before),
            _ => false,
        });
        let Some(told) = told else { continue };
        for state in [pair.before, pair.after] {
            let links = state.links(&HashSet::from([snapshot.of]));
            let links = pair.noted(links)?.unwrap_or_default();
            told.snapshot_of = Paths::new(state, links).directory(snapshot.of);
            if told.snapshot_of.is_some() {
                break;
            }
        }
    }
    Ok(())
}

/// Whether a node that is one file in both states holds other bytes in the second. `changed` are the bytes of the
/// volume that can differ.
///
/// # Errors
/// When one of them cannot be read, or it was stopped.
pub fn content_differs(
    (before, was): (&dyn Filesystem, &Node),
    (after, is): (&dyn Filesystem, &Node),
    changed: &Ranges,
    watch: &mut dyn Watch,
) -> Result<bool> {
    let mut changed = changed.clone();
    changed.extend(&before.replayed());
    changed.extend(&after.replayed());
    let options = Options::default();
    let mut pair = Pair {
        before,
        after,
        snapshots: &[],
        changed: &changed,
        options,
        watch,
        problems: Vec::new(),
    };
    let content = content::compare(&mut pair, was, is)?;
    match pair.problems.pop() {
        Some(problem) => Err(problem),
        None => Ok(content.differs),
    }
}
