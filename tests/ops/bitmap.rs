//! Dirty bitmaps: changed by us and by the real tools alike, each reading what the other wrote; and
//! never right by accident where a write was not recorded.

use crate::support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use proptest::prelude::*;

use qanopy::host::{Access, Host, RealHost};
use qanopy::image::{
    Amendment, CarriedBitmaps, Format, ImageFile, Preallocation, bitmaps, dirty, read_header,
};
use qanopy::ops::{
    AmendImage, BackingStyle, BitmapAction, ChangeBitmap, CommittedLayer, Convert, ConvertForm,
    Dependants, ImageOptions, NewSize, RefusalKind, Relink, Request, Resize, Siblings,
    SnapshotName,
};
use qanopy::qcow2::bitmap::BitmapFlags;
use qanopy::qcow2::extension::Extension;
use support::image_crash_suite::{Case, digest, plan, refused_as, run, words};
use support::script::Script;
use support::{HoldMode, Qemu, own_code};

fn request(image: &Path, bitmap: &str, action: BitmapAction) -> Request {
    Request::Bitmap(ChangeBitmap {
        image: image.to_path_buf(),
        bitmap: bitmap.into(),
        action,
    })
}

fn add(granularity: Option<u64>) -> BitmapAction {
    BitmapAction::Add {
        granularity,
        enabled: true,
    }
}

fn merge(source: &str) -> BitmapAction {
    BitmapAction::Merge {
        source: source.into(),
        from: None,
    }
}

/// Name, granularity and flags of each bitmap, and the dirty ranges of those that are not stale.
type Listed = (String, u64, BitmapFlags, Option<Vec<std::ops::Range<u64>>>);

