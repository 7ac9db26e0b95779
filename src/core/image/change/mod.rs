//! Changes of whole images, worked out before anything is written: amended, shrunk, repaired, snapshots and
//! bitmaps changed; clusters given up; and images converted, compared and kept as they look to what is built on them.

pub(crate) mod amend;
pub(crate) mod bitmaps;
pub(crate) mod compare;
pub(crate) mod compressible;
pub(crate) mod convert;
pub(crate) mod discard;
pub(crate) mod measure;
pub(crate) mod places;
pub(crate) mod preserve;
pub(crate) mod repair;
pub(crate) mod shrink;
pub(crate) mod snapshots;
pub(crate) mod unused;
