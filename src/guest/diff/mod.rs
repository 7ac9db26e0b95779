//! Which files differ between two states of a filesystem.
//!
//! What changed on the volume names the nodes that can differ, and only these are looked at; directories among them
//! say which names came and went; the rest of the names come from the filesystem's own index. A filesystem that cannot
//! name candidates is walked as a whole.

mod by_candidates;
mod by_walk;
mod change;
mod content;
mod paths;
mod volumes;

pub use change::{Change, ChangeKind};
pub use volumes::{VolumeDiff, VolumeState, disks};

use crate::error::{Error, Result};
use crate::filesystem::{Candidates, Filesystem, Node, NodeId};
use crate::ranges::Ranges;

/// Changes told of one filesystem at the most.
pub const MOST_CHANGES: u64 = 2_000_000;

/// Who is told while files are compared.
pub trait Watch {
    /// So many nodes can differ, as far as is known before any name is.
    fn candidates(&mut self, _nodes: u64) {}

    /// Whether to stop.
    fn is_cancelled(&mut self) -> bool {
        false
    }
}

/// Nobody is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWatch;

impl Watch for NoWatch {}

/// What came of a comparison.
#[derive(Debug, Default)]
pub struct Diff {
    /// The changes, sorted by path.
    pub changes: Vec<Change>,
    /// What could not be read, so that changes there may be missing. Bounded; empty means complete.
    pub problems: Vec<Error>,
}

/// What to look at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Compare the content of all files wherever the volume changed, and not only of those whose record did: finds
    /// what was written past the filesystem, as into a swap file.
    pub deep: bool,
}

/// Problems kept.
const MOST_PROBLEMS: usize = 100;

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
    let mut pair = Pair {
        before,
        after,
        changed: &changed,
        options,
        watch,
        problems: Vec::new(),
    };
    let mut changes = match pair.candidates()? {
        Some(nodes) => by_candidates::changes(&mut pair, nodes)?,
        None => by_walk::changes(&mut pair)?,
    };
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Diff {
        changes,
        problems: pair.problems,
    })
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

/// The two states, and what went wrong so far.
struct Pair<'a> {
    before: &'a dyn Filesystem,
    after: &'a dyn Filesystem,
    changed: &'a Ranges,
    options: Options,
    watch: &'a mut dyn Watch,
    problems: Vec<Error>,
}

impl Pair<'_> {
    /// The nodes that can differ; none where that is not known.
    fn candidates(&mut self) -> Result<Option<Vec<NodeId>>> {
        let together = self.before.candidates_between(self.after, self.changed);
        let apart = match together {
            Ok(Some(nodes)) => return Ok(Some(nodes)),
            Ok(None) => [self.before, self.after].map(|state| state.candidates(self.changed)),
            Err(error) => return self.problem(error).map(|()| None),
        };
        match apart {
            [
                Ok(Candidates::Nodes(mut before)),
                Ok(Candidates::Nodes(after)),
            ] => {
                before.extend(after);
                Ok(Some(before))
            }
            apart => {
                for failed in apart.into_iter().filter_map(Result::err) {
                    self.problem(failed)?;
                }
                Ok(None)
            }
        }
    }

    /// Notes what is damaged inside the guest; everything else ends the comparison.
    fn problem(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Image(_) | Error::Cancelled => return Err(error),
            _ if self.problems.len() < MOST_PROBLEMS => self.problems.push(error),
            _ => {}
        }
        Ok(())
    }

    /// A result, or nothing and a problem noted.
    fn noted<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => self.problem(error).map(|()| None),
        }
    }

    /// # Errors
    /// [`Error::Cancelled`], when that was asked for.
    fn go_on(&mut self) -> Result<()> {
        if self.watch.is_cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }
}