fn list(path: &Path) -> Vec<Listed> {
    let file = ImageFile::open(&RealHost, path, Access::Read).unwrap();
    let header = read_header(&file).unwrap();
    let mut all: Vec<Listed> = bitmaps(&file, &header)
        .unwrap()
        .iter()
        .map(|bitmap| {
            let ranges = (!bitmap.flags.contains(BitmapFlags::IN_USE))
                .then(|| dirty(&file, &header, &bitmap.name).unwrap().ranges());
            (
                String::from_utf8_lossy(&bitmap.name).into_owned(),
                bitmap.granularity(),
                bitmap.flags,
                ranges,
            )
        })
        .collect();
    // The order is nobody's business.
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// The dirty ranges of a bitmap as QEMU exports them.
fn exported(dir: &Path, image: &str, bitmap: &str) -> Vec<std::ops::Range<u64>> {
    let socket = dir.join("nbd.sock");
    let mut server = Command::new("qemu-nbd")
        .args(["-r", "-f", "qcow2", "-B", bitmap, "-k"])
        .arg(&socket)
        .arg(image)
        .current_dir(dir)
        .spawn()
        .unwrap();
    let mut tries = 0;
    while !socket.exists() && tries < 2000 {
        std::thread::sleep(Duration::from_millis(5));
        tries += 1;
    }
    let options = format!(
        "driver=nbd,server.type=unix,server.path={},x-dirty-bitmap=qemu:dirty-bitmap:{bitmap}",
        socket.display()
    );
    let told = Command::new("qemu-img")
        .args(["map", "--output=json", "--image-opts", &options])
        .output()
        .unwrap();
    // It ends by itself once its client is gone.
    let _ = server.wait();
    let _ = std::fs::remove_file(&socket);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let mut all: Vec<std::ops::Range<u64>> = Vec::new();
    for extent in told.as_array().unwrap() {
        let (start, len) = (
            extent["start"].as_u64().unwrap(),
            extent["length"].as_u64().unwrap(),
        );
        if extent["data"] != false {
            continue;
        }
        match all.last_mut() {
            Some(last) if last.end == start => last.end += len,
            _ => all.push(start..start + len),
        }
    }
    all
}

#[derive(Debug, Clone)]
enum Step {
    Add(&'static str, Option<u64>, bool),
    Do(&'static str, &'static str),
    Merge(&'static str, &'static str),
    Io(u64, u64),
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || prop::sample::select(NAMES.to_vec());
    let granularity = prop::option::of((9u32..20).prop_map(|bits| 1u64 << bits));
    let verb = prop::sample::select(vec!["--remove", "--clear", "--enable", "--disable"]);
    let step = prop_oneof![
        3 => (name(), granularity, any::<bool>()).prop_map(|(n, g, off)| Step::Add(n, g, off)),
        3 => (name(), verb).prop_map(|(name, verb)| Step::Do(name, verb)),
        3 => (name(), name()).prop_map(|(into, from)| Step::Merge(into, from)),
        3 => (0u64..3000, 1u64..700).prop_map(|(at, len)| Step::Io(at * 512, len * 512)),
    ];
    prop::collection::vec(step, 2..10)
}

fn options() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec!["", ",extended_l2=on", ",data_file=d.raw"]);
    (prop_oneof![4 => 9u32..=16, 1 => 17u32..=21], 0u32..=6, kind).prop_map(
        |(bits, order, kind)| {
            let bits = if kind.contains("l2") {
                bits.max(14)
            } else {
                bits
            };
            format!(
                "cluster_size={},refcount_bits={}{kind}",
                1u64 << bits,
                1 << order
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_to_bitmaps_comes_out_as_with_the_real_tool(options in options(), steps in steps()) {
        let Some(qemu) = support::qemu() else { return Ok(()) };
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let (qemu, host) = (qemu.within(home), own_code::real_host());
        std::fs::create_dir(home.join("twin")).unwrap();
        let twins = Qemu::within(&qemu, home.join("twin"));
        for one in [&qemu, &twins] {
            one.img(&["create", "-q", "-f", "qcow2", "-o", &options, "image.qcow2", "1536k"]);
        }
        let (path, twin) = (home.join("image.qcow2"), home.join("twin/image.qcow2"));
        for step in &steps {
            let (bitmap, action, args) = match *step {
                Step::Io(at, len) => {
                    let len = len.min((1536 << 10) - at);
                    qemu.io("image.qcow2", &[format!("write -P 7 {at} {len}")]);
                    twins.io("image.qcow2", &[format!("write -P 7 {at} {len}")]);
                    continue;
                }
                Step::Add(name, granularity, off) => {
                    let mut args = vec!["--add".to_owned()];
                    if off {
                        args.push("--disable".to_owned());
                    }
                    if let Some(bytes) = granularity {
                        args.extend(["-g".to_owned(), bytes.to_string()]);
                    }
                    (name, BitmapAction::Add { granularity, enabled: !off }, args)
                }
                Step::Do(name, verb) => {
                    let action = match verb {
                        "--remove" => BitmapAction::Remove,
                        "--clear" => BitmapAction::Clear,
                        "--enable" => BitmapAction::Enable,
                        _ => BitmapAction::Disable,
                    };
                    (name, action, vec![verb.to_owned()])
                }
                Step::Merge(into, from) => (into, merge(from), vec!["--merge".to_owned(), from.to_owned()]),
            };
            let mut words = vec!["bitmap".to_owned()];
            words.extend(args);
            words.extend(["image.qcow2".to_owned(), bitmap.to_owned()]);
            let theirs = twins.try_img(&words).success();
            let done = run(&host, home, &request(&path, bitmap, action.clone()));
            // What is so already is said to be so; the real tool does it once more.
            let is_so = |why: &String| why.contains("already") && !matches!(action, BitmapAction::Add { .. });
            let is_fine = done.is_ok() || done.as_ref().is_err_and(is_so);
            prop_assert_eq!(is_fine, theirs, "{:?} {:?}: {:?}", bitmap, action, done);
            qemu.check_clean(&path);
            prop_assert_eq!(list(&path), list(&twin), "after {:?}", step);
        }
        if let Some((name, _, _, ranges)) = list(&path).into_iter().next_back() {
            prop_assert_eq!(exported(home, "image.qcow2", &name), ranges.unwrap());
        }
        prop_assert_eq!(qemu.raw_bytes("image.qcow2"), twins.raw_bytes("image.qcow2"));
    }
}

/// What an image shows, and all about its bitmaps.
fn shown(dir: &Path) -> String {
    let path = dir.join("image.qcow2");
    format!("{} {:?}", digest(&path), list(&path))
}

fn with_bitmaps(options: &str) -> Script {
    let mut script = Script::default();
    script.create(options, "image.qcow2", "1M");
    script.run("qemu-img bitmap --add -g 512 image.qcow2 fine");
    script.io("qcow2", "image.qcow2", &["write -P 1 100k 200k"]);
    script.run("qemu-img bitmap --add image.qcow2 coarse");
    script.io("qcow2", "image.qcow2", &["write -P 2 600k 100k"]);
    script
}

#[test]
fn every_change_of_bitmaps_survives_every_crash_and_every_failed_call() {
    if support::qemu().is_none() {
        return;
    }
    for (options, bitmap, action) in [
        ("-o cluster_size=512", "new", add(None)),
        ("", "fine", BitmapAction::Remove),
        ("-o cluster_size=4k", "fine", BitmapAction::Clear),
        ("", "fine", BitmapAction::Disable),
        ("-o extended_l2=on", "off", BitmapAction::Enable),
        (
            "-o cluster_size=1k,refcount_bits=1",
            "coarse",
            merge("fine"),
        ),
    ] {
        let mut script = with_bitmaps(options);
        script.run("qemu-img bitmap --add --disable image.qcow2 off");
        let case = Case {
            script: &script,
            image: "image.qcow2",
            request: &|path| request(path, bitmap, action.clone()),
            shown: &shown,
            may_leak: false,
        };
        case.survives_crashes();
        case.survives_failures();
    }
}

#[test]
fn the_first_and_the_last_bitmap_come_and_go_without_a_trace() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (home, host) = (dir.path(), own_code::real_host());
    let mut script = Script::default();
    script.create("", "image.qcow2", "1M");
    script.build(home);
    let path = home.join("image.qcow2");
    let before = shown(home);
    let added = run(&host, home, &request(&path, "b", add(None))).unwrap();
    assert_eq!(list(&path)[0].1, 65_536);
    qemu.check_clean(&path);
    run(&host, home, &added.undo.unwrap()).unwrap();
    assert_eq!(shown(home), before);
    let file = ImageFile::open(&RealHost, &path, Access::Read).unwrap();
    let header = read_header(&file).unwrap();
    assert!(
        header.autoclear.is_empty() && header.extensions.len() == 1,
        "{header:?}"
    );
    qemu.check_clean(&path);
}

#[test]
fn a_place_in_the_header_that_crosses_a_sector_changes_as_well() {
    let Some(qemu) = support::qemu() else { return };
    // The longer the data file's name, the further back the place of the bitmaps.
    for (len, crowded) in (1..8).map(|len| (len, false)).chain([(4, true)]) {
        let dir = tempfile::tempdir().unwrap();
        let (home, host) = (dir.path(), own_code::real_host());
        let qemu = qemu.within(home);
        let data = "d".repeat(len * 8 - 3);
        let options = format!("data_file={data}");
        qemu.img(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            &options,
            "image.qcow2",
            "1M",
        ]);
        let path = home.join("image.qcow2");
        if crowded {
            // No room in the first sector even without the names of features.
            let file = RealHost.open(&path, Access::ReadWrite).unwrap();
            let mut edited = read_header(&ImageFile::new(&path, file.clone())).unwrap();
            edited.extensions.push(Extension {
                magic: 0x1234_5678,
                data: vec![7; 420],
            });
            file.write_at(&edited.encode().unwrap(), 0).unwrap();
        }
        for (bitmap, action) in [
            ("b", add(None)),
            ("longer name", add(Some(512))),
            ("b", merge("longer name")),
            ("b", BitmapAction::Remove),
        ] {
            run(&host, home, &request(&path, bitmap, action)).unwrap();
            qemu.check_clean(&path);
        }
        assert_eq!(list(&path).len(), 1);
        let info = support::oracle::info(&path).unwrap();
        let bitmaps = &info["format-specific"]["data"]["bitmaps"];
        assert_eq!(bitmaps[0]["name"], "longer name", "{info}");
    }
}

#[test]
fn a_bitmap_of_another_image_is_merged() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (home, host) = (dir.path(), own_code::real_host());
    let qemu = qemu.within(home);
    with_bitmaps("").build(home);
    let path = home.join("image.qcow2");
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        "cluster_size=4k",
        "other.qcow2",
        "1M",
    ]);
    qemu.img(&["bitmap", "--add", "-g", "4k", "other.qcow2", "theirs"]);
    qemu.io("other.qcow2", &["write 900k 5k"]);
    std::fs::copy(&path, home.join("twin.qcow2")).unwrap();
    qemu.img(&[
        "bitmap",
        "--merge",
        "theirs",
        "-b",
        "other.qcow2",
        "-F",
        "qcow2",
        "twin.qcow2",
        "fine",
    ]);
    let action = BitmapAction::Merge {
        source: "theirs".into(),
        from: Some(home.join("other.qcow2")),
    };
    run(&host, home, &request(&path, "fine", action.clone())).unwrap();
    assert_eq!(list(&path), list(&home.join("twin.qcow2")));
    assert_eq!(
        exported(home, "image.qcow2", "fine"),
        list(&path)[1].3.clone().unwrap()
    );
    qemu.img(&["resize", "-q", "other.qcow2", "2M"]);
    refused(
        home,
        &request(&path, "fine", action),
        RefusalKind::Unsupported,
    );
}

