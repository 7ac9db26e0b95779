//! A commit by us leaves the guest content that a commit by qemu-img leaves, sound files, and every
//! image that was not named as it was; what is refused changes no byte.

use crate::support;

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use qanopy::host::Host;
use qanopy::image;
use qanopy::ops::{
    self, ChangeSnapshot, Commit, CommittedLayer, Confirm, Danger, NoteKind, Progress, RefusalKind,
    Remedy, Request, Resize, Siblings, SnapshotAction,
};
use support::chains::{Kind, Op, Shape, Tree, trees};
use support::image_crash_suite::refused_as;
use support::oracle::{Bytes, View, Views};
use support::script::{Script, Step, copy_tree, run_in};
use support::{checker, forests, oracle, own_code};

const KEEP: CommittedLayer = CommittedLayer::Keep;
const TRASH: CommittedLayer = CommittedLayer::Trash;

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.map_or(40, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 80,
        ..ProptestConfig::default()
    }
}

/// What the base shows after the commit: the overlay, and past its end what was there.
fn merged(base: &View, overlay: &View) -> View {
    overlay.over(base)
}

/// Every snapshot of every image that is there.
fn snapshot_views(dir: &Path, names: &[String]) -> Vec<(String, String, Result<View, String>)> {
    let mut all = Vec::new();
    for name in names.iter().filter(|name| name.ends_with(".qcow2")) {
        let path = dir.join(name);
        if path.exists() {
            for snapshot in oracle::snapshots(&path) {
                let view = oracle::snapshot_view(&path, &snapshot);
                all.push((name.clone(), snapshot, view));
            }
        }
    }
    all
}

/// The verdicts of qemu-img and of the tests' own check, on all images that are there.
fn check_all(dir: &Path, names: &[String], context: &dyn Display) -> Result<(), TestCaseError> {
    for name in names.iter().filter(|name| name.ends_with(".qcow2")) {
        let path = dir.join(name);
        if path.exists() {
            let (theirs, counted) = (oracle::check(&path), checker::check(&path));
            prop_assert!(theirs.is_clean(), "{name}: {theirs:?}\n{context}");
            prop_assert!(counted.is_clean(), "{name}: {counted:?}\n{context}");
        }
    }
    Ok(())
}

