//! What is wrong with what LVM2 stored.

use crate::error::Error;

const NAME: &str = "LVM2";

pub(super) fn damaged(structure: &str, offset: u64, problem: impl Into<String>) -> Error {
    Error::Damaged {
        filesystem: NAME,
        structure: structure.to_owned(),
        offset,
        problem: problem.into(),
    }
}

/// A group with the name of another one on the same disk: volumes could not be told apart.
pub(crate) fn same_name(group: &str) -> Error {
    let problem = format!("another group on the disk is called {group} as well");
    damaged("metadata", 0, problem)
}
