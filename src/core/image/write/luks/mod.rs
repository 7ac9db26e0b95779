//! New LUKS headers, and key slots filled and erased. What is read of them, and how secrets are wiped, is in
//! [`crate::image::read::luks`].

#[cfg(feature = "luks")]
mod make;
mod new;
#[cfg(feature = "luks")]
mod slots;
#[cfg(not(feature = "luks"))]
mod without;

#[cfg(feature = "luks")]
pub(crate) use make::{Volume, format};
pub use new::NewEncryption;
pub(crate) use new::room;
#[cfg(feature = "luks")]
pub use slots::{KeySlots, OpenedSlot};
#[cfg(not(feature = "luks"))]
pub(crate) use without::{Volume, format};