/// Why a random tree may be refused although qemu-img would commit it.
fn may_be_refused(tree: &Tree, siblings: Siblings) -> bool {
    let others_snapshots =
        |indices: &[usize]| indices.iter().any(|&i| tree.layers[i].snapshots() > 0);
    let base = &tree.layers[tree.base()];
    let grows = tree.layers[tree.overlay].size > base.size;
    let v2_with_snapshots =
        matches!(base.kind, Kind::Qcow2 { v2: true, .. }) && base.snapshots() > 0;
    (siblings != Siblings::Break
        && (others_snapshots(&tree.siblings()) || others_snapshots(&[tree.overlay])))
        || (grows && v2_with_snapshots)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn keeping_the_overlay_does_what_qemu_img_commit_does(tree in trees(Shape::default())) {
        if support::qemu().is_none() {
            return Ok(());
        }
        let home = tempfile::tempdir().unwrap();
        let (here, there) = (home.path().join("ours"), home.path().join("theirs"));
        // Two copies, since a copy may take less room than what it is made from.
        let built = home.path().join("built");
        tree.build(&built);
        copy_tree(&built, &here);
        copy_tree(&built, &there);
        let names = tree.names();
        let (overlay, base) = (tree.name(tree.overlay), tree.name(tree.base()));
        let before = Views::of(&here, &names);

        let theirs = run_in(&there, &["qemu-img", "commit", "-q", overlay.as_str()]);
        let ours = own_code::commit(
            &own_code::real_host(), &here, &here.join(&overlay), KEEP, Siblings::Break,
        );
        let complaint = String::from_utf8_lossy(&theirs.stderr).into_owned();
        if let Err(why) = &ours {
            prop_assert!(
                !theirs.status.success() || may_be_refused(&tree, Siblings::Break),
                "qemu-img commits, and we say: {why}\n{tree}"
            );
            let after = Views::of(&here, &names);
            before.assert_same(&after, &names, &tree);
            return Ok(());
        }
        let (after, expected) = (Views::of(&here, &names), Views::of(&there, &names));
        let whole = merged(before.get(&base), before.get(&overlay));
        let now = after.get(&base);
        prop_assert!(*now == whole, "{base}: {}\n{tree}", now.explain(&whole));
        if !theirs.status.success() {
            // It cannot grow a base of version 2 that is shorter than what lies below it: version 2
            // has no zero clusters to hide that with. Zeros are written there instead.
            let why = "Operation not supported";
            prop_assert!(complaint.contains(why), "we commit, and qemu-img says: {complaint}\n{tree}");
            let (a, b) = (after.get(&overlay), before.get(&overlay));
            prop_assert!(a == b, "{overlay}: {}\n{tree}", a.explain(b));
            return check_all(&here, &names, &tree);
        }
        for name in &names {
            let (a, b) = (after.get(name), expected.get(name));
            prop_assert!(a == b, "{name} differs from qemu-img's: {}\n{tree}", a.explain(b));
        }
        check_all(&here, &names, &tree)?;
        prop_assert_eq!(
            snapshot_views(&here, &names), snapshot_views(&there, &names), "snapshots\n{}", tree
        );
        // An emptied overlay holds no data of its own any more.
        let (ours_len, theirs_len) = (allocated(&here.join(&overlay)), allocated(&there.join(&overlay)));
        prop_assert!(
            ours_len <= theirs_len + 4 * tree.layers[tree.overlay].cluster_size().unwrap() + (64 << 10),
            "emptied: {ours_len} bytes, qemu-img leaves {theirs_len}\n{tree}"
        );
    }

    #[test]
    fn preserving_the_siblings_leaves_every_other_image_as_it_was(tree in trees(Shape {
        layers: 7,
        ..Shape::default()
    })) {
        if support::qemu().is_none() {
            return Ok(());
        }
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        tree.build(dir);
        let names = tree.names();
        let (overlay, base) = (tree.name(tree.overlay), tree.name(tree.base()));
        let before = Views::of(dir, &names);
        let snapshots = snapshot_views(dir, std::slice::from_ref(&base));
        let bytes = Bytes::below(dir);

        let done = own_code::commit(
            &own_code::real_host(), dir, &dir.join(&overlay), TRASH, Siblings::Preserve,
        );
        if let Err(why) = done {
            prop_assert!(may_be_refused(&tree, Siblings::Preserve), "refused: {why}\n{tree}");
            bytes.assert_unchanged(dir, &tree);
            return Ok(());
        }
        prop_assert!(!dir.join(&overlay).exists(), "{overlay} is still there\n{tree}");
        let others: Vec<&String> = names.iter().filter(|n| **n != overlay && **n != base).collect();
        let mut remaining = others.clone();
        remaining.push(&base);
        let after = Views::of(dir, &remaining);
        before.assert_same(&after, &others, &tree);
        let whole = merged(before.get(&base), before.get(&overlay));
        let now = after.get(&base);
        prop_assert!(*now == whole, "{base}: {}\n{tree}", now.explain(&whole));
        check_all(dir, &names, &tree)?;
        // qemu-img shows a snapshot as long as its image is now: only what it held can be compared.
        for ((_, name, was), (_, _, is)) in
            snapshots.iter().zip(snapshot_views(dir, std::slice::from_ref(&base)))
        {
            let was = was.as_ref().unwrap();
            let is = is.unwrap().resized(was.len);
            prop_assert!(is == *was, "snapshot {name}: {}\n{tree}", is.explain(was));
        }
        for child in tree.children(tree.overlay) {
            let name = tree.name(child);
            let info = oracle::info(&dir.join(&name)).unwrap();
            prop_assert_eq!(info["backing-filename"].as_str(), Some(base.as_str()), "{}", name);
            prop_assert_eq!(
                info["backing-filename-format"].as_str(),
                Some(tree.layers[tree.base()].format()),
                "{}", name
            );
        }
    }
}

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// Plans the commit and expects a refusal of this kind that names `image` and changes nothing.
fn assert_refused(dir: &Path, overlay: &str, kind: RefusalKind, image: &str) {
    for layer in [TRASH, KEEP] {
        let before = Bytes::below(dir);
        let host = own_code::real_host();
        let plan = own_code::plan_commit(&host, dir, &dir.join(overlay), layer, Siblings::Refuse);
        let said = refused_as(&plan, kind);
        assert!(said.contains(image), "{overlay}: no {image} in: {said}");
        assert!(
            !said.replace('\n', "").chars().any(char::is_control),
            "{said:?}"
        );
        assert!(own_code::agree(plan).is_err());
        before.assert_unchanged(dir, &overlay);
    }
}

