//! The format core at work: an image or a chain is opened, mapped, read, allocated in, written.
//!
//! Knows nothing of terminals, JSON, progress bars or users; finds no images (that is
//! [`crate::forest`]) and decides nothing about what is safe to do with them (that is
//! [`crate::ops`]).

mod backing;
mod facts;
mod format;
mod probe;

pub use backing::{BackingName, BackingTarget};
pub use facts::{BackingRef, Compression, Encryption, ImageFacts};
pub use format::Format;
pub use probe::{Probe, facts, named_like_qcow2, probe};
