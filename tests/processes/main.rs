//! What needs processes of its own: other holders of locks, kills, hostile surroundings, and a count of
//! this process's memory, which tests beside it would spoil.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests fail the test.

#[path = "../support/mod.rs"]
mod support;

mod forged;
mod hostile_environment;
mod killed;
mod libvirt;
mod live;
mod live_jobs;
mod live_libvirt;
mod live_libvirt_killed;
mod live_steps;
mod locks;
mod locks_commit;
mod machines;
mod mount;
mod other_users;
mod read_only;
mod redefine;
mod story;