/// Two overlays on one base.
fn family(dir: &Path) -> Script {
    let mut s = Script::default();
    s.create("", "base.qcow2", "4M");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 1M"]);
    for (name, write) in [
        ("one.qcow2", "write -P 0x21 512k 128k"),
        ("two.qcow2", "write -P 0x22 576k 128k"),
    ] {
        s.overlay("qcow2", "base.qcow2", name);
        s.io("qcow2", name, &[write]);
    }
    s.build(dir);
    s
}

#[test]
fn a_base_that_others_read_is_not_written_by_default() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family(dir);
    assert_refused(dir, "one.qcow2", RefusalKind::HasDependants, "two.qcow2");
    // Their number has to be typed to let them break.
    let host = own_code::real_host();
    let overlay = dir.join("one.qcow2");
    let plan = own_code::plan_commit(&host, dir, &overlay, TRASH, Siblings::Break);
    assert_eq!(plan.confirm, Confirm::Count(1), "{plan:?}");
}

/// The way out of a refused commit that goes the other way.
fn upward(dir: &Path, overlay: &str) -> Request {
    let host = own_code::real_host();
    let plan = own_code::plan_commit(&host, dir, &dir.join(overlay), TRASH, Siblings::Refuse);
    refused_as(&plan, RefusalKind::HasDependants);
    let ways = plan.refusals.iter().flat_map(|refusal| &refusal.ways_out);
    let is_other = |request: &&Request| !matches!(request, Request::Commit(_));
    let mut others = ways.map(|way| &way.request).filter(is_other);
    let way = others.next().unwrap().clone();
    assert_eq!(others.next(), None);
    way
}

#[test]
fn what_others_forbid_is_merged_upward_and_nobody_else_is_touched() {
    if support::qemu().is_none() {
        return;
    }
    for has_child in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        family(dir);
        let mut kept = vec!["base.qcow2", "two.qcow2"];
        let mut top = "one.qcow2";
        if has_child {
            let mut s = Script::default();
            s.overlay("qcow2", "one.qcow2", "top.qcow2");
            s.build(dir);
            top = "top.qcow2";
        }
        let way = upward(dir, "one.qcow2");
        match has_child {
            true => assert!(matches!(&way, Request::Squash(_)), "{way:?}"),
            false => assert!(matches!(&way, Request::Flatten(_)), "{way:?}"),
        }
        let bytes = |name: &&str| fs::read(dir.join(name)).unwrap();
        let before: Vec<_> = kept.iter().map(bytes).collect();
        let shown = own_code::view(&dir.join(top), Some("qcow2")).unwrap();
        own_code::run(&own_code::real_host(), dir, &way).unwrap();
        assert!(own_code::view(&dir.join(top), Some("qcow2")).unwrap() == shown);
        assert!(kept.drain(..).map(|name| bytes(&name)).eq(before));
        assert_eq!(dir.join("one.qcow2").exists(), !has_child);
    }
}

#[test]
fn what_misses_its_base_is_led_to_the_file_that_this_may_have_become() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family(dir);
    fs::create_dir(dir.join("moved")).unwrap();
    fs::rename(dir.join("base.qcow2"), dir.join("moved/base.qcow2")).unwrap();
    let host = own_code::real_host();
    let overlay = dir.join("one.qcow2");
    let commit = || own_code::plan_commit(&host, dir, &overlay, TRASH, Siblings::Refuse);
    refused_as(&commit(), RefusalKind::NotFound);
    let way = commit().refusals[0].ways_out[0].request.clone();
    own_code::run(&host, dir, &way).unwrap();
    assert!(own_code::view(&overlay, Some("qcow2")).is_ok());
    // Where nothing of that name is known, the person is asked.
    fs::rename(dir.join("moved/base.qcow2"), dir.join("moved/other.qcow2")).unwrap();
    let asked = commit();
    let remedy = Remedy::Relink(overlay.clone());
    assert_eq!(asked.refusals[0].remedies, [remedy]);
}

