//! In use means hands off, both ways: what a QEMU process holds is neither committed nor discarded,
//! and while a commit runs QEMU refuses to write its files.

use crate::support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use qanopy::ops::{
    self, CommittedLayer, Confirm, Plan, Progress, Refusal, RefusalKind, Request, Siblings,
};
use support::oracle::Bytes;
use support::script::{Script, copy_tree};
use support::{HoldMode, Holding, Qemu, oracle, own_code};

const NAMES: [&str; 4] = [
    "base.qcow2",
    "overlay.qcow2",
    "sibling.qcow2",
    "child.qcow2",
];

/// A base, two overlays on it, and a child of the first.
fn family(dir: &Path) {
    let mut s = Script::default();
    s.create("", "base.qcow2", "8M");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 1M"]);
    s.overlay("qcow2", "base.qcow2", "overlay.qcow2");
    s.io("qcow2", "overlay.qcow2", &["write -P 0x21 512k 64k"]);
    s.overlay("qcow2", "base.qcow2", "sibling.qcow2");
    s.overlay("qcow2", "overlay.qcow2", "child.qcow2");
    s.build(dir);
}

/// A process that holds the image. Which of the three it is makes no difference to the locks; each
/// has its turn.
fn holder(qemu: &Qemu, image: &Path, mode: HoldMode) -> (&'static str, Holding) {
    let turn = image.as_os_str().len() + usize::from(mode == HoldMode::ReadOnly);
    match turn % 3 {
        0 => ("qemu-nbd", qemu.hold_with_nbd(image, mode)),
        1 => (
            "qemu-storage-daemon",
            qemu.hold_with_storage_daemon(image, mode),
        ),
        _ => ("qemu-io", qemu.hold_with_io(image, mode)),
    }
}

fn refusals(plan: &Plan) -> String {
    let said: Vec<&str> = plan.refusals.iter().map(|r| r.text.as_str()).collect();
    said.join("\n")
}

fn plan_commit(dir: &Path, siblings: Siblings) -> Plan {
    let host = own_code::real_host();
    let overlay = dir.join("overlay.qcow2");
    own_code::plan_commit(&host, dir, &overlay, CommittedLayer::Trash, siblings)
}

fn plan_discard(dir: &Path, image: &str) -> Plan {
    let request = Request::discard(vec![dir.join(image)]);
    ops::plan(&own_code::context(&own_code::real_host(), dir), &request)
}

fn assert_names_the_holder(plan: &Plan, tool: &str, holding: &Holding, context: &str) {
    let said = refusals(plan);
    assert_eq!(plan.confirm, Confirm::Impossible, "{context}: {said}");
    let in_use = |refusal: &Refusal| refusal.kind == RefusalKind::InUse;
    assert!(plan.refusals.iter().any(in_use), "{context}: {said}");
    let pid = holding.pid().to_string();
    assert!(said.contains(&pid), "{context}: no pid {pid} in: {said}");
    // The kernel keeps fifteen bytes of a command's name.
    let command = tool.get(..15).unwrap_or(tool);
    assert!(said.contains(command), "{context}: no {command} in: {said}");
}

#[test]
fn a_commit_is_refused_while_qemu_writes_any_image_it_would_write_or_move() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family(dir);
    for name in NAMES {
        let (tool, holding) = holder(&qemu, &dir.join(name), HoldMode::ReadWrite);
        let before = Bytes::below(dir);
        for siblings in [Siblings::Preserve, Siblings::Break] {
            let plan = plan_commit(dir, siblings);
            let context = format!("{tool} writes {name}, siblings {siblings:?}");
            assert_names_the_holder(&plan, tool, &holding, &context);
        }
        before.assert_unchanged(dir, &name);
    }
    // With nobody there it is done.
    let host = own_code::real_host();
    let overlay = dir.join("overlay.qcow2");
    own_code::commit(
        &host,
        dir,
        &overlay,
        CommittedLayer::Trash,
        Siblings::Preserve,
    )
    .unwrap();
    oracle::assert_clean(dir, ["base.qcow2", "sibling.qcow2", "child.qcow2"], &"");
}

#[test]
fn a_commit_is_refused_while_qemu_reads_what_would_change() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family(dir);
    for name in NAMES {
        let (tool, holding) = holder(&qemu, &dir.join(name), HoldMode::ReadOnly);
        let before = Bytes::below(dir);
        let plan = plan_commit(dir, Siblings::Preserve);
        let context = format!("{tool} reads {name}");
        assert_names_the_holder(&plan, tool, &holding, &context);
        before.assert_unchanged(dir, &name);
    }
}

#[test]
fn a_machine_started_after_the_plan_stops_the_run_before_a_byte_is_written() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family(dir);
    for name in NAMES {
        let ready = own_code::agree(plan_commit(dir, Siblings::Preserve)).unwrap();
        // Opening an image for writing changes no byte of it.
        let (tool, holding) = holder(&qemu, &dir.join(name), HoldMode::ReadWrite);
        let before = Bytes::below(dir);
        let said = ops::run(ready.clone(), &Progress::new()).unwrap_err();
        assert!(
            matches!(said, ops::Error::InUse(_) | ops::Error::Stale(_)),
            "{tool} writes {name}: {said:?}"
        );
        let said = said.to_string();
        let pid = holding.pid().to_string();
        assert!(said.contains(&pid), "{tool} writes {name}: {said}");
        before.assert_unchanged(dir, &name);
    }
}

