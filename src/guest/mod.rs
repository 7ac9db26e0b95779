//! What lies inside a guest's disk, as far as it has to be known outside: where partitions are and what
//! tells one disk from another. Only reads, and believes nothing it can check: a guest can write anything
//! anywhere. What follows from it is decided in [`crate::ops`].

mod partitions;
mod signatures;

pub use partitions::{Partition, Partitions};
pub use signatures::{Held, Kind, Signature, same_signature, signatures};

/// Bytes at an offset; zeros where there are none.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    if let Some(found) = bytes.get(at..at.saturating_add(N)) {
        value.copy_from_slice(found);
    }
    value
}