#[test]
fn a_sibling_that_loses_nothing_is_no_reason_to_refuse() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let mut s = Script::default();
    s.create("", "base.qcow2", "4M");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 1M"]);
    for (name, write) in [
        ("one.qcow2", "write -P 0x21 512k 128k"),
        ("two.qcow2", "write -P 0x22 448k 256k"),
    ] {
        s.overlay("qcow2", "base.qcow2", name);
        s.io("qcow2", name, &[write]);
    }
    s.build(dir);
    let (one, two) = (dir.join("one.qcow2"), dir.join("two.qcow2"));
    let showed = oracle::guest_view(&two, None).unwrap();
    let host = own_code::real_host();
    // The other way round something is lost.
    assert_refused(dir, "two.qcow2", RefusalKind::HasDependants, "one.qcow2");
    let plan = own_code::plan_commit(&host, dir, &one, TRASH, Siblings::Refuse);
    assert_eq!(plan.confirm, Confirm::Count(1), "{plan:?}");
    assert_eq!(plan.commands.len(), 1, "{plan:?}");
    qanopy::ops::run(
        own_code::agree(plan).unwrap(),
        &qanopy::ops::Progress::new(),
    )
    .unwrap();
    assert!(oracle::guest_view(&two, None).unwrap() == showed);
}

/// The same commands are shown only where they do the same.
#[test]
fn what_qemu_img_cannot_do_is_said_and_no_command_shown() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family(dir);
    let host = own_code::real_host();
    let overlay = dir.join("one.qcow2");
    let notes = |siblings| {
        let plan = own_code::plan_commit(&host, dir, &overlay, TRASH, siblings);
        let is_beyond = |note: &&qanopy::ops::Note| note.kind == NoteKind::BeyondQemuImg;
        let beyond = plan.notes.iter().filter(is_beyond);
        let beyond: Vec<String> = beyond.map(|note| note.text.clone()).collect();
        (plan.commands, beyond)
    };
    let (commands, said) = notes(Siblings::Preserve);
    assert!(commands.is_empty(), "{commands:?}");
    assert!(said.len() == 1 && said[0].contains("two.qcow2"), "{said:?}");
    // What is refused is not offered by another name, and breaking is what qemu-img does.
    assert!(notes(Siblings::Refuse).0.is_empty());
    assert_eq!(notes(Siblings::Break).0.len(), 1);
}

