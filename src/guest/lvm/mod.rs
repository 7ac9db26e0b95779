//! LVM2: the logical volumes on physical volumes that all lie on the same disk. Linear ones are read; of all others it
//! is told what they are.
//!
//! | file | concept |
//! |---|---|
//! | `label` | a physical volume recognised, and the texts in its metadata areas |
//! | `text` | the syntax of these texts |
//! | `group` | what such a text says: physical and logical volumes of a volume group |
//! | `map` | where a logical volume lies on its physical volumes; what it is, where that is not read |
//! | `error` | what is wrong with it |
//! | `checksum` | the CRC that all of it is protected by |
//!
//! The format is not written down but in the sources of LVM2 (`lib/format_text`, `lib/label`).

mod checksum;
mod error;
mod group;
mod label;
mod map;
mod text;

pub(crate) use error::same_name;
pub(crate) use group::Group;
pub(crate) use label::PhysicalVolume;
pub(crate) use map::{Logical, NotRead, logical};
