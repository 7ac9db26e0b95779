//! The format core on its own: what is read, checked and written, and what any crash leaves of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests fail the test.

#[path = "../support/mod.rs"]
mod support;

mod capabilities;
mod check;
mod crash;
mod fuzz_corpus;
mod harness;
mod imports;
mod read;
mod source;
mod verdict;
mod writer;
