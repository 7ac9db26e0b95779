//! What is written: guest bytes, clusters and their counts, tables, headers, and new images. Each in an order
//! that leaves the image whole at every instant.

pub(crate) mod allocation_estimate;
pub(crate) mod batch;
pub(crate) mod carried_bitmaps;
pub(crate) mod create;
pub(crate) mod disk_writer;
pub(crate) mod freed;
pub(crate) mod header_file;
pub(crate) mod luks;
pub(crate) mod new_raw;
pub(crate) mod options;
pub(crate) mod refcounts;
pub(crate) mod sequential;
pub(crate) mod shadow_refcounts;
pub(crate) mod stale_bitmaps;
pub(crate) mod temp_file;
pub(crate) mod transaction;
pub(crate) mod transfer;
pub(crate) mod truncate;
pub(crate) mod writer;
