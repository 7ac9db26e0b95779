//! Each reader against what the kernel, or another independent reader, shows of the same filesystem. Fixtures are made
//! by the tools of each filesystem; none is checked in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests fail the test.

mod btrfs;
mod discardable;
mod ext4;
mod fat;
mod growth;
mod luks;
mod lvm;
mod ntfs;
mod reads;
mod samples;
mod support;
mod xfs;
