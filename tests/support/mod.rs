//! What the tests across floors share: the oracle (real QEMU tools), a host that records and can
//! replay every crash, a host that fails on request. Builders of images and forests are files of
//! their own beside these.
//!
//! Each test binary has it as its module `support` and uses what it needs; the rest is not dead, only
//! not used there.
//!
//! | file | for |
//! |---|---|
//! | `qemu` | `let Some(qemu) = support::qemu() else { return };` and then qemu-img, qemu-io, checks, digests |
//! | `holding` | a QEMU process that keeps an image open, for lock tests |
//! | `recorder` | crash tests: record an operation, then look at every state a crash may leave |
//! | `faults` | the n-th call fails with ENOSPC, EIO, a short read, ... |
//! | `libvirt` | a real libvirt in a session of its own |
//! | `live_machine` | a machine that runs, and can be told what to do |
//! | `lab` | other machines, which are folders |
//! | `sshd` | a real server of OpenSSH |
//! | `monitor_proxy` | stands before its monitor, and kills our program at a given command |
//! | `qmp_schema` | what QEMU says of its own commands |
//! | `script` | steps of the real tools that build images, printable as shell lines |
//! | `fields` | small images of every kind, and values to forge in each of their fields |
//! | `forests` | the sample forests, and what a scan has to say of every file in them |
//! | `chains` | random trees of images |
//! | `encrypted` | images encrypted with LUKS |
//! | `devices` | loop devices, and nodes as LVM has them |
//! | `filesystems` | filesystems of a kind, mounted |
//! | `guest_disks` | images with a filesystem inside, whose files differ along the chain |
//! | `checker` | a check of qcow2 files that costs no process and shares no code with the library |
//! | `known` | a context made by a scan, and shorthands to plan and run |
//! | `ours` | our own reading and our own operations, called as a face calls them |
//! | `crash_suite` | an operation cut off at every moment and refused every call: the driver of the two below |
//! | `survival` | what such an operation on one image promises |
//! | `trial` | what such an operation among many images promises |
//! | `oracle` | guest content and checks of many images at once, by qemu-img, and their differences |
#![allow(dead_code)] // Each test crate compiles all of this and uses a part.
#![allow(unused_imports)] // The same for the re-exports.
#![allow(unreachable_pub)] // A test crate exports nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A broken helper is a failed test.
#![allow(clippy::print_stderr)] // Skipping has to be loud.

pub mod chains;
pub mod checker;
pub mod crash_suite;
pub mod devices;
pub mod encrypted;
pub mod faults;
pub mod fields;
pub mod filesystems;
pub mod folder_crash_suite;
pub mod forests;
pub mod guest_disks;
pub mod holding;
pub mod image_crash_suite;
pub mod lab;
pub mod libvirt;
pub mod live_machine;
pub mod monitor_proxy;
pub mod oracle;
pub mod own_code;
pub mod planning;
pub mod qemu;
pub mod qmp_schema;
pub mod recorder;
pub mod script;
pub mod sshd;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Copies the program by another process: what this one has open for writing, a child of another test would hold open
/// until it begins, and what is open for writing cannot be run.
pub fn copy_program(to: &std::path::Path) {
    let copied = std::process::Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_qanopy"))
        .arg(to)
        .status();
    assert!(copied.unwrap().success());
}

/// Keeps the other tests of this process waiting: between a fork and the exec after it, a process that
/// one of them starts has every file that is open here, and with it the locks that this one lets go.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub use faults::{Calls, Fault, FaultyHost, Then};
pub use holding::{HoldMode, Holding};
pub use qemu::{Outcome, Qemu, Verdict, qemu};
pub use recorder::{CrashState, Log, RecordingHost};
