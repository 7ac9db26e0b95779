//! Plans that name the files inside images: what changes in a base by a commit, what goes with a layer, and why that is
//! not known where it is not.

use crate::support;
use crate::support::planning;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use planning::{context, words};
use qanopy::host::RealHost;
use qanopy::inside::{Summary, Until};
use qanopy::ops::{
    self, ChangeSnapshot, Commit, CommittedLayer, Dependants, NotLooked, Plan, Request, Revert,
    Siblings, SnapshotAction, SnapshotName,
};
use support::{Qemu, guest_disks, qemu};

/// The images of [`guest_disks::make`].
fn disks() -> Option<(Qemu, tempfile::TempDir)> {
    let qemu = qemu()?;
    let dir = tempfile::tempdir().unwrap();
    guest_disks::make(dir.path(), &qemu);
    Some((qemu, dir))
}

fn commit(dir: &Path, overlay: &str, into: Option<&str>) -> Request {
    Request::Commit(Commit {
        overlay: dir.join(overlay),
        into: into.map(|into| dir.join(into)),
        layer: CommittedLayer::Trash,
        siblings: Siblings::Break,
        keep_old: None,
    })
}

/// A plan that has looked inside, with all the time it needs.
fn looked(dir: &Path, request: &Request) -> Plan {
    let mut plan = ops::plan(&context(Arc::new(RealHost), dir), request);
    assert!(plan.refusals.is_empty(), "{}", words(&plan));
    ops::look_inside(&mut plan, &Until::within(Duration::from_secs(600)));
    plan
}

fn only(plan: &Plan) -> &Summary {
    let [files] = &plan.guest_files[..] else {
        panic!("{:?}", plan.guest_files);
    };
    files.found.as_ref().unwrap().as_ref().unwrap()
}

/// The line of the only image that it tells of.
fn line(plan: &Plan) -> String {
    let lines = plan.lines();
    let mut told = lines.iter().filter(|line| line.label == "in guest");
    let line = told.next().unwrap().text.clone();
    assert!(told.next().is_none());
    line
}

#[test]
fn a_commit_tells_which_files_change_in_the_base_over_as_many_layers_as_it_merges() {
    let Some((qemu, dir)) = disks() else { return };
    let dir = dir.path();
    let text = |base: &str| {
        format!(
            "5 files change in {base} (1 added, 1 deleted, 2 changed, 1 in metadata only); largest \
             /home/anna/thesis.odt 29.3 KiB"
        )
    };
    assert_eq!(
        line(&looked(dir, &commit(dir, "top.qcow2", None))),
        text("middle.qcow2")
    );
    let into = commit(dir, "top.qcow2", Some("base.qcow2"));
    assert_eq!(line(&looked(dir, &into)), text("base.qcow2"));
    // Nothing is written by a layer that holds nothing.
    assert_eq!(
        looked(dir, &commit(dir, "middle.qcow2", None)).guest_files,
        []
    );
    // The same over a raw base.
    let here = qemu.within(dir);
    here.img(&[
        "convert",
        "-f",
        "qcow2",
        "-O",
        "raw",
        "base.qcow2",
        "flat.raw",
    ]);
    fs::copy(dir.join("top.qcow2"), dir.join("onraw.qcow2")).unwrap();
    here.img(&["rebase", "-u", "-b", "flat.raw", "-F", "raw", "onraw.qcow2"]);
    assert_eq!(
        line(&looked(dir, &commit(dir, "onraw.qcow2", None))),
        text("flat.raw")
    );
}

