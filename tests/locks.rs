//! QEMU's image locks, both ways: what QEMU holds we respect and name, what we hold QEMU respects.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail the test.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy::host::{Access, Conflict, Host, HostFile, Lock, LockProbe, LockSet, RealHost};
use support::{HoldMode, Qemu};

/// An overlay on a base, in a directory of their own.
struct Pair {
    _dir: tempfile::TempDir,
    base: PathBuf,
    overlay: PathBuf,
}

fn pair(qemu: &Qemu) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "base.qcow2", "1M"]);
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-b",
        "base.qcow2",
        "-F",
        "qcow2",
        "ov.qcow2",
    ]);
    Pair {
        base: dir.path().join("base.qcow2"),
        overlay: dir.path().join("ov.qcow2"),
        _dir: dir,
    }
}

fn open(path: &Path) -> Arc<dyn HostFile> {
    RealHost.open(path, Access::ReadWrite).unwrap()
}

/// The conflict that stands against a lock; `None` where it is free. Asking and taking agree.
fn conflict(path: &Path, want: LockSet) -> Option<Conflict> {
    let file = open(path);
    let asked = match file.probe_lock(want).unwrap() {
        LockProbe::Free => None,
        LockProbe::Busy(conflict) => Some(conflict),
        LockProbe::Unsupported => panic!("these tests need open-file-description locks"),
    };
    let taken = match file.lock(want).unwrap() {
        Lock::Held(_) => None,
        Lock::Busy(conflict) => Some(conflict),
        Lock::Unsupported => panic!("these tests need open-file-description locks"),
    };
    assert_eq!(asked, taken);
    taken
}

/// A machine's disk cannot be locked in any way, its base can only be read; both name the process.
fn assert_held_by_a_machine(pair: &Pair, pid: u32, command: &str) {
    for want in [LockSet::ReadWrite, LockSet::ReadOnly] {
        let conflict = conflict(&pair.overlay, want).unwrap();
        assert!(conflict.writer);
        let [holder] = conflict.holders.as_slice() else {
            panic!("{conflict:?}");
        };
        assert_eq!((holder.pid, holder.command.as_str()), (pid, command));
        assert!(holder.writes && holder.locks);
    }
    let writing = conflict(&pair.base, LockSet::ReadWrite).unwrap();
    assert!(!writing.writer, "the machine only reads the base");
    assert_eq!(writing.holders.first().unwrap().pid, pid);
    assert_eq!(conflict(&pair.base, LockSet::ReadOnly), None);
}

#[test]
fn an_image_in_use_by_qemu_nbd_is_refused_and_the_process_named() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let held = qemu.hold_with_nbd(&pair.overlay, HoldMode::ReadWrite);
    assert_held_by_a_machine(&pair, held.pid(), "qemu-nbd");
    drop(held);
    for path in [&pair.base, &pair.overlay] {
        assert_eq!(conflict(path, LockSet::ReadWrite), None, "free again");
    }
}

#[test]
fn an_image_in_use_by_qemu_storage_daemon_is_refused_and_the_process_named() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let held = qemu.hold_with_storage_daemon(&pair.overlay, HoldMode::ReadWrite);
    assert_held_by_a_machine(&pair, held.pid(), "qemu-storage-daemon");
}

#[test]
fn an_image_that_qemu_only_reads_can_be_read_and_not_written() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let _held = qemu.hold_with_io(&pair.overlay, HoldMode::ReadOnly);
    assert_eq!(conflict(&pair.overlay, LockSet::ReadOnly), None);
    assert!(!conflict(&pair.overlay, LockSet::ReadWrite).unwrap().writer);
}

#[test]
fn one_pass_finds_what_a_process_holds_of_a_whole_chain() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let held = qemu.hold_with_io(&pair.overlay, HoldMode::ReadWrite);
    let ids = [&pair.base, &pair.overlay].map(|path| RealHost.stat(path).unwrap().id);
    let found = RealHost.holders(&ids);
    for (id, writes) in ids.iter().zip([false, true]) {
        let holder = found.get(id).unwrap().first().unwrap();
        assert_eq!(holder.pid, held.pid());
        assert_eq!((holder.writes, holder.locks), (writes, true));
    }
}

#[test]
fn qemu_refuses_an_image_we_write() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let file = open(&pair.overlay);
    let lock = file.lock(LockSet::ReadWrite).unwrap();
    assert!(matches!(lock, Lock::Held(_)));
    let path = pair.overlay.to_str().unwrap();
    for args in [&["info", path][..], &["check", path], &["commit", path]] {
        let outcome = qemu.try_img(args);
        assert!(!outcome.success(), "{args:?}");
        assert!(outcome.stderr.contains("lock"), "{}", outcome.stderr);
    }
    drop(lock);
    qemu.img(&["info", path]);
}

#[test]
fn qemu_reads_an_image_we_pin_and_does_not_write_it() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let file = RealHost.open(&pair.base, Access::Read).unwrap();
    let lock = file.lock(LockSet::ReadOnly).unwrap();
    assert!(matches!(lock, Lock::Held(_)));
    let path = pair.base.to_str().unwrap();
    qemu.img(&["info", path]);
    qemu.img(&["check", path]);
    qemu.io(&pair.overlay, &["write -P 7 0 64k"]);
    let overlay = pair.overlay.to_str().unwrap();
    for args in [&["resize", path, "2M"][..], &["commit", overlay]] {
        let outcome = qemu.try_img(args);
        assert!(!outcome.success(), "{args:?}");
        assert!(outcome.stderr.contains("lock"), "{}", outcome.stderr);
    }
}
