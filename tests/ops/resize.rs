//! Resizing: what is new reads as zero, what stays stays, what is cut off is needed by nobody; and the
//! real tools find nothing wrong afterwards.

use crate::support;

use std::path::Path;

use proptest::prelude::*;

use qanopy::host::{Access, Host, RealHost};
use qanopy::image::{ImageFile, Preallocation, bitmaps, dirty, read_header};
use qanopy::ops::{Confirm, Dependants, NewSize, RefusalKind, Request, Resize};
use support::image_crash_suite::{Case, digest, plan, refused_as, run, words};
use support::oracle::{self, View};
use support::script::Script;
use support::{HoldMode, own_code};

fn to(image: &Path, size: u64) -> Request {
    Request::Resize(Resize {
        image: image.to_path_buf(),
        size: NewSize::To(size),
        shrink: true,
        preallocation: Preallocation::Off,
        dependants: Dependants::Break,
    })
}

/// Every bitmap's name and dirty ranges, as we read them.
fn bits(path: &Path) -> Vec<(String, Vec<std::ops::Range<u64>>)> {
    let file = ImageFile::open(&RealHost, path, Access::Read).unwrap();
    let header = read_header(&file).unwrap();
    let list = bitmaps(&file, &header).unwrap();
    let read = |name: &[u8]| dirty(&file, &header, name).unwrap().ranges();
    list.iter()
        .map(|bitmap| {
            let name = String::from_utf8_lossy(&bitmap.name).into_owned();
            let ranges = read(&bitmap.name);
            (name, ranges)
        })
        .collect()
}

#[derive(Debug, Clone)]
enum Step {
    Io(u64, u64, u8),
    Resize(u64, Preallocation),
    Snapshot,
}

const KIB: u64 = 1024;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop_oneof![
        4 => Just(Preallocation::Off),
        1 => Just(Preallocation::Metadata),
        1 => Just(Preallocation::Falloc),
        1 => Just(Preallocation::Full),
    ];
    let step = prop_oneof![
        3 => (0..5000 * KIB / 512, 1..300 * KIB / 512, 0u8..5)
            .prop_map(|(at, len, kind)| Step::Io(at * 512, len * 512, kind)),
        3 => (1..6000 * KIB / 512, how).prop_map(|(size, how)| Step::Resize(size * 512, how)),
        1 => Just(Step::Snapshot),
    ];
    prop::collection::vec(step, 1..9)
}

#[derive(Debug, Clone)]
struct Image {
    options: String,
    backing: Option<u64>,
    bitmaps: bool,
    snapshots: bool,
}

