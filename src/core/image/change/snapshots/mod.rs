//! The internal snapshots of an image: listed, taken, applied, deleted, and copied out.
//!
//! Taking, applying and deleting work alike, and never in place: [`SnapshotChange`] works out every
//! table that differs afterwards (refcount blocks and table, the active L1 and L2 tables whose copied
//! flags change, the snapshot table), all of it for clusters that are free before the change. It is
//! written there, flushed, and then one write of one sector of the header switches over to all of it.
//! A crash leaves the image as it was or as it is to be, and neither leaks.
//!
//! | file | concept |
//! |---|---|
//! | `change` | what the three have in common, and the switch |
//! | `create`, `apply`, `delete` | what each of them changes |
//! | `extract` | a snapshot's content as an image of its own |

mod apply;
mod change;
mod create;
mod delete;
mod extract;

pub use change::SnapshotChange;
pub use create::NewSnapshot;
pub use extract::made_like;
pub use extract::{SnapshotForm, extract_snapshot, snapshot_view};
