//! The log tree: what `fsync` wrote since the last transaction. It is replayed in memory as the kernel replays it when
//! it mounts the filesystem, into changes that lie over the trees of the subvolumes.
//!
//! | module | what lives there |
//! |---|---|
//! | `items` | which logs there are, and what they hold |
//! | `replay` | in which order that is replayed |
//! | `state` | a subvolume while a log is replayed into it |
//! | `names` | entries of directories that come and go |
//! | `extents` | content that is replaced |
//! | `settle` | what is counted in the end |

mod extents;
mod items;
mod names;
mod replay;
mod settle;
mod state;

pub(super) use items::{log_roots, logs};
pub(super) use replay::replay;