fn refused(dir: &Path, request: &Request, kind: RefusalKind) -> String {
    refused_as(&plan(&own_code::real_host(), dir, request), kind)
}

/// As a machine that lost power leaves the first bitmap.
fn mark_in_use(path: &Path) {
    let file = RealHost.open(path, Access::ReadWrite).unwrap();
    let header = read_header(&ImageFile::new(path, file.clone())).unwrap();
    let offset = header.bitmaps().unwrap().directory_offset.get();
    let mut flags = [0; 4];
    file.read_at(&mut flags, offset + 12).unwrap();
    flags[3] |= 1;
    file.write_at(&flags, offset + 12).unwrap();
}

#[test]
fn what_cannot_be_done_to_a_bitmap_is_refused_with_the_reason() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let qemu = qemu.within(home);
    with_bitmaps("").build(home);
    let path = home.join("image.qcow2");
    let long = "x".repeat(1024);
    for (bitmap, action, kind) in [
        ("fine", add(None), RefusalKind::AlreadyExists),
        ("", add(None), RefusalKind::Image("limit")),
        (&*long, add(None), RefusalKind::Image("limit")),
        ("new", add(Some(256)), RefusalKind::Image("limit")),
        ("new", add(Some(3000)), RefusalKind::Image("limit")),
        ("new", add(Some(1 << 32)), RefusalKind::Image("limit")),
        ("none", BitmapAction::Remove, RefusalKind::NotFound),
        ("none", BitmapAction::Clear, RefusalKind::NotFound),
        ("none", BitmapAction::Enable, RefusalKind::NotFound),
        ("fine", merge("none"), RefusalKind::NotFound),
        ("none", merge("fine"), RefusalKind::NotFound),
    ] {
        refused(home, &request(&path, bitmap, action), kind);
    }
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        "compat=0.10",
        "old.qcow2",
        "1M",
    ]);
    refused(
        home,
        &request(&home.join("old.qcow2"), "b", add(None)),
        RefusalKind::Unsupported,
    );
    qemu.img(&["create", "-q", "-f", "qcow2", "huge.qcow2", "64T"]);
    refused(
        home,
        &request(&home.join("huge.qcow2"), "b", add(Some(512))),
        RefusalKind::Image("limit"),
    );
    qemu.img(&["create", "-q", "-f", "qcow2", "empty.qcow2", "0"]);
    refused(
        home,
        &request(&home.join("empty.qcow2"), "b", add(None)),
        RefusalKind::Unsupported,
    );
    {
        // Killed, it leaves the bitmaps of its image marked.
        let busy = home.join("busy.qcow2");
        std::fs::copy(&path, &busy).unwrap();
        let _held = qemu.hold_with_io(&busy, HoldMode::ReadWrite);
        refused(
            home,
            &request(&busy, "fine", BitmapAction::Clear),
            RefusalKind::InUse,
        );
    }
    // A stale one can only be removed, and the others go on.
    let (stale, other) = {
        let file = ImageFile::open(&RealHost, &path, Access::Read).unwrap();
        let header = read_header(&file).unwrap();
        let first = bitmaps(&file, &header).unwrap().swap_remove(0);
        if first.name == b"fine" {
            ("fine", "coarse")
        } else {
            ("coarse", "fine")
        }
    };
    mark_in_use(&path);
    let host = own_code::real_host();
    for action in [
        BitmapAction::Clear,
        BitmapAction::Enable,
        BitmapAction::Disable,
        merge(other),
    ] {
        refused(
            home,
            &request(&path, stale, action),
            RefusalKind::Unsupported,
        );
    }
    refused(
        home,
        &request(&path, other, merge(stale)),
        RefusalKind::Unsupported,
    );
    run(&host, home, &request(&path, other, BitmapAction::Disable)).unwrap();
    let is_stale = |listed: &Listed| listed.2.contains(BitmapFlags::IN_USE);
    assert_eq!(list(&path).iter().filter(|one| is_stale(one)).count(), 1);
    run(&host, home, &request(&path, stale, BitmapAction::Remove)).unwrap();
    assert_eq!(list(&path).len(), 1);
    qemu.check_clean(&path);
}

