//! Images and chains opened and read: what they are, what they are built on, where their bytes lie. Nothing is
//! written here.

pub(crate) mod backing;
pub(crate) mod backing_view;
pub(crate) mod bitmaps;
pub(crate) mod chain;
pub(crate) mod cut_short;
pub(crate) mod extent;
pub(crate) mod format;
pub(crate) mod holes;
pub(crate) mod info;
pub(crate) mod joined;
pub(crate) mod l2_reader;
pub(crate) mod luks;
pub(crate) mod map;
pub(crate) mod metadata_overlap;
pub(crate) mod probe;
pub(crate) mod qcow2_layer;
pub(crate) mod raw;
pub(crate) mod runs;
pub(crate) mod snapshots;
pub(crate) mod table_reader;
pub(crate) mod table_walk;
pub(crate) mod trashed;
