//! What is done to a machine as a whole, while it is off: its disks and its definition in one plan. Only machines that
//! libvirt's service defines are changed. Starting and ending one is in `power`, one disk of a definition in
//! `redefine`.
//!
//! | file | concept |
//! |---|---|
//! | `target` | which machine is meant, which disks of it, and whether they may be changed |
//! | `branch` | new overlays that its disks are from then on |
//! | `revert` | the same on a layer that its disks had before |

mod branch;
mod revert;
mod target;

pub use branch::{BranchMachine, DiskBranch};
pub use revert::{DiskRevert, RevertMachine};
