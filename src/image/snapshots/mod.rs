//! The internal snapshots of an image: listed, taken, applied, deleted, and copied out.
//!
//! Taking, applying and deleting work alike, and never in place: [`SnapshotChange`] works out every
//! table that differs afterwards (refcount blocks and table, the active L1 and L2 tables whose copied
//! flags change, the snapshot table), all of it for clusters that are free before the change. It is
//! written there, fenced, and then one write of one sector of the header switches over to all of it.
//! A crash leaves the image as it was or as it is to be, and neither leaks.
//!
//! | file | concept |
//! |---|---|
//! | `list` | reading the snapshot table |
//! | `counts` | the reference counts as they are to be, beside those on disk |
//! | `tree` | going through everything an L1 table leads to |
//! | `change` | what the three have in common, and the switch |
//! | `create`, `apply`, `delete` | what each of them changes |
//! | `extract` | a snapshot's content as an image of its own |

mod apply;
mod change;
mod counts;
mod create;
mod delete;
mod extract;
mod list;
mod tree;

pub use change::SnapshotChange;
pub(in crate::image) use counts::{NewCounts, Put};
pub use create::NewSnapshot;
pub use extract::{SnapshotForm, extract_snapshot, snapshot_view};
pub use list::snapshots;
pub(crate) use list::{read, read_unchecked};
