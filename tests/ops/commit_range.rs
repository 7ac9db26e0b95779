//! A run of layers committed into any image below it: the six cases of a base with three snapshots and an
//! active layer, random trees, and what is put aside so that a commit can be undone. Every image that is
//! not merged shows what it showed, and no layer is left showing a mixture.

use crate::support;

use std::path::Path;

use proptest::prelude::*;
use qanopy::ops::{
    self, Commit, CommittedLayer, Confirm, Progress, RefusalKind, Request, Siblings,
};
use support::chains::{Kind, Shape, Tree, trees};
use support::folder_crash_suite::Trial;
use support::image_crash_suite::refused_as;
use support::oracle::{Bytes, View, Views};
use support::script::Script;
use support::{HoldMode, checker, oracle, own_code};

const TRASH: CommittedLayer = CommittedLayer::Trash;

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.map_or(24, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 80,
        ..ProptestConfig::default()
    }
}

fn commit(
    dir: &Path,
    overlay: &str,
    into: &str,
    layer: CommittedLayer,
    siblings: Siblings,
    keep_old: Option<&str>,
) -> Request {
    Request::Commit(Commit {
        overlay: dir.join(overlay),
        into: Some(dir.join(into)),
        layer,
        siblings,
        keep_old: keep_old.map(|old| dir.join(old)),
    })
}

/// A base, three snapshots on it, one on the other, and the active layer.
const CHAIN: [&str; 5] = [
    "base.qcow2",
    "sn1.qcow2",
    "sn2.qcow2",
    "sn3.qcow2",
    "active.qcow2",
];

/// Every layer holds something of its own and something over each layer below it.
fn chain() -> Script {
    let mut s = Script::default();
    let small = "-o cluster_size=4k";
    s.create(small, "base.qcow2", "512k");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 256k"]);
    for (index, pair) in CHAIN.windows(2).enumerate() {
        let [below, name] = pair else { continue };
        s.create(&format!("{small} -F qcow2 -b {below}"), name, "");
        let (n, at) = (index + 1, 16 * (index + 1));
        s.io(
            "qcow2",
            name,
            &[
                &format!("write -P {:#x} {at}k 40k", 0x20 + n),
                &format!("write -P {:#x} {}k 5k", 0x30 + n, 300 + 20 * n),
                &format!("write -z {}k 8k", 128 + 4 * n),
            ],
        );
    }
    s
}

/// Commits `top` into `into`: what is between is gone, what was on `top` is on `into`, and everybody left
/// shows what they showed.
fn merged(top: &str, into: &str, gone: &[&str]) {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    chain().build(dir);
    let before = Views::of(dir, CHAIN);
    let request = commit(dir, top, into, TRASH, Siblings::Refuse, None);
    own_code::run(&own_code::real_host(), dir, &request).unwrap();
    let left: Vec<&str> = CHAIN
        .into_iter()
        .filter(|name| !gone.contains(name))
        .collect();
    for name in CHAIN {
        assert_eq!(dir.join(name).exists(), left.contains(&name), "{name}");
    }
    let after = Views::of(dir, &left);
    let others = left.iter().filter(|name| **name != into);
    before.assert_same(&after, others, &format!("{top} into {into}"));
    assert_eq!(after.get(into), before.get(top), "{top} into {into}");
    oracle::assert_clean(dir, &left, &"");
    let at = CHAIN.iter().position(|name| *name == top).unwrap();
    if let Some(child) = CHAIN.get(at + 1) {
        let info = oracle::info(&dir.join(child)).unwrap();
        assert_eq!(info["backing-filename"].as_str(), Some(into), "{child}");
        assert_eq!(info["backing-filename-format"].as_str(), Some("qcow2"));
    }
}

#[test]
fn all_three_snapshots_into_the_base() {
    merged(
        "sn3.qcow2",
        "base.qcow2",
        &["sn1.qcow2", "sn2.qcow2", "sn3.qcow2"],
    );
}

#[test]
fn the_lower_two_snapshots_into_the_base() {
    merged("sn2.qcow2", "base.qcow2", &["sn1.qcow2", "sn2.qcow2"]);
}

