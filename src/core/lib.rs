//! The core of `qanopy`: qcow2 images read, checked, written and changed.

pub mod host;
pub mod image;
pub mod qcow2;
