//! The trash: a folder [`DIR`] beside each discarded image, so that going there and coming back are
//! renames within one directory tree, whatever the filesystem. What is put in when is the
//! operations' business; who decides what is deleted for good is `empty`.
//!
//! ```text
//! images/.qanopy-trash/20261123-115537-3fa2.json      the manifest: when, why, in which order
//! images/.qanopy-trash/20261123-115537-3fa2/a.qcow2   was images/a.qcow2
//! ```
//!
//! A file's place is told by where it lies: `X/.qanopy-trash/BATCH/NAME` belongs to `X/NAME`. So a
//! forged or lost manifest can lead nothing astray, and a moved directory takes its trash along.
//! The manifest is on stable storage before the first rename; a crash leaves every file either at
//! its place or in the trash. An overlay's relative backing name leads to its base from
//! where it was taken from, and is seen from there also while it is in the trash. A trash folder that is not
//! ours is neither used nor believed.

mod base;
mod batch;
mod file_name;
mod folder;
mod keep;
mod list;
mod manifest;
mod record;
mod register;

pub use crate::forest::TRASH_FOLDER as DIR;

pub(in crate::ops) use base::{Since, base_of, since};
pub(in crate::ops) use batch::{Batch, TrashItem, refuse_foreign};
pub(in crate::ops) use keep::Keep;
pub use list::{Entry, Trashed, foreign, list};
pub(in crate::ops) use list::{annotation_of, find, holding};
pub(in crate::ops) use record::record_again;
