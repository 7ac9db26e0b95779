//! The tests' own tools at work: what the recorder replays, what a fault does, what the oracle says.

use crate::support;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use qanopy::host::{Access, Cloned, Host, RealHost};
use support::recorder::{Event, digest_tree};
use support::{Calls, Fault, FaultyHost, RecordingHost, Then, Verdict};

/// Writes a file beside the old one, flushed, and renames it over it.
fn replace_safely(host: &dyn Host, dir: &Path) -> io::Result<()> {
    let (old, new) = (dir.join("a"), dir.join("a.new"));
    let file = host.create_new(&new)?;
    file.write_at(&[2; 2048], 0)?;
    file.flush()?;
    host.rename_replace(&new, &old)?;
    host.sync_dir(dir)
}

fn directory_with_a() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), [1; 2048]).unwrap();
    dir
}

#[test]
fn a_fenced_replacement_leaves_the_old_or_the_new_content_in_every_state() {
    let dir = directory_with_a();
    let host = RecordingHost::new(dir.path());
    replace_safely(&host, dir.path()).unwrap();
    host.mark("done");
    let log = host.log();
    let mut contents = HashSet::new();
    for state in log.crash_states(200, 1) {
        let after = log.replay(&state);
        let content = fs::read(after.path().join("a")).unwrap();
        let old = content == [1; 2048];
        assert!(old || content == [2; 2048], "{}", log.describe(&state));
        assert!(!old || !state.passed("done"), "{}", log.describe(&state));
        contents.insert(old);
    }
    assert_eq!(contents.len(), 2, "both are among the states");
}

#[test]
fn a_forgotten_fence_is_found() {
    let dir = directory_with_a();
    let host = RecordingHost::new(dir.path());
    let (old, new) = (dir.path().join("a"), dir.path().join("a.new"));
    let file = host.create_new(&new).unwrap();
    file.write_at(&[2; 2048], 0).unwrap();
    host.rename_replace(&new, &old).unwrap();
    host.sync_dir(dir.path()).unwrap();
    let log = host.log();
    let contents: HashSet<Vec<u8>> = log
        .crash_states(200, 1)
        .map(|state| fs::read(log.replay(&state).path().join("a")).unwrap())
        .collect();
    assert!(contents.contains(&vec![]), "the new name without its bytes");
    let torn = |content: &Vec<u8>| content.contains(&0) && content.contains(&2);
    assert!(contents.iter().any(torn), "a part of its sectors");
}

#[test]
fn a_forgotten_directory_sync_is_found() {
    let dir = directory_with_a();
    let host = RecordingHost::new(dir.path());
    host.create_new(&dir.path().join("b"))
        .unwrap()
        .flush()
        .unwrap();
    host.mark("done");
    let log = host.log();
    let missing = log
        .crash_states(50, 1)
        .any(|state| state.passed("done") && !log.replay(&state).path().join("b").exists());
    assert!(missing);
}

#[test]
fn a_write_inside_one_sector_is_never_torn() {
    let dir = directory_with_a();
    let host = RecordingHost::new(dir.path());
    let file = host.open(&dir.path().join("a"), Access::ReadWrite).unwrap();
    file.write_at(&[3; 512], 512).unwrap();
    let log = host.log();
    for state in log.crash_states(100, 7) {
        let content = fs::read(log.replay(&state).path().join("a")).unwrap();
        let sector = &content[512..1024];
        assert!(sector == [1; 512] || sector == [3; 512]);
    }
}

#[test]
fn everything_replayed_is_the_directory_itself() {
    let dir = directory_with_a();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("sub")).unwrap();
    fs::hard_link(path("a"), path("sub/hard")).unwrap();
    std::os::unix::fs::symlink("a", path("soft")).unwrap();
    let host = RecordingHost::new(dir.path());
    let a = host.open(&path("soft"), Access::ReadWrite).unwrap();
    a.write_at(b"through the link", 100).unwrap();
    a.zero(1000, 3000).unwrap();
    a.punch(0, 50).unwrap();
    let b = host.create_new(&path("sub/b")).unwrap();
    if b.copy_range(&*a, 0, 0, 2048).unwrap() == Cloned::Unsupported {
        b.write_at(&[9; 2048], 0).unwrap();
    }
    b.set_len(1500).unwrap();
    host.create_dir(&path("trash"), 0o700).unwrap();
    host.rename_new(&path("sub"), &path("trash/sub")).unwrap();
    host.remove_file(&path("a")).unwrap();
    b.write_at(b"after the rename", 1400).unwrap();
    let log = host.log();
    let after = log.replay(&log.everything_before(log.len()));
    assert_eq!(digest_tree(after.path()), digest_tree(dir.path()));
    let before = log.replay(&log.everything_before(0));
    assert_eq!(fs::read(before.path().join("sub/hard")).unwrap(), [1; 2048]);
}

#[test]
fn the_states_are_within_the_budget_different_and_always_the_same() {
    let dir = directory_with_a();
    let host = RecordingHost::new(dir.path());
    let file = host.open(&dir.path().join("a"), Access::ReadWrite).unwrap();
    for offset in 0..20 {
        file.write_at(&[4; 1024], offset * 512).unwrap();
    }
    let log = host.log();
    assert_eq!(log.events().len(), 20);
    assert!(matches!(log.events()[0], Event::Write { .. }));
    for budget in [0, 1, 10, 300] {
        let states: Vec<_> = log.crash_states(budget, 3).collect();
        assert_eq!(states.len(), budget);
        let again: Vec<_> = log.crash_states(budget, 3).collect();
        assert_eq!(states, again);
        let different: HashSet<_> = states.iter().map(|state| &state.data).collect();
        assert_eq!(different.len(), budget);
    }
}

