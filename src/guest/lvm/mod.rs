//! LVM2: the logical volumes on physical volumes that all lie on the same disk. Linear ones are read; of all others it
//! is told what they are.
//!
//! | file | concept |
//! |---|---|
//! | `label` | a physical volume recognised, and the texts in its metadata areas |
//! | `text` | the syntax of these texts |
//! | `group` | what such a text says: physical and logical volumes of a volume group |
//! | `map` | where a logical volume lies on its physical volumes; what it is, where that is not read |
//! | `checksum` | the CRC that all of it is protected by |
//!
//! The format is not written down but in the sources of LVM2 (`lib/format_text`, `lib/label`).

mod checksum;
mod group;
mod label;
mod map;
mod text;

pub(crate) use group::Group;
pub(crate) use label::PhysicalVolume;
pub(crate) use map::{Logical, NotRead, logical};

use crate::error::Error;

const NAME: &str = "LVM2";

fn damaged(structure: &str, offset: u64, problem: impl Into<String>) -> Error {
    Error::Damaged {
        filesystem: NAME,
        structure: structure.to_owned(),
        offset,
        problem: problem.into(),
    }
}

/// A group with the name of another one on the same disk: volumes could not be told apart.
pub(crate) fn same_name(group: &Group) -> Error {
    let problem = format!("another group on the disk is called {} as well", group.name);
    damaged("metadata", 0, problem)
}
