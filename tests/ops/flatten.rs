//! Flattening leaves every image showing what it showed, in place and as a new file, down to nothing and
//! down to any image of the chain.

use crate::support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use qanopy::host::Host;
use qanopy::image::{Compression, CompressionLevel};
use qanopy::ops::{Compress, Flatten, NoteKind, RefusalKind, Request};
use support::chains::{Shape, Tree, trees};
use support::folder_crash_suite::Trial;
use support::image_crash_suite::refused_as;
use support::oracle::{Bytes, View, Views};
use support::script::Script;
use support::{FaultyHost, HoldMode, checker, oracle, own_code};

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.map_or(24, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 80,
        ..ProptestConfig::default()
    }
}

fn flatten(dir: &Path, image: &str, onto: Option<&str>, new: Option<&str>) -> Request {
    Request::Flatten(Flatten {
        image: dir.join(image),
        onto: onto.map(|onto| dir.join(onto)),
        new: new.map(|new| dir.join(new)),
        compress: None,
    })
}

fn snapshot_views(dir: &Path, image: &str) -> Vec<(String, View)> {
    let path = dir.join(image);
    oracle::snapshots(&path)
        .into_iter()
        .map(|name| {
            let view = oracle::snapshot_view(&path, &name).unwrap();
            (name, view)
        })
        .collect()
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
    fn in_place_and_as_a_new_file_it_shows_what_it_showed(
        tree in trees(Shape { layers: 6, ..Shape::default() }),
        choice in any::<prop::sample::Index>(),
    ) {
        if support::qemu().is_none() {
            return Ok(());
        }
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        tree.build(dir);
        let names = tree.names();
        let image = tree.name(tree.overlay);
        let below = below(&tree);
        let onto = below.get(choice.index(below.len() + 1)).map(|layer| tree.name(*layer));
        let before = Views::of(dir, &names);
        let snapshots = snapshot_views(dir, &image);
        let bytes = Bytes::below(dir);
        let context = format!("onto {onto:?}\n{tree}");

        let done = own_code::run(
            &own_code::real_host(), dir, &flatten(dir, &image, onto.as_deref(), Some("new.qcow2")),
        );
        prop_assert!(done.is_ok(), "{done:?}\n{context}");
        let new = Views::of(dir, ["new.qcow2"]);
        let (a, b) = (new.get("new.qcow2"), before.get(&image));
        prop_assert!(a == b, "new.qcow2: {}\n{context}", a.explain(b));
        oracle::assert_clean(dir, ["new.qcow2"], &context);
        let info = oracle::info(&dir.join("new.qcow2")).unwrap();
        prop_assert_eq!(info["backing-filename"].as_str(), onto.as_deref());

        let request = Request::Flatten(Flatten {
            image: dir.join(&image),
            onto: onto.as_deref().map(|onto| dir.join(onto)),
            new: Some(dir.join("packed.qcow2")),
            compress: Some(Compress { kind: Compression::Zlib, level: CompressionLevel::Default }),
        });
        let done = own_code::run(&own_code::real_host(), dir, &request);
        prop_assert!(done.is_ok(), "{done:?}\n{context}");
        let packed = Views::of(dir, ["packed.qcow2"]);
        let (a, b) = (packed.get("packed.qcow2"), before.get(&image));
        prop_assert!(a == b, "packed.qcow2: {}\n{context}", a.explain(b));
        oracle::assert_clean(dir, ["packed.qcow2"], &context);
        let made = ["new.qcow2".to_owned(), "packed.qcow2".to_owned()];
        bytes.assert_unchanged_but(dir, &made, &context);
        let info = oracle::info(&dir.join("packed.qcow2")).unwrap();
        prop_assert_eq!(info["backing-filename"].as_str(), onto.as_deref());

        let directly = onto.as_deref() == Some(tree.name(tree.base()).as_str());
        let done = own_code::run(
            &own_code::real_host(), dir, &flatten(dir, &image, onto.as_deref(), None),
        );
        prop_assert_eq!(done.is_err(), directly, "{:?}\n{}", done, context);
        let after = Views::of(dir, &names);
        before.assert_same(&after, &names, &context);
        let now = snapshot_views(dir, &image);
        for ((name, was), (_, is)) in snapshots.iter().zip(now) {
            prop_assert!(is == *was, "snapshot {name}: {}\n{context}", is.explain(was));
        }
        let (theirs, counted) = (oracle::check(&dir.join(&image)), checker::check(&dir.join(&image)));
        prop_assert!(theirs.is_clean(), "{theirs:?}\n{context}");
        prop_assert!(counted.is_clean(), "{counted:?}\n{context}");
        if !directly {
            let info = oracle::info(&dir.join(&image)).unwrap();
            prop_assert_eq!(info["backing-filename"].as_str(), onto.as_deref(), "{}", context);
        }
    }
}