#[test]
fn what_cannot_be_committed_is_refused_and_no_byte_changes() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (kinds, broken) = (dir.join("kinds"), dir.join("broken"));
    forests::kinds(&kinds);
    forests::broken(&broken);
    // A root has nothing below it.
    assert_refused(&kinds, "c512.qcow2", RefusalKind::NotInChain, "c512.qcow2");
    // A base of a format that is closed to us.
    assert_refused(&kinds, "on-a-vmdk.qcow2", RefusalKind::Unsupported, "vmdk");
    // Links that lead nowhere, or in a circle.
    assert_refused(&broken, "orphan.qcow2", RefusalKind::NotFound, "gone.qcow2");
    assert_refused(
        &broken,
        "lost-its-base.qcow2",
        RefusalKind::NotFound,
        "here.qcow2",
    );
    assert_refused(&broken, "a.qcow2", RefusalKind::Loop, "a.qcow2");
    assert_refused(&broken, "self.qcow2", RefusalKind::Loop, "self.qcow2");

    // Encrypted, from the future, marked corrupt, marked dirty, wrong counts: as overlay, as base.
    let odd = dir.join("odd");
    let mut s = Script::default();
    let luks = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    let secret = "--object secret,id=s,data=x";
    s.create(&format!("{secret} -o {luks}"), "luks-base.qcow2", "4M");
    s.create("", "plain.qcow2", "4M");
    s.io("qcow2", "plain.qcow2", &["write -P 1 0 64k"]);
    s.create(
        &format!("{secret} -o {luks} -F qcow2 -b plain.qcow2"),
        "luks-top.qcow2",
        "",
    );
    s.overlay("qcow2", "plain.qcow2", "on-luks.qcow2");
    s.run("qemu-img rebase -u -F qcow2 -b luks-base.qcow2 on-luks.qcow2");
    for (name, at, byte) in [
        ("future", 72, 0x80_u8),
        ("corrupt", 79, 2),
        ("dirty", 79, 1),
    ] {
        let (base, top, below) = (
            format!("{name}-base.qcow2"),
            format!("on-{name}.qcow2"),
            format!("{name}-below.qcow2"),
        );
        s.create("", &base, "4M");
        s.overlay("qcow2", &base, &top);
        s.io("qcow2", &top, &["write -P 2 0 64k"]);
        s.create("", &below, "4M");
        s.overlay("qcow2", &below, &format!("{name}-top.qcow2"));
        for file in [base, format!("{name}-top.qcow2")] {
            s.push(Step::Patch {
                file,
                at,
                bytes: vec![byte],
            });
        }
    }
    s.create("", "bad-ref.qcow2", "4M");
    s.io("qcow2", "bad-ref.qcow2", &["write -P 3 0 1M"]);
    s.overlay("qcow2", "bad-ref.qcow2", "on-bad-ref.qcow2");
    s.io("qcow2", "on-bad-ref.qcow2", &["write -P 4 0 64k"]);
    // Clusters are 64 KiB; the refcount block is the third, a count two bytes: cluster 6 is in use.
    s.push(Step::Patch {
        file: "bad-ref.qcow2".to_owned(),
        at: 0x20000 + 12,
        bytes: vec![0, 0],
    });
    s.build(&odd);
    let locked = RefusalKind::PassphraseNeeded;
    let (corrupt, dirty) = (
        RefusalKind::Image("marked-corrupt"),
        RefusalKind::Image("dirty"),
    );
    for (overlay, image, kind) in [
        ("on-luks.qcow2", "luks-base.qcow2", locked),
        ("luks-top.qcow2", "luks-top.qcow2", locked),
        (
            "on-future.qcow2",
            "future-base.qcow2",
            RefusalKind::Unsupported,
        ),
        (
            "future-top.qcow2",
            "future-top.qcow2",
            RefusalKind::Unsupported,
        ),
        ("on-corrupt.qcow2", "corrupt-base.qcow2", corrupt),
        ("corrupt-top.qcow2", "corrupt-top.qcow2", corrupt),
        ("on-dirty.qcow2", "dirty-base.qcow2", dirty),
        ("dirty-top.qcow2", "dirty-top.qcow2", dirty),
        (
            "on-bad-ref.qcow2",
            "bad-ref.qcow2",
            RefusalKind::Image("corruptions"),
        ),
    ] {
        // Another overlay is built on plain.qcow2: that is not what is asked about here.
        assert_refused(&odd, overlay, kind, image);
    }
}

#[test]
fn an_overlay_that_is_not_there_is_refused() {
    let home = tempfile::tempdir().unwrap();
    assert_refused(
        home.path(),
        "nothing.qcow2",
        RefusalKind::NotFound,
        "nothing.qcow2",
    );
}

#[test]
fn an_image_changed_after_the_plan_stops_the_run_before_a_byte_is_written() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family(dir);
    fs::remove_file(dir.join("two.qcow2")).unwrap();
    let host = own_code::real_host();
    for changed in ["one.qcow2", "base.qcow2"] {
        let overlay = dir.join("one.qcow2");
        let plan = own_code::plan_commit(&host, dir, &overlay, TRASH, Siblings::Refuse);
        let ready = own_code::agree(plan).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        qemu.io(dir.join(changed), &["write -P 0x77 2M 64k"]);
        let before = Bytes::below(dir);
        let said = qanopy::ops::run(ready, &qanopy::ops::Progress::new()).unwrap_err();
        assert!(
            matches!(said, qanopy::ops::Error::Stale(_)),
            "{changed}: {said}"
        );
        before.assert_unchanged(dir, &changed);
    }
}

