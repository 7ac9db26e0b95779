//! The writer of the image floor, against the real tools: what it wrote they read, and call clean.

#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::print_stderr
)] // Helpers of tests: what they say and cast is known.

use crate::support;

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use qanopy::host::{Access, RealHost};
use qanopy::image::{
    Chain, CreateOptions, Format, ImageFile, NoProgress, Qcow2Options, Root, Source, Target, check,
    create,
};

fn open(path: &Path) -> (Target, Chain) {
    let chain = Chain::open(&RealHost, path, Some(&Format::Qcow2), &|_| true).unwrap();
    let target = Target::open(
        &RealHost,
        path,
        &Format::Qcow2,
        chain.clone(),
        Root::Active,
        &NoProgress,
    )
    .unwrap();
    (target, chain)
}

fn ours(path: &Path) -> Vec<u8> {
    let chain = Chain::open(&RealHost, path, Some(&Format::Qcow2), &|_| true).unwrap();
    let mut bytes = vec![0xee; chain.virtual_size() as usize];
    chain.read_at(&mut bytes, 0).unwrap();
    bytes
}

#[derive(Debug, Clone)]
struct Shape {
    options: Vec<String>,
    base: Option<Vec<String>>,
    base_kib: u64,
    size_kib: u64,
    before: Vec<String>,
    snapshot: bool,
    compressed: bool,
    /// Gap and length in 512-byte units, and whether zeros are written.
    writes: Vec<(u64, u64, bool)>,
    grow_kib: u64,
}

fn options() -> impl Strategy<Value = Vec<String>> {
    (any::<bool>(), 9u32..=18, 0u32..=6, any::<bool>()).prop_map(|(old, bits, order, extended)| {
        let mut list = vec![format!("cluster_size={}", 1u64 << bits)];
        if old {
            list.push("compat=0.10".to_owned());
        } else {
            list.push(format!("refcount_bits={}", 1 << order));
            if extended && bits >= 14 {
                list.push("extended_l2=on".to_owned());
            }
        }
        list
    })
}