fn script() -> Script {
    let mut s = Script::default();
    let small = "-o cluster_size=4k";
    s.create(small, "root.qcow2", "256k");
    s.io(
        "qcow2",
        "root.qcow2",
        &["write -P 0x10 0 100k", "write -z 40k 8k"],
    );
    s.create(
        &format!("{small} -F qcow2 -b root.qcow2"),
        "middle.qcow2",
        "",
    );
    s.io(
        "qcow2",
        "middle.qcow2",
        &[
            "write -P 0x21 8k 16k",
            "write -z 64k 8k",
            "write -c -P 0x22 128k 4k",
        ],
    );
    s.create(
        &format!("{small} -F qcow2 -b middle.qcow2"),
        "upper.qcow2",
        "200k",
    );
    s.io("qcow2", "upper.qcow2", &["write -P 0x23 16k 4k"]);
    s.create(
        &format!("{small} -F qcow2 -b upper.qcow2"),
        "top.qcow2",
        "300k",
    );
    s.io("qcow2", "top.qcow2", &["write -P 0x31 20k 3k"]);
    s.overlay("qcow2", "top.qcow2", "child.qcow2");
    s
}

const NAMES: [&str; 5] = [
    "root.qcow2",
    "middle.qcow2",
    "upper.qcow2",
    "top.qcow2",
    "child.qcow2",
];

#[test]
fn flattening_in_place_survives_every_crash_and_every_failing_call() {
    let mut trial = Trial::new(&NAMES, |dir| flatten(dir, "top.qcow2", None, None));
    trial.script = script();
    trial.prove();
}

#[test]
fn flattening_with_internal_snapshots_onto_an_ancestor_survives_every_crash() {
    let mut trial = Trial::new(&NAMES, |dir| {
        flatten(dir, "top.qcow2", Some("root.qcow2"), None)
    });
    trial.script = script();
    trial.script.run("qemu-img snapshot -c one top.qcow2");
    trial
        .script
        .io("qcow2", "top.qcow2", &["write -P 0x41 12k 8k"]);
    trial.prove();
}

#[test]
fn a_new_file_is_whole_or_not_there_after_every_crash_and_every_failing_call() {
    let mut trial = Trial::new(&NAMES, |dir| {
        flatten(dir, "top.qcow2", Some("middle.qcow2"), Some("new.qcow2"))
    });
    trial.script = script();
    trial.creates = Some(("new.qcow2", "top.qcow2"));
    trial.prove();
}

fn packed(dir: &Path, kind: Compression, level: CompressionLevel, new: Option<&str>) -> Request {
    Request::Flatten(Flatten {
        image: dir.join("top.qcow2"),
        onto: Some(dir.join("root.qcow2")),
        new: new.map(|new| dir.join(new)),
        compress: Some(Compress { kind, level }),
    })
}

#[test]
fn a_compressed_new_file_is_whole_or_not_there_after_every_crash_and_every_failing_call() {
    let mut trial = Trial::new(&NAMES, |dir| {
        packed(
            dir,
            Compression::Zstd,
            CompressionLevel::Level(3),
            Some("new.qcow2"),
        )
    });
    trial.script = script();
    trial.creates = Some(("new.qcow2", "top.qcow2"));
    trial.prove();
}

