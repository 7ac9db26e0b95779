//! What lies inside a guest's disk: where partitions and volumes are, what tells one disk from another, which files
//! there are, and which of them differ between two states. Only reads, and believes nothing it can check: a guest can
//! write anything anywhere.
//!
//! | module | what lives there |
//! |---|---|
//! | [`disk`] | a disk opened: its volumes, and what is on each |
//! | [`diff`] | which files differ between two states |
//! | [`path`] | a file by its path |
//! | [`extract`] | files copied out |
//! | [`explain`] | what bytes of a disk are used for |
//! | [`discardable`] | which of them may be thrown away |
//! | [`system`] | which operating system there is |
//! | [`named`] | the names of what is not read here |
//! | [`block`] | bytes at an offset: a disk, a volume on it, a volume with its journal replayed |
//! | [`cache`] | what was read is held for a while |
//! | [`filesystem`] | what every filesystem can be asked: [`Filesystem`] |
//! | [`readers`] | the filesystems that are read: a line each, a folder each |
//! | [`ranges`] | sets of bytes |
//!
//! # Units
//!
//! Offsets and lengths are bytes in a `u64`. A *disk* offset counts from the start of what the image shows, a *volume*
//! offset from the start of a partition or logical volume, a *file* offset from the start of a file.

pub mod block;
mod btrfs;
pub mod cache;
mod changed;
pub mod diff;
mod digest;
pub mod discardable;
pub mod disk;
#[cfg(test)]
mod endless;
pub mod error;
pub mod explain;
mod ext4;
pub mod extract;
mod fat;
pub mod filesystem;
mod luks;
mod lvm;
pub mod named;
mod ntfs;
mod partitions;
pub mod path;
pub mod ranges;
pub mod readers;
mod signatures;
mod stack;
mod suspended;
pub mod system;
mod utf16;
mod volume;
mod walk;
mod xfs;

pub use block::{BlockSource, Source};
pub use changed::{changed, changed_while, stored};
pub use disk::Disk;
pub use error::{Error, Printable, Result};
pub use filesystem::Filesystem;
pub use partitions::{Partition, Partitions};
pub use ranges::Ranges;
pub use signatures::{Held, Kind, Signature, same_signature, signatures};

/// Bytes at an offset; zeros where there are none.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    if let Some(found) = bytes.get(at..at.saturating_add(N)) {
        value.copy_from_slice(found);
    }
    value
}
