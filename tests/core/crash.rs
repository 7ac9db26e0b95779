//! Whatever moment a commit is cut off at, every image opens, checks without corruption, and shows
//! its old content or, where it is the target, old and new; running the commit again completes it.
//! The same holds when any call to the system fails.

use crate::support;

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use qanopy::host::Host;
use qanopy::ops::{self, CommittedLayer, Progress, Siblings};
use rustix::io::Errno;
use support::oracle::{View, Views};
use support::script::Script;
use support::{Calls, Fault, FaultyHost, RecordingHost, Then, checker, oracle, ours};

/// One commit to be cut off.
struct Case {
    script: Script,
    /// All images, the base first, the overlay second.
    images: Vec<&'static str>,
    layer: CommittedLayer,
    siblings: Siblings,
}

impl Case {
    fn new(images: &[&'static str], layer: CommittedLayer, siblings: Siblings) -> Self {
        Self {
            script: Script::default(),
            images: images.to_vec(),
            layer,
            siblings,
        }
    }

    fn base(&self) -> &'static str {
        self.images[0]
    }

    fn overlay(&self) -> &'static str {
        self.images[1]
    }
}

/// What all images showed before, and what the base is to show in the end.
struct Promise<'a> {
    case: &'a Case,
    before: Views,
    /// Every image's internal snapshots that are to stay as they are.
    snapshots: Vec<(&'static str, Vec<(String, View)>)>,
    whole: View,
}

impl<'a> Promise<'a> {
    fn of(case: &'a Case, dir: &Path) -> Self {
        let before = Views::of(dir, &case.images);
        let whole = before.get(case.overlay()).over(before.get(case.base()));
        Self {
            case,
            snapshots: case
                .images
                .iter()
                .filter(|name| **name == case.base() || case.siblings != Siblings::Break)
                .map(|name| (*name, snapshots(&dir.join(name))))
                .collect(),
            before,
            whole,
        }
    }

    /// Looks at one state with the means that cost no process.
    fn check_quickly(&self, dir: &Path, done: bool, context: &dyn Display) {
        let view = |name: &str| {
            let format = if name.ends_with(".img") {
                "raw"
            } else {
                "qcow2"
            };
            let view = ours::view(&dir.join(name), Some(format))
                .unwrap_or_else(|why| panic!("{name} cannot be read: {why}\n{context}"));
            view.resized(view.len.next_multiple_of(512))
        };
        for name in &self.case.images {
            let path = dir.join(name);
            if !path.exists() {
                assert_eq!(*name, self.case.overlay(), "{name} is gone\n{context}");
                let base = view(self.case.base());
                assert!(
                    base == self.whole,
                    "{name} is gone, and the base lacks content: {}\n{context}",
                    base.explain(&self.whole)
                );
                continue;
            }
            if name.ends_with(".qcow2") {
                let counted = checker::check(&path);
                assert!(counted.is_sound(), "{name}: {counted:?}\n{context}");
                assert!(!done || !counted.dirty, "{name} is left dirty\n{context}");
            }
            let (was, now) = (self.before.get(name), view(name));
            if *name == self.case.base() {
                assert!(
                    now.is_mixture(was, &self.whole),
                    "{name} shows what it never was: {}\n{context}",
                    now.explain(&self.whole)
                );
                assert!(
                    !done || now == self.whole,
                    "{name} is not complete: {}\n{context}",
                    now.explain(&self.whole)
                );
            } else {
                assert!(now == *was, "{name}: {}\n{context}", now.explain(was));
            }
        }
    }

    /// The same by qemu-img, internal snapshots as well.
    fn check_by_qemu(&self, dir: &Path, context: &dyn Display) {
        let there: Vec<&&str> = self
            .case
            .images
            .iter()
            .filter(|name| dir.join(name).exists())
            .collect();
        for name in there.iter().filter(|name| name.ends_with(".qcow2")) {
            let path = dir.join(name);
            if checker::check(&path).dirty {
                // QEMU repairs such an image when it opens it for writing.
                let qemu = support::qemu().unwrap();
                qemu.io(&path, &["read 0 512"]);
            }
            let verdict = oracle::check(&path);
            assert!(verdict.is_sound(), "{name}: {verdict:?}\n{context}");
        }
        let after = Views::of(dir, &there);
        let others = there.iter().filter(|name| ***name != self.case.base());
        self.before.assert_same(&after, others, context);
        let (was, now) = (
            self.before.get(self.case.base()),
            after.get(self.case.base()),
        );
        assert!(now.is_mixture(was, &self.whole), "base by qemu\n{context}");
        for (image, expected) in &self.snapshots {
            if !dir.join(image).exists() {
                continue;
            }
            let now = snapshots(&dir.join(image));
            assert_eq!(now.len(), expected.len(), "{image}\n{context}");
            for ((name, was), (_, is)) in expected.iter().zip(now) {
                // qemu-img shows a snapshot as long as its image is now.
                let is = is.resized(was.len);
                assert!(
                    is == *was,
                    "snapshot {name} of {image}: {}\n{context}",
                    is.explain(was)
                );
            }
        }
    }