#[test]
fn every_writer_keeps_bitmaps_right_or_marks_them() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (home, host) = (dir.path(), own_code::real_host());
    let qemu = qemu.within(home);
    let mut script = Script::default();
    script.create("", "root.qcow2", "1M");
    script.create("-F qcow2 -b root.qcow2", "image.qcow2", "1M");
    script.run("qemu-img bitmap --add image.qcow2 on");
    script.io("qcow2", "image.qcow2", &["write -P 1 100k 200k"]);
    script.run("qemu-img bitmap --add --disable image.qcow2 off");
    script.create("-F qcow2 -b image.qcow2", "child.qcow2", "1M");
    script.io("qcow2", "child.qcow2", &["write -P 2 0 64k"]);
    script.build(home);
    let path = home.join("image.qcow2");
    let before = list(&path);
    // What leaves content alone leaves bitmaps alone.
    let amended = Amendment {
        lazy_refcounts: Some(true),
        refcount_order: Some(5),
        ..Amendment::default()
    };
    for request in [
        Request::Amend(AmendImage {
            image: path.clone(),
            amendment: amended,
        }),
        Request::Relink(Relink {
            image: path.clone(),
            base: None,
            format: Some(Format::Qcow2),
            style: Some(qanopy::ops::BackingStyle::Absolute),
        }),
    ] {
        run(&host, home, &request).unwrap();
        assert_eq!(list(&path), before, "{request:?}");
        qemu.check_clean(&path);
    }
    let grown = Request::Resize(Resize {
        image: path.clone(),
        size: NewSize::More(1 << 20),
        shrink: false,
        preallocation: Preallocation::Metadata,
        dependants: Dependants::Refuse,
    });
    run(&host, home, &grown).unwrap();
    assert_eq!(list(&path), before, "nothing new is dirty");
    qemu.check_clean(&path);
    // What changes content marks those that record writes.
    let overlay = home.join("child.qcow2");
    own_code::commit(
        &host,
        home,
        &overlay,
        CommittedLayer::Keep,
        Siblings::Refuse,
    )
    .unwrap();
    let after = list(&path);
    assert!(after[1].2.contains(BitmapFlags::IN_USE), "{after:?}");
    assert_eq!(after[0], before[0], "one that is off misses nothing");
    qemu.check_clean(&path);
}