fn image() -> impl Strategy<Value = Image> {
    let kind = prop_oneof![
        1 => Just("old"), 3 => Just("plain"), 2 => Just("extended"), 1 => Just("data"), 1 => Just("raw data"),
    ];
    (
        kind,
        prop_oneof![4 => 9u32..=16, 1 => 17u32..=21],
        0u32..=6,
        prop::option::of(1..5000u64),
        any::<bool>(),
    )
        .prop_map(|(kind, bits, order, backing, bitmaps)| {
            let bits = if kind == "extended" {
                bits.max(14)
            } else {
                bits
            };
            let mut options = format!("cluster_size={}", 1u64 << bits);
            options.push_str(&match kind {
                "old" => ",compat=0.10".to_owned(),
                "extended" => format!(",extended_l2=on,refcount_bits={}", 1 << order),
                "data" => ",data_file=data.raw".to_owned(),
                "raw data" => ",data_file=data.raw,data_file_raw=on".to_owned(),
                _ => format!(",refcount_bits={}", 1 << order),
            });
            Image {
                options,
                backing: backing
                    .filter(|_| kind != "raw data")
                    .map(|size| size * 512),
                bitmaps: bitmaps && kind != "old",
                snapshots: !kind.contains("data") && kind != "old" && order > 2,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_keeps_what_stays_and_reads_zero_where_it_is_new(image in image(), steps in steps()) {
        let Some(qemu) = support::qemu() else { return Ok(()) };
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let (qemu, host) = (qemu.within(home), own_code::real_host());
        let path = home.join("image.qcow2");
        let mut size = 900 * KIB;
        let mut args = vec!["create", "-q", "-f", "qcow2", "-o", &image.options];
        if let Some(below) = image.backing {
            qemu.img(&["create", "-q", "-f", "qcow2", "base.qcow2", &below.to_string()]);
            qemu.io("base.qcow2", &[format!("write -P 0x11 0 {below}")]);
            args.extend(["-b", "base.qcow2", "-F", "qcow2"]);
        }
        args.extend(["image.qcow2", "900k"]);
        qemu.img(&args);
        if image.bitmaps {
            qemu.img(&["bitmap", "--add", "-g", "4k", "image.qcow2", "b"]);
            qemu.img(&["bitmap", "--add", "--disable", "image.qcow2", "off"]);
        }
        let mut model = qemu.raw_bytes("image.qcow2");
        let mut kept: Vec<(String, View)> = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Io(at, len, kind) => {
                    let at = at % size;
                    let len = (*len).min(size - at);
                    qemu.try_io("image.qcow2", &[match kind {
                        0 => format!("write -z {at} {len}"),
                        1 => format!("discard {at} {len}"),
                        kind => format!("write -P {} {at} {len}", 0x30 + kind),
                    }]);
                    model = qemu.raw_bytes("image.qcow2");
                }
                Step::Snapshot => {
                    if image.snapshots {
                        let name = format!("s{number}");
                        qemu.img(&["snapshot", "-c", &name, "image.qcow2"]);
                        kept.push((name, View::of(&model)));
                    }
                }
                Step::Resize(new, how) => {
                    let how = if *new > size { *how } else { Preallocation::Off };
                    if *new == size {
                        continue;
                    }
                    let twin = home.join("twin.qcow2");
                    let with_twin = image.bitmaps && !image.options.contains("data_file");
                    if with_twin {
                        std::fs::copy(&path, &twin).unwrap();
                    }
                    let Request::Resize(Resize { image: path, size: to, shrink, dependants, .. }) = to(&path, *new) else {
                        unreachable!()
                    };
                    let request = Request::Resize(Resize { image: path, size: to, shrink, dependants, preallocation: how });
                    run(&host, home, &request).unwrap();
                    model.resize(usize::try_from(*new).unwrap(), 0);
                    size = *new;
                    if with_twin {
                        qemu.img(&["resize", "-q", "--shrink", "twin.qcow2", &new.to_string()]);
                        prop_assert_eq!(bits(&home.join("image.qcow2")), bits(&twin));
                        std::fs::remove_file(&twin).unwrap();
                    }
                }
            }
            qemu.check_clean(&path);
            let found = qemu.raw_bytes("image.qcow2");
            prop_assert!(found == model, "{}", View::of(&found).explain(&View::of(&model)));
        }
        let read = own_code::view(&path, Some("qcow2")).unwrap();
        prop_assert!(read == View::of(&model), "as we read it: {}", read.explain(&View::of(&model)));
        for (name, was) in kept {
            // The real tool shows a snapshot with the length that the disk has now.
            let now = oracle::snapshot_view(&path, &name).unwrap();
            let both = now.len.min(was.len);
            let (now, was) = (now.resized(both), was.resized(both));
            prop_assert!(now == was, "{}: {}", name, now.explain(&was));
        }
        if image.bitmaps {
            let info = oracle::info(&path).unwrap();
            let flags = &info["format-specific"]["data"]["bitmaps"];
            prop_assert_eq!(&flags[0]["flags"], &serde_json::json!(["auto"]));
            prop_assert_eq!(&flags[1]["flags"], &serde_json::json!([]));
        }
        if image.options.contains("raw=on") {
            let raw = std::fs::read(home.join("data.raw")).unwrap();
            // It may be longer, as the real tool makes it.
            prop_assert!(raw.starts_with(&model), "the data file is what the guest sees");
        }
    }
}

/// What an image and its overlay show, and the image's bitmaps.
fn shown(dir: &Path) -> String {
    let mut text = String::new();
    for name in ["image.qcow2", "image.img", "child.qcow2"] {
        let path = dir.join(name);
        if path.exists() {
            text.push_str(&format!("{name}: {}\n", digest(&path)));
        }
    }
    let path = dir.join("image.qcow2");
    if path.exists() {
        text.push_str(&format!("{:?}", bits(&path)));
    }
    text
}

/// An image of 600 KiB on a longer base, with an overlay longer than both.
fn on_a_base(options: &str) -> Script {
    let mut script = Script::default();
    script.create("", "base.qcow2", "2M");
    script.io("qcow2", "base.qcow2", &["write -P 0x11 0 2M"]);
    script.create(
        &format!("{options} -F qcow2 -b base.qcow2"),
        "image.qcow2",
        "600k",
    );
    script.io(
        "qcow2",
        "image.qcow2",
        &[
            "write -P 0x10 100k 200k",
            "write -z 400k 50k",
            "write -c -P 0x12 512k 64k",
        ],
    );
    script.create("-F qcow2 -b image.qcow2", "child.qcow2", "3M");
    script
}

fn survives(script: &Script, image: &str, size: u64, may_leak: bool) {
    if support::qemu().is_none() {
        return;
    }
    let case = Case {
        script,
        image,
        request: &|path| to(path, size),
        shown: &shown,
        may_leak,
    };
    case.survives_crashes();
    case.survives_failures();
}

#[test]
fn growing_survives_every_crash_and_every_failed_call() {
    // The L1 table has to move, zeros have to be said over the longer base.
    survives(
        &on_a_base("-o cluster_size=512"),
        "image.qcow2",
        3000 * KIB,
        true,
    );
    survives(
        &on_a_base("-o compat=0.10,cluster_size=4k"),
        "image.qcow2",
        1100 * KIB,
        true,
    );
}

#[test]
fn growing_with_bitmaps_survives_every_crash_and_every_failed_call() {
    let mut script = on_a_base("");
    script.run("qemu-img bitmap --add -g 512 image.qcow2 b");
    script.io("qcow2", "image.qcow2", &["write -P 0x13 10k 30k"]);
    survives(&script, "image.qcow2", 4000 * KIB, true);
}

#[test]
fn shrinking_survives_every_crash_and_every_failed_call_and_leaks_nothing() {
    let mut script = on_a_base("-o cluster_size=512,refcount_bits=8");
    script.run("qemu-img snapshot -c kept image.qcow2");
    script.run("qemu-img bitmap --add -g 512 image.qcow2 b");
    script.io("qcow2", "image.qcow2", &["write -P 0x13 10k 300k"]);
    survives(&script, "image.qcow2", 200 * KIB + 512, false);
    survives(
        &on_a_base("-o extended_l2=on"),
        "image.qcow2",
        70 * KIB,
        false,
    );
}

/// The new tables have to be written behind the old ones, and must not keep the file as long as it was.
#[test]
fn a_shorter_disk_gives_the_end_of_its_file_back_as_with_qemu() {
    use std::os::unix::fs::MetadataExt;
    let Some(qemu) = support::qemu() else { return };
    let host = own_code::real_host();
    let in_order = ["write -P 1 0 2M", "write -P 2 10M 4M"];
    let mixed = [
        "write -P 1 0 1M",
        "write -P 2 10M 2M",
        "write -P 3 1M 1M",
        "write -P 4 12M 2M",
    ];
    let late = ["write -P 2 10M 4M", "write -P 1 0 2M"];
    for (options, writes) in [
        ("", &in_order[..]),
        ("", &mixed[..]),
        ("", &late[..]),
        ("-o cluster_size=4k", &in_order[..]),
        ("-o cluster_size=512,refcount_bits=64", &in_order[..]),
        ("-o preallocation=metadata", &in_order[..1]),
        ("-o extended_l2=on", &in_order[..]),
        ("bitmap", &in_order[..]),
        ("snapshot", &in_order[..]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut script = Script::default();
        let made = options.strip_prefix('-').map_or("", |_| options);
        script.create(made, "image.qcow2", "16M");
        script.io("qcow2", "image.qcow2", writes);
        match options {
            "bitmap" => {
                script.run("qemu-img bitmap --add image.qcow2 b");
            }
            "snapshot" => {
                script.run("qemu-img snapshot -c kept image.qcow2");
                script.io("qcow2", "image.qcow2", &["write -P 5 11M 1M"]);
            }
            _ => {}
        }
        script.build(dir.path());
        let (image, twin) = (
            dir.path().join("image.qcow2"),
            dir.path().join("twin.qcow2"),
        );
        std::fs::copy(&image, &twin).unwrap();
        let before = std::fs::metadata(&image).unwrap();
        qemu.within(dir.path())
            .img(&["resize", "-q", "--shrink", "twin.qcow2", "5M"]);
        let request = to(&image, 5 << 20);
        let promised = plan(&host, dir.path(), &request).frees;
        run(&host, dir.path(), &request).unwrap();
        let context = format!("{options} {writes:?}");
        qemu.check_clean(&image);
        let (ours, theirs) = (
            std::fs::metadata(&image).unwrap(),
            std::fs::metadata(&twin).unwrap(),
        );
        // QEMU rewrites tables where they are; ours are new ones, and some find no place further down.
        let cluster = 1 << std::fs::read(&image).unwrap()[23];
        assert!(
            ours.len() <= theirs.len() + (8 * cluster).min(128 * KIB),
            "{} bytes long, {} with QEMU: {context}",
            ours.len(),
            theirs.len()
        );
        let freed = before.blocks().saturating_sub(ours.blocks()) * 512;
        assert!(
            freed.abs_diff(promised) <= (8 * cluster).max(128 * KIB),
            "{promised} promised, {freed} freed: {context}"
        );
        assert!(
            oracle::guest_view(&image, None).unwrap() == oracle::guest_view(&twin, None).unwrap()
        );
    }
}

#[test]
fn a_disk_with_a_data_file_survives_as_well() {
    let mut script = Script::default();
    script.create(
        "-o cluster_size=4k,data_file=data.raw,data_file_raw=on",
        "image.qcow2",
        "300k",
    );
    script.io(
        "qcow2",
        "image.qcow2",
        &["write -P 0x11 0 100k", "write -P 0x12 200k 100k"],
    );
    survives(&script, "image.qcow2", 220 * KIB, false);
    survives(&script, "image.qcow2", 4 << 20, true);
}

#[test]
fn a_raw_disk_survives_as_well() {
    let mut script = Script::default();
    script.create("-f raw", "image.img", "300k");
    script.io("raw", "image.img", &["write -P 0x11 0 300k"]);
    survives(&script, "image.img", 200 * KIB, false);
    survives(&script, "image.img", 400 * KIB, false);
}

#[test]
fn a_raw_disk_grows_with_its_space_set_aside() {
    if support::qemu().is_none() {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.img");
    std::fs::write(&path, vec![7; 5000]).unwrap();
    let host = own_code::real_host();
    for (more, preallocation) in [
        (1 << 20, Preallocation::Falloc),
        (2 << 20, Preallocation::Full),
    ] {
        let before = std::fs::metadata(&path).unwrap().blocks();
        let request = Request::Resize(Resize {
            image: path.clone(),
            size: NewSize::More(more),
            shrink: false,
            preallocation,
            dependants: Dependants::Refuse,
        });
        run(&host, dir.path(), &request).unwrap();
        let after = std::fs::metadata(&path).unwrap().blocks();
        assert!(
            (after - before) * 512 >= more - 8192,
            "{preallocation:?}: {before} {after}"
        );
    }
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 5120 + (3 << 20), "rounded up to whole sectors");
    assert!(bytes[..5000].iter().all(|b| *b == 7) && bytes[5000..].iter().all(|b| *b == 0));
}

#[test]
fn the_state_of_a_machine_behind_the_end_never_becomes_part_of_the_disk() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let qemu = qemu.within(dir.path());
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        "cluster_size=512",
        "image.qcow2",
        "100k",
    ]);
    // The writer's own view of it: data mapped past the end, as `loadvm` leaves it.
    let path = dir.path().join("image.qcow2");
    qemu.io("image.qcow2", &["write -P 0x11 0 100k"]);
    qemu.img(&["resize", "-q", "image.qcow2", "1M"]);
    qemu.io("image.qcow2", &["write -P 0x22 500k 200k"]);
    let file = RealHost.open(&path, Access::ReadWrite).unwrap();
    file.write_at(&(100 * KIB).to_be_bytes(), 24).unwrap();
    drop(file);
    run(&own_code::real_host(), dir.path(), &to(&path, 2 << 20)).unwrap();
    let bytes = qemu.raw_bytes("image.qcow2");
    assert!(
        bytes[..102_400].iter().all(|b| *b == 0x11) && bytes[102_400..].iter().all(|b| *b == 0)
    );
    qemu.check_clean(&path);
}