    /// Runs the same commit again and looks at its result.
    fn finish(&self, dir: &Path, context: &dyn Display) {
        let overlay = dir.join(self.case.overlay());
        if overlay.exists() {
            let host = ours::real_host();
            ours::commit(&host, dir, &overlay, self.case.layer, self.case.siblings)
                .unwrap_or_else(|why| panic!("cannot be run again: {why}\n{context}"));
        }
        self.check_quickly(dir, true, &format!("run again after\n{context}"));
        for name in &self.case.images {
            let path = dir.join(name);
            if path.exists() && name.ends_with(".qcow2") {
                let counted = checker::check(&path);
                assert!(counted.is_sound() && !counted.dirty, "{name}: {counted:?}");
            }
        }
    }
}

fn snapshots(image: &Path) -> Vec<(String, View)> {
    if image.extension().is_some_and(|e| e == "img") {
        return Vec::new();
    }
    oracle::snapshots(image)
        .into_iter()
        .map(|name| {
            let view = oracle::snapshot_view(image, &name).unwrap();
            (name, view)
        })
        .collect()
}

/// States looked at in each case; `QANOPY_CRASH_STATES` sets another number for a longer search.
const STATES: usize = 300;
/// One state in so many is looked at by qemu-img and finished.
const EVERY: usize = 13;

fn survives(case: &Case) {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    case.script.build(dir);
    let promise = Promise::of(case, dir);
    let recorder = Arc::new(RecordingHost::new(dir));
    let host: Arc<dyn Host> = recorder.clone();
    ours::commit(
        &host,
        dir,
        &dir.join(case.overlay()),
        case.layer,
        case.siblings,
    )
    .unwrap_or_else(|why| panic!("{why}\n{}", case.script));
    recorder.mark("done");
    promise.check_quickly(dir, true, &case.script);
    promise.check_by_qemu(dir, &case.script);

    let log = recorder.log();
    let states = std::env::var("QANOPY_CRASH_STATES").map_or(STATES, |n| n.parse().unwrap());
    for (number, state) in log.crash_states(states, 7).enumerate() {
        let after = log.replay(&state);
        let context = format!(
            "state {number}:\n{}\nof the commit of {} in\n{}",
            log.describe(&state),
            case.overlay(),
            case.script
        );
        promise.check_quickly(after.path(), state.passed("done"), &context);
        if number % EVERY == 0 {
            promise.check_by_qemu(after.path(), &context);
            promise.finish(after.path(), &context);
        }
    }
}

/// Calls made to fail for each kind of failure in each case.
const FAILURES: usize = 40;

fn endures(case: &Case) {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let pristine = home.path().join("pristine");
    case.script.build(&pristine);
    let promise = Promise::of(case, &pristine);
    let attempt = |host: FaultyHost| {
        let dir = home.path().join("dir");
        fs::create_dir(&dir).unwrap();
        for file in support::script::files_below(&pristine) {
            fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
        }
        let host = Arc::new(host);
        let shared: Arc<dyn Host> = host.clone();
        let overlay = dir.join(case.overlay());
        let plan = ours::plan_commit(&shared, &dir, &overlay, case.layer, case.siblings);
        let warned = plan
            .notes
            .iter()
            .any(|note| note.warning && note.text.contains("not known"));
        let result = ours::agree(plan)
            .and_then(|ready| ops::run(ready, &Progress::new()).map_err(|e| e.to_string()))
            .map(|outcome| (outcome, warned));
        (host, dir, result)
    };
    let (counted, dir, result) = attempt(FaultyHost::counting(ours::real_host()));
    result.unwrap();
    fs::remove_dir_all(dir).unwrap();
    let mut number = 0;
    for (class, fault, then) in [
        (Calls::Allocating, Fault::enospc(), Then::KeepFailing),
        (Calls::Mutating, Fault::Partly(Errno::IO), Then::Recover),
        (
            Calls::Mutating,
            Fault::Partly(Errno::NOSPC),
            Then::KeepFailing,
        ),
        (Calls::Syncing, Fault::eio(), Then::Recover),
        (Calls::Reading, Fault::eio(), Then::Recover),
    ] {
        let calls = counted.count(class);
        for nth in (0..calls).step_by(calls.div_ceil(FAILURES).max(1)) {
            let failing = FaultyHost::failing(ours::real_host(), class, nth, fault, then);
            let (host, dir, result) = attempt(failing);
            let context = format!(
                "{:?} gave {result:?}\nin the commit of {} in\n{}",
                host.struck(),
                case.overlay(),
                case.script
            );
            if let Err(said) = &result {
                assert!(!said.chars().any(char::is_control), "{said:?}");
            }
            if let (Ok((_, warned)), true) = (&result, class == Calls::Reading)
                && *warned
            {
                // The scan could not read an image and the plan said so: it is on its own.
                fs::remove_dir_all(dir).unwrap();
                continue;
            }
            promise.check_quickly(&dir, result.is_ok(), &context);
            number += 1;
            if number % EVERY == 0 {
                promise.check_by_qemu(&dir, &context);
                promise.finish(&dir, &context);
            }
            fs::remove_dir_all(dir).unwrap();
        }
    }
}