#[test]
fn what_goes_with_a_layer_is_told_and_a_log_is_not_its_newest_file() {
    let Some((_, dir)) = disks() else { return };
    let dir = dir.path();
    let text = "top.qcow2 holds 3 files of its own (1 added, 2 changed); 1 file newer than a week: \
                /home/anna/thesis.odt; 1 is a log, a cache or a temporary file";
    let discard = |name: &str| Request::discard(vec![dir.join(name)]);
    let plan = looked(dir, &discard("top.qcow2"));
    assert_eq!(line(&plan), text);
    assert_eq!(only(&plan).deleted, 1);
    let revert = Revert::anew(dir.join("top.qcow2")).into();
    assert_eq!(line(&looked(dir, &revert)), text);
    // Each image that goes along is told of: of one that is built on nothing, all files.
    let plan = looked(dir, &discard("base.qcow2"));
    let told = plan.guest_files.iter().map(|files| {
        let found = files.found.as_ref().unwrap().as_ref().unwrap();
        let name = files.image.file_name().unwrap().to_str().unwrap();
        (name, found.added, found.changed)
    });
    let told: Vec<_> = told.collect();
    assert_eq!(
        told,
        [
            ("base.qcow2", 6, 0),
            ("middle.qcow2", 0, 0),
            ("top.qcow2", 1, 2)
        ]
    );
}

#[test]
fn going_back_to_a_snapshot_tells_the_files_that_it_does_not_hold() {
    let Some((qemu, dir)) = disks() else { return };
    let dir = dir.path();
    let here = qemu.within(dir);
    here.img(&["convert", "-O", "qcow2", "base.qcow2", "disk.qcow2"]);
    here.img(&["snapshot", "-c", "clean", "disk.qcow2"]);
    here.img(&["convert", "-n", "-O", "qcow2", "top.qcow2", "disk.qcow2"]);
    let apply = Request::Snapshot(ChangeSnapshot {
        image: dir.join("disk.qcow2"),
        action: SnapshotAction::Apply {
            snapshot: SnapshotName::Name("clean".into()),
            dependants: Dependants::Refuse,
        },
    });
    let told = line(&looked(dir, &apply));
    assert!(
        told.starts_with(
            "disk.qcow2 holds 3 files of its own (1 added, 2 changed); 1 file newer than a week"
        ),
        "{told}"
    );
}

#[test]
fn what_is_not_known_is_said_and_nothing_waits_for_it() {
    let Some((qemu, dir)) = disks() else { return };
    let dir = dir.path();
    let request = Request::discard(vec![dir.join("top.qcow2")]);
    let context = context(Arc::new(RealHost), dir);
    let plan = ops::plan(&context, &request);
    assert_eq!(line(&plan), "looking inside top.qcow2");
    for until in [
        Until::within(Duration::ZERO),
        Until::within(Duration::from_secs(600)).while_wanted(|| false),
    ] {
        let mut plan = plan.clone();
        ops::look_inside(&mut plan, &until);
        assert_eq!(plan.guest_files[0].found, Some(Err(NotLooked::TooLarge)));
        assert!(line(&plan).contains("too large"), "{}", words(&plan));
    }
    // It stops wherever it is: the disk is read a few times, and no more.
    for reads in 0..40 {
        let left = std::sync::atomic::AtomicI64::new(reads);
        let wanted = move || left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) > 0;
        let until = Until::within(Duration::from_secs(600)).while_wanted(wanted);
        let found = ops::guest_files(&context, &plan.guest_files[0], &until);
        assert_eq!(found, Err(NotLooked::TooLarge), "{reads}");
    }
    let here = qemu.within(dir);
    here.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=open sesame",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
        "closed.qcow2",
        "8M",
    ]);
    let plan = looked(dir, &Request::discard(vec![dir.join("closed.qcow2")]));
    assert_eq!(
        line(&plan),
        "closed.qcow2 is encrypted: which files go is not known"
    );
    // Bytes in which no filesystem is known.
    here.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "odd.qcow2",
    ]);
    here.io("odd.qcow2", &["write -P 7 0 64k"]);
    let plan = looked(dir, &Request::discard(vec![dir.join("odd.qcow2")]));
    assert!(only(&plan).is_partial, "{}", words(&plan));
    assert!(
        line(&plan).starts_with("odd.qcow2: 64 KiB of disk differ, and its files are not known")
    );
}