fn refused(dir: &Path, request: &Request, kind: RefusalKind) -> String {
    refused_as(&plan(&own_code::real_host(), dir, request), kind)
}

#[test]
fn what_cannot_or_should_not_be_done_is_refused_with_the_reason() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let qemu = qemu.within(home);
    on_a_base("").build(home);
    let path = home.join("image.qcow2");
    let ask = |size, shrink, preallocation, dependants| {
        Request::Resize(Resize {
            image: path.clone(),
            size,
            shrink,
            preallocation,
            dependants,
        })
    };
    let (off, refuse, broken) = (Preallocation::Off, Dependants::Refuse, Dependants::Break);
    refused(
        home,
        &ask(NewSize::To(0), true, off, broken),
        RefusalKind::Invalid,
    );
    refused(
        home,
        &ask(NewSize::Less(700 * KIB), true, off, broken),
        RefusalKind::Invalid,
    );
    refused(
        home,
        &ask(NewSize::More(u64::MAX), true, off, broken),
        RefusalKind::Invalid,
    );
    refused(
        home,
        &ask(NewSize::To(600 * KIB), true, off, broken),
        RefusalKind::AlreadySo,
    );
    refused(
        home,
        &ask(NewSize::To(1 << 62), true, off, broken),
        RefusalKind::Image("limit"),
    );
    refused(
        home,
        &ask(NewSize::To(100 * KIB), false, off, broken),
        RefusalKind::WouldLose,
    );
    refused(
        home,
        &ask(NewSize::To(100 * KIB), true, Preallocation::Full, broken),
        RefusalKind::Invalid,
    );
    refused(
        home,
        &ask(NewSize::To(100 * KIB), true, off, refuse),
        RefusalKind::HasDependants,
    );
    // Each refusal of the two has its way out, and both together are a plan.
    let planned = plan(
        &own_code::real_host(),
        home,
        &ask(NewSize::To(100 * KIB), true, off, refuse),
    );
    let way_out = &planned.refusals[0].ways_out[0].request;
    let agreed = plan(&own_code::real_host(), home, way_out);
    assert_eq!(agreed.confirm, Confirm::Count(1), "{}", words(&agreed));
    // Cut off where nothing but zeros is, nobody who reads it is harmed.
    qemu.img(&["resize", "-q", "image.qcow2", "4M"]);
    let harmless = plan(
        &own_code::real_host(),
        home,
        &ask(NewSize::To(3 << 20), true, off, refuse),
    );
    assert_eq!(harmless.confirm, Confirm::Yes, "{}", words(&harmless));

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
    qemu.img(&["snapshot", "-c", "s", "old.qcow2"]);
    refused(
        home,
        &to(&home.join("old.qcow2"), 2 << 20),
        RefusalKind::Unsupported,
    );
    refused(
        home,
        &to(&home.join("old.qcow2"), 512),
        RefusalKind::Unsupported,
    );

    qemu.img(&["create", "-q", "-f", "qcow2", "stale.qcow2", "1M"]);
    qemu.img(&["bitmap", "--add", "stale.qcow2", "b"]);
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        "cluster_size=512",
        "small.qcow2",
        "1M",
    ]);
    refused(
        home,
        &to(&home.join("small.qcow2"), 1 << 40),
        RefusalKind::Image("limit"),
    );
    let held = qemu.hold_with_io(&home.join("stale.qcow2"), HoldMode::ReadWrite);
    refused(
        home,
        &to(&home.join("stale.qcow2"), 2 << 20),
        RefusalKind::InUse,
    );
    drop(held);
    mark_in_use(&home.join("stale.qcow2"));
    refused(
        home,
        &to(&home.join("stale.qcow2"), 2 << 20),
        RefusalKind::Unsupported,
    );
    refused(
        home,
        &to(&home.join("stale.qcow2"), 512),
        RefusalKind::Unsupported,
    );
    assert!(
        !qemu.try_img(&["resize", "stale.qcow2", "2M"]).success(),
        "so says the real tool"
    );
}

