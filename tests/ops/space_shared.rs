//! What is shared with other files by reflinks comes free for nobody, and is told as `filefrag` tells it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use qanopy::host::RealHost;
use qanopy::ops::{self, Request, SavingKind, Sweep};

use super::space::{here, of, report};
use crate::support::filesystems::Filesystem;
use crate::support::{Qemu, planning, qemu};

fn run(program: &str, words: &[&str], dir: &Path) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let mut command = Command::new(program);
    let ended = command
        .args(words)
        .current_dir(dir)
        .env("PATH", path)
        .output();
    let ended = ended.unwrap();
    assert!(ended.status.success(), "{program} {words:?}: {ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

/// Bytes of the extents that `filefrag` calls shared.
fn shared_by_filefrag(dir: &Path, name: &str) -> u64 {
    let told = run("filefrag", &["-v", "-b1", name], dir);
    let extents = told.lines().filter(|line| line.contains("shared"));
    extents
        .map(|line| {
            line.split(':')
                .nth(3)
                .unwrap()
                .trim()
                .parse::<u64>()
                .unwrap()
        })
        .sum()
}

/// `base` with 8 MiB, and `leaf` on it: a copy of a leaf with 8 MiB that shares its blocks but for 2 MiB.
fn leaves(qemu: &Qemu, dir: &Path) {
    let tools = qemu.within(dir);
    tools.img(&["create", "-q", "-f", "qcow2", "base", "16M"]);
    tools.io("base", &["write -P 1 0 8M"]);
    tools.img(&[
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", "first",
    ]);
    tools.io("first", &["write -P 2 0 8M"]);
    run("cp", &["--reflink=always", "first", "leaf"], dir);
    tools.io("leaf", &["write -P 3 2M 2M"]);
    run("sync", &["-f", "."], dir);
}

#[test]
fn what_is_shared_is_told_as_filefrag_tells_it() {
    let Some(qemu) = qemu() else { return };
    for kind in ["xfs", "btrfs"] {
        let Some(filesystem) = Filesystem::new(kind) else {
            return;
        };
        let dir = filesystem.dir.as_path();
        leaves(&qemu, dir);
        let found = here(dir);
        for name in ["base", "first", "leaf"] {
            let space = of(&found, &dir.join(name));
            let told = shared_by_filefrag(dir, name);
            assert_eq!(space.shared, Some(told), "{kind}: {name}");
            assert_eq!(space.exclusive(), space.disk - told, "{kind}: {name}");
        }
        assert_eq!(of(&found, &dir.join("base")).shared, Some(0));
        let shared = of(&found, &dir.join("leaf")).shared.unwrap();
        assert!((6 << 20..7 << 20).contains(&shared), "{kind}: {shared}");
    }
}

#[test]
fn a_file_of_more_extents_than_are_told_at_a_time_is_told_whole() {
    let Some(qemu) = qemu() else { return };
    let Some(filesystem) = Filesystem::new("xfs") else {
        return;
    };
    let dir = filesystem.dir.as_path();
    let tools = qemu.within(dir);
    tools.img(&["create", "-q", "-f", "raw", "first", "64M"]);
    tools.io("first", &["write -P 1 0 64M"]);
    run("cp", &["--reflink=always", "first", "leaf"], dir);
    // Every other of 64 KiB is its own then.
    let writes: Vec<String> = (0..400)
        .map(|at| format!("write -P 2 {}k 64k", at * 128))
        .collect();
    let writes: Vec<&str> = writes.iter().map(String::as_str).collect();
    let mut command = Command::new("qemu-io");
    command.args(["-f", "raw"]);
    writes.iter().for_each(|write| {
        command.args(["-c", write]);
    });
    assert!(
        command
            .arg("leaf")
            .current_dir(dir)
            .output()
            .unwrap()
            .status
            .success()
    );
    run("sync", &["-f", "."], dir);
    let told = shared_by_filefrag(dir, "leaf");
    assert_eq!(told, (64 << 20) - 400 * (64 << 10));
    let file = qanopy::host::Host::open(&RealHost, &dir.join("leaf"), qanopy::host::Access::Read);
    let file = file.unwrap();
    assert_eq!(file.shared_bytes(0..u64::MAX).unwrap(), Some(told));
    // Half of the first two pieces is shared, of any part just what lies in it.
    assert_eq!(file.shared_bytes(0..256 << 10).unwrap(), Some(128 << 10));
    assert_eq!(
        file.shared_bytes(96 << 10..112 << 10).unwrap(),
        Some(16 << 10)
    );
    assert_eq!(file.shared_bytes(5..5).unwrap(), Some(0));
}

#[test]
fn discarding_a_copy_frees_what_it_has_for_itself() {
    let Some(qemu) = qemu() else { return };
    let Some(filesystem) = Filesystem::new("xfs") else {
        return;
    };
    let dir = filesystem.dir.as_path();
    leaves(&qemu, dir);
    let context = planning::context(Arc::new(RealHost), dir);
    let found = report(&context);
    let leaf = dir.join("leaf");
    let is_it = |kind| {
        let mut savings = found.savings.iter();
        savings.find(move |one| one.kind == kind && one.images == [dir.join("leaf")])
    };
    let saving = is_it(SavingKind::Discard).unwrap();
    assert_eq!(saving.frees, of(&found, &leaf).exclusive());
    assert!(saving.frees < 3 << 20);
    let free = || {
        run("sync", &["-f", "."], dir);
        let told = run("stat", &["-f", "-c", "%f %S", "."], dir);
        let numbers: Vec<u64> = told
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        numbers[0] * numbers[1]
    };
    let before = free();
    planning::execute_request(&context, &saving.request).unwrap();
    let context = planning::context(Arc::new(RealHost), dir);
    let found = report(&context);
    let empties = found
        .savings
        .iter()
        .find(|one| one.kind == SavingKind::EmptyTrash);
    // What the two copies share is told as shared in the trash as well.
    let empties = empties.unwrap();
    assert_eq!(empties.frees, saving.frees);
    assert!(found.trash > empties.frees);
    planning::execute_request(&context, &empties.request).unwrap();
    fs::remove_dir_all(dir.join("state")).unwrap();
    let freed = free() - before;
    assert!(
        freed.abs_diff(saving.frees) <= 512 << 10,
        "{freed} {}",
        saving.frees
    );
}

#[test]
fn garbage_and_the_plans_that_take_it_away_count_what_comes_free() {
    let Some(qemu) = qemu() else { return };
    for kind in ["xfs", "btrfs"] {
        let Some(filesystem) = Filesystem::new(kind) else {
            return;
        };
        let dir = filesystem.dir.as_path();
        leaves(&qemu, dir);
        let context = planning::context(Arc::new(RealHost), dir);
        let leaf = dir.join("leaf");
        let found = here(dir);
        let space = of(&found, &leaf);
        let sweep = Sweep {
            roots: vec![dir.join("first")],
            ..Sweep::default()
        };
        let report = ops::garbage(&context, &sweep);
        let [garbage] = &report.garbage[..] else {
            panic!("{kind}: {report:?}")
        };
        assert_eq!(garbage.path, leaf);
        assert_eq!(
            (garbage.frees, garbage.shared),
            (space.exclusive(), space.shared),
            "{kind}"
        );
        let discard = ops::plan(&context, &Request::discard(vec![leaf]));
        assert_eq!(discard.frees, space.exclusive(), "{kind}");
        planning::execute(discard).unwrap();
        let context = planning::context(Arc::new(RealHost), dir);
        let entries = ops::trash::list(
            &*context.host,
            context.state_dir.as_deref(),
            &[dir.to_path_buf()],
        );
        let entries = entries.into_iter().map(|entry| entry.name).collect();
        let purge = ops::plan(&context, &ops::EmptyTrash { entries }.into());
        assert_eq!(purge.frees, space.exclusive(), "{kind}");
    }
}

#[test]
fn a_filesystem_that_does_not_tell_is_told_of() {
    let Some(qemu) = qemu() else { return };
    // Where shared memory is, no file has blocks.
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let dir = dir.path();
    qemu.within(dir)
        .img(&["create", "-q", "-f", "qcow2", "disk", "1M"]);
    let found = here(dir);
    let space = of(&found, &dir.join("disk"));
    assert_eq!((space.shared, &space.unread), (None, &None));
    assert_eq!(space.exclusive(), space.disk);
    let context = planning::context(Arc::new(RealHost), dir);
    let sweep = Sweep {
        whole_trees: true,
        ..Sweep::default()
    };
    let report = ops::garbage(&context, &sweep);
    assert_eq!(
        (report.garbage[0].frees, report.garbage[0].shared),
        (space.disk, None)
    );
}
