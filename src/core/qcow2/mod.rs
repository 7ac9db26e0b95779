//! The qcow2 format itself, pure: bytes in, validated values out, and back.
//!
//! No file, no path and no system call lives here. Nothing panics on any input, and no number from an
//! image is used before it was checked against [`limits`]. One file per concept of the specification
//! (QEMU's `docs/interop/qcow2`); where the specification and QEMU 10.0 differ, QEMU is followed.

#![deny(clippy::indexing_slicing)]

pub mod address;
pub mod bitmap;
pub mod cluster_run;
pub mod codec;
pub mod compressed;
pub mod error;
pub mod extension;
pub mod feature;
pub mod geometry;
pub mod header;
pub mod l1;
pub mod l2;
pub mod limits;
pub mod luks;
pub mod refcount;
pub mod rewrite;
pub mod snapshot;
pub mod table;

pub use address::{GuestOffset, HostCluster, HostClusters, HostOffset};
pub use cluster_run::{ClusterRun, cluster_runs};
pub use codec::{Deflater, Inflater};
pub use compressed::CompressedCluster;
pub use error::FormatError;
pub use feature::{Autoclear, Compatible, Incompatible};
pub use geometry::Geometry;
pub use header::{CompressionType, CryptMethod, Header, Version, is_qcow2};
pub use l1::L1Entry;
pub use l2::{L2Buf, L2Context, L2Entry, SubclusterBitmap, SubclusterState};
pub use luks::LuksHeader;
pub use refcount::RefcountBlock;
pub use rewrite::{BackingEdit, HeaderEdit, rewrite};
pub use snapshot::Snapshot;
pub use table::{EntryTable, TablePlace};

#[cfg(test)]
mod tests;
