//! Looking at images without changing them: maps, comparisons and measures are those of qemu-img, run
//! for run and byte for byte, and nothing is read that the tables already answer.

use crate::support;

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use qanopy::host::{
    Access, Cloned, Host, HostFile, Lock, LockProbe, LockSet, RealHost, Segment, Stat,
};
use qanopy::image::{
    self, Chain, Comparison, DifferingRange, ErrorKind, Format, ImageFile, Layer, MapRun, MapState,
    Measure, MeasureAs, NoProgress, Preallocation, Qcow2, Qcow2Options, Raw,
};
use qanopy::ops::{self, ReadOptions, SnapshotName};
use serde_json::Value;
use support::HoldMode;
use support::chains::{Shape, Tree, trees};
use support::oracle;
use support::script::{Script, Step, run_in};

fn open(path: &Path, format: &str) -> Chain {
    Chain::open(&RealHost, path, Some(&Format::from_name(format)), &|_| true).unwrap()
}

/// A run as both tell it: start, length, depth, present, zero, data, compressed, offset.
type Row = (u64, u64, u64, bool, bool, bool, bool, Option<u64>);

fn our_map(chain: &Chain, start: u64, end: u64) -> Vec<Row> {
    let row = |run: MapRun| {
        (
            run.start,
            run.len,
            run.layer as u64,
            run.state.is_present(),
            run.state.is_zero(),
            run.state.is_data(),
            run.state == MapState::Compressed,
            run.offset,
        )
    };
    chain.map(start, end).map(|run| row(run.unwrap())).collect()
}

fn rows(json: &Value) -> Vec<Row> {
    let row = |run: &Value| {
        let number = |key: &str| run[key].as_u64();
        let flag = |key: &str| run[key].as_bool().unwrap();
        (
            number("start").unwrap(),
            number("length").unwrap(),
            number("depth").unwrap(),
            flag("present"),
            flag("zero"),
            flag("data"),
            flag("compressed"),
            number("offset"),
        )
    };
    let runs = json.as_array().unwrap().iter().map(row);
    // What qemu-img prints of an empty range is no run.
    runs.filter(|run| run.1 > 0).collect()
}

/// The result in what we print with `--json`.
fn result(printed: &str) -> Value {
    crate::schema::read(printed)["result"].take()
}

