//! Whatever moment a commit is cut off at, every image opens, checks without corruption, and shows
//! its old content or, where it is the target, old and new; running the commit again completes it.
//! The same holds when any call to the system fails.

use crate::support;

use std::fs;
use std::path::Path;

use qanopy::ops::{Commit, CommittedLayer, Request, Siblings};
use support::crash_suite::Promise as _;
use support::folder_crash_suite::{Promise, Trial};

const KEEP: CommittedLayer = CommittedLayer::Keep;
const TRASH: CommittedLayer = CommittedLayer::Trash;

/// The second image committed into the first.
fn commit(images: &[&'static str], layer: CommittedLayer, siblings: Siblings) -> Trial {
    let (base, overlay) = (images[0], images[1]);
    let mut trial = Trial::new(images, move |dir| {
        Request::Commit(Commit {
            overlay: dir.join(overlay),
            into: None,
            layer,
            siblings,
            keep_old: None,
        })
    });
    trial.target = Some((base, overlay));
    if layer == TRASH {
        trial.goes = vec![overlay];
    }
    if siblings == Siblings::Break {
        trial.loses_snapshots = images[1..].to_vec();
    }
    trial.states = 300;
    trial.failures = 40;
    trial
}

/// A base and an overlay with data, zeros and a discard over it.
fn pair(case: &mut Trial, base_options: &str, overlay_options: &str, unit: u64) {
    let (base, overlay) = case.target.unwrap();
    let s = &mut case.script;
    s.create(base_options, base, &(unit * 12).to_string());
    let at = |n: u64| n * unit;
    s.io(
        "qcow2",
        base,
        &[&format!("write -P 0x10 {} {}", at(1), at(5))],
    );
    s.create(
        &format!("{overlay_options} -F qcow2 -b {base}"),
        overlay,
        "",
    );
    s.io(
        "qcow2",
        overlay,
        &[
            &format!("write -P 0x21 {} {}", at(2), at(2)),
            &format!("write -P 0x22 {} 512", at(5) + 512),
            &format!("write -z {} {}", at(1), at(1)),
            &format!("write -P 0x23 {} {}", at(9), at(2)),
        ],
    );
}

fn a_commit_that_keeps_the_overlay() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    pair(&mut case, "", "", 64 << 10);
    case
}

fn a_commit_that_trashes_the_overlay_and_relinks_its_children() -> Trial {
    let mut case = commit(
        &[
            "base.qcow2",
            "overlay.qcow2",
            "child.qcow2",
            "other-child.qcow2",
        ],
        TRASH,
        Siblings::Refuse,
    );
    pair(
        &mut case,
        "-o cluster_size=4k",
        "-o cluster_size=4k",
        4 << 10,
    );
    for name in ["child.qcow2", "other-child.qcow2"] {
        let small = "-o cluster_size=4k -F qcow2 -b overlay.qcow2";
        case.script.create(small, name, "");
        case.script.io("qcow2", name, &["write -P 0x31 0 4k"]);
    }
    case
}

fn a_commit_that_preserves_siblings() -> Trial {
    let mut case = commit(
        &[
            "base.qcow2",
            "overlay.qcow2",
            "sibling.qcow2",
            "its-child.qcow2",
            "other-sibling.qcow2",
        ],
        TRASH,
        Siblings::Preserve,
    );
    pair(
        &mut case,
        "-o cluster_size=4k",
        "-o cluster_size=4k",
        4 << 10,
    );
    let s = &mut case.script;
    s.create(
        "-o cluster_size=8k -F qcow2 -b base.qcow2",
        "sibling.qcow2",
        "",
    );
    s.io("qcow2", "sibling.qcow2", &["write -P 0x41 4k 1k"]);
    s.overlay("qcow2", "sibling.qcow2", "its-child.qcow2");
    s.create(
        "-o compat=0.10,cluster_size=1k -F qcow2 -b base.qcow2",
        "other-sibling.qcow2",
        "",
    );
    case
}

fn a_commit_into_a_raw_base() -> Trial {
    let mut case = commit(&["base.img", "overlay.qcow2"], TRASH, Siblings::Refuse);
    let s = &mut case.script;
    s.run("qemu-img create -q -f raw base.img 300000");
    s.io("raw", "base.img", &["write -P 0x10 0 200k"]);
    s.create("-F raw -b base.img", "overlay.qcow2", "512k");
    s.io(
        "qcow2",
        "overlay.qcow2",
        &[
            "write -P 0x21 64k 100k",
            "write -z 10k 5k",
            "write -P 0x22 400k 64k",
        ],
    );
    case
}

fn a_commit_that_grows_the_base() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    let s = &mut case.script;
    s.create("-o cluster_size=1k", "base.qcow2", "100k");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 100k"]);
    s.create(
        "-o cluster_size=2k -F qcow2 -b base.qcow2",
        "overlay.qcow2",
        "700k",
    );
    s.io(
        "qcow2",
        "overlay.qcow2",
        &["write -P 0x21 90k 40k", "write -P 0x22 600k 10k"],
    );
    case
}