fn shapes() -> impl Strategy<Value = Shape> {
    let write = (0u64..200, 1u64..300, prop::bool::weighted(0.3));
    (
        options(),
        prop::option::of(options()),
        1u64..1500,
        1u64..1500,
        prop::collection::vec((0u64..1400, 1u64..200, 0u8..4), 0..6),
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec(write, 0..12),
        0u64..700,
    )
        .prop_map(
            |(
                options,
                base,
                base_kib,
                size_kib,
                before,
                snapshot,
                compressed,
                writes,
                grow_kib,
            )| Shape {
                before: before
                    .into_iter()
                    .map(|(at, len, kind)| {
                        let at = at % size_kib;
                        let len = len.min(size_kib - at);
                        match kind {
                            0 => format!("write -z {at}k {len}k"),
                            1 => format!("discard {at}k {len}k"),
                            _ => format!("write -P {} {at}k {len}k", 0x40 + kind),
                        }
                    })
                    .collect(),
                options,
                base,
                base_kib,
                size_kib,
                // One-bit counts have no room for a snapshot's second reference.
                snapshot,
                compressed,
                writes,
                grow_kib,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_writer_writes_the_real_tools_read_and_call_clean(shape in shapes()) {
        let Some(qemu) = support::qemu() else { return Ok(()) };
        let dir = tempfile::tempdir().unwrap();
        let qemu = qemu.within(dir.path());
        let path = dir.path().join("image.qcow2");
        let mut args = vec!["create".to_owned(), "-f".into(), "qcow2".into(), "-o".into(), shape.options.join(",")];
        if let Some(base) = &shape.base {
            let size = format!("{}k", shape.base_kib);
            qemu.img(&["create", "-f", "qcow2", "-o", &base.join(","), "base.qcow2", &size]);
            qemu.io("base.qcow2", &[format!("write -P 0x11 0 {size}")]);
            args.extend(["-b".into(), "base.qcow2".into(), "-F".into(), "qcow2".into()]);
        }
        args.extend(["image.qcow2".into(), format!("{}k", shape.size_kib)]);
        qemu.img(&args);
        qemu.io("image.qcow2", &shape.before);
        let one_bit = shape.options.iter().any(|o| o == "refcount_bits=1");
        if shape.snapshot && !one_bit {
            qemu.img(&["snapshot", "-c", "kept", "image.qcow2"]);
        }
        if shape.compressed {
            // Compressed clusters must be whole ones: fill some that nothing has written yet.
            qemu.try_io("image.qcow2", &["write -c -P 0x77 0 256k"]);
        }
        let mut model = qemu.raw_bytes("image.qcow2");
        prop_assert!(model == ours(&path), "reads as the real tools do before anything is written");
        let snapshot_before = (shape.snapshot && !one_bit).then(|| snapshot_bytes(&qemu, dir.path()));

        let (mut target, _chain) = open(&path);
        target.begin().unwrap();
        // Version 2 with snapshots cannot grow, here as with the real tools.
        let old_version = shape.options.iter().any(|o| o == "compat=0.10");
        let grow = if shape.snapshot && old_version { 0 } else { shape.grow_kib * 1024 };
        let size = model.len() as u64 + grow;
        target.grow(size).unwrap();
        model.resize(size as usize, 0);
        let mut at = 0;
        for (index, (gap, len, zero)) in shape.writes.iter().enumerate() {
            let start = at + gap * 512;
            let end = (start + len * 512).min(model.len() as u64);
            if start >= end {
                break;
            }
            let part = &mut model[start as usize..end as usize];
            if *zero {
                part.fill(0);
                target.write_zeros(start, end - start).unwrap();
            } else {
                part.fill(0xa0 + index as u8);
                target.write(start, end - start, Source::Bytes(part)).unwrap();
            }
            at = end;
        }
        target.finish().unwrap();
        drop(target);

        prop_assert!(model == ours(&path), "our own reader sees what was written");
        prop_assert!(model == qemu.raw_bytes("image.qcow2"), "the real tools see what was written");
        qemu.check_clean("image.qcow2");
        let file = ImageFile::open(&RealHost, &path, Access::Read).unwrap();
        let found = check(&file, &NoProgress).unwrap();
        prop_assert_eq!((found.corruptions, found.leaks), (0, 0), "{:?}", found.findings);
        if let Some(before) = snapshot_before {
            // The real tool shows a snapshot as long as the image is now.
            prop_assert!(snapshot_bytes(&qemu, dir.path()).starts_with(&before), "the snapshot shows what it showed");
        }
    }
}

fn snapshot_bytes(qemu: &support::Qemu, dir: &Path) -> Vec<u8> {
    qemu.img(&[
        "convert",
        "-l",
        "kept",
        "-O",
        "raw",
        "image.qcow2",
        "kept.raw",
    ]);
    std::fs::read(dir.join("kept.raw")).unwrap()
}

#[test]
fn an_image_made_here_is_as_the_real_tools_make_it() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let qemu = qemu.within(dir.path());
    for bits in [9, 12, 16, 21] {
        for order in [0, 4, 6] {
            for old_version in [false, true] {
                let path = dir.path().join("new.qcow2");
                let options = CreateOptions {
                    format: Qcow2Options {
                        cluster_bits: bits,
                        refcount_order: if old_version { 4 } else { order },
                        old_version,
                        ..Qcow2Options::default()
                    },
                    ..CreateOptions::new(3 << 20 | 700)
                };
                create(&RealHost, &path, &options, &NoProgress).unwrap();
                qemu.check_clean("new.qcow2");
                assert_eq!(qemu.raw_bytes("new.qcow2"), vec![0; (3 << 20) + 1024]);
                assert!(
                    create(&RealHost, &path, &options, &NoProgress).is_err(),
                    "never over an existing file"
                );
                let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
                assert_eq!(names.len(), 1, "nothing is left behind");
                std::fs::remove_file(&path).unwrap();
            }
        }
    }
}

/// A device is full of bytes that nobody uses: tables that grow find their place by the counts.
#[test]
fn tables_grow_on_a_device_that_has_room() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    let tool = |words: &[&str]| Command::new("losetup").args(words).output();
    let attached = tool(&["--find", "--show", disk.to_str().unwrap()]);
    let Some(attached) = attached.ok().filter(|out| out.status.success()) else {
        eprintln!("skipped: no loop device can be had");
        return;
    };
    let device = String::from_utf8(attached.stdout).unwrap();
    let device = device.trim();
    let image = Path::new(device);
    let grown = std::panic::catch_unwind(|| {
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .args(["-o", "cluster_size=512,refcount_bits=64", device, "64M"])
            .status();
        assert!(made.unwrap().success());
        let (mut target, _) = open(image);
        target.begin().unwrap();
        target.grow(128 << 20).unwrap();
        let bytes = vec![0x5a; 4 << 20];
        let len = bytes.len() as u64;
        target.write(0, len, Source::Bytes(&bytes)).unwrap();
        target.finish().unwrap();
        assert!(ours(image).starts_with(&bytes));
        let checked = Command::new("qemu-img")
            .args(["check", "-q", device])
            .status();
        assert!(checked.unwrap().success());
    });
    tool(&["--detach", device]).unwrap();
    grown.unwrap();
}
