//! The command line as a person or a script uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests fail the test.

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod config;
mod copy;
mod doctor;
mod errors;
mod forest;
mod guest;
mod guest_chains;
mod hosts;
mod hosts_passphrases;
mod look;
mod machines;
mod mistakes;
mod packaging;
mod plain;
mod reading;
mod readme;
mod refresh;
mod schema;
mod share;
