//! The terminal interface: its pure step and its screens without a terminal, and the program itself
//! in a pseudo-terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A broken helper is a failed test.
#![allow(unreachable_pub)] // A test crate exports nothing.

#[path = "../support/mod.rs"]
mod support;

mod app_harness;
mod busy;
mod counts;

mod e2e;
mod files;
mod hosts;
mod hosts_beside;
mod hosts_inside;
mod hosts_jobs;
mod hosts_machines;
mod hosts_passphrases;
mod hosts_plans;
mod hosts_programs;
mod hosts_prune;
mod inside_pane;
mod insides;
mod journeys;
mod machines;
mod offers;
mod pictures;
mod plain;
mod plan_workflows;
mod plans;
mod prune;
mod pty;
mod random;
mod screens;
mod sizes;
mod space;
mod steps;
mod svg;
mod tour;
mod workflows;