/// A conversion of `source` to `new` in that directory, with the bitmaps.
fn conversion(dir: &Path, source: &str, new: &str, bitmaps: CarriedBitmaps) -> Convert {
    Convert {
        salvage: false,
        sparse: qanopy::image::SparseSize::default(),
        sources: vec![dir.join(source)],
        format: None,
        snapshot: None,
        bitmaps,
        new: dir.join(new),
        form: ConvertForm::Qcow2 {
            image: ImageOptions::default(),
            compress: None,
        },
        backing: None,
        style: BackingStyle::Relative,
    }
}

fn qanopy(dir: &Path, words: &str) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_qanopy"))
        .args(words.split_whitespace())
        .current_dir(dir)
        .env("XDG_STATE_HOME", dir.join("state"))
        .output()
        .unwrap()
}

#[test]
fn bitmaps_come_along_in_a_conversion_as_with_the_real_tool() {
    let Some(qemu) = support::qemu() else { return };
    for (number, source) in ["", "-o cluster_size=512,refcount_bits=1"]
        .into_iter()
        .enumerate()
    {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let mut script = Script::default();
        script.create("", "base.qcow2", "3000k");
        script.io("qcow2", "base.qcow2", &["write -P 9 0 2M"]);
        let options = format!("{source} -b base.qcow2 -F qcow2");
        script.create(&options, "image.qcow2", "");
        script.run("qemu-img bitmap --add -g 512 image.qcow2 fine");
        script.io(
            "qcow2",
            "image.qcow2",
            &["write -P 1 100k 200k", "write -z 1M 1100k"],
        );
        script.run("qemu-img bitmap --add image.qcow2 coarse");
        script.run("qemu-img bitmap --add --disable -g 64k image.qcow2 off");
        script.run("qemu-img bitmap --merge fine image.qcow2 off");
        script.io("qcow2", "image.qcow2", &["write -P 2 2500k 100k"]);
        script.build(dir);
        let here = qemu.within(dir);
        let shown = here.digest("image.qcow2");
        for (ours, theirs) in [
            ("", "-O qcow2"),
            (
                "--cluster-size=512 --refcount-bits=64",
                "-O qcow2 -o cluster_size=512,refcount_bits=64",
            ),
            (
                "--cluster-size=2M --extended-l2",
                "-O qcow2 -o cluster_size=2M,extended_l2=on",
            ),
            (
                "--cluster-size=4K --refcount-bits=1 --compress",
                "-c -O qcow2 -o cluster_size=4k,refcount_bits=1",
            ),
            (
                "--preallocation=metadata --lazy-refcounts",
                "-O qcow2 -o preallocation=metadata",
            ),
            (
                "--data-file=ours.raw --data-file-raw",
                "-O qcow2 -o data_file=theirs.raw,data_file_raw=on",
            ),
            ("--backing=base.qcow2", "-O qcow2 -B base.qcow2 -F qcow2"),
        ] {
            let said = qanopy(
                dir,
                &format!("convert --yes --bitmaps image.qcow2 ours.qcow2 {ours}"),
            );
            assert!(
                said.status.success(),
                "{ours}: {}",
                String::from_utf8_lossy(&said.stderr)
            );
            let words = format!("convert --bitmaps {theirs} image.qcow2 theirs.qcow2");
            here.img(&words.split_whitespace().collect::<Vec<_>>());
            here.check_clean("ours.qcow2");
            assert_eq!(
                list(&dir.join("ours.qcow2")),
                list(&dir.join("theirs.qcow2")),
                "{ours}"
            );
            assert_eq!(here.digest("ours.qcow2"), shown, "{ours}");
            // The bits as another reader than ours sees them.
            if number == 0 || ours.is_empty() {
                let of = |image: &str| exported(dir, image, "fine");
                assert_eq!(of("ours.qcow2"), of("image.qcow2"), "{ours}");
            }
            // They are whole enough to be written to and to record it.
            here.io("ours.qcow2", &["write -P 3 700k 5k"]);
            here.check_clean("ours.qcow2");
            assert_ne!(
                list(&dir.join("ours.qcow2")),
                list(&dir.join("theirs.qcow2"))
            );
            for name in ["ours.qcow2", "theirs.qcow2", "ours.raw", "theirs.raw"] {
                drop(std::fs::remove_file(dir.join(name)));
            }
        }
    }
}