#[test]
fn a_cancelled_commit_loses_nothing_and_can_be_run_again() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family(dir);
    fs::remove_file(dir.join("two.qcow2")).unwrap();
    let names = ["base.qcow2", "one.qcow2"];
    let before = Views::of(dir, names);
    let host = own_code::real_host();
    let overlay = dir.join("one.qcow2");
    let plan = own_code::plan_commit(&host, dir, &overlay, KEEP, Siblings::Refuse);
    let progress = qanopy::ops::Progress::new();
    progress.cancel();
    let said = qanopy::ops::run(own_code::agree(plan).unwrap(), &progress).unwrap_err();
    assert!(matches!(said, qanopy::ops::Error::Cancelled(_)), "{said}");
    let after = Views::of(dir, names);
    before.assert_same(&after, ["one.qcow2"], &"cancelled");
    oracle::assert_clean(dir, names, &"cancelled");
    own_code::commit(&host, dir, &overlay, KEEP, Siblings::Refuse).unwrap();
    let after = Views::of(dir, names);
    assert_eq!(after.get("base.qcow2"), before.get("one.qcow2"));
    assert_eq!(after.get("one.qcow2"), before.get("one.qcow2"));
    oracle::assert_clean(dir, names, &"finished");
}

/// Commits `top.qcow2` into the shorter `base.qcow2` and proves that this shows what that showed.
fn commit_into_a_shorter_base(dir: &Path) {
    let before = Views::of(dir, ["top.qcow2"]);
    let overlay = dir.join("top.qcow2");
    own_code::commit(
        &own_code::real_host(),
        dir,
        &overlay,
        KEEP,
        Siblings::Refuse,
    )
    .unwrap();
    let after = Views::of(dir, ["base.qcow2"]);
    assert_eq!(after.get("base.qcow2"), before.get("top.qcow2"));
    oracle::assert_clean(dir, ["base.qcow2", "top.qcow2"], &"grown");
}

/// What a base of version 2 writes of zeros while it becomes longer than what it is built on shows is
/// part of the forecast, which [`own_code::commit`] holds against what was taken.
#[test]
fn zeros_written_into_a_growing_base_are_forecast() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let mut s = Script::default();
    s.create("", "under.qcow2", "1M");
    s.io("qcow2", "under.qcow2", &["write -P 0x10 0 1M"]);
    let over = "-o compat=0.10,cluster_size=4k -F qcow2 -b under.qcow2";
    s.create(over, "base.qcow2", "32k");
    s.create("-F qcow2 -b base.qcow2", "top.qcow2", "2M");
    s.io("qcow2", "top.qcow2", &["write -P 0x21 1536k 64k"]);
    s.build(dir);
    commit_into_a_shorter_base(dir);
}

/// The rest of the last cluster of a base that becomes longer: nothing is written where nothing is stored of
/// that cluster, and what is written elsewhere is forecast, also where an internal snapshot shares it.
#[test]
fn the_last_cluster_of_a_growing_base_is_forecast() {
    if support::qemu().is_none() {
        return;
    }
    for stored in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let mut s = Script::default();
        s.create("", "under.qcow2", "3500k");
        s.io("qcow2", "under.qcow2", &["write -P 0x10 0 3500k"]);
        let over = "-o cluster_size=1M -F qcow2 -b under.qcow2";
        s.create(over, "base.qcow2", "");
        if stored {
            s.io("qcow2", "base.qcow2", &["write -P 0x21 3M 64k"]);
        }
        s.run("qemu-img snapshot -c one base.qcow2");
        s.create("-F qcow2 -b base.qcow2", "top.qcow2", "6M");
        s.build(dir);
        let was = fs::metadata(dir.join("base.qcow2")).unwrap().blocks();
        commit_into_a_shorter_base(dir);
        let took = fs::metadata(dir.join("base.qcow2")).unwrap().blocks() - was;
        assert_eq!(took * 512 >= 1 << 20, stored, "{took} sectors");
    }
}

#[test]
fn children_in_other_folders_are_built_on_the_base_by_a_relative_name() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    forests::fedora(dir);
    let names = [
        "guest-2/Fedora-guest-2.qcow2",
        "guest-2/Fed-w-updates.qcow2",
        "guest-2/Fedora-guest-with-updates-2A.qcow2",
        "guest-1/Fed-w-updates.qcow2",
        "guest-1/Fedora-guest-with-updates-1A.qcow2",
    ];
    let before = Views::of(dir, names);
    own_code::commit(
        &own_code::real_host(),
        dir,
        &dir.join("guest-1/Fedora-guest-1.qcow2"),
        TRASH,
        Siblings::Preserve,
    )
    .unwrap();
    let after = Views::of(dir, names);
    before.assert_same(&after, names, &"commit of Fedora-guest-1 into the raw base");
    let info = oracle::info(&dir.join("guest-1/Fed-w-updates.qcow2")).unwrap();
    assert_eq!(info["backing-filename"].as_str(), Some("../FedoraBase.img"));
    assert_eq!(info["backing-filename-format"].as_str(), Some("raw"));
    oracle::assert_clean(dir, names, &"");
}