#[test]
fn what_is_compressed_is_smaller_and_of_the_kind_asked_for() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let mut s = Script::default();
    s.create("", "base.qcow2", "64M");
    s.overlay("qcow2", "base.qcow2", "middle.qcow2");
    s.io("qcow2", "middle.qcow2", &["write -P 0x21 1M 8M"]);
    s.overlay("qcow2", "middle.qcow2", "top.qcow2");
    s.io("qcow2", "top.qcow2", &["write -P 0x31 4M 100k"]);
    s.build(dir);
    for (kind, name) in [(Compression::Zlib, "zlib"), (Compression::Zstd, "zstd")] {
        let new = format!("{name}.qcow2");
        let request = Request::Flatten(Flatten {
            image: dir.join("top.qcow2"),
            onto: None,
            new: Some(dir.join(&new)),
            compress: Some(Compress {
                kind,
                level: CompressionLevel::Default,
            }),
        });
        let plan = own_code::plan(&own_code::real_host(), dir, &request);
        assert!(plan.notes.iter().any(|note| note.kind == NoteKind::Space));
        // The command said to do the same does the same.
        let command = plan.commands[0].clone();
        let theirs = command.replace(&new, &format!("theirs-{new}"));
        let ran = std::process::Command::new("sh")
            .args(["-c", &theirs])
            .status();
        assert!(ran.unwrap().success(), "{theirs}");
        own_code::run(&own_code::real_host(), dir, &request).unwrap();
        let info = oracle::info(&dir.join(&new)).unwrap();
        assert_eq!(info["format-specific"]["data"]["compression-type"], name);
        assert!(info["backing-filename"].is_null());
        let len = |name: &str| fs::metadata(dir.join(name)).unwrap().len();
        let bytes = len(&new);
        assert!(bytes < 1 << 20, "{bytes}");
        assert!(bytes <= len(&format!("theirs-{new}")), "{bytes}");
        let here = qemu.within(dir);
        assert_eq!(here.digest(&new), here.digest("top.qcow2"));
        here.check_clean(&new);
    }
}

#[test]
fn a_compression_that_cannot_be_had_is_refused() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    script().build(dir);
    let said = |request: &Request| {
        let plan = own_code::plan(&own_code::real_host(), dir, request);
        refused_as(&plan, RefusalKind::Invalid)
    };
    let zlib = Compression::Zlib;
    let in_place = said(&packed(dir, zlib, CompressionLevel::Default, None));
    assert!(in_place.contains("only a new file"), "{in_place}");
    let level = said(&packed(dir, zlib, CompressionLevel::Level(10), Some("n")));
    assert!(level.contains("from 1 to 9"), "{level}");
}

#[test]
fn a_format_that_nobody_records_is_not_guessed() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let mut s = Script::default();
    s.create("", "root.qcow2", "1M");
    s.overlay("qcow2", "root.qcow2", "middle.qcow2");
    s.overlay("qcow2", "middle.qcow2", "top.qcow2");
    s.build(dir);
    support::fields::forget_format(&dir.join("middle.qcow2"));
    let info = oracle::info(&dir.join("middle.qcow2")).unwrap();
    assert!(info["backing-filename-format"].is_null(), "{info}");
    let before = Bytes::below(dir);
    for new in [None, Some("new.qcow2")] {
        let request = flatten(dir, "top.qcow2", Some("root.qcow2"), new);
        let plan = own_code::plan(&own_code::real_host(), dir, &request);
        refused_as(&plan, RefusalKind::BackingFormat);
    }
    before.assert_unchanged(dir, &"");
    // The way out that is offered makes it possible.
    let request = flatten(dir, "top.qcow2", Some("root.qcow2"), None);
    let plan = own_code::plan(&own_code::real_host(), dir, &request);
    let way = plan.refusals[0].ways_out[0].request.clone();
    own_code::run(&own_code::real_host(), dir, &way).unwrap();
    own_code::run(&own_code::real_host(), dir, &request).unwrap();
    qemu.within(dir).check_clean("top.qcow2");
}

