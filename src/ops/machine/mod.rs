//! What is done to a machine as a whole, while it is off: its disks and its definition in one plan. Only machines that
//! libvirt's service defines are changed. Starting and ending one is in `power`, one disk of a definition in
//! `redefine`.
//!
//! | file | concept |
//! |---|---|
//! | `target` | which machine is meant, which disks of it, and whether they may be changed |
//! | `branch` | new overlays that its disks are from then on |
//! | `revert` | the same on a layer that its disks had before |
//! | `clone` | another machine that has what this one has |
//! | `try_image` | a machine on overlays that are thrown away |
//! | `remove` | a machine that was made here is taken back |

mod branch;
mod clone;
mod remove;
mod revert;
mod target;
mod try_image;

pub use branch::{BranchMachine, DiskBranch};
pub use clone::{CloneMachine, ClonedFiles};
pub use remove::RemoveMachine;
pub use revert::{DiskRevert, RevertMachine};
pub use try_image::{DISK, TEMPLATE, Talks, TryImage};
