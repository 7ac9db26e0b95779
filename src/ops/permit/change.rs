//! Permissions that change, as values with the way back, and giving them to files: all, or none.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::host::{FileId, Permissions, io_text};
use crate::ops::framework::format::shown;
use crate::ops::framework::locks::Locking;
use crate::ops::framework::plan::Job;
use crate::ops::{Error, Outcome, Phase, Plan, Progress};
use crate::units::count;

/// The permissions of a file before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionChange {
    /// The file or the folder, by a name without links.
    pub path: PathBuf,
    /// As they were.
    pub before: Permissions,
    /// As they are to be.
    pub after: Permissions,
}

/// What takes all of these back.
pub(super) fn reversed(changes: &[PermissionChange]) -> Vec<PermissionChange> {
    let back = changes.iter().rev().map(|change| PermissionChange {
        path: change.path.clone(),
        before: change.after.clone(),
        after: change.before.clone(),
    });
    back.collect()
}

/// Gives files their permissions.
#[derive(Debug)]
pub(super) struct PermitJob {
    /// Each with the file that was meant.
    pub(super) changes: Vec<(FileId, PermissionChange)>,
}

impl PermitJob {
    fn give(file: FileId, change: &PermissionChange) -> Result<(), Error> {
        let failed =
            |error: std::io::Error| Error::io("change the permissions of", &change.path, &error);
        let now = Permissions::of(&change.path).map_err(failed)?;
        if now.permissions != change.before {
            let text = format!(
                "the permissions of {} were changed since the plan was made: plan again",
                shown(&change.path)
            );
            return Err(Error::stale(text));
        }
        change.after.give(&change.path, file).map_err(failed)
    }

    /// Takes back what was done; names what could not be.
    fn take_back(done: &[(FileId, PermissionChange)]) -> Vec<String> {
        let back = done.iter().rev();
        back.filter_map(|(file, change)| {
            let error = change.before.give(&change.path, *file).err()?;
            Some(format!("{} ({})", shown(&change.path), io_text(&error)))
        })
        .collect()
    }
}

impl Job for PermitJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        progress.enter(Phase::Switch, 0);
        // Nobody who has a file open is disturbed by it: there is nothing to lock.
        let _locks = Locking::default().settle(plan)?;
        for (number, (file, change)) in self.changes.iter().enumerate() {
            let Err(error) = Self::give(*file, change) else {
                continue;
            };
            // It may have failed halfway.
            let done = self.changes.get(..=number).unwrap_or_default();
            let done = match error {
                Error::Stale(_) => done.get(..number).unwrap_or_default(),
                _ => done,
            };
            let left = Self::take_back(done);
            return Err(match left.is_empty() {
                true => error,
                false => error.and_failed(&format!(
                    "; the permissions of {} could not be put back as they were",
                    left.join(", ")
                )),
            });
        }
        Ok(Outcome {
            summary: format!(
                "changed the permissions of {}",
                match self.changes.as_slice() {
                    [(_, one)] => shown(&one.path),
                    more => count(more.len(), "file"),
                }
            ),
            touched: self
                .changes
                .iter()
                .map(|(_, one)| one.path.clone())
                .collect(),
            undo: plan.roll_back.clone(),
            remarks: Vec::new(),
        })
    }
}