fn a_commit_into_a_version_2_base() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    let old = "-o compat=0.10,cluster_size=4k";
    pair(&mut case, old, "-o cluster_size=4k", 4 << 10);
    case
}

fn a_commit_of_a_version_2_overlay() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    let old = "-o compat=0.10,cluster_size=4k";
    pair(&mut case, "-o cluster_size=4k", old, 4 << 10);
    case
}

fn a_commit_into_a_base_with_snapshots() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], TRASH, Siblings::Refuse);
    let s = &mut case.script;
    s.create("-o cluster_size=4k", "base.qcow2", "256k");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 64k"]);
    s.run("qemu-img snapshot -c first base.qcow2");
    s.io("qcow2", "base.qcow2", &["write -P 0x11 8k 8k"]);
    s.run("qemu-img snapshot -c second base.qcow2");
    s.overlay("qcow2", "base.qcow2", "overlay.qcow2");
    s.io(
        "qcow2",
        "overlay.qcow2",
        &[
            "write -P 0x21 4k 8k",
            "write -P 0x22 100k 4k",
            "write -z 32k 8k",
        ],
    );
    case
}

fn a_commit_between_images_with_subclusters() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    let s = &mut case.script;
    let extended = "-o extended_l2=on,cluster_size=16k";
    s.create(extended, "base.qcow2", "512k");
    s.io(
        "qcow2",
        "base.qcow2",
        &["write -P 0x10 0 20k", "write -z 40k 6k"],
    );
    s.create(
        &format!("{extended} -F qcow2 -b base.qcow2"),
        "overlay.qcow2",
        "",
    );
    s.io(
        "qcow2",
        "overlay.qcow2",
        &[
            "write -P 0x21 512 512",
            "write -P 0x22 42k 1k",
            "write -z 4k 2k",
            "write -P 0x23 200k 512",
        ],
    );
    case
}

fn a_commit_that_outgrows_l1_and_refcount_table() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], TRASH, Siblings::Refuse);
    let s = &mut case.script;
    // With 512-byte clusters and 64-bit counts a refcount table of one cluster reaches 2 MiB.
    let tiny = "-o cluster_size=512,refcount_bits=64";
    s.create(tiny, "base.qcow2", "2M");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 1660k"]);
    s.create(
        &format!("{tiny} -F qcow2 -b base.qcow2"),
        "overlay.qcow2",
        "3M",
    );
    s.io(
        "qcow2",
        "overlay.qcow2",
        &["write -P 0x21 1900k 300k", "write -P 0x22 10k 1k"],
    );
    case
}

fn a_commit_of_compressed_clusters_over_compressed_clusters() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    let s = &mut case.script;
    s.create("-o cluster_size=4k", "base.qcow2", "128k");
    s.io(
        "qcow2",
        "base.qcow2",
        &[
            "write -c -P 0x10 0 4k",
            "write -c -P 0x11 4k 4k",
            "write -c -P 0x12 8k 4k",
        ],
    );
    s.create(
        "-o cluster_size=4k,compression_type=zstd -F qcow2 -b base.qcow2",
        "overlay.qcow2",
        "",
    );
    s.io(
        "qcow2",
        "overlay.qcow2",
        &[
            "write -c -P 0x21 4k 4k",
            "write -c -P 0x22 64k 4k",
            "write -P 0x23 9k 512",
        ],
    );
    case
}

fn a_commit_of_an_overlay_with_its_own_snapshots() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Break);
    let s = &mut case.script;
    s.create("-o cluster_size=4k", "base.qcow2", "128k");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 32k"]);
    s.create(
        "-o cluster_size=4k -F qcow2 -b base.qcow2",
        "overlay.qcow2",
        "",
    );
    s.io("qcow2", "overlay.qcow2", &["write -P 0x21 4k 4k"]);
    s.run("qemu-img snapshot -c own overlay.qcow2");
    s.io("qcow2", "overlay.qcow2", &["write -P 0x22 4k 8k"]);
    case
}

fn a_commit_that_preserves_siblings_with_snapshots() -> Trial {
    let mut case = commit(
        &["base.qcow2", "overlay.qcow2", "sibling.qcow2"],
        TRASH,
        Siblings::Preserve,
    );
    let small = "-o cluster_size=4k";
    pair(&mut case, small, small, 4 << 10);
    let s = &mut case.script;
    s.create(
        &format!("{small} -F qcow2 -b base.qcow2"),
        "sibling.qcow2",
        "",
    );
    // Both views share the L2 table, and each reads the base in places of its own.
    s.io("qcow2", "sibling.qcow2", &["write -P 0x41 4k 1k"]);
    s.run("qemu-img snapshot -c one sibling.qcow2");
    s.run("qemu-img snapshot -c two sibling.qcow2");
    case
}

fn a_commit_that_preserves_the_overlays_own_snapshots() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Preserve);
    let small = "-o cluster_size=4k";
    pair(&mut case, small, small, 4 << 10);
    let s = &mut case.script;
    s.run("qemu-img snapshot -c own overlay.qcow2");
    s.io("qcow2", "overlay.qcow2", &["write -P 0x51 44k 4k"]);
    s.run("qemu-img snapshot -c other overlay.qcow2");
    case
}