#[test]
fn a_discard_is_refused_while_qemu_holds_anything_that_would_go() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family(dir);
    for mode in [HoldMode::ReadWrite, HoldMode::ReadOnly] {
        for (discarded, held) in [
            ("overlay.qcow2", "overlay.qcow2"),
            ("overlay.qcow2", "child.qcow2"),
            ("base.qcow2", "sibling.qcow2"),
            ("base.qcow2", "base.qcow2"),
        ] {
            let (tool, holding) = holder(&qemu, &dir.join(held), mode);
            let before = Bytes::below(dir);
            let plan = plan_discard(dir, discarded);
            let context = format!("{tool} holds {held} {mode:?}, {discarded} is discarded");
            assert_names_the_holder(&plan, tool, &holding, &context);
            before.assert_unchanged(dir, &context);
        }
    }
}

#[test]
fn an_image_outside_the_branch_may_be_in_use() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family(dir);
    // Whoever holds the sibling reads the base as well; a discard of the other branch harms neither.
    let _holding = qemu.hold_with_nbd(&dir.join("sibling.qcow2"), HoldMode::ReadWrite);
    let ready = own_code::agree(plan_discard(dir, "overlay.qcow2")).unwrap();
    ops::run(ready, &Progress::new()).unwrap();
    assert!(!dir.join("overlay.qcow2").exists());
    assert!(!dir.join("child.qcow2").exists());
}

/// A process that is stopped; goes on, or dies with the test.
struct Stopped(Child);

impl Stopped {
    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let out = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(out.unwrap().success());
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this process holds record locks on this file, as the kernel lists them. Locks of open
/// file descriptions have no process there; the file's inode tells them.
fn is_locked(path: &Path) -> bool {
    let inode = fs::metadata(path).unwrap().ino();
    let wanted = format!(":{inode} ");
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .any(|line| line.contains("OFDLCK") && line.contains(&wanted))
}

#[test]
fn while_a_commit_runs_qemu_refuses_to_write_its_files() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let pristine = home.path().join("pristine");
    let mut s = Script::default();
    s.create("", "base.qcow2", "256M");
    s.overlay("qcow2", "base.qcow2", "overlay.qcow2");
    s.io("qcow2", "overlay.qcow2", &["write -P 0x21 0 192M"]);
    s.overlay("qcow2", "base.qcow2", "sibling.qcow2");
    s.io("qcow2", "sibling.qcow2", &["write -P 0x31 1M 64k"]);
    s.overlay("qcow2", "overlay.qcow2", "child.qcow2");
    s.build(&pristine);
    for attempt in 0..5 {
        let dir = home.path().join(format!("try-{attempt}"));
        copy_tree(&pristine, &dir);
        let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
        command
            .args([
                "commit",
                "--confirm",
                "1",
                "--siblings",
                "preserve",
                "overlay.qcow2",
            ])
            .current_dir(&dir)
            .env("XDG_STATE_HOME", home.path().join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let mut commit = Stopped(command.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        let base = dir.join("base.qcow2");
        // Under way when the base grows.
        let length = |path: &Path| fs::metadata(path).unwrap().len();
        let was = length(&base);
        while length(&base) < was + (1 << 20) && commit.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the commit does not begin");
            std::thread::sleep(Duration::from_millis(1));
        }
        commit.signal("STOP");
        if !is_locked(&base) || !dir.join("overlay.qcow2").exists() {
            // It was quicker than this test; once more.
            commit.signal("CONT");
            commit.0.wait().unwrap();
            fs::remove_dir_all(&dir).unwrap();
            continue;
        }
        for name in NAMES {
            let out = qemu.try_io(dir.join(name), &["write -P 0x99 0 512"]);
            let said = format!("{}{}", out.text(), out.stderr);
            assert!(said.contains("lock"), "qemu-io wrote {name}: {said}");
            assert!(!said.contains("wrote"), "qemu-io wrote {name}: {said}");
        }
        // Our own second commit is refused as well.
        let second = Command::new(env!("CARGO_BIN_EXE_qanopy"))
            .args([
                "commit",
                "--confirm",
                "1",
                "--siblings",
                "preserve",
                "overlay.qcow2",
            ])
            .current_dir(&dir)
            .env("XDG_STATE_HOME", home.path().join("state"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert_eq!(second.status.code(), Some(4), "a second commit: {said}");
        commit.signal("CONT");
        assert!(commit.0.wait().unwrap().success());
        oracle::assert_clean(&dir, ["base.qcow2", "sibling.qcow2", "child.qcow2"], &"");
        return;
    }
    panic!("no commit could be stopped in time");
}