#[test]
fn the_lowest_snapshot_into_the_base() {
    merged("sn1.qcow2", "base.qcow2", &["sn1.qcow2"]);
}

#[test]
fn the_middle_snapshot_into_the_lower_one() {
    merged("sn2.qcow2", "sn1.qcow2", &["sn2.qcow2"]);
}

#[test]
fn the_upper_snapshot_into_the_middle_one() {
    merged("sn3.qcow2", "sn2.qcow2", &["sn3.qcow2"]);
}

#[test]
fn the_upper_two_snapshots_into_the_lower_one() {
    merged("sn3.qcow2", "sn1.qcow2", &["sn2.qcow2", "sn3.qcow2"]);
}

#[test]
fn the_active_layer_with_all_below_it_into_the_base() {
    merged(
        "active.qcow2",
        "base.qcow2",
        &["sn1.qcow2", "sn2.qcow2", "sn3.qcow2", "active.qcow2"],
    );
}

#[test]
fn the_top_of_a_longer_run_cannot_be_kept() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    chain().build(dir);
    let before = Bytes::below(dir);
    let keep = CommittedLayer::Keep;
    let request = commit(dir, "sn3.qcow2", "base.qcow2", keep, Siblings::Refuse, None);
    let plan = own_code::plan(&own_code::real_host(), dir, &request);
    assert_eq!(plan.confirm, Confirm::Impossible, "{plan:?}");
    // The way out does it.
    let way = plan.refusals[0].ways_out[0].request.clone();
    before.assert_unchanged(dir, &"");
    own_code::run(&own_code::real_host(), dir, &way).unwrap();
    assert!(!dir.join("sn3.qcow2").exists());
}

#[test]
fn only_an_image_of_its_chain_can_receive_a_layer() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let mut s = chain();
    s.create("", "stranger.qcow2", "512k");
    s.build(dir);
    let before = Bytes::below(dir);
    let refused = |into: &str, kind: RefusalKind| {
        let request = commit(dir, "sn2.qcow2", into, TRASH, Siblings::Preserve, None);
        refused_as(&own_code::plan(&own_code::real_host(), dir, &request), kind)
    };
    for into in ["stranger.qcow2", "sn3.qcow2", "sn2.qcow2"] {
        refused(into, RefusalKind::NotInChain);
    }
    // Whoever holds any member of the chain.
    for name in ["base.qcow2", "sn1.qcow2", "sn2.qcow2", "active.qcow2"] {
        let holding = qemu.hold_with_storage_daemon(&dir.join(name), HoldMode::ReadWrite);
        let said = refused("base.qcow2", RefusalKind::InUse);
        assert!(said.contains(&holding.pid().to_string()), "{said}");
    }
    before.assert_unchanged(dir, &"");
}

#[test]
fn a_commit_that_keeps_what_the_base_showed_can_be_undone() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    chain().build(dir);
    let before = Views::of(dir, CHAIN);
    let request = commit(
        dir,
        "sn2.qcow2",
        "base.qcow2",
        TRASH,
        Siblings::Refuse,
        Some("old.qcow2"),
    );
    let done = own_code::run(&own_code::real_host(), dir, &request).unwrap();
    let after = Views::of(
        dir,
        ["old.qcow2", "base.qcow2", "sn3.qcow2", "active.qcow2"],
    );
    assert_eq!(after.get("old.qcow2"), before.get("base.qcow2"));
    assert_eq!(after.get("base.qcow2"), before.get("sn2.qcow2"));
    before.assert_same(&after, ["sn3.qcow2", "active.qcow2"], &"");
    oracle::assert_clean(dir, ["old.qcow2", "base.qcow2"], &"");
    own_code::run(&own_code::real_host(), dir, &done.undo.unwrap()).unwrap();
    let after = Views::of(dir, ["base.qcow2", "sn3.qcow2", "active.qcow2"]);
    before.assert_same(
        &after,
        ["base.qcow2", "sn3.qcow2", "active.qcow2"],
        &"undone",
    );
    assert!(!dir.join("old.qcow2").exists());
    oracle::assert_clean(dir, ["base.qcow2", "sn3.qcow2"], &"undone");
}