#[test]
fn what_is_built_on_the_data_file_reads_what_is_cut_off() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let (dir, here) = (home.path(), qemu.within(home.path()));
    for words in [
        "create -q -f qcow2 -o data_file=data.raw,data_file_raw=on image.qcow2 4M",
        "create -q -f qcow2 -F raw -b data.raw long.qcow2",
        "create -q -f qcow2 -F raw -b data.raw short.qcow2 1M",
    ] {
        here.img(&words.split(' ').collect::<Vec<_>>());
    }
    let ask = |dependants| {
        let request = Request::Resize(Resize {
            image: dir.join("image.qcow2"),
            size: NewSize::To(2 << 20),
            shrink: true,
            preallocation: Preallocation::Off,
            dependants,
        });
        plan(&own_code::real_host(), dir, &request)
    };
    let planned = ask(Dependants::Refuse);
    let refusal = planned.refusals.iter();
    let mut refusal = refusal.filter(|it| it.kind == RefusalKind::HasDependants);
    let said = &refusal.next().unwrap().text;
    assert!(
        said.contains("long.qcow2") && !said.contains("short.qcow2"),
        "{said}"
    );
    let broken = ask(Dependants::Break);
    assert_eq!(broken.confirm, Confirm::Count(1), "{}", words(&broken));
}