#[test]
fn a_bitmap_that_nobody_may_trust_is_not_taken_along() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    with_bitmaps("").build(dir);
    let here = qemu.within(dir);
    here.img(&["snapshot", "-c", "s", "image.qcow2"]);
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-o",
        "compat=0.10",
        "old.qcow2",
        "1M",
    ]);
    let request = |wish: Convert| Request::Convert(wish);
    let all = || conversion(dir, "image.qcow2", "new.qcow2", CarriedBitmaps::All);
    let mut raw = all();
    raw.form = ConvertForm::Raw {
        preallocation: Preallocation::Off,
    };
    let mut past = all();
    past.snapshot = Some(SnapshotName::Name("s".into()));
    let mut two = all();
    two.sources.push(dir.join("old.qcow2"));
    let mut version_2 = all();
    if let ConvertForm::Qcow2 { image, .. } = &mut version_2.form {
        image.format.old_version = true;
    }
    let of_old = conversion(dir, "old.qcow2", "new.qcow2", CarriedBitmaps::Sound);
    for (wish, kind) in [
        (raw, RefusalKind::Unsupported),
        (past, RefusalKind::Invalid),
        (two, RefusalKind::Invalid),
        (version_2, RefusalKind::Unsupported),
        (of_old, RefusalKind::Unsupported),
    ] {
        refused(dir, &request(wish), kind);
    }
    mark_in_use(&dir.join("image.qcow2"));
    refused(dir, &request(all()), RefusalKind::WouldLose);
    let against = plan(&own_code::real_host(), dir, &request(all())).refusals;
    let line = against[0].ways_out[0].request.command_line().unwrap();
    let line = line.to_string();
    assert!(line.contains("--skip-broken-bitmaps"), "{line}");
    let outcome = here.try_img(&[
        "convert",
        "--bitmaps",
        "-O",
        "qcow2",
        "image.qcow2",
        "theirs.qcow2",
    ]);
    assert!(!outcome.success());
    assert!(!dir.join("new.qcow2").exists());
    let plan = plan(
        &own_code::real_host(),
        dir,
        &request(conversion(
            dir,
            "image.qcow2",
            "new.qcow2",
            CarriedBitmaps::Sound,
        )),
    );
    let text = words(&plan);
    assert!(
        text.contains("come along: coarse") && text.contains("stay behind: fine"),
        "{text}"
    );
    let said = qanopy(
        dir,
        "convert --yes --bitmaps --skip-broken-bitmaps image.qcow2 new.qcow2",
    );
    assert!(said.status.success());
    let skip = ["--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2"];
    here.img(&[&["convert"][..], &skip, &["image.qcow2", "theirs.qcow2"]].concat());
    assert_eq!(
        list(&dir.join("new.qcow2")),
        list(&dir.join("theirs.qcow2"))
    );
    here.check_clean("new.qcow2");
    assert_eq!(
        qanopy(dir, "convert --bitmaps --snapshot=s image.qcow2 x")
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn a_crash_leaves_a_copy_with_all_its_bitmaps_or_none_at_all() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    with_bitmaps("-o cluster_size=1k").build(dir);
    let expected = (
        digest(&dir.join("image.qcow2")),
        list(&dir.join("image.qcow2")),
    );
    let recorder = std::sync::Arc::new(support::RecordingHost::new(dir));
    let host: std::sync::Arc<dyn Host> = recorder.clone();
    let mut wish = conversion(dir, "image.qcow2", "new.qcow2", CarriedBitmaps::All);
    if let ConvertForm::Qcow2 { image, .. } = &mut wish.form {
        image.format.cluster_bits = 9;
    }
    run(&host, dir, &Request::Convert(wish)).unwrap();
    recorder.mark("done");
    let log = recorder.log();
    let mut whole = 0;
    for (number, state) in log.crash_states(80, 3).enumerate() {
        let after = log.replay(&state);
        let new = after.path().join("new.qcow2");
        let said = || format!("state {number}:\n{}", log.describe(&state));
        if !new.exists() {
            assert!(!state.passed("done"), "{}", said());
            continue;
        }
        whole += 1;
        assert!(support::checker::check(&new).is_sound(), "{}", said());
        assert_eq!((digest(&new), list(&new)), expected, "{}", said());
    }
    assert!(whole > 0);
}