#[test]
fn room_is_forecast_in_clusters_and_refused_when_it_is_short() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let mut s = Script::default();
    s.create("", "base.qcow2", "64M");
    for part in 0..16 {
        let write = format!("write -P 0x11 {}M 64k", 4 * part);
        s.io("qcow2", "base.qcow2", &[&write]);
    }
    s.create(
        "-o cluster_size=2M -F qcow2 -b base.qcow2",
        "large.qcow2",
        "",
    );
    s.create(
        "-o extended_l2=on,cluster_size=1M -F qcow2 -b base.qcow2",
        "parts.qcow2",
        "",
    );
    s.build(dir);
    // 16 clusters of that size receive 1 MiB in all.
    for (image, clusters) in [("large.qcow2", 16 << 21), ("parts.qcow2", 16 << 20)] {
        for new in [None, Some("new.qcow2")] {
            let request = flatten(dir, image, None, new);
            let short: Arc<dyn Host> =
                Arc::new(FaultyHost::with_free(own_code::real_host(), clusters - 1));
            let plan = own_code::plan(&short, dir, &request);
            refused_as(&plan, RefusalKind::NoSpace);
            let enough = clusters + (12 << 21);
            let roomy: Arc<dyn Host> =
                Arc::new(FaultyHost::with_free(own_code::real_host(), enough));
            let plan = own_code::plan(&roomy, dir, &request);
            assert!(plan.refusals.is_empty(), "{image} {new:?}: {plan:?}");
        }
    }
}

#[test]
fn zeros_take_no_room() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let mut s = Script::default();
    s.create("", "base.qcow2", "64M");
    // Zeros that are stored, zeros that are told, and data.
    s.io(
        "qcow2",
        "base.qcow2",
        &[
            "write -P 0 0 20M",
            "write -z 20M 10M",
            "write -P 0x11 40M 4M",
        ],
    );
    s.overlay("qcow2", "base.qcow2", "one.qcow2");
    s.overlay("qcow2", "base.qcow2", "two.qcow2");
    s.build(dir);
    own_code::run(
        &own_code::real_host(),
        dir,
        &flatten(dir, "one.qcow2", None, None),
    )
    .unwrap();
    qemu.img(&["rebase", "-b", "", dir.join("two.qcow2").to_str().unwrap()]);
    let allocated = |name: &str| fs::metadata(dir.join(name)).unwrap().blocks() * 512;
    let (ours, theirs) = (allocated("one.qcow2"), allocated("two.qcow2"));
    assert!(
        ours <= theirs + (64 << 10),
        "{ours} bytes, qemu-img {theirs}"
    );
}

#[test]
fn what_cannot_be_flattened_is_refused_and_no_byte_changes() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    script().build(dir);
    fs::write(dir.join("there.qcow2"), "something").unwrap();
    let before = Bytes::below(dir);
    let refused = |request: &Request, kind: RefusalKind| {
        let plan = own_code::plan(&own_code::real_host(), dir, request);
        let said = refused_as(&plan, kind);
        assert!(own_code::agree(plan).is_err());
        said
    };
    refused(
        &flatten(dir, "root.qcow2", None, None),
        RefusalKind::AlreadySo,
    );
    refused(
        &flatten(dir, "top.qcow2", Some("upper.qcow2"), None),
        RefusalKind::AlreadySo,
    );
    refused(
        &flatten(dir, "top.qcow2", Some("child.qcow2"), None),
        RefusalKind::NotInChain,
    );
    refused(
        &flatten(dir, "top.qcow2", None, Some("there.qcow2")),
        RefusalKind::AlreadyExists,
    );
    let holding = qemu.hold_with_nbd(&dir.join("child.qcow2"), HoldMode::ReadWrite);
    let said = refused(&flatten(dir, "top.qcow2", None, None), RefusalKind::InUse);
    assert!(said.contains(&holding.pid().to_string()), "{said}");
    drop(holding);
    before.assert_unchanged(dir, &"");
}