#[test]
fn owner_mode_and_times_of_untouched_images_stay() {
    use std::os::unix::fs::PermissionsExt;
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    forests::seed(dir);
    for name in ["RootBase.qcow2", "Overlay-3.qcow2"] {
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o640)).unwrap();
    }
    let untouched = dir.join("Overlay-2.qcow2");
    let before = oracle::touched_at(&untouched);
    own_code::commit(
        &own_code::real_host(),
        dir,
        &dir.join("Overlay-3A.qcow2"),
        TRASH,
        Siblings::Refuse,
    )
    .unwrap();
    assert_eq!(oracle::touched_at(&untouched), before);
    let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("Overlay-3.qcow2"), 0o640);
    assert_eq!(mode("RootBase.qcow2"), 0o640);
}

/// Shrinking a failure is worth nothing if the case cannot be named: one tree, spelled out.
#[test]
fn the_seeds_first_branch_is_committed_and_its_children_see_what_they_saw() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let rows = forests::seed(dir);
    let others: Vec<&str> = rows
        .iter()
        .map(|row| row.path)
        .filter(|path| !["RootBase.qcow2", "Overlay-1.qcow2"].contains(path))
        .collect();
    let all: Vec<&str> = rows.iter().map(|row| row.path).collect();
    let before = Views::of(dir, &all);
    let host: Arc<dyn Host> = own_code::real_host();
    assert_refused(
        dir,
        "Overlay-1.qcow2",
        RefusalKind::HasDependants,
        "Overlay-2.qcow2",
    );
    own_code::commit(
        &host,
        dir,
        &dir.join("Overlay-1.qcow2"),
        TRASH,
        Siblings::Preserve,
    )
    .unwrap();
    let mut now = others.clone();
    now.push("RootBase.qcow2");
    let after = Views::of(dir, &now);
    before.assert_same(&after, &others, &"");
    assert_eq!(after.get("RootBase.qcow2"), before.get("Overlay-1.qcow2"));
    oracle::assert_clean(dir, &now, &"");
    let parent = oracle::info(&dir.join("Overlay-1A.qcow2")).unwrap();
    assert_eq!(parent["backing-filename"].as_str(), Some("RootBase.qcow2"));
}

/// Only so that a change of the strategy which empties it of what matters is noticed.
#[test]
fn random_trees_have_siblings_children_snapshots_and_compressed_clusters() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let some: Vec<Tree> = (0..200)
        .map(|_| {
            trees(Shape::default())
                .new_tree(&mut runner)
                .unwrap()
                .current()
        })
        .collect();
    let count = |wanted: &dyn Fn(&Tree) -> bool| some.iter().filter(|tree| wanted(tree)).count();
    let compressed = |op: &Op| matches!(op, Op::Compressed { .. });
    for (what, least, found) in [
        ("siblings", 40, count(&|t| !t.siblings().is_empty())),
        (
            "children",
            30,
            count(&|t| !t.children(t.overlay).is_empty()),
        ),
        (
            "snapshots in the base",
            10,
            count(&|t| t.layers[t.base()].snapshots() > 0),
        ),
        (
            "longer overlays",
            20,
            count(&|t| t.layers[t.overlay].size > t.layers[t.base()].size),
        ),
        (
            "shorter overlays",
            20,
            count(&|t| t.layers[t.overlay].size < t.layers[t.base()].size),
        ),
        (
            "compressed overlays",
            20,
            count(&|t| t.layers[t.overlay].ops.iter().any(compressed)),
        ),
    ] {
        assert!(found >= least, "{found} of 200 trees have {what}");
    }
}