#[test]
fn what_keeps_the_old_content_of_a_raw_base_is_proven() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let mut s = Script::default();
    s.run("qemu-img create -q -f raw base.img 33280");
    s.io("raw", "base.img", &["write -P 7 512 20k"]);
    s.create("-F raw -b base.img", "top.qcow2", "900k");
    s.io("qcow2", "top.qcow2", &["write -P 8 1k 4k"]);
    s.build(dir);
    let before = Views::of(dir, ["base.img", "top.qcow2"]);
    let request = commit(
        dir,
        "top.qcow2",
        "base.img",
        TRASH,
        Siblings::Refuse,
        Some("old.qcow2"),
    );
    let plan = own_code::plan(&own_code::real_host(), dir, &request);
    let done = ops::run(own_code::agree(plan).unwrap().proving(), &Progress::new()).unwrap();
    let said = format!("{done:?}");
    assert!(
        said.contains("the copy shows what its original showed"),
        "{said}"
    );
    let after = Views::of(dir, ["old.qcow2", "base.img"]);
    assert_eq!(after.get("old.qcow2"), before.get("base.img"));
    assert_eq!(after.get("base.img"), before.get("top.qcow2"));
}

fn snapshot_views(dir: &Path, names: &[String]) -> Vec<(String, String, View)> {
    let mut all = Vec::new();
    for name in names.iter().filter(|name| name.ends_with(".qcow2")) {
        let path = dir.join(name);
        for snapshot in oracle::snapshots(&path) {
            let view = oracle::snapshot_view(&path, &snapshot).unwrap();
            all.push((name.clone(), snapshot, view));
        }
    }
    all
}

/// The layers below the overlay, nearest first.
fn below(tree: &Tree) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = tree.layers[tree.overlay].parent;
    while let Some(layer) = at {
        found.push(layer);
        at = tree.layers[layer].parent;
    }
    found
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_run_into_any_ancestor_leaves_every_other_image_as_it_was(
        tree in trees(Shape { layers: 7, ..Shape::default() }),
        choice in any::<prop::sample::Index>(),
        keep_old in any::<bool>(),
    ) {
        if support::qemu().is_none() {
            return Ok(());
        }
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        tree.build(dir);
        let names = tree.names();
        let below = below(&tree);
        let depth = choice.index(below.len());
        let target = below[depth];
        let (overlay, into) = (tree.name(tree.overlay), tree.name(target));
        let run: Vec<String> = std::iter::once(tree.overlay)
            .chain(below[..depth].iter().copied())
            .map(|layer| tree.name(layer))
            .collect();
        let before = Views::of(dir, &names);
        let left: Vec<String> = names.iter().filter(|name| !run.contains(name)).cloned().collect();
        let snapshots = snapshot_views(dir, &left);
        let bytes = Bytes::below(dir);
        let old = keep_old.then_some("old.qcow2");
        let request = commit(dir, &overlay, &into, TRASH, Siblings::Preserve, old);
        let context = format!("{overlay} into {into}, {old:?}\n{tree}");
        let plan = own_code::plan(&own_code::real_host(), dir, &request);
        if !plan.refusals.is_empty() {
            let grows = tree.layers[tree.overlay].size > tree.layers[target].size;
            let v2 = matches!(tree.layers[target].kind, Kind::Qcow2 { v2: true, .. });
            prop_assert!(
                grows && v2 && tree.layers[target].snapshots() > 0,
                "{:?}\n{context}", plan.refusals
            );
            bytes.assert_unchanged(dir, &context);
            return Ok(());
        }
        let done = ops::run(own_code::agree(plan).unwrap().proving(), &Progress::new());
        prop_assert!(done.is_ok(), "{done:?}\n{context}");
        let after = Views::of(dir, &left);
        let others = left.iter().filter(|name| **name != into);
        before.assert_same(&after, others, &context);
        let whole = before.get(&overlay).over(before.get(&into));
        let now = after.get(&into);
        prop_assert!(*now == whole, "{into}: {}\n{context}", now.explain(&whole));
        for ((name, snapshot, was), (_, _, is)) in snapshots.iter().zip(snapshot_views(dir, &left)) {
            // qemu-img shows a snapshot as long as its image is now.
            let is = is.resized(was.len);
            prop_assert!(is == *was, "snapshot {snapshot} of {name}: {}\n{context}", is.explain(was));
        }
        for name in &run {
            prop_assert!(!dir.join(name).exists(), "{name} is still there\n{context}");
        }
        for name in left.iter().filter(|name| name.ends_with(".qcow2")) {
            let (theirs, counted) = (oracle::check(&dir.join(name)), checker::check(&dir.join(name)));
            prop_assert!(theirs.is_clean(), "{name}: {theirs:?}\n{context}");
            prop_assert!(counted.is_clean(), "{name}: {counted:?}\n{context}");
        }
        if keep_old {
            let now = Views::of(dir, ["old.qcow2"]);
            let (a, b) = (now.get("old.qcow2"), before.get(&into));
            let b = b.resized(b.len.next_multiple_of(512));
            prop_assert!(*a == b, "old.qcow2: {}\n{context}", a.explain(&b));
        }
    }
}

