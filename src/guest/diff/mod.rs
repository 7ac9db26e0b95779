//! Which files differ between two states of a filesystem.
//!
//! What changed on the volume names the nodes that can differ, and only these are looked at; directories among them
//! say which names came and went; the rest of the names come from the filesystem's own index. A filesystem that cannot
//! name candidates is walked as a whole.

mod by_candidates;
mod by_walk;
mod change;
mod content;
mod filesystems;
mod pair;
mod paths;
mod volumes;

pub use change::{Change, ChangeKind, is_noise};
pub use filesystems::{Diff, content_differs, filesystems};
pub use pair::{MOST_CHANGES, NoWatch, Options, Watch};
pub use volumes::{VolumeDiff, VolumeState, disks};
