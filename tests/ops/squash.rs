//! Squashing a layer takes it away and leaves every other image showing what it showed, whichever way its
//! content goes.

use crate::support;

use std::path::Path;

use proptest::prelude::*;
use qanopy::ops::{Direction, RefusalKind, Request, Squash};
use support::chains::{Kind, Shape, trees};
use support::folder_crash_suite::Trial;
use support::image_crash_suite::refused_as;
use support::oracle::{Bytes, Views};
use support::script::Script;
use support::{HoldMode, checker, oracle, own_code};

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.map_or(24, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 80,
        ..ProptestConfig::default()
    }
}

fn squash(dir: &Path, layer: &str, direction: Option<Direction>) -> Request {
    Request::Squash(Squash {
        layer: dir.join(layer),
        direction,
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whichever_way_every_other_image_shows_what_it_showed(
        tree in trees(Shape { layers: 6, ..Shape::default() }),
        choice in any::<prop::sample::Index>(),
        direction in prop_oneof![Just(None), Just(Some(Direction::Up)), Just(Some(Direction::Down))],
    ) {
        if support::qemu().is_none() {
            return Ok(());
        }
        let with_children: Vec<usize> = (0..tree.layers.len())
            .filter(|layer| !tree.children(*layer).is_empty())
            .filter(|layer| !matches!(tree.layers[*layer].kind, Kind::Raw))
            .collect();
        if with_children.is_empty() {
            return Ok(());
        }
        let layer = with_children[choice.index(with_children.len())];
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        tree.build(dir);
        let names = tree.names();
        let squashed = tree.name(layer);
        let before = Views::of(dir, &names);
        let bytes = Bytes::below(dir);
        let context = format!("{squashed} {direction:?}\n{tree}");
        let done = own_code::run(&own_code::real_host(), dir, &squash(dir, &squashed, direction));
        if let Err(why) = done {
            // A root cannot go down, and a short base of version 2 with snapshots cannot grow.
            let down = direction == Some(Direction::Down);
            prop_assert!(down, "{why}\n{context}");
            bytes.assert_unchanged(dir, &context);
            return Ok(());
        }
        prop_assert!(!dir.join(&squashed).exists(), "{context}");
        // What it was built on is a target where its content went down.
        let parent = tree.layers[layer].parent.map(|parent| tree.name(parent));
        let others: Vec<String> = names
            .iter()
            .filter(|name| **name != squashed && Some(*name) != parent.as_ref())
            .cloned()
            .collect();
        before.assert_same(&Views::of(dir, &others), &others, &context);
        if let (Some(parent), Some(Direction::Up)) = (&parent, direction) {
            before.assert_same(&Views::of(dir, [parent]), [parent], &context);
        }
        for name in others.iter().chain(&parent).filter(|name| name.ends_with(".qcow2")) {
            let (theirs, counted) = (oracle::check(&dir.join(name)), checker::check(&dir.join(name)));
            prop_assert!(theirs.is_clean(), "{name}: {theirs:?}\n{context}");
            prop_assert!(counted.is_clean(), "{name}: {counted:?}\n{context}");
        }
    }
}

/// base <- layer <- one, two; base <- sibling. Other bytes in each.
fn family(layer_holds: &str) -> Script {
    let small = "-o cluster_size=4k";
    let mut s = Script::default();
    s.create(small, "base.qcow2", "256k");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 128k"]);
    s.create(
        &format!("{small} -F qcow2 -b base.qcow2"),
        "layer.qcow2",
        "",
    );
    s.io("qcow2", "layer.qcow2", &[layer_holds, "write -z 160k 8k"]);
    for (name, write) in [
        ("one.qcow2", "write -P 0x31 20k 3k"),
        ("two.qcow2", "write -P 0x32 40k 3k"),
    ] {
        s.create(&format!("{small} -F qcow2 -b layer.qcow2"), name, "");
        s.io("qcow2", name, &[write]);
    }
    s.create(
        &format!("{small} -F qcow2 -b base.qcow2"),
        "sibling.qcow2",
        "",
    );
    s
}

const FAMILY: [&str; 5] = [
    "base.qcow2",
    "layer.qcow2",
    "one.qcow2",
    "two.qcow2",
    "sibling.qcow2",
];

#[test]
fn squashing_up_survives_every_crash_and_every_failing_call() {
    let mut trial = Trial::new(&FAMILY, |dir| {
        squash(dir, "layer.qcow2", Some(Direction::Up))
    });
    trial.script = family("write -P 0x21 16k 32k");
    trial.goes = vec!["layer.qcow2"];
    trial.prove();
}

#[test]
fn squashing_down_survives_every_crash() {
    let mut trial = Trial::new(&FAMILY, |dir| {
        squash(dir, "layer.qcow2", Some(Direction::Down))
    });
    trial.script = family("write -P 0x21 16k 32k");
    trial.target = Some(("base.qcow2", "layer.qcow2"));
    trial.goes = vec!["layer.qcow2"];
    trial.survives();
}

#[test]
fn the_cheaper_way_is_taken_and_both_are_told() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    // Two children against one sibling that would have to receive the same: the sibling reads all of it.
    let dir = home.path().join("many-children");
    family("write -P 0x21 16k 64k").build(&dir);
    let plan = own_code::plan(
        &own_code::real_host(),
        &dir,
        &squash(&dir, "layer.qcow2", None),
    );
    let notes: Vec<&str> = plan.notes.iter().map(|note| note.text.as_str()).collect();
    let notes = notes.join("\n");
    assert!(notes.contains("down") && notes.contains("up"), "{notes}");
    let only = |direction| {
        let plan = own_code::plan(
            &own_code::real_host(),
            &dir,
            &squash(&dir, "layer.qcow2", direction),
        );
        assert!(plan.refusals.is_empty(), "{plan:?}");
        plan.copies
    };
    let (down, up) = (only(Some(Direction::Down)), only(Some(Direction::Up)));
    assert_eq!(plan.copies, down.min(up), "down {down}, up {up}");
    assert_ne!(down, up);
}

#[test]
fn a_leaf_and_an_image_in_use_are_left_alone() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family("write -P 0x21 16k 32k").build(dir);
    let before = Bytes::below(dir);
    let refused = |layer: &str, direction: Option<Direction>, kind: RefusalKind| {
        let plan = own_code::plan(&own_code::real_host(), dir, &squash(dir, layer, direction));
        let said = refused_as(&plan, kind);
        (plan, said)
    };
    let (plan, _) = refused("one.qcow2", None, RefusalKind::NotInChain);
    assert_eq!(plan.refusals[0].ways_out.len(), 2);
    for name in ["layer.qcow2", "one.qcow2", "base.qcow2"] {
        let holding = qemu.hold_with_nbd(&dir.join(name), HoldMode::ReadWrite);
        for direction in [None, Some(Direction::Up), Some(Direction::Down)] {
            let (_, said) = refused("layer.qcow2", direction, RefusalKind::InUse);
            assert!(said.contains(&holding.pid().to_string()), "{said}");
        }
    }
    before.assert_unchanged(dir, &"");
}