const KEEP: CommittedLayer = CommittedLayer::Keep;
const TRASH: CommittedLayer = CommittedLayer::Trash;

/// A base and an overlay with data, zeros and a discard over it.
fn pair(case: &mut Case, base_options: &str, overlay_options: &str, unit: u64) {
    let (base, overlay) = (case.base(), case.overlay());
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

fn a_commit_that_keeps_the_overlay() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    pair(&mut case, "", "", 64 << 10);
    case
}

fn a_commit_that_trashes_the_overlay_and_relinks_its_children() -> Case {
    let mut case = Case::new(
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

fn a_commit_that_preserves_siblings() -> Case {
    let mut case = Case::new(
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

fn a_commit_into_a_raw_base() -> Case {
    let mut case = Case::new(&["base.img", "overlay.qcow2"], TRASH, Siblings::Refuse);
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

fn a_commit_that_grows_the_base() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
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

fn a_commit_into_a_version_2_base() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    let old = "-o compat=0.10,cluster_size=4k";
    pair(&mut case, old, "-o cluster_size=4k", 4 << 10);
    case
}

fn a_commit_of_a_version_2_overlay() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    let old = "-o compat=0.10,cluster_size=4k";
    pair(&mut case, "-o cluster_size=4k", old, 4 << 10);
    case
}

fn a_commit_into_a_base_with_snapshots() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], TRASH, Siblings::Refuse);
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

fn a_commit_between_images_with_subclusters() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
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

fn a_commit_that_outgrows_l1_and_refcount_table() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], TRASH, Siblings::Refuse);
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

fn a_commit_of_compressed_clusters_over_compressed_clusters() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
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

fn a_commit_of_an_overlay_with_its_own_snapshots() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Break);
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

fn a_commit_that_preserves_siblings_with_snapshots() -> Case {
    let mut case = Case::new(
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

fn a_commit_that_preserves_the_overlays_own_snapshots() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Preserve);
    let small = "-o cluster_size=4k";
    pair(&mut case, small, small, 4 << 10);
    let s = &mut case.script;
    s.run("qemu-img snapshot -c own overlay.qcow2");
    s.io("qcow2", "overlay.qcow2", &["write -P 0x51 44k 4k"]);
    s.run("qemu-img snapshot -c other overlay.qcow2");
    case
}

fn a_commit_into_a_base_with_a_data_file() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    let base = "-o cluster_size=4k,data_file=base.raw,data_file_raw=on";
    pair(&mut case, base, "-o cluster_size=4k", 4 << 10);
    case
}

fn a_commit_of_an_overlay_with_a_data_file() -> Case {
    let mut case = Case::new(&["base.qcow2", "overlay.qcow2"], KEEP, Siblings::Refuse);
    let overlay = "-o cluster_size=4k,data_file=overlay.raw";
    pair(&mut case, "-o cluster_size=4k", overlay, 4 << 10);
    case
}

/// A subcluster zeroed after the snapshot: both views hold the cluster, each by an entry of its own.
fn a_commit_that_preserves_snapshots_sharing_partly_filled_clusters() -> Case {
    let mut case = Case::new(
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
                super::survives(&super::$case());
            }

            #[test]
            fn loses_nothing_whichever_call_fails() {
                super::endures(&super::$case());
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
    let mut case = Case::new(
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
    let commit = |dir: &Path| {
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
    let out = commit(&dir).wait_with_output().unwrap();
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
        let mut child = commit(&dir);
        let after = whole * (2 * round + 1) / (2 * rounds);
        std::thread::sleep(after.max(Duration::from_millis(1)));
        child.kill().unwrap();
        child.wait().unwrap();
        let context = format!("killed after {after:?} of {whole:?}");
        promise.check_quickly(&dir, false, &context);
        if round % 4 == 0 {
            promise.check_by_qemu(&dir, &context);
        }
        if dir.join(case.overlay()).exists() {
            let out = commit(&dir).wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "run again: {said}\n{context}");
        }
        promise.check_quickly(&dir, true, &format!("run again, {context}"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
