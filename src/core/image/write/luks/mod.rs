//! New LUKS headers, and key slots filled and erased. What is read of them, and how secrets are wiped, is in
//! [`crate::image::read::luks`].

mod make;
mod slots;

pub use make::NewEncryption;
pub(crate) use make::{Volume, format, room};
pub use slots::{KeySlots, OpenedSlot};