/// What `qemu-img TOOL --output=json ...` says in `dir`.
fn qemu_says(dir: &Path, words: &[&str]) -> Result<Value, String> {
    let words: Vec<&str> = ["qemu-img", words[0], "--output=json"]
        .into_iter()
        .chain(words[1..].iter().copied())
        .collect();
    let out = run_in(dir, &words);
    if out.status.success() {
        Ok(serde_json::from_slice(&out.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

fn differences(one: &Chain, other: &Chain) -> (Comparison, Vec<(u64, u64)>) {
    let mut found = Vec::new();
    let compared = image::compare(
        one,
        other,
        &NoProgress,
        &mut |DifferingRange { start, len }| {
            found.push((start, start + len));
            ControlFlow::Continue(())
        },
    );
    (compared.unwrap(), found)
}

/// What a new image of the measures is to be like.
#[derive(Debug, Clone)]
struct Target {
    cluster_bits: u32,
    refcount_order: u32,
    extended_l2: bool,
    old_version: bool,
    preallocated: bool,
    backing: bool,
    raw: bool,
}

fn targets() -> impl Strategy<Value = Target> {
    (
        select(vec![9_u32, 12, 14, 16, 18, 21]),
        0..=6_u32,
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |(
                cluster_bits,
                refcount_order,
                extended_l2,
                old_version,
                preallocated,
                backing,
                raw,
            )| Target {
                cluster_bits,
                refcount_order: if old_version { 4 } else { refcount_order },
                extended_l2: extended_l2 && cluster_bits >= 14 && !old_version,
                old_version,
                preallocated,
                backing: backing && !preallocated,
                raw,
            },
        )
}

impl Target {
    fn measured(&self, source: Option<&Chain>, size: u64) -> image::Result<Measure> {
        let options = Qcow2Options {
            cluster_bits: self.cluster_bits,
            refcount_order: self.refcount_order,
            extended_l2: self.extended_l2,
            old_version: self.old_version,
            preallocation: if self.preallocated {
                Preallocation::Falloc
            } else {
                Preallocation::Off
            },
            ..Qcow2Options::default()
        };
        let target = if self.raw {
            MeasureAs::Raw
        } else {
            MeasureAs::Qcow2 {
                options: &options,
                backing: self.backing,
                luks: false,
            }
        };
        image::measure(source, size, target)
    }

    fn words(&self) -> Vec<String> {
        if self.raw {
            return vec!["-O".to_owned(), "raw".to_owned()];
        }
        let options = format!(
            "cluster_size={},refcount_bits={},extended_l2={},compat={},preallocation={}",
            1_u64 << self.cluster_bits,
            1 << self.refcount_order,
            if self.extended_l2 { "on" } else { "off" },
            if self.old_version { "0.10" } else { "1.1" },
            if self.preallocated { "falloc" } else { "off" },
        );
        // It need not be there.
        let backing = if self.backing {
            ",backing_file=base,backing_fmt=raw"
        } else {
            ""
        };
        let options = options + backing;
        ["-O", "qcow2", "-o", &options].map(str::to_owned).to_vec()
    }

    /// Fails unless qemu-img measures the same.
    fn assert_as_qemu(
        &self,
        dir: &Path,
        of: &[&str],
        source: Option<&Chain>,
        size: u64,
        context: &dyn std::fmt::Display,
    ) {
        let words = self.words();
        let mut all = vec!["measure"];
        all.extend(words.iter().map(String::as_str));
        all.extend(of);
        match (self.measured(source, size), qemu_says(dir, &all)) {
            (Ok(ours), Ok(theirs)) => {
                let ours = (
                    Some(ours.required),
                    Some(ours.fully_allocated),
                    ours.bitmaps,
                );
                let theirs = ["required", "fully-allocated", "bitmaps"].map(|k| theirs[k].as_u64());
                assert_eq!(ours, theirs.into(), "{all:?}\n{context}");
            }
            (Err(_), Err(_)) => {}
            (ours, theirs) => panic!("{all:?}: {ours:?}, {theirs:?}\n{context}"),
        }
    }
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.map_or(8, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_trees_are_mapped_compared_and_measured_as_by_qemu_img(
        tree in trees(Shape::default()),
        targets in prop::collection::vec(targets(), 5),
        part in (any::<Index>(), any::<Index>()),
        pairs in prop::collection::vec((any::<Index>(), any::<Index>()), 3),
    ) {
        if support::qemu().is_none() {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        tree.build(dir.path());
        let names = tree.names();
        let mut chains = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let format = tree.layers[index].format();
            let chain = open(&dir.path().join(name), format);
            let theirs = qemu_says(dir.path(), &["map", "-f", format, name]).unwrap();
            let ours = our_map(&chain, 0, u64::MAX);
            prop_assert!(ours == rows(&theirs), "{name}:\n{ours:?}\n{theirs}\n{tree}");
            // The whole is covered, without gaps.
            let mut at = 0;
            for row in &ours {
                prop_assert!(row.0 == at && row.1 > 0, "{ours:?}\n{tree}");
                at += row.1;
            }
            prop_assert_eq!(at, chain.virtual_size());
            if let Layer::Qcow2(image) = &*chain.layers()[0] {
                assert_snapshots_are_mapped(dir.path(), name, &chain, image, &tree);
            }
            if let Some(target) = targets.get(index) {
                target.assert_as_qemu(dir.path(), &["-f", format, name], Some(&chain), 0, &tree);
            }
            chains.push(chain);
        }
        // A part of a map is that part of the whole.
        let top = chains.len() - 1;
        let size = usize::try_from(chains[top].virtual_size()).unwrap();
        let (from, to) = (part.0.index(size), part.1.index(size));
        let (from, to) = (from.min(to), from.max(to));
        let theirs = qemu_says(dir.path(), &[
            "map", "-f", tree.layers[top].format(),
            "-s", &from.to_string(), "-l", &(to - from).to_string(), &names[top],
        ]).unwrap();
        let ours = our_map(&chains[top], from as u64, to as u64);
        prop_assert!(ours == rows(&theirs), "{from}..{to}:\n{ours:?}\n{theirs}\n{tree}");
        for (a, b) in pairs {
            let (a, b) = (a.index(names.len()), b.index(names.len()));
            assert_compared(dir.path(), &tree, &chains, a, b);
        }
    }

    #[test]
    fn an_empty_disk_is_measured_as_by_qemu_img(
        targets in prop::collection::vec(targets(), 8),
        size in prop_oneof![0..70_000_u64, 0..1_u64 << 34, any::<u64>().prop_map(|n| n >> 12)],
    ) {
        if support::qemu().is_none() {
            return Ok(());
        }
        for target in targets {
            let words = ["--size", &size.to_string()];
            target.assert_as_qemu(Path::new("."), &words, None, size, &"");
        }
    }
}

/// Compares two images of a tree with what their bytes say.
fn assert_compared(dir: &Path, tree: &Tree, chains: &[Chain], a: usize, b: usize) {
    let view = |i: usize| {
        oracle::guest_view(&dir.join(tree.name(i)), Some(tree.layers[i].format())).unwrap()
    };
    let (mut one, mut other) = (view(a), view(b));
    let longer = one.len.max(other.len);
    (one, other) = (one.resized(longer), other.resized(longer));
    let expected = one.differences(&other);
    let (compared, found) = differences(&chains[a], &chains[b]);
    let pair = format!("{} and {}", tree.name(a), tree.name(b));
    assert!(found == expected, "{pair}: {found:?}\n{expected:?}\n{tree}");
    assert_eq!(compared.differences, expected.len() as u64, "{pair}");
    let bytes: u64 = expected.iter().map(|(from, to)| to - from).sum();
    assert_eq!(compared.differing, bytes, "{pair}");
    if a == b {
        assert_eq!(compared.read, 0, "{pair}\n{tree}");
    }
}

#[test]
fn clusters_in_holes_of_the_file_are_told_as_qemu_img_tells_them() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut s = Script::default();
    s.create("-o preallocation=metadata", "meta.qcow2", "4M");
    s.io(
        "qcow2",
        "meta.qcow2",
        &["write -P 1 1M 100k", "write -P 2 3M 64k"],
    );
    s.create("-o preallocation=falloc", "full.qcow2", "2M");
    s.io("qcow2", "full.qcow2", &["write -P 1 1M 100k"]);
    s.create(
        "-o preallocation=metadata,data_file=bytes.raw",
        "apart.qcow2",
        "2M",
    );
    s.io("qcow2", "apart.qcow2", &["write -P 1 1M 100k"]);
    s.create("-o cluster_size=2M", "large.qcow2", "8M");
    s.io(
        "qcow2",
        "large.qcow2",
        &["write -P 1 3M 4k", "write -P 1 7M 4k"],
    );
    s.create("-o extended_l2=on", "sub.qcow2", "1M");
    s.io(
        "qcow2",
        "sub.qcow2",
        &["write -P 1 6k 2k", "discard 64k 4k", "write -z 130k 2k"],
    );
    s.overlay("qcow2", "meta.qcow2", "over.qcow2");
    s.io(
        "qcow2",
        "over.qcow2",
        &["write -z 1M 64k", "write -P 3 2M 64k"],
    );
    for bits in [1, 8, 32, 64] {
        let options = format!("-o preallocation=metadata,refcount_bits={bits},cluster_size=4k");
        s.create(&options, &format!("bits-{bits}.qcow2"), "1M");
    }
    s.build(dir.path());
    let mut holes = 0;
    for name in [
        "meta", "full", "apart", "large", "sub", "over", "bits-1", "bits-8", "bits-32", "bits-64",
    ] {
        let name = format!("{name}.qcow2");
        let theirs = qemu_says(dir.path(), &["map", &name]).unwrap();
        let chain = open(&dir.path().join(&name), "qcow2");
        let ours = our_map(&chain, 0, u64::MAX);
        assert_eq!(ours, rows(&theirs), "{name}");
        let is_hole = |row: &&Row| row.4 && row.5;
        holes += ours.iter().filter(is_hole).count();
        let target = Target {
            cluster_bits: 16,
            refcount_order: 4,
            extended_l2: false,
            old_version: false,
            preallocated: false,
            backing: false,
            raw: false,
        };
        target.assert_as_qemu(dir.path(), &[&name], Some(&chain), 0, &name);
    }
    assert!(holes > 5, "only {holes} runs lie in holes");
}

#[test]
fn the_bitmaps_of_the_source_are_measured_as_by_qemu_img() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut s = Script::default();
    s.create("", "bitmaps.qcow2", "3G");
    for (name, granularity) in [("one", "64k"), ("another-longer-name", "512"), ("c", "2M")] {
        s.run(&format!(
            "qemu-img bitmap --add -g {granularity} bitmaps.qcow2 {name}"
        ));
    }
    s.create("-o compat=0.10", "old.qcow2", "1M");
    s.build(dir.path());
    for old_version in [false, true] {
        for cluster_bits in [9, 16] {
            let target = Target {
                cluster_bits,
                refcount_order: 4,
                extended_l2: false,
                old_version,
                preallocated: false,
                backing: false,
                raw: false,
            };
            for name in ["bitmaps.qcow2", "old.qcow2"] {
                let chain = open(&dir.path().join(name), "qcow2");
                target.assert_as_qemu(dir.path(), &[name], Some(&chain), 0, &name);
            }
        }
    }
}

#[test]
fn what_an_internal_snapshot_shows_is_mapped_compared_and_measured() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let mut s = Script::default();
    s.create("", "base.qcow2", "3M");
    s.io("qcow2", "base.qcow2", &["write -P 1 0 2M"]);
    let options = "-o cluster_size=4k -b base.qcow2 -F qcow2";
    s.create(options, "image.qcow2", "");
    s.io(
        "qcow2",
        "image.qcow2",
        &[
            "write -P 2 64k 64k",
            "write -z 512k 8k",
            "write -P 6 1200k 99k",
        ],
    );
    s.run("qemu-img snapshot -c first image.qcow2");
    s.io(
        "qcow2",
        "image.qcow2",
        &["write -P 3 100k 200k", "discard 64k 8k"],
    );
    // A name that is also the ID of another.
    s.run("qemu-img snapshot -c 1 image.qcow2");
    s.run("qemu-img resize image.qcow2 5M");
    s.io(
        "qcow2",
        "image.qcow2",
        &["write -P 4 0 100k", "write -P 5 4M 64k"],
    );
    s.build(dir);
    let read = |snapshot: Option<SnapshotName>| {
        let options = ReadOptions {
            snapshot,
            ..ReadOptions::default()
        };
        let path = dir.join("image.qcow2");
        ops::open_to_read(&RealHost, &path, &options).map(|reading| reading.whole().unwrap())
    };
    let by_name = |name: &str| read(Some(SnapshotName::Name(name.into())));
    let now = read(None).unwrap();
    let target = Target {
        cluster_bits: 12,
        refcount_order: 4,
        extended_l2: false,
        old_version: false,
        preallocated: false,
        backing: false,
        raw: false,
    };
    for (name, id) in [("first", "1"), ("1", "2")] {
        let past = by_name(name).unwrap();
        let same = read(Some(SnapshotName::Id(id.into()))).unwrap();
        // Once it is applied to a copy, the real tool shows the same: the places are the same as well.
        std::fs::copy(dir.join("image.qcow2"), dir.join("copy.qcow2")).unwrap();
        let applied = run_in(dir, &["qemu-img", "snapshot", "-a", id, "copy.qcow2"]);
        assert!(applied.status.success());
        let theirs = qemu_says(dir, &["map", "copy.qcow2"]).unwrap();
        assert_eq!(our_map(&past, 0, u64::MAX), rows(&theirs), "{name}");
        assert_eq!(our_map(&same, 0, u64::MAX), rows(&theirs), "{name}");
        // By its option -l the real tool takes the disk for as long as it is now.
        target.assert_as_qemu(dir, &["copy.qcow2"], Some(&past), 0, &name);

        let copy = open(&dir.join("copy.qcow2"), "qcow2");
        let (compared, _) = differences(&past, &copy);
        assert_eq!(compared.differences, 0, "{name}");
        // What a snapshot shares with the image it is in is not read.
        let (compared, found) = differences(&past, &now);
        let (whole, expected) = differences(&copy, &now);
        assert!(found == expected && !found.is_empty(), "{name}: {found:?}");
        assert!(compared.read < whole.read, "{name}: {compared:?} {whole:?}");
    }
    for (name, said) in [
        ("2", "one with that ID"),
        ("none", "no such internal snapshot"),
    ] {
        let error = by_name(name).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }

    let (code, out, err) = qanopy(dir, &["map", "--json", "--snapshot=first", "image.qcow2"]);
    assert_eq!(code, 0, "{err}");
    let chain = by_name("first").unwrap();
    assert_eq!(rows(&result(&out)), our_map(&chain, 0, u64::MAX));
    let compared = |words: &[&str]| {
        let both = [&["compare", "image.qcow2", "image.qcow2"][..], words].concat();
        qanopy(dir, &both)
    };
    assert_eq!(compared(&["--snapshot=first"]).0, 3);
    assert_eq!(
        compared(&["--snapshot=first", "--other-snapshot=first"]).0,
        0
    );
    assert_eq!(
        compared(&["--other-snapshot=2", "--snapshot=2", "--id"]).0,
        0
    );
    assert_eq!(compared(&["--other-snapshot=2"]).0, 1);
    assert_eq!(compared(&["--id"]).0, 2);
    let (code, out, _) = qanopy(dir, &["measure", "--json", "--snapshot=1", "image.qcow2"]);
    let theirs = qemu_says(dir, &["measure", "-O", "qcow2", "copy.qcow2"]);
    assert_eq!((code, result(&out)), (0, theirs.unwrap()));
    let (code, _, err) = qanopy(dir, &["measure", "--size=1M", "--snapshot=1"]);
    assert_eq!(code, 2, "{err}");
    let (code, _, err) = qanopy(dir, &["map", "--snapshot=1", "-f", "raw", "image.qcow2"]);
    assert!(
        code == 1 && err.contains("only those have internal snapshots"),
        "{err}"
    );
}

/// The map of every internal snapshot is that of a copy to which the real tool has applied it.
fn assert_snapshots_are_mapped(dir: &Path, name: &str, chain: &Chain, image: &Qcow2, tree: &Tree) {
    let path = image.path();
    for snapshot in image::snapshots(image.file(), image.header()).unwrap() {
        let view = image::snapshot_view(chain, &snapshot).unwrap();
        std::fs::copy(path, dir.join("copy")).unwrap();
        let id = String::from_utf8(snapshot.id.clone()).unwrap();
        let applied = run_in(dir, &["qemu-img", "snapshot", "-a", &id, "copy"]);
        assert!(applied.status.success(), "{name} {id}\n{tree}");
        let theirs = qemu_says(dir, &["map", "-f", "qcow2", "copy"]).unwrap();
        let ours = our_map(&view, 0, u64::MAX);
        assert!(
            ours == rows(&theirs),
            "{name} {id}:\n{ours:?}\n{theirs}\n{tree}"
        );
        std::fs::remove_file(dir.join("copy")).unwrap();
    }
}

/// Offset and length of each read.
type Reads = Arc<Mutex<Vec<(u64, u64)>>>;

/// A file that notes down what is read of it.
#[derive(Debug)]
struct Counting {
    file: Arc<dyn HostFile>,
    reads: Reads,
}

impl HostFile for Counting {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.reads.lock().unwrap().push((offset, buf.len() as u64));
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn zero(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn punch(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn clone_range(&self, _: &dyn HostFile, _: u64, _: u64, _: u64) -> io::Result<Cloned> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn copy_range(&self, _: &dyn HostFile, _: u64, _: u64, _: u64) -> io::Result<Cloned> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn reserve(&self, _: u64, _: u64) -> io::Result<bool> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn flush(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn segment_at(&self, offset: u64) -> io::Result<Segment> {
        self.file.segment_at(offset)
    }
    fn stat(&self) -> io::Result<Stat> {
        self.file.stat()
    }
    fn lock(&self, want: LockSet) -> io::Result<Lock> {
        self.file.lock(want)
    }
    fn probe_lock(&self, want: LockSet) -> io::Result<LockProbe> {
        self.file.probe_lock(want)
    }
}

/// A chain of the files named, top first, and what is read of each.
fn counted(dir: &Path, names: &[&str]) -> (Chain, Vec<Reads>) {
    let mut layers = Vec::new();
    let mut all = Vec::new();
    for name in names {
        let path = dir.join(name);
        let reads = Reads::default();
        let file = Arc::new(Counting {
            file: RealHost.open(&path, Access::Read).unwrap(),
            reads: Arc::clone(&reads),
        });
        layers.push(Arc::new(if name.ends_with(".img") {
            Layer::Raw(Raw::open(&ImageFile::new(&path, file.clone())).unwrap())
        } else {
            Layer::Qcow2(Box::new(
                Qcow2::open(&ImageFile::new(&path, file.clone()), None).unwrap(),
            ))
        }));
        all.push(reads);
    }
    (Chain::new(layers), all)
}

#[test]
fn what_two_images_share_is_not_read() {
    if support::qemu().is_none() {
        return;
    }
    const MIB: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let mut s = Script::default();
    s.push(Step::Noise {
        file: "root.img".to_owned(),
        from: 7,
        len: 4 * MIB,
    });
    s.push(Step::Truncate {
        file: "root.img".to_owned(),
        len: 16 * MIB,
    });
    s.overlay("raw", "root.img", "base.qcow2");
    s.io(
        "qcow2",
        "base.qcow2",
        &[
            "write -P 1 1M 1M",
            "write -c -P 2 6M 64k",
            "write -z 3M 64k",
        ],
    );
    s.overlay("qcow2", "base.qcow2", "one.qcow2");
    s.overlay("qcow2", "base.qcow2", "other.qcow2");
    s.io(
        "qcow2",
        "one.qcow2",
        &[
            "write -P 9 2M 64k",
            "write -z 10M 64k",
            "write -P 0 12M 64k",
        ],
    );
    s.io("qcow2", "other.qcow2", &["write -P 9 2M 32k"]);
    s.build(dir.path());
    let (one, reads) = counted(dir.path(), &["one.qcow2", "base.qcow2", "root.img"]);
    let (other, others) = counted(dir.path(), &["other.qcow2", "base.qcow2", "root.img"]);
    let before: Vec<usize> = [&reads, &others]
        .iter()
        .flat_map(|of| of.iter().map(|reads| reads.lock().unwrap().len()))
        .collect();
    let (compared, found) = differences(&one, &other);
    // One wrote 64 KiB of nines, the other 32 KiB of them over what the base shows.
    assert_eq!(found, [(2 * MIB + (32 << 10), 2 * MIB + (64 << 10))]);
    // That cluster, and the one of zeros that were written as data.
    assert_eq!(compared.read, 128 << 10);
    // In the base only an L2 table is read, in the raw root nothing.
    for (of, before) in [(&reads, &before[..3]), (&others, &before[3..])] {
        let after = of.iter().zip(before);
        let counts: Vec<usize> = after
            .map(|(reads, before)| reads.lock().unwrap().len() - before)
            .collect();
        assert_eq!(counts[1..], [1, 0], "{of:?}");
    }
    // The same image twice: tables only.
    let (again, reads) = counted(dir.path(), &["one.qcow2", "base.qcow2", "root.img"]);
    let (compared, found) = differences(&one, &again);
    assert_eq!((compared.read, found.len()), (0, 0));
    assert!(reads[2].lock().unwrap().is_empty());
}

#[test]
fn a_chain_that_is_cut_is_mapped_as_far_as_it_goes() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut s = Script::default();
    s.create("", "base.qcow2", "1M");
    s.overlay("qcow2", "base.qcow2", "middle.qcow2");
    s.io(
        "qcow2",
        "middle.qcow2",
        &["write -P 1 0 64k", "write -z 64k 64k"],
    );
    s.overlay("qcow2", "middle.qcow2", "top.qcow2");
    s.io("qcow2", "top.qcow2", &["write -P 2 256k 64k"]);
    s.push(Step::Remove("base.qcow2".to_owned()));
    s.build(dir.path());
    let top = dir.path().join("top.qcow2");
    let format = Some(&Format::Qcow2);
    let (chain, missing) = Chain::open_partly(&RealHost, &top, format, &|_| true).unwrap();
    let said = missing.unwrap().to_string();
    assert!(
        said.contains("base.qcow2") && said.contains("cannot open"),
        "{said}"
    );
    let states: Vec<(u64, usize, MapState)> = chain
        .map(0, u64::MAX)
        .map(|run| run.unwrap())
        .map(|run| (run.len >> 10, run.layer, run.state))
        .collect();
    assert_eq!(
        states,
        [
            (64, 1, MapState::Data),
            (64, 1, MapState::Zero),
            (128, 1, MapState::Unknown),
            (64, 0, MapState::Data),
            (704, 1, MapState::Unknown),
        ]
    );
    // What is not known is neither read as zero, nor equal, nor measured.
    assert!(chain.read_at(&mut [0; 512], 0).is_ok());
    assert!(chain.read_at(&mut [0; 512], 128 << 10).is_err());
    let compared = image::compare(&chain, &chain, &NoProgress, &mut |_| {
        ControlFlow::Continue(())
    });
    assert!(compared.is_err(), "{compared:?}");
    let options = Qcow2Options::default();
    let target = MeasureAs::Qcow2 {
        options: &options,
        backing: false,
        luks: false,
    };
    assert!(image::measure(Some(&chain), 0, target).is_err());
    // A file that may not be followed cuts the chain as well.
    let (chain, missing) = Chain::open_partly(&RealHost, &top, format, &|_| false).unwrap();
    assert_eq!(chain.layers().len(), 1);
    assert!(missing.unwrap().to_string().contains("outside the folders"));
}

#[test]
fn a_raw_file_that_ends_inside_a_sector_is_mapped_to_its_end_and_compared_to_the_sectors() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let len = 27_969;
    std::fs::write(dir.join("odd.img"), vec![7; len]).unwrap();
    let mut s = Script::default();
    s.create("-b odd.img -F raw", "over.qcow2", "1M");
    s.create("", "empty.qcow2", "1M");
    s.build(dir);
    let names = [
        ("odd.img", "raw"),
        ("over.qcow2", "qcow2"),
        ("empty.qcow2", "qcow2"),
    ];
    let [odd, over, empty] = names.map(|(name, format)| {
        let chain = open(&dir.join(name), format);
        let theirs = qemu_says(dir, &["map", "-f", format, name]).unwrap();
        assert_eq!(our_map(&chain, 0, u64::MAX), rows(&theirs), "{name}");
        chain
    });
    assert_eq!(our_map(&odd, 0, u64::MAX)[0].1, len as u64);
    let sectors = (len as u64).next_multiple_of(512);
    assert_eq!(differences(&odd, &empty).1, [(0, sectors)]);
    assert_eq!(differences(&over, &empty).1, [(0, sectors)]);
    assert_eq!(differences(&over, &odd).1, []);
}

#[test]
fn a_comparison_stops_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.img"), dir.path().join("b.img"));
    let bytes: Vec<u8> = (0..8 << 20)
        .map(|n| if n / 512 % 2 == 0 { 7 } else { 0 })
        .collect();
    std::fs::write(&a, &bytes).unwrap();
    std::fs::write(&b, vec![0; bytes.len()]).unwrap();
    let (one, other) = (open(&a, "raw"), open(&b, "raw"));
    let (compared, found) = differences(&one, &other);
    assert_eq!(compared.differences, 8192);
    assert_eq!(found.len(), 8192);
    let mut told = 0;
    let result = image::compare(&one, &other, &NoProgress, &mut |_| {
        told += 1;
        ControlFlow::Break(())
    });
    assert!(matches!(result.unwrap_err().kind, ErrorKind::Cancelled));
    assert_eq!(told, 1);
    let result = image::compare(&one, &other, &Never, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(result.unwrap_err().kind, ErrorKind::Cancelled));
}

/// Stops everything.
struct Never;

impl image::ProgressSink for Never {
    fn advance(&self, _: u64) -> bool {
        false
    }
}

/// Runs the program in `dir` and gives exit code, output and complaints.
fn qanopy(dir: &Path, words: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_qanopy"))
        .args(words)
        .current_dir(dir)
        .env("XDG_STATE_HOME", dir.join("state"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        out.status.code().unwrap(),
        text(&out.stdout),
        text(&out.stderr),
    )
}

#[test]
fn the_commands_follow_only_where_they_may_and_end_with_the_code_that_says_it() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut s = Script::default();
    s.push(Step::MakeDir("far".to_owned()));
    s.push(Step::MakeDir("near".to_owned()));
    s.create("", "far/base.qcow2", "1M");
    s.io("qcow2", "far/base.qcow2", &["write -P 1 0 64k"]);
    s.create("-b ../far/base.qcow2 -F qcow2", "near/over.qcow2", "");
    s.create("", "near/other.qcow2", "2M");
    s.io("qcow2", "near/other.qcow2", &["write -P 1 0 64k"]);
    s.push(Step::Zeros {
        file: "near/odd.img".to_owned(),
        len: 1000,
    });
    let bytes = dir.path().join("far/bytes.raw");
    let option = format!("-o data_file={}", bytes.display());
    s.create(&option, "near/apart.qcow2", "1M");
    s.build(dir.path());
    let at = dir.path();

    let (code, out, err) = qanopy(at, &["map", "--json", "near/over.qcow2"]);
    assert_eq!(code, 3, "{err}");
    assert!(
        err.contains("outside the folders") && err.contains("--follow"),
        "{err}"
    );
    let map = result(&out);
    assert_eq!(map[0]["present"], false);
    assert_eq!(map[0]["zero"], false);
    let (code, out, err) = qanopy(at, &["map", "--json", "--follow", "near/over.qcow2"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let map = result(&out);
    let theirs = qemu_says(at, &["map", "near/over.qcow2"]).unwrap();
    assert_eq!(rows(&map), rows(&theirs));
    assert_eq!(map[0]["filename"], "near/../far/base.qcow2");
    let (code, out, _) = qanopy(at, &["map", "--follow", "near/over.qcow2"]);
    assert_eq!(code, 0);
    assert!(out.contains("data       1"), "{out}");

    // A data file is followed under the same rule.
    let (code, _, err) = qanopy(at, &["map", "near/apart.qcow2"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("outside the folders"), "{err}");
    assert_eq!(qanopy(at, &["map", "--follow", "near/apart.qcow2"]).0, 0);

    // The folder of the other image was named with it.
    let pair = ["compare", "near/over.qcow2", "far/base.qcow2"];
    assert_eq!(qanopy(at, &pair).0, 0);
    let pair = ["compare", "near/over.qcow2", "near/other.qcow2"];
    let (code, _, err) = qanopy(at, &pair);
    assert_eq!(code, 1, "{err}");
    // Another size is the same content, unless that matters.
    let (code, out, _) = qanopy(at, &["compare", "--follow", pair[1], pair[2]]);
    assert_eq!(code, 0, "{out}");
    let strict = [
        "compare", "--follow", "--strict", "--json", pair[1], pair[2],
    ];
    let (code, out, _) = qanopy(at, &strict);
    assert_eq!(code, 3, "{out}");
    let told = result(&out);
    assert_eq!(told["identical"], false);
    assert_eq!(told["differing-ranges"], 0);

    s = Script::default();
    let writes: Vec<String> = (0..30)
        .map(|n| format!("write -P 3 {} 512", n * 1024))
        .collect();
    let writes: Vec<&str> = writes.iter().map(String::as_str).collect();
    s.io("qcow2", "near/other.qcow2", &writes);
    s.build(at);
    let (code, out, _) = qanopy(at, &["compare", "far/base.qcow2", "near/other.qcow2"]);
    assert_eq!(code, 3);
    assert!(out.contains("and 10 more (--all lists them)"), "{out}");
    let (_, out, _) = qanopy(
        at,
        &["compare", "--all", "far/base.qcow2", "near/other.qcow2"],
    );
    assert!(
        out.contains("0x7400") && out.contains("30 ranges, 15 KiB"),
        "{out}"
    );
    let (code, out, _) = qanopy(
        at,
        &["compare", "--json", "far/base.qcow2", "near/other.qcow2"],
    );
    assert_eq!(code, 3);
    let told = result(&out);
    assert_eq!(told["ranges"].as_array().unwrap().len(), 30);
    assert_eq!(told["ranges"][29]["start"], 29 * 1024);

    let (code, out, _) = qanopy(at, &["measure", "--json", "near/odd.img"]);
    let told = result(&out);
    let theirs = qemu_says(at, &["measure", "-O", "qcow2", "-f", "raw", "near/odd.img"]).unwrap();
    assert_eq!((code, &told["required"]), (0, &theirs["required"]));
    for wrong in [
        &["measure"][..],
        &["measure", "--size", "1G", "near/odd.img"],
        &["measure", "--size", "1G", "--cluster-size", "3K"],
        &["measure", "--size", "1G", "-O", "raw", "--extended-l2"],
        &["measure", "--size", "1G", "--data-file", "x"],
    ] {
        assert_eq!(qanopy(at, wrong).0, 2, "{wrong:?}");
    }
    assert_eq!(
        qanopy(at, &["measure", "--size", "7E", "--cluster-size", "512"]).0,
        1
    );
}

#[test]
fn an_image_in_use_is_read_and_said_to_be() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut s = Script::default();
    s.create("", "disk.qcow2", "1M");
    s.build(dir.path());
    let held = qemu.hold_with_io(&dir.path().join("disk.qcow2"), HoldMode::ReadWrite);
    let (code, out, err) = qanopy(dir.path(), &["map", "disk.qcow2"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("nothing"), "{out}");
    assert!(
        err.contains("in use by") && err.contains("may be torn"),
        "{err}"
    );
    drop(held);
    let (_, _, err) = qanopy(dir.path(), &["map", "disk.qcow2"]);
    assert_eq!(err, "");
}