/// What a file takes on disk, in bytes.
fn taken(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// What is promised to come free is what comes free: a layer's internal snapshots keep what they hold, and
/// holes are free already.
#[test]
fn the_room_that_is_promised_comes_free() {
    let Some(qemu) = support::qemu() else { return };
    let host = own_code::real_host();
    let snapshot = |image: &Path, action| {
        Request::Snapshot(ChangeSnapshot {
            image: image.to_path_buf(),
            action,
        })
    };
    let deleted = |name: &str| SnapshotAction::Delete {
        snapshot: ops::SnapshotName::Name(name.into()),
    };
    let commit = |layer| {
        move |image: &Path| {
            Request::Commit(Commit {
                overlay: image.to_path_buf(),
                into: None,
                layer,
                siblings: Siblings::Refuse,
                keep_old: None,
            })
        }
    };
    let shrink = |image: &Path| {
        Request::Resize(Resize {
            image: image.to_path_buf(),
            size: ops::NewSize::To(2 << 20),
            shrink: true,
            preallocation: image::Preallocation::Off,
            dependants: ops::Dependants::Refuse,
        })
    };
    let delete = |image: &Path| snapshot(image, deleted("kept"));
    type Ask<'a> = (&'a str, &'a dyn Fn(&Path) -> Request);
    let requests: [Ask<'_>; 4] = [
        ("commit, the layer stays", &commit(CommittedLayer::Keep)),
        ("commit, the layer goes", &commit(CommittedLayer::Trash)),
        ("shrink", &shrink),
        ("delete a snapshot", &delete),
    ];
    let (whole, part) = ("write -P 1 0 8M", "write -P 2 1M 3M");
    for (options, steps) in [
        ("", &[whole][..]),
        ("", &[whole, "snapshot"]),
        ("", &[whole, "snapshot", part]),
        ("-o cluster_size=4k", &[whole, "snapshot", part]),
        ("-o preallocation=metadata", &[part]),
        (
            "",
            &[
                "write -c -P 3 0 1M",
                part,
                "snapshot",
                "write -c -P 4 6M 1M",
            ],
        ),
        ("-o extended_l2=on", &[whole, "snapshot", part]),
    ] {
        for (what, request) in requests {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path();
            let mut script = Script::default();
            script.create("", "base.qcow2", "8M");
            let with_base = match options.contains("preallocation") {
                true => options.to_owned(),
                false => format!("{options} -b base.qcow2 -F qcow2"),
            };
            script.create(&with_base, "top.qcow2", "8M");
            for step in steps {
                match *step {
                    "snapshot" => {
                        script.run("qemu-img snapshot -c kept top.qcow2");
                    }
                    write => {
                        script.io("qcow2", "top.qcow2", &[write]);
                    }
                }
            }
            script.build(dir);
            let top = dir.join("top.qcow2");
            let request = request(&top);
            let context = format!("{what}: {options} {steps:?}");
            let before = taken(&top);
            let plan = own_code::plan(&host, dir, &request);
            if plan.danger == Danger::Refused {
                // No such snapshot, nothing below.
                continue;
            }
            let promised = plan.frees;
            ops::run(own_code::agree(plan).unwrap(), &Progress::new())
                .unwrap_or_else(|why| panic!("{context}: {why}"));
            // What is in the trash comes free once that is emptied.
            let after = if top.exists() { taken(&top) } else { 0 };
            if top.exists() {
                qemu.check_clean(&top);
            }
            let freed = before.saturating_sub(after);
            assert!(
                freed.abs_diff(promised) <= 512 << 10,
                "{promised} promised, {freed} freed: {context}"
            );
        }
    }
}

#[test]
fn hard_links_where_nobody_has_looked_are_told() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (dir, elsewhere) = (home.path().join("here"), home.path().join("elsewhere"));
    let mut s = Script::default();
    s.create("", "base.qcow2", "1M");
    s.create("-F qcow2 -b base.qcow2", "top.qcow2", "");
    s.build(&dir);
    let host = own_code::real_host();
    let warned = || {
        let plan =
            own_code::plan_commit(&host, &dir, &dir.join("top.qcow2"), TRASH, Siblings::Refuse);
        assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
        let hard = |note: &&qanopy::ops::Note| note.kind == NoteKind::OtherNames;
        plan.notes.iter().filter(hard).count()
    };
    assert_eq!(warned(), 0);
    fs::create_dir(&elsewhere).unwrap();
    fs::hard_link(dir.join("base.qcow2"), elsewhere.join("other.qcow2")).unwrap();
    assert_eq!(warned(), 1);
    fs::rename(elsewhere.join("other.qcow2"), dir.join("other.qcow2")).unwrap();
    assert_eq!(warned(), 0);
}