#[test]
fn writing_outside_the_recorded_directory_is_refused() {
    let (dir, other) = (directory_with_a(), directory_with_a());
    let host = RecordingHost::new(dir.path());
    let outside = other.path().join("a");
    assert!(host.open(&outside, Access::Read).is_ok());
    for error in [
        host.open(&outside, Access::ReadWrite).unwrap_err(),
        host.create_new(&other.path().join("b")).unwrap_err(),
        host.remove_file(&outside).unwrap_err(),
        host.rename_new(&dir.path().join("a"), &other.path().join("c"))
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
    assert!(host.log().is_empty());
}

#[test]
fn every_call_can_be_made_to_fail() {
    let counting = directory_with_a();
    let host = FaultyHost::counting(Arc::new(RealHost));
    replace_safely(&host, counting.path()).unwrap();
    let calls = host.count(Calls::Mutating);
    assert_eq!((calls, host.count(Calls::Syncing)), (5, 2));
    assert_eq!(host.struck(), None);
    for nth in 0..=calls {
        let dir = directory_with_a();
        let host = FaultyHost::failing(
            Arc::new(RealHost),
            Calls::Mutating,
            nth,
            Fault::eio(),
            Then::Recover,
        );
        let result = replace_safely(&host, dir.path());
        assert_eq!(result.is_err(), nth < calls);
        assert_eq!(host.struck().is_some(), nth < calls);
        let content = fs::read(dir.path().join("a")).unwrap();
        assert!(content == [1; 2048] || content == [2; 2048]);
    }
}

#[test]
fn a_full_disk_stays_full_and_a_write_may_get_half_way() {
    let dir = directory_with_a();
    let fault = Fault::Partly(rustix::io::Errno::NOSPC);
    let host = FaultyHost::failing(
        Arc::new(RealHost),
        Calls::Allocating,
        0,
        fault,
        Then::KeepFailing,
    );
    let file = host.open(&dir.path().join("a"), Access::ReadWrite).unwrap();
    for _ in 0..2 {
        let error = file.write_at(&[5; 1100], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    assert!(file.set_len(10_000).is_err());
    file.punch(1000, 10).unwrap();
    let content = fs::read(dir.path().join("a")).unwrap();
    // Half of it, to the end of a sector.
    assert_eq!((content[511], content[512]), (5, 1));
}

#[test]
fn a_short_read_gives_half() {
    let dir = directory_with_a();
    let host = FaultyHost::failing(
        Arc::new(RealHost),
        Calls::Reading,
        1,
        Fault::ShortRead,
        Then::Recover,
    );
    let file = host.open(&dir.path().join("a"), Access::Read).unwrap();
    let mut buf = [0; 100];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 50);
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 100);
}

#[test]
fn a_recorded_host_can_be_made_to_fail_as_well() {
    let dir = directory_with_a();
    let recording = Arc::new(RecordingHost::new(dir.path()));
    let inner: Arc<dyn Host> = recording.clone();
    let host = FaultyHost::failing(inner, Calls::Syncing, 0, Fault::eio(), Then::KeepFailing);
    assert!(replace_safely(&host, dir.path()).is_err());
    assert_eq!(recording.log().len(), 2, "created and written, not flushed");
}

#[test]
fn the_oracle_reads_checks_and_tells_damage() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let qemu = qemu.within(dir.path());
    qemu.img(&["create", "-f", "qcow2", "a.qcow2", "1M"]);
    qemu.io("a.qcow2", &["write -P 0x5a 64k 64k", "read -P 0 0 64k"]);
    qemu.check_clean("a.qcow2");
    let bytes = qemu.raw_bytes("a.qcow2");
    assert_eq!((bytes.len(), bytes[0], bytes[65536]), (1 << 20, 0, 0x5a));
    let digest = qemu.digest("a.qcow2");
    fs::write(dir.path().join("a.raw"), &bytes).unwrap();
    assert_eq!(qemu.digest("a.raw"), digest);
    assert!(
        !qemu
            .try_io("a.qcow2", &["read -P 1 0 512"])
            .text()
            .is_empty()
    );

    // The refcount table sits in the second cluster: without it everything is unaccounted for.
    let file = RealHost
        .open(&dir.path().join("a.qcow2"), Access::ReadWrite)
        .unwrap();
    file.write_at(&[0; 8], 65536).unwrap();
    let verdict = qemu.check("a.qcow2");
    assert!(matches!(verdict, Verdict::Corrupt(_)) && !verdict.is_sound());
    file.write_at(b"nonsense", 0).unwrap();
    assert!(matches!(qemu.check("a.qcow2"), Verdict::Unreadable(_)));
}

#[test]
fn every_file_of_tests_is_in_its_binary() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for binary in ["core", "ops", "cli", "processes", "tui"] {
        let dir = tests.join(binary);
        let main = fs::read_to_string(dir.join("main.rs")).unwrap();
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let (Some(stem), Some("rs")) = (
                path.file_stem().and_then(|stem| stem.to_str()),
                path.extension().and_then(|end| end.to_str()),
            ) else {
                continue;
            };
            let is_named = main.lines().any(|line| line == format!("mod {stem};"));
            assert!(
                stem == "main" || is_named,
                "{} is not compiled",
                path.display()
            );
        }
    }
    let stray = fs::read_dir(&tests)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let stray: Vec<_> = stray
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect();
    assert!(
        stray.is_empty(),
        "each of these would be a binary of its own: {stray:?}"
    );
}
