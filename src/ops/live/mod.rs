//! Changing the images of a machine while it runs: the machine does it, since nobody else may write what it has open.
//! What is asked, shown and refused is as with images that nobody uses.
//!
//! | file | concept |
//! |---|---|
//! | `running` | who has an image open, and by whom it is told what to do |
//! | `branch` | the guest goes on in a new overlay |
//! | `flatten` | the leaf takes in what the layers below hold |
//! | `move_disk` | the guest goes on in another file that shows the same |
//! | `following` | a job of the machine as progress |
//! | `weight` | how much of such a job is done |
//! | `control` | the jobs that run now, for whoever governs them from another process |
//! | `offer` | the same as what is asked, by the machine |
//! | `next_start` | what the machine must be started with from now on |
//!
//! Merging a layer down while a machine runs on it is `commit::live`, and `commit::active` where it writes that layer.

pub(super) mod branch;
pub(super) mod control;
mod flatten;
pub(super) mod following;
mod move_disk;
pub(super) mod next_start;
pub(super) mod offer;
pub(super) mod running;
pub(super) mod weight;

pub use branch::{LiveBranch, LiveOverlay};
pub use flatten::LiveFlatten;
pub use move_disk::LiveMove;