/// base <- sn1 <- sn2 <- child; base <- sibling, sn1 <- other.
fn family() -> Script {
    let small = "-o cluster_size=4k";
    let mut s = Script::default();
    s.create(small, "base.qcow2", "256k");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 128k"]);
    s.create(&format!("{small} -F qcow2 -b base.qcow2"), "sn1.qcow2", "");
    s.io(
        "qcow2",
        "sn1.qcow2",
        &["write -P 0x21 16k 24k", "write -z 60k 8k"],
    );
    s.create(
        &format!("{small} -F qcow2 -b sn1.qcow2"),
        "sn2.qcow2",
        "200k",
    );
    s.io(
        "qcow2",
        "sn2.qcow2",
        &["write -P 0x22 32k 16k", "write -P 0x23 180k 5k"],
    );
    s.create(
        &format!("{small} -F qcow2 -b sn2.qcow2"),
        "child.qcow2",
        "256k",
    );
    s.io("qcow2", "child.qcow2", &["write -P 0x31 36k 4k"]);
    s.create(
        &format!("{small} -F qcow2 -b base.qcow2"),
        "sibling.qcow2",
        "",
    );
    s.io("qcow2", "sibling.qcow2", &["write -P 0x41 20k 3k"]);
    s.create(&format!("{small} -F qcow2 -b sn1.qcow2"), "other.qcow2", "");
    s.io("qcow2", "other.qcow2", &["write -P 0x51 40k 3k"]);
    s
}

const FAMILY: [&str; 6] = [
    "base.qcow2",
    "sn1.qcow2",
    "sn2.qcow2",
    "child.qcow2",
    "sibling.qcow2",
    "other.qcow2",
];

#[test]
fn a_run_committed_among_others_survives_every_crash_and_every_failing_call() {
    let mut trial = Trial::new(&FAMILY, |dir| {
        commit(
            dir,
            "sn2.qcow2",
            "base.qcow2",
            TRASH,
            Siblings::Preserve,
            None,
        )
    });
    trial.script = family();
    trial.target = Some(("base.qcow2", "sn2.qcow2"));
    trial.goes = vec!["sn2.qcow2", "sn1.qcow2"];
    trial.mixed = vec!["sn1.qcow2"];
    trial.prove();
}

#[test]
fn a_commit_that_puts_the_old_content_aside_survives_every_crash_and_every_failing_call() {
    let mut trial = Trial::new(&FAMILY, |dir| {
        let old = Some("old.qcow2");
        commit(
            dir,
            "sn1.qcow2",
            "base.qcow2",
            TRASH,
            Siblings::Preserve,
            old,
        )
    });
    trial.script = family();
    trial.target = Some(("base.qcow2", "sn1.qcow2"));
    trial.goes = vec!["sn1.qcow2"];
    trial.creates = Some(("old.qcow2", "base.qcow2"));
    trial.prove();
}
