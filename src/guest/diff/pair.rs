//! The two states that are compared, what is looked at, and who is told.

use std::panic::resume_unwind;
use std::thread;

use crate::error::{Error, Result};
use crate::filesystem::{Candidates, Filesystem, NodeId, Snapshot};
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

/// What to look at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Compare the content of all files wherever the volume changed, and not only of those whose record did: finds
    /// what was written past the filesystem, as into a swap file.
    pub deep: bool,
}

/// Asks both states at the same time.
pub(super) fn at_once<T: Send>(
    before: impl FnOnce() -> T + Send,
    after: impl FnOnce() -> T + Send,
) -> (T, T) {
    thread::scope(|scope| {
        let before = scope.spawn(before);
        let after = after();
        let before = before.join();
        (before.unwrap_or_else(|panic| resume_unwind(panic)), after)
    })
}

/// Problems kept.
const MOST_PROBLEMS: usize = 100;

/// The two states, and what went wrong so far.
pub(super) struct Pair<'a> {
    pub(super) before: &'a dyn Filesystem,
    pub(super) after: &'a dyn Filesystem,
    /// What only one of them has, and shares with something that it is a snapshot of.
    pub(super) snapshots: &'a [Snapshot],
    pub(super) changed: &'a Ranges,
    pub(super) options: Options,
    pub(super) watch: &'a mut dyn Watch,
    pub(super) problems: Vec<Error>,
}

impl Pair<'_> {
    /// The nodes that can differ; none where that is not known.
    pub(super) fn candidates(&mut self) -> Result<Option<Vec<NodeId>>> {
        let together = self.before.candidates_between(self.after, self.changed);
        let apart = match together {
            Ok(Some(nodes)) => return Ok(Some(nodes)),
            Ok(None) => {
                let (before, after, changed) = (self.before, self.after, self.changed);
                <[_; 2]>::from(at_once(
                    || before.candidates(changed),
                    || after.candidates(changed),
                ))
            }
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

    /// Whether a node is of a snapshot that is gone, of which only what nothing else had is told.
    pub(super) fn is_shared(&self, id: NodeId) -> bool {
        let mut gone = self.snapshots.iter().filter(|snapshot| snapshot.is_gone);
        gone.any(|snapshot| snapshot.root.tree == id.tree)
    }

    /// Notes what is damaged inside the guest; everything else ends the comparison.
    pub(super) fn problem(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Image(_) | Error::Cancelled => return Err(error),
            _ if self.problems.len() < MOST_PROBLEMS => self.problems.push(error),
            _ => {}
        }
        Ok(())
    }

    /// A result, or nothing and a problem noted.
    pub(super) fn noted<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => self.problem(error).map(|()| None),
        }
    }

    /// # Errors
    /// [`Error::Cancelled`], when that was asked for.
    pub(super) fn go_on(&mut self) -> Result<()> {
        if self.watch.is_cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }
}
