//! The operations: what each leaves, refuses and survives, beside the real tools.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests fail the test.

#[path = "../support/mod.rs"]
mod support;

mod amend;
mod annotate;
mod attributes;
mod bitmap;
mod branch;
mod commit;
mod commit_corner_cases;
mod commit_range;
mod convert;
mod copies;
mod create;
mod discard;
mod flatten;
mod guest_files;
mod insides;
mod json_names;
mod luks;
mod luks_new;
mod machines;
mod meanwhile;
mod move_images;
mod permit;
mod protect;
mod rebase;
mod recovery;
mod relink;
mod repair;
mod resize;
mod revert;
mod snapshot;
mod space;
mod space_read;
mod space_shared;
mod squash;
mod trim;
mod ways_out;