/// As a machine that lost power leaves it.
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
fn a_disk_is_not_cut_off_in_the_middle_of_a_partition() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let qemu = qemu.within(home);
    qemu.img(&["create", "-q", "-f", "qcow2", "image.qcow2", "8M"]);
    let path = home.join("image.qcow2");
    // One partition, from 1 MiB to 5 MiB.
    let mut mbr = vec![0u8; 512];
    mbr[450] = 0x83;
    mbr[454..458].copy_from_slice(&2048u32.to_le_bytes());
    mbr[458..462].copy_from_slice(&8192u32.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(home.join("mbr"), &mbr).unwrap();
    qemu.io("image.qcow2", &["write -s mbr 0 512"]);
    let said = refused(home, &to(&path, (5 << 20) - 512), RefusalKind::WouldLose);
    assert!(said.contains("partition 1"), "{said}");
    let fits = plan(&own_code::real_host(), home, &to(&path, 5 << 20));
    assert_eq!(fits.confirm, Confirm::Yes, "{}", words(&fits));
    // The same as a GPT: the first entry at sector 2.
    let mut gpt = vec![0u8; 1536];
    gpt[510..512].copy_from_slice(&[0x55, 0xaa]);
    gpt[450] = 0xee;
    gpt[458..462].copy_from_slice(&1u32.to_le_bytes());
    gpt[512..520].copy_from_slice(b"EFI PART");
    gpt[584] = 2;
    gpt[592] = 128;
    gpt[596] = 128;
    gpt[1024..1040].fill(7);
    gpt[1064..1072].copy_from_slice(&10239u64.to_le_bytes());
    std::fs::write(home.join("gpt"), &gpt).unwrap();
    qemu.io("image.qcow2", &["write -s gpt 0 1536"]);
    let said = refused(home, &to(&path, (5 << 20) - 512), RefusalKind::WouldLose);
    assert!(said.contains("partition 1"), "{said}");
    let fits = plan(&own_code::real_host(), home, &to(&path, 5 << 20));
    assert!(words(&fits).contains("sgdisk"), "{}", words(&fits));
    assert_eq!(fits.confirm, Confirm::Yes);
}