fn a_commit_into_a_base_with_a_data_file() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    let base = "-o cluster_size=4k,data_file=base.raw,data_file_raw=on";
    pair(&mut case, base, "-o cluster_size=4k", 4 << 10);
    case
}

fn a_commit_of_an_overlay_with_a_data_file() -> Trial {
    let mut case = commit(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    let overlay = "-o cluster_size=4k,data_file=overlay.raw";
    pair(&mut case, "-o cluster_size=4k", overlay, 4 << 10);
    case
}

/// A subcluster zeroed after the snapshot: both views hold the cluster, each by an entry of its own.
fn a_commit_that_preserves_snapshots_sharing_partly_filled_clusters() -> Trial {
    let mut case = commit(
        &["base.qcow2", "overlay.qcow2", "sibling.qcow2"],
        KEEP,
        Siblings::Preserve,
    );
    let s = &mut case.script;
    s.create("", "base.qcow2", "128k");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 128k"]);
    for image in ["overlay.qcow2", "sibling.qcow2"] {
        s.create(
            "-o extended_l2=on,cluster_size=16k -F qcow2 -b base.qcow2",
            image,
            "",
        );
        s.io(
            "qcow2",
            image,
            &["write -P 0x21 0 512", "write -P 0x22 34k 1k"],
        );
        s.run(&format!("qemu-img snapshot -c kept {image}"));
        s.io("qcow2", image, &["write -z 512 1k", "write -z 36k 512"]);
    }
    case
}

macro_rules! promises {
    ($($case:ident)*) => {
        $(mod $case {
            #[test]
            fn survives_every_crash() {
                super::$case().survives();
            }

            #[test]
            fn loses_nothing_whichever_call_fails() {
                super::$case().endures();
            }
        })*
    };
}

promises! {
    a_commit_that_keeps_the_overlay
    a_commit_that_trashes_the_overlay_and_relinks_its_children
    a_commit_that_preserves_siblings
    a_commit_that_preserves_the_overlays_own_snapshots
    a_commit_that_preserves_siblings_with_snapshots
    a_commit_that_preserves_snapshots_sharing_partly_filled_clusters
    a_commit_into_a_base_with_a_data_file
    a_commit_of_an_overlay_with_a_data_file
    a_commit_into_a_raw_base
    a_commit_that_grows_the_base
    a_commit_into_a_version_2_base
    a_commit_of_a_version_2_overlay
    a_commit_into_a_base_with_snapshots
    a_commit_between_images_with_subclusters
    a_commit_that_outgrows_l1_and_refcount_table
    a_commit_of_compressed_clusters_over_compressed_clusters
    a_commit_of_an_overlay_with_its_own_snapshots
}

#[test]
fn a_commit_killed_at_random_moments_loses_nothing_and_finishes_when_run_again() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let pristine = home.path().join("pristine");
    let mut case = commit(
        &[
            "base.qcow2",
            "overlay.qcow2",
            "sibling.qcow2",
            "child.qcow2",
        ],
        TRASH,
        Siblings::Preserve,
    );
    let s = &mut case.script;
    s.create("", "base.qcow2", "128M");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 40M"]);
    s.overlay("qcow2", "base.qcow2", "overlay.qcow2");
    s.io("qcow2", "overlay.qcow2", &["write -P 0x21 16M 64M"]);
    s.overlay("qcow2", "base.qcow2", "sibling.qcow2");
    s.io("qcow2", "sibling.qcow2", &["write -P 0x31 20M 1M"]);
    s.overlay("qcow2", "overlay.qcow2", "child.qcow2");
    case.script.build(&pristine);
    let promise = Promise::of(&case, &pristine);
    let run = |dir: &Path| {
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
            .current_dir(dir)
            .env("XDG_STATE_HOME", home.path().join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let fresh = |name: &str| {
        let dir = home.path().join(name);
        support::script::copy_tree(&pristine, &dir);
        dir
    };
    let dir = fresh("whole");
    let start = Instant::now();
    let out = run(&dir).wait_with_output().unwrap();
    let whole = start.elapsed();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    promise.check_quickly(&dir, true, &"not killed");
    promise.check_by_qemu(&dir, &"not killed");
    fs::remove_dir_all(&dir).unwrap();
    let rounds = 16;
    for round in 0..rounds {
        let dir = fresh("killed");
        let mut child = run(&dir);
        let after = whole * (2 * round + 1) / (2 * rounds);
        std::thread::sleep(after.max(Duration::from_millis(1)));
        child.kill().unwrap();
        child.wait().unwrap();
        let context = format!("killed after {after:?} of {whole:?}");
        promise.check_quickly(&dir, false, &context);
        if round % 4 == 0 {
            promise.check_by_qemu(&dir, &context);
        }
        if dir.join("overlay.qcow2").exists() {
            let out = run(&dir).wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "run again: {said}\n{context}");
        }
        promise.check_quickly(&dir, true, &format!("run again, {context}"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
