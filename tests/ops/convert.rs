//! Convert: whatever chain it is read from and whatever it is made into, the new image shows what the
//! old ones show, to us and to QEMU; it is whole or not there; and the sources keep every byte.

use crate::support;
use crate::support::planning;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use planning::{execute, execute_request, words};
use proptest::prelude::*;
use qanopy::host::{Host, RealHost};
use qanopy::image::{
    CarriedBitmaps, Compression, CompressionLevel, Format, Preallocation, Qcow2Options, SparseSize,
};
use qanopy::ops::{
    self, BackingStyle, Convert, ConvertForm, Danger, DataFileOption, Error, ImageOptions,
    Progress, RefusalKind, Request, SnapshotName,
};
use support::chains::{Shape, trees};
use support::image_crash_suite::refused_as;
use support::{
    Calls, Fault, FaultyHost, Qemu, RecordingHost, Then, checker, oracle, own_code, qemu,
};

/// Everything below `dir`, and no journal: what is in there is counted.
fn context(host: Arc<dyn Host>, dir: &Path) -> ops::Context {
    ops::Context {
        state_dir: None,
        ..planning::context(host, dir)
    }
}

fn real(dir: &Path) -> ops::Context {
    context(Arc::new(RealHost), dir)
}

fn qcow2(format: Qcow2Options) -> ConvertForm {
    ConvertForm::Qcow2 {
        image: ImageOptions {
            format,
            data_file: None,
            encryption: None,
        },
        compress: None,
    }
}

fn compressed(format: Qcow2Options) -> ConvertForm {
    ConvertForm::Qcow2 {
        image: ImageOptions {
            format,
            data_file: None,
            encryption: None,
        },
        compress: Some(CompressionLevel::Default),
    }
}

const RAW: ConvertForm = ConvertForm::Raw {
    preallocation: Preallocation::Off,
};

fn wish(dir: &Path, source: &str, form: ConvertForm) -> Convert {
    Convert {
        salvage: false,
        sparse: qanopy::image::SparseSize::default(),
        sources: vec![dir.join(source)],
        format: None,
        snapshot: None,
        bitmaps: CarriedBitmaps::None,
        new: dir.join("new"),
        form,
        backing: None,
        style: BackingStyle::Relative,
    }
}

fn plan(dir: &Path, wish: Convert) -> ops::Plan {
    ops::plan(&real(dir), &Request::Convert(wish))
}

fn run(dir: &Path, wish: Convert) {
    let plan = plan(dir, wish);
    assert_ne!(plan.danger, Danger::Refused, "{}", words(&plan));
    execute(plan).unwrap();
}

/// The format of what is made.
fn format_of(form: &ConvertForm) -> &'static str {
    match form {
        ConvertForm::Raw { .. } => "raw",
        ConvertForm::Qcow2 { .. } | ConvertForm::Existing => "qcow2",
    }
}

/// Everything a disk may hold, in pieces smaller and larger than any cluster: text, noise, zeros that
/// were written, holes.
fn disk(path: &Path, len: u64) {
    let file = fs::File::create_new(path).unwrap();
    file.set_len(len).unwrap();
    let mut state = 7u64;
    let mut at = 0;
    let mut step = 0;
    while at < len {
        let want = [4096, 700, 65536, 200_000, 3 << 20, 12_288][step % 6];
        let size = usize::try_from((len - at).min(want)).unwrap();
        let bytes: Option<Vec<u8>> = match (step * 7 + step / 5) % 5 {
            0 => Some(
                (0..size)
                    .map(|n| b"all work and no play "[n % 21])
                    .collect(),
            ),
            1 | 3 => Some(
                (0..size)
                    .map(|_| {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        // Noise of few symbols compresses a little.
                        if step % 2 == 0 {
                            (state >> 56) as u8
                        } else {
                            (state >> 62) as u8
                        }
                    })
                    .collect(),
            ),
            2 => Some(vec![0; size]),
            _ => None,
        };
        if let Some(bytes) = bytes {
            file.write_all_at(&bytes, at).unwrap();
        }
        at += size as u64;
        step += 1;
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// qemu-img finds no difference between the two.
fn assert_same(qemu: &Qemu, formats: [&str; 2], files: [&str; 2], what: &str) {
    let outcome = qemu.try_img(&[
        "compare", "-f", formats[0], "-F", formats[1], files[0], files[1],
    ]);
    assert!(
        outcome.success(),
        "{what}: {}{}",
        outcome.text(),
        outcome.stderr
    );
}

fn options() -> impl Strategy<Value = Qcow2Options> {
    (
        prop::sample::select(vec![9_u32, 12, 14, 16, 16, 17, 21]),
        0..=6_u32,
        any::<[bool; 4]>(),
    )
        .prop_map(
            |(cluster_bits, refcount_order, [extended, old, lazy, zstd])| {
                let old_version = old && !extended;
                Qcow2Options {
                    cluster_bits,
                    refcount_order: if old_version { 4 } else { refcount_order },
                    extended_l2: extended && cluster_bits >= 14,
                    old_version,
                    lazy_refcounts: lazy && !old_version,
                    compression: if zstd && !old_version {
                        Compression::Zstd
                    } else {
                        Compression::Zlib
                    },
                    preallocation: Preallocation::Off,
                }
            },
        )
}

fn form() -> impl Strategy<Value = ConvertForm> {
    let preallocation = prop::sample::select(vec![
        Preallocation::Off,
        Preallocation::Off,
        Preallocation::Metadata,
        Preallocation::Falloc,
        Preallocation::Full,
    ]);
    prop_oneof![
        1 => prop::sample::select(vec![Preallocation::Off, Preallocation::Falloc, Preallocation::Full])
            .prop_map(|preallocation| ConvertForm::Raw { preallocation }),
        3 => options().prop_map(compressed),
        3 => (options(), preallocation, prop::bool::weighted(0.2), any::<bool>()).prop_map(
            |(mut format, preallocation, data_file, raw)| {
                format.preallocation = preallocation;
                let data_file = (data_file && !format.old_version)
                    .then(|| DataFileOption { path: PathBuf::from("new.data"), raw, style: BackingStyle::Relative });
                ConvertForm::Qcow2 { image: ImageOptions { format, data_file, encryption: None }, compress: None }
            }
        ),
    ]
}

/// The same form with its data file in `dir`.
fn placed(mut form: ConvertForm, dir: &Path) -> ConvertForm {
    if let ConvertForm::Qcow2 { image, .. } = &mut form
        && let Some(data) = &mut image.data_file
    {
        data.path = dir.join(&data.path);
    }
    form
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.map_or(10, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 40,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_it_is_made_of_and_made_into_the_guest_sees_the_same(
        tree in trees(Shape { snapshots: false, ..Shape::default() }),
        forms in prop::collection::vec((form(), any::<prop::sample::Index>(), any::<bool>()), 3),
        shares in any::<bool>(),
    ) {
        let Some(qemu) = qemu() else { return Ok(()) };
        let dir = tempfile::tempdir().unwrap();
        tree.build(dir.path());
        let here = qemu.within(dir.path());
        let root = dir.path();
        let overlay = tree.name(tree.overlay);
        let format = tree.layers[tree.overlay].format();
        let mut ancestors = Vec::new();
        let mut at = tree.overlay;
        while let Some(parent) = tree.layers[at].parent {
            ancestors.push(parent);
            at = parent;
        }
        for (form, base, keep) in forms {
            let what = format!("{form:?} on {keep} {base:?}\n{tree}");
            let mut wish = wish(root, &overlay, placed(form.clone(), root));
            if keep && !ancestors.is_empty() && let ConvertForm::Qcow2 { image, .. } = &form {
                let fits = image.format.preallocation == Preallocation::Off || image.format.extended_l2;
                let raw = image.data_file.as_ref().is_some_and(|data| data.raw);
                if fits && !raw {
                    let base = ancestors[base.index(ancestors.len())];
                    wish.backing = Some(root.join(tree.name(base)));
                }
            }
            let what = format!("{what}\nblocks are shared: {shares}");
            let host: Arc<dyn Host> = match shares {
                true => Arc::new(FaultyHost::counting(Arc::new(RealHost)).sharing()),
                false => Arc::new(RealHost),
            };
            let plan = ops::plan(&context(host, root), &Request::Convert(wish));
            prop_assert!(plan.danger != Danger::Refused, "{}\n{what}", words(&plan));
            let made = execute(plan);
            prop_assert!(made.is_ok(), "{made:?}\n{what}");
            let kind = format_of(&form);
            assert_same(&here, [format, kind], [&overlay, "new"], &what);
            if kind == "qcow2" {
                let counted = checker::check(&root.join("new"));
                prop_assert!(counted.is_clean(), "{counted:?}\n{what}");
                let theirs = oracle::check(&root.join("new"));
                prop_assert!(theirs.is_clean(), "{theirs:?}\n{what}");
            }
            // We read it back as well.
            let again = own_code::view(&root.join("new"), Some(kind)).unwrap();
            let first = oracle::guest_view(&root.join(&overlay), Some(format)).unwrap();
            prop_assert!(again == first, "{}\n{what}", again.explain(&first));
            fs::remove_file(root.join("new")).unwrap();
            let _ = fs::remove_file(root.join("new.data"));
        }
    }
}

/// What qemu-img is told for the same.
fn qemu_words(format: &Qcow2Options) -> String {
    let mut words = vec![format!("cluster_size={}", 1u64 << format.cluster_bits)];
    words.push(format!("refcount_bits={}", 1u64 << format.refcount_order));
    if format.old_version {
        words = vec![words.remove(0), "compat=0.10".to_owned()];
    }
    if format.extended_l2 {
        words.push("extended_l2=on".to_owned());
    }
    words.push(format!("compression_type={}", format.compression.name()));
    words.join(",")
}

#[test]
fn compressed_images_are_no_larger_than_those_of_qemu_img_and_each_reads_the_others() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    disk(&dir.path().join("disk.img"), (9 << 20) + 512);
    let source = oracle::guest_view(&dir.path().join("disk.img"), Some("raw")).unwrap();
    let mut sizes = Vec::new();
    for (bits, order, extended_l2) in [
        (9, 4, false),
        (12, 0, false),
        (16, 4, false),
        (16, 1, true),
        (21, 4, false),
    ] {
        for compression in [Compression::Zlib, Compression::Zstd] {
            let format = Qcow2Options {
                cluster_bits: bits,
                refcount_order: order,
                extended_l2,
                compression,
                ..Qcow2Options::default()
            };
            let what = format!("{format:?}");
            run(dir.path(), wish(dir.path(), "disk.img", compressed(format)));
            here.check_clean("new");
            assert_same(&here, ["raw", "qcow2"], ["disk.img", "new"], &what);
            let told = qemu_words(&format);
            here.img(&[
                "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", &told, "disk.img", "theirs",
            ]);
            let view = own_code::view(&dir.path().join("theirs"), Some("qcow2")).unwrap();
            assert!(view == source, "{what}: {}", view.explain(&source));
            let len = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
            sizes.push((what, len("new"), len("theirs")));
            fs::remove_file(dir.path().join("new")).unwrap();
            fs::remove_file(dir.path().join("theirs")).unwrap();
        }
    }
    // Streams differ in a byte here and there, where zlib-rs and zlib choose between equal matches.
    for (what, ours, theirs) in &sizes {
        assert!(*ours <= theirs + theirs / 1000, "{what}: {sizes:#?}");
    }
}

#[test]
fn blocks_are_shared_where_the_filesystem_can_and_nothing_else_was_asked_for() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    let root = dir.path();
    disk(&root.join("disk.img"), 48 << 20);
    here.img(&["convert", "-f", "raw", "-O", "qcow2", "disk.img", "base"]);
    here.img(&[
        "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "overlay",
    ]);
    here.io("overlay", &["write -P 5 100k 900k", "write -z 20M 3M"]);
    let shared_by = |source: &str, form: ConvertForm, sparse: SparseSize| {
        let kind = format_of(&form);
        let host = Arc::new(FaultyHost::counting(Arc::new(RealHost)).sharing());
        let mut wish = wish(root, source, form);
        wish.sparse = sparse;
        execute_request(&context(host.clone(), root), &Request::Convert(wish)).unwrap();
        assert_same(&here, ["qcow2", kind], [source, "new"], kind);
        if kind == "qcow2" {
            assert!(oracle::check(&root.join("new")).is_clean());
        }
        fs::remove_file(root.join("new")).unwrap();
        host.shared()
    };
    let usual = SparseSize::default();
    let full = ConvertForm::Raw {
        preallocation: Preallocation::Full,
    };
    for source in ["base", "overlay"] {
        for form in [RAW, qcow2(Qcow2Options::default())] {
            let shared = shared_by(source, form, usual);
            assert!(shared > 16 << 20, "{source}: {shared} bytes");
        }
    }
    // These say what is to be stored.
    let deflated = compressed(Qcow2Options::default());
    assert_eq!(shared_by("base", full, usual), 0);
    assert_eq!(shared_by("base", deflated, usual), 0);
    assert_eq!(shared_by("base", RAW, SparseSize::new(0).unwrap()), 0);
}

#[test]
fn zeros_and_holes_take_no_room() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    let file = fs::File::create_new(dir.path().join("disk.img")).unwrap();
    file.set_len(1 << 40).unwrap();
    file.write_all_at(&vec![0; 8 << 20], 1 << 30).unwrap();
    file.write_all_at(&[5; 4096], 1 << 39).unwrap();
    drop(file);
    // Also where the new file could have the blocks of the old one, zeros and all.
    let sharing = || FaultyHost::counting(Arc::new(RealHost)).sharing();
    let hosts: [Arc<dyn Host>; 2] = [Arc::new(RealHost), Arc::new(sharing())];
    let forms = [RAW, qcow2(Qcow2Options::default())];
    for (host, form) in hosts
        .iter()
        .flat_map(|host| forms.iter().map(move |form| (host, form)))
    {
        let wish = wish(dir.path(), "disk.img", form.clone());
        execute_request(&context(host.clone(), dir.path()), &Request::Convert(wish)).unwrap();
        let blocks = fs::metadata(dir.path().join("new")).unwrap().blocks();
        assert!(blocks * 512 <= 2 << 20, "{form:?}: {blocks}");
        let kind = format_of(form);
        let view = here.io("new", &["read -P 5 512G 4k", "read -P 0 1G 8M"]);
        assert!(!view.contains("verification failed"), "{kind}: {view}");
        fs::remove_file(dir.path().join("new")).unwrap();
    }
}

#[test]
fn several_disks_become_one() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    disk(&dir.path().join("a.img"), (1 << 20) + 700);
    disk(&dir.path().join("b.img"), 300 << 10);
    here.img(&[
        "convert", "-c", "-f", "raw", "-O", "qcow2", "b.img", "b.qcow2",
    ]);
    here.img(&[
        "convert", "-O", "raw", "a.img", "b.qcow2", "a.img", "theirs",
    ]);
    for form in [RAW, qcow2(Qcow2Options::default())] {
        let kind = format_of(&form);
        let mut wish = wish(dir.path(), "a.img", form);
        wish.sources.push(dir.path().join("b.qcow2"));
        wish.sources.push(dir.path().join("a.img"));
        run(dir.path(), wish);
        assert_same(&here, ["raw", kind], ["theirs", "new"], kind);
        fs::remove_file(dir.path().join("new")).unwrap();
    }
}

#[test]
fn what_a_snapshot_shows_can_be_converted() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "base.qcow2", "2M"]);
    here.io("base.qcow2", &["write -P 9 0 1M"]);
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "over.qcow2",
    ]);
    here.io("over.qcow2", &["write -P 1 64k 128k"]);
    here.img(&["snapshot", "-c", "one", "over.qcow2"]);
    here.io("over.qcow2", &["write -P 2 100k 1M"]);
    here.img(&["convert", "-l", "one", "-O", "raw", "over.qcow2", "theirs"]);
    for (form, backing) in [
        (RAW, false),
        (compressed(Qcow2Options::default()), false),
        (qcow2(Qcow2Options::default()), true),
    ] {
        let kind = format_of(&form);
        let mut wish = wish(dir.path(), "over.qcow2", form);
        wish.snapshot = Some(SnapshotName::Name("one".into()));
        wish.backing = backing.then(|| dir.path().join("base.qcow2"));
        let plan = plan(dir.path(), wish);
        execute(plan).unwrap();
        assert_same(&here, ["raw", kind], ["theirs", "new"], kind);
        fs::remove_file(dir.path().join("new")).unwrap();
    }
    let mut none = wish(dir.path(), "over.qcow2", RAW);
    none.snapshot = Some(SnapshotName::Name("two".into()));
    refused_as(&plan(dir.path(), none), RefusalKind::NotFound);
}

#[test]
fn a_base_further_down_can_be_kept_without_losing_the_layers_between() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "base.qcow2", "3M"]);
    here.io("base.qcow2", &["write -P 1 0 3M"]);
    // Shorter than what is below and above: what is past its end reads as zero.
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "-o",
        "cluster_size=4k",
        "mid.qcow2",
        "2M",
    ]);
    here.io("mid.qcow2", &["write -P 2 68k 4k", "write -z 128k 60k"]);
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "mid.qcow2",
        "-o",
        "cluster_size=512",
        "top.qcow2",
        "4M",
    ]);
    here.io("top.qcow2", &["write -P 3 1M 1k", "write -P 4 3900k 1k"]);
    here.img(&["create", "-f", "qcow2", "other.qcow2", "4M"]);
    for bits in [9, 16, 21] {
        for extended_l2 in [false, true] {
            for base in ["base.qcow2", "mid.qcow2"] {
                let format = Qcow2Options {
                    cluster_bits: bits,
                    extended_l2: extended_l2 && bits >= 14,
                    ..Qcow2Options::default()
                };
                let mut wish = wish(dir.path(), "top.qcow2", qcow2(format));
                wish.backing = Some(dir.path().join(base));
                let plan = plan(dir.path(), wish);
                let shown = words(&plan);
                // qemu-img has no command for the first.
                assert_eq!(shown.contains("$ qemu-img"), base == "mid.qcow2", "{shown}");
                execute(plan).unwrap();
                let what = format!("{format:?} on {base}");
                assert_same(&here, ["qcow2", "qcow2"], ["top.qcow2", "new"], &what);
                here.check_clean("new");
                let info = here.img(&["info", "new"]);
                assert!(info.contains(&format!("backing file: {base}")), "{info}");
                fs::remove_file(dir.path().join("new")).unwrap();
            }
        }
    }
    let mut foreign = wish(dir.path(), "top.qcow2", qcow2(Qcow2Options::default()));
    foreign.backing = Some(dir.path().join("other.qcow2"));
    let refused = plan(dir.path(), foreign);
    assert_eq!(refused.danger, Danger::Refused);
    refused_as(&refused, RefusalKind::NotInChain);
}

#[test]
fn a_raw_image_is_taken_for_what_it_is_said_to_be() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "inner.qcow2", "1M"]);
    let bytes = fs::read(dir.path().join("inner.qcow2")).unwrap();
    let mut raw = wish(dir.path(), "inner.qcow2", RAW);
    raw.format = Some(Format::Raw);
    run(dir.path(), raw);
    let made = fs::read(dir.path().join("new")).unwrap();
    assert_eq!(made[..bytes.len()], bytes);
    assert_eq!(made.len(), bytes.len().next_multiple_of(512));
    disk(&dir.path().join("disk.img"), 4096);
    let mut wrong = wish(dir.path(), "disk.img", RAW);
    wrong.format = Some(Format::Qcow2);
    wrong.new = dir.path().join("other");
    assert_eq!(plan(dir.path(), wrong).danger, Danger::Refused);
}

#[test]
fn an_image_of_another_format_is_read_only_as_the_bytes_that_it_is() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let Some(here) = qemu().map(|qemu| qemu.within(dir)) else {
        return;
    };
    here.img(&["create", "-q", "-f", "vmdk", "disk.vmdk", "1M"]);
    let overlay = ["-F", "vmdk", "-b", "disk.vmdk", "overlay.qcow2"];
    here.img(&[&["create", "-q", "-f", "qcow2"], &overlay[..]].concat());
    refused_as(
        &plan(dir, wish(dir, "disk.vmdk", RAW)),
        RefusalKind::Unsupported,
    );
    assert_eq!(names(dir), ["disk.vmdk", "overlay.qcow2"]);
    let asked = Convert {
        format: Some(Format::Raw),
        ..wish(dir, "disk.vmdk", RAW)
    };
    run(dir, asked);
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    assert!(read("new") == read("disk.vmdk"), "byte for byte");
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    disk(&dir.path().join("disk.img"), 1 << 20);
    here.img(&["create", "-f", "qcow2", "gone", "1M"]);
    here.img(&[
        "create", "-f", "qcow2", "-F", "qcow2", "-b", "gone", "orphan",
    ]);
    here.img(&["create", "-f", "vmdk", "foreign.vmdk", "1M"]);
    fs::remove_file(dir.path().join("gone")).unwrap();
    fs::write(dir.path().join("mine"), b"mine").unwrap();
    let refused = |kind: RefusalKind, change: &dyn Fn(&mut Convert)| {
        let mut wish = wish(dir.path(), "disk.img", compressed(Qcow2Options::default()));
        change(&mut wish);
        let plan = plan(dir.path(), wish);
        assert_eq!(plan.danger, Danger::Refused, "{}", words(&plan));
        refused_as(&plan, kind);
    };
    refused(RefusalKind::AlreadyExists, &|wish| {
        wish.new = dir.path().join("mine")
    });
    refused(RefusalKind::AlreadyExists, &|wish| {
        wish.new = dir.path().join("disk.img")
    });
    refused(RefusalKind::NotFound, &|wish| {
        wish.sources = vec![dir.path().join("nothing")]
    });
    refused(RefusalKind::NotFound, &|wish| {
        wish.sources = vec![dir.path().join("orphan")]
    });
    // A scan does not meet what it does not recognise as an image by its name.
    refused(RefusalKind::NotFound, &|wish| {
        wish.sources = vec![dir.path().join("foreign.vmdk")]
    });
    refused(RefusalKind::Invalid, &|wish| {
        if let ConvertForm::Qcow2 { image, .. } = &mut wish.form {
            image.format.preallocation = Preallocation::Metadata;
        }
    });
    refused(RefusalKind::Unsupported, &|wish| {
        if let ConvertForm::Qcow2 { image, .. } = &mut wish.form {
            let path = dir.path().join("data");
            image.data_file = Some(DataFileOption {
                path,
                raw: false,
                style: BackingStyle::Relative,
            });
        }
    });
    refused(RefusalKind::Invalid, &|wish| {
        if let ConvertForm::Qcow2 { compress, .. } = &mut wish.form {
            *compress = Some(CompressionLevel::Level(10));
        }
    });
    refused(RefusalKind::Invalid, &|wish| {
        wish.form = ConvertForm::Raw {
            preallocation: Preallocation::Metadata,
        };
    });
    refused(RefusalKind::Invalid, &|wish| {
        wish.sources.push(dir.path().join("disk.img"));
        wish.snapshot = Some(SnapshotName::Id("1".into()));
    });
    assert_eq!(fs::read(dir.path().join("mine")).unwrap(), b"mine");
    assert_eq!(
        names(dir.path()),
        ["disk.img", "foreign.vmdk", "mine", "orphan"]
    );
}

#[test]
fn a_source_that_changed_since_it_was_planned_is_not_converted() {
    let dir = tempfile::tempdir().unwrap();
    disk(&dir.path().join("disk.img"), 1 << 20);
    let plan = plan(dir.path(), wish(dir.path(), "disk.img", RAW));
    fs::write(dir.path().join("disk.img"), b"shorter").unwrap();
    assert!(matches!(execute(plan), Err(Error::Stale(_))));
    assert_eq!(names(dir.path()), ["disk.img"]);
}

#[test]
fn a_crash_leaves_the_new_image_whole_or_absent() {
    let Some(qemu) = qemu() else { return };
    for form in [
        RAW,
        compressed(Qcow2Options::default()),
        qcow2(Qcow2Options {
            cluster_bits: 12,
            preallocation: Preallocation::Falloc,
            ..Qcow2Options::default()
        }),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        disk(&root.join("disk.img"), (1 << 20) + 700);
        let before = fs::read(root.join("disk.img")).unwrap();
        let host = Arc::new(RecordingHost::new(&root));
        let request = Request::Convert(wish(&root, "disk.img", form.clone()));
        execute_request(&context(host.clone(), &root), &request).unwrap();
        host.mark("done");
        let whole = fs::read(root.join("new")).unwrap();
        let log = host.log();
        let mut seen = 0;
        for state in log.crash_states(150, 3) {
            let after = log.replay(&state);
            let story = log.describe(&state);
            assert!(
                fs::read(after.path().join("disk.img")).unwrap() == before,
                "{story}"
            );
            match fs::read(after.path().join("new")) {
                Ok(bytes) => {
                    assert!(bytes == whole, "{story}");
                    seen += 1;
                }
                Err(_) => assert!(!state.passed("done"), "{story}"),
            }
        }
        assert!(seen > 0);
        let here = qemu.within(&root);
        assert_same(
            &here,
            ["raw", format_of(&form)],
            ["disk.img", "new"],
            "whole",
        );
    }
}

#[test]
fn whatever_call_fails_nothing_is_left_behind() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    disk(&dir.path().join("disk.img"), 2 << 20);
    here.img(&[
        "convert",
        "-c",
        "-O",
        "qcow2",
        "-f",
        "raw",
        "disk.img",
        "source.qcow2",
    ]);
    let before = names(dir.path());
    for (class, fault) in [
        (Calls::Mutating, Fault::enospc()),
        (Calls::Reading, Fault::eio()),
    ] {
        for form in [RAW, compressed(Qcow2Options::default())] {
            // Planned on the machine as it is; only the work meets the fault.
            for nth in 0.. {
                let host = Arc::new(FaultyHost::failing(
                    Arc::new(RealHost),
                    class,
                    nth,
                    fault,
                    Then::Recover,
                ));
                let context = context(host.clone(), dir.path());
                let request = Request::Convert(wish(dir.path(), "source.qcow2", form.clone()));
                let plan = ops::plan(&context, &request);
                if plan.danger == Danger::Refused {
                    assert!(host.struck().is_some(), "{}", words(&plan));
                    assert_eq!(names(dir.path()), before);
                    continue;
                }
                let result = execute(plan);
                let Some(struck) = host.struck() else {
                    result.unwrap();
                    fs::remove_file(dir.path().join("new")).unwrap();
                    break;
                };
                match result {
                    Err(Error::Failed(_) | Error::Stale(_)) => {
                        assert_eq!(names(dir.path()), before, "{struck}");
                    }
                    // What it could do without: looking at a header once more.
                    Ok(_) => {
                        assert_same(
                            &here,
                            ["raw", format_of(&form)],
                            ["disk.img", "new"],
                            &struck,
                        );
                        fs::remove_file(dir.path().join("new")).unwrap();
                    }
                    other => panic!("{struck}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_damaged_stream_ends_it_and_names_the_image() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    disk(&dir.path().join("disk.img"), 2 << 20);
    for codec in ["zlib", "zstd"] {
        let option = format!("compression_type={codec}");
        here.img(&[
            "convert", "-c", "-O", "qcow2", "-o", &option, "-f", "raw", "disk.img", "source",
        ]);
        let file = fs::File::options()
            .write(true)
            .open(dir.path().join("source"))
            .unwrap();
        file.write_all_at(&[0xff; 512], 5 << 16).unwrap();
        let plan = plan(dir.path(), wish(dir.path(), "source", RAW));
        match execute(plan) {
            Err(Error::Failed(text)) => assert!(text.text.contains("source"), "{text}"),
            other => panic!("{other:?}"),
        }
        fs::remove_file(dir.path().join("source")).unwrap();
        assert_eq!(names(dir.path()), ["disk.img"]);
    }
}

#[test]
fn stopping_leaves_nothing_behind_and_takes_no_second() {
    let dir = tempfile::tempdir().unwrap();
    disk(&dir.path().join("disk.img"), 200 << 20);
    let mut hard = wish(
        dir.path(),
        "disk.img",
        compressed(Qcow2Options {
            compression: Compression::Zstd,
            ..Qcow2Options::default()
        }),
    );
    if let ConvertForm::Qcow2 { compress, .. } = &mut hard.form {
        *compress = Some(CompressionLevel::Level(19));
    }
    let ready = plan(dir.path(), hard).agree(ops::Consent::Yes).unwrap();
    let progress = Progress::new();
    let (ended, asked) = thread::scope(|scope| {
        let work = scope.spawn(|| {
            let result = ops::run(ready, &progress);
            (result, Instant::now())
        });
        while progress.view().done == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let asked = Instant::now();
        progress.cancel();
        (work.join().unwrap(), asked)
    });
    assert!(matches!(ended.0, Err(Error::Cancelled(_))), "{:?}", ended.0);
    // Twice what is promised, since other tests have the processors as well.
    assert!(ended.1 - asked < Duration::from_secs(2));
    assert_eq!(names(dir.path()), ["disk.img"]);
}

/// A conversion into `new.qcow2` or `new.img`, which is there.
fn over(dir: &Path, source: &str, target: &str) -> Convert {
    Convert {
        new: dir.join(target),
        ..wish(dir, source, ConvertForm::Existing)
    }
}

/// Facts of a header that no conversion into the image changes.
fn kept_info(here: &Qemu, name: &str) -> serde_json::Value {
    let text = here.img(&["info", "--output=json", name]);
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let object = value.as_object_mut().unwrap();
    for key in ["filename", "actual-size", "children", "snapshots"] {
        object.remove(key);
    }
    value
}

#[test]
fn an_image_that_is_there_receives_what_qemu_img_would_write_into_it() {
    let Some(qemu) = qemu() else { return };
    for (options, target, format) in [
        ("cluster_size=64k", "new.qcow2", "qcow2"),
        ("cluster_size=512,compat=0.10", "new.qcow2", "qcow2"),
        ("cluster_size=2M", "new.qcow2", "qcow2"),
        (
            "extended_l2=on,preallocation=metadata",
            "new.qcow2",
            "qcow2",
        ),
        (
            "data_file=DIR/new.data,data_file_raw=on",
            "new.qcow2",
            "qcow2",
        ),
        ("on a base", "new.qcow2", "qcow2"),
        ("with a snapshot", "new.qcow2", "qcow2"),
        ("", "new.img", "raw"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let here = qemu.within(dir);
        disk(&dir.join("source.img"), 9 << 20);
        here.img(&[
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "-c",
            "source.img",
            "low",
        ]);
        here.img(&[
            "create", "-f", "qcow2", "-F", "qcow2", "-b", "low", "source",
        ]);
        here.io(
            "source",
            &["write -P 3 1M 700k", "write -z 3M 1M", "write -P 6 8m 5k"],
        );
        // Longer than what it receives: the rest stays.
        let make = |target: &str, options: &str| {
            match options {
                "on a base" => {
                    here.img(&["create", "-f", "qcow2", "base", "10M"]);
                    here.io("base", &["write -P 2 0 10M"]);
                    here.img(&["create", "-f", "qcow2", "-F", "qcow2", "-b", "base", target]);
                }
                "with a snapshot" => {
                    here.img(&["create", "-f", "qcow2", target, "10M"]);
                }
                _ => {
                    let options = options.replace("DIR", dir.to_str().unwrap());
                    let mut args = vec!["create", "-f", format];
                    if !options.is_empty() {
                        args.extend(["-o", &options]);
                    }
                    args.extend([target, "10M"]);
                    here.img(&args);
                }
            }
            if format == "raw" {
                fs::write(dir.join(target), vec![9; 10 << 20]).unwrap();
            } else {
                here.io(target, &["write -P 9 0 5M", "write -P 8 9300k 200k"]);
            }
            if options == "with a snapshot" {
                here.img(&["snapshot", "-c", "before", target]);
            }
        };
        make(target, options);
        let theirs = options.replace("new.data", "theirs.data");
        make("theirs", &theirs);
        let before = kept_info(&here, target);
        let inode = fs::metadata(dir.join(target)).unwrap().ino();
        let old = (options == "with a snapshot").then(|| {
            here.img(&["convert", "-l", "before", "-O", "raw", target, "old"]);
            fs::read(dir.join("old")).unwrap()
        });
        let plan = plan(dir, over(dir, "source", target));
        assert_eq!(plan.confirm, ops::Confirm::Count(1), "{}", words(&plan));
        for said in ["cut off in the middle", "longer than that", "kept nowhere"] {
            assert!(words(&plan).contains(said), "{}", words(&plan));
        }
        assert!(
            plan.commands[0].contains("convert -n -f qcow2 -O"),
            "{:?}",
            plan.commands
        );
        let room: u64 = plan.space.iter().map(|need| need.needed).sum();
        let taken = |dir: &Path| -> u64 {
            let files = [target, "new.data"].map(|name| fs::metadata(dir.join(name)));
            files
                .into_iter()
                .flatten()
                .map(|stat| stat.blocks() * 512)
                .sum()
        };
        let had = taken(dir);
        execute(plan).unwrap();
        assert!(
            taken(dir) <= had + room,
            "{options}: {} {had} {room}",
            taken(dir)
        );
        here.img(&[
            "convert", "-n", "-f", "qcow2", "-O", format, "source", "theirs",
        ]);
        if format == "raw" {
            assert!(fs::read(dir.join(target)).unwrap() == fs::read(dir.join("theirs")).unwrap());
        } else {
            here.check_clean(target);
            assert_eq!(here.digest(target), here.digest("theirs"), "{options}");
        }
        assert_eq!(kept_info(&here, target), before, "{options}");
        assert_eq!(fs::metadata(dir.join(target)).unwrap().ino(), inode);
        if let Some(old) = old {
            here.img(&["convert", "-l", "before", "-O", "raw", target, "old"]);
            assert!(
                fs::read(dir.join("old")).unwrap() == old,
                "the snapshot stays"
            );
        }
        if options.contains("data_file_raw") {
            here.img(&["compare", "-f", "raw", "-F", "qcow2", "new.data", target]);
        }
    }
}

#[test]
fn what_must_not_be_overwritten_is_refused_as_a_target() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let here = qemu.within(dir);
    here.img(&["create", "-f", "qcow2", "base.qcow2", "1M"]);
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "top.qcow2",
    ]);
    here.img(&["create", "-f", "qcow2", "small.qcow2", "512k"]);
    here.img(&["create", "-f", "qcow2", "free.qcow2", "1M"]);
    for (source, target, kind) in [
        ("free.qcow2", "base.qcow2", RefusalKind::HasDependants),
        ("top.qcow2", "base.qcow2", RefusalKind::Invalid),
        ("top.qcow2", "top.qcow2", RefusalKind::Invalid),
        ("top.qcow2", "small.qcow2", RefusalKind::WouldLose),
        ("top.qcow2", "none.qcow2", RefusalKind::NotFound),
    ] {
        let refused = plan(dir, over(dir, source, target));
        assert_eq!(refused.danger, Danger::Refused, "{source} {target}");
        refused_as(&refused, kind);
    }
    let refused = plan(dir, over(dir, "top.qcow2", "small.qcow2"));
    let way = refused.refusals[0].ways_out[0].request.clone();
    execute_request(&real(dir), &way).unwrap();
    let held = qemu.hold_with_nbd(&dir.join("small.qcow2"), support::HoldMode::ReadWrite);
    let busy = plan(dir, over(dir, "top.qcow2", "small.qcow2"));
    refused_as(&busy, RefusalKind::InUse);
    drop(held);
    run(dir, over(dir, "top.qcow2", "small.qcow2"));
    // One that is built on it since the plan.
    let late = plan(dir, over(dir, "top.qcow2", "free.qcow2"));
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "free.qcow2",
        "late.qcow2",
    ]);
    assert!(matches!(execute(late), Err(Error::Stale(_))));
    // An image in the trash is built on it as well.
    let discard = Request::discard(vec![dir.join("late.qcow2")]);
    execute_request(&real(dir), &discard).unwrap();
    let refused = plan(dir, over(dir, "top.qcow2", "free.qcow2"));
    let said = refused_as(&refused, RefusalKind::HasDependants);
    assert!(said.contains("late.qcow2 (in the trash)"), "{said}");
    // What only new images have does not go with it.
    let mut wish = over(dir, "top.qcow2", "small.qcow2");
    wish.backing = Some(dir.join("base.qcow2"));
    refused_as(&plan(dir, wish), RefusalKind::Invalid);
}

#[test]
fn a_target_that_is_there_survives_crashes_and_failures_with_old_and_new_bytes() {
    for options in ["cluster_size=4k", "cluster_size=64k,extended_l2=on"] {
        let mut trial =
            support::folder_crash_suite::Trial::new(&["source", "base", "target"], |dir| {
                Request::Convert(over(dir, "source", "target"))
            });
        trial.target = Some(("target", "source"));
        let script = &mut trial.script;
        script.create("-o compat=1.1", "source", "1M");
        script.io(
            "qcow2",
            "source",
            &["write -P 5 0 300k", "write -P 6 700k 100k"],
        );
        script.create("-o compat=1.1", "base", "1M");
        script.io("qcow2", "base", &["write -P 2 0 1M"]);
        let make = format!("qemu-img create -q -f qcow2 -o {options} -F qcow2 -b base target");
        script.run(&make);
        script.io("qcow2", "target", &["write -P 9 100k 500k"]);
        script.run("qemu-img snapshot -c before target");
        script.io("qcow2", "target", &["write -P 7 100k 100k"]);
        trial.prove();
    }
}

#[test]
fn a_disk_that_begins_as_an_image_does_is_not_written_into_a_raw_file() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let here = qemu.within(dir);
    here.img(&["create", "-f", "qcow2", "source.qcow2", "1M"]);
    here.img(&["create", "-f", "qcow2", "inside.qcow2", "64k"]);
    let inside = fs::read(dir.join("inside.qcow2")).unwrap();
    fs::write(dir.join("inside.img"), inside).unwrap();
    here.io("source.qcow2", &["write -s inside.img 0 64k"]);
    disk(&dir.join("target.img"), 1 << 20);
    let before = fs::read(dir.join("target.img")).unwrap();
    let said = words(&plan(dir, over(dir, "source.qcow2", "target.img")));
    assert!(said.contains("begins as a qcow2 image does"), "{said}");
    assert_eq!(fs::read(dir.join("target.img")).unwrap(), before);
}

#[test]
fn stopping_a_conversion_into_an_image_leaves_it_whole_and_doing_it_again_ends_it() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let here = qemu.within(dir);
    disk(&dir.join("source.img"), 9 << 20);
    here.img(&["create", "-f", "qcow2", "new.qcow2", "9M"]);
    let wish = || over(dir, "source.img", "new.qcow2");
    let progress = Progress::new();
    progress.cancel();
    let ready = plan(dir, wish()).agree(ops::Consent::Count(1)).unwrap();
    match ops::run(ready, &progress) {
        Err(Error::Cancelled(text)) => assert!(text.text.contains("a part of"), "{text}"),
        other => panic!("{other:?}"),
    }
    here.check_clean("new.qcow2");
    run(dir, wish());
    here.img(&[
        "compare",
        "-f",
        "raw",
        "-F",
        "qcow2",
        "source.img",
        "new.qcow2",
    ]);
}

/// Bytes of a file as a number, in the order of the format.
fn number_at(path: &Path, at: u64) -> u64 {
    let mut bytes = [0; 8];
    fs::File::open(path)
        .unwrap()
        .read_exact_at(&mut bytes, at)
        .unwrap();
    u64::from_be_bytes(bytes)
}

fn put_number(path: &Path, at: u64, number: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&number.to_be_bytes(), at).unwrap();
}

/// The file's place of the first L2 table of a qcow2 image.
fn first_l2(path: &Path) -> u64 {
    number_at(path, number_at(path, 40)) & 0x00ff_ffff_ffff_fe00
}

/// `damaged` with clusters of 64 KiB, some of whose L2 entries lead nowhere, on a base that is cut short.
fn damage(here: &Qemu, dir: &Path) -> Vec<std::ops::Range<u64>> {
    here.img(&["create", "-f", "qcow2", "whole", "4M"]);
    here.io("whole", &["write -P 5 0 4M"]);
    here.img(&["convert", "-O", "qcow2", "whole", "damaged"]);
    let path = dir.join("damaged");
    let l2 = first_l2(&path);
    let entry = |index: u64| number_at(&path, l2 + 8 * index);
    put_number(&path, l2 + 8 * 3, entry(3) | 0x200);
    put_number(&path, l2 + 8 * 4, entry(4) | 0x400);
    // A compressed cluster whose stream is none.
    put_number(&path, l2 + 8 * 20, (1 << 62) | (3 << 54) | 0x0007_f000);
    let cluster = |index: u64| index << 16..(index + 1) << 16;
    vec![cluster(3).start..cluster(4).end, cluster(20)]
}

fn salvaging(dir: &Path, source: &str, form: ConvertForm) -> Convert {
    Convert {
        salvage: true,
        ..wish(dir, source, form)
    }
}

/// Runs a conversion and gives what it could not read.
fn salvage(dir: &Path, wish: Convert) -> Vec<std::ops::Range<u64>> {
    let plan = plan(dir, wish);
    assert_ne!(plan.danger, Danger::Refused, "{}", words(&plan));
    let lost = plan.unread().unwrap();
    let outcome = execute(plan).unwrap();
    assert_eq!(outcome.remarks.is_empty(), lost.bytes() == 0, "{outcome:?}");
    let ranges = lost.ranges();
    let sum: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert_eq!(sum, lost.bytes());
    ranges
}

#[test]
fn what_can_be_read_is_saved_as_by_qemu_img_and_the_rest_is_listed() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let here = qemu.within(dir);
    let lost = damage(&here, dir);
    here.img(&["convert", "--salvage", "-O", "raw", "damaged", "theirs"]);
    let theirs = fs::read(dir.join("theirs")).unwrap();
    run(dir, wish(dir, "whole", RAW));
    fs::remove_file(dir.join("new")).unwrap();
    // Without it nothing is made.
    let refused = plan(dir, wish(dir, "damaged", RAW));
    assert_eq!(refused.danger, Danger::Refused, "{}", words(&refused));
    let told = plan(dir, salvaging(dir, "damaged", RAW));
    assert!(
        words(&told).contains("128 KiB at 0x30000"),
        "{}",
        words(&told)
    );
    assert!(
        told.commands[0].contains("--salvage"),
        "{:?}",
        told.commands
    );
    assert_eq!(salvage(dir, salvaging(dir, "damaged", RAW)), lost);
    assert!(fs::read(dir.join("new")).unwrap() == theirs);
    fs::remove_file(dir.join("new")).unwrap();
    for form in [
        qcow2(Qcow2Options::default()),
        compressed(Qcow2Options::default()),
        qcow2(Qcow2Options {
            cluster_bits: 12,
            extended_l2: false,
            ..Qcow2Options::default()
        }),
    ] {
        assert_eq!(salvage(dir, salvaging(dir, "damaged", form)), lost);
        here.img(&["compare", "-f", "raw", "-F", "qcow2", "theirs", "new"]);
        here.check_clean("new");
        fs::remove_file(dir.join("new")).unwrap();
    }
    // Into an image that is there, whose old bytes do not show through.
    here.img(&["create", "-f", "qcow2", "there", "4M"]);
    here.io("there", &["write -P 9 0 4M"]);
    let over = Convert {
        salvage: true,
        ..over(dir, "damaged", "there")
    };
    assert_eq!(salvage(dir, over), lost);
    here.img(&["compare", "-f", "raw", "-F", "qcow2", "theirs", "there"]);
    // Below an overlay that has a part of it.
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "damaged",
        "-o",
        "cluster_size=4k",
        "top",
    ]);
    here.io("top", &["write -P 7 200k 8k"]);
    here.img(&["convert", "--salvage", "-O", "raw", "top", "theirs"]);
    let ranges = salvage(dir, salvaging(dir, "top", RAW));
    assert_eq!(ranges[0], 3 << 16..200 << 10, "{ranges:?}");
    assert_eq!(ranges[1], 208 << 10..5 << 16, "{ranges:?}");
    assert!(fs::read(dir.join("new")).unwrap() == fs::read(dir.join("theirs")).unwrap());
}

#[test]
fn of_an_image_that_is_cut_short_what_is_left_is_saved() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let here = qemu.within(dir);
    for options in ["cluster_size=64k", "cluster_size=4k"] {
        for len in [3_000_000, 1_000_000] {
            here.img(&["create", "-f", "qcow2", "-o", options, "cut", "4M"]);
            here.io("cut", &["write -P 5 0 4M"]);
            let file = fs::OpenOptions::new()
                .write(true)
                .open(dir.join("cut"))
                .unwrap();
            file.set_len(len).unwrap();
            here.img(&["convert", "--salvage", "-O", "raw", "cut", "theirs"]);
            let lost = salvage(dir, salvaging(dir, "cut", RAW));
            let ours = fs::read(dir.join("new")).unwrap();
            assert!(
                ours == fs::read(dir.join("theirs")).unwrap(),
                "{options} {len}"
            );
            assert!(!lost.is_empty(), "{options} {len}");
            let mut short = 0;
            for (at, piece) in (0u64..).step_by(4096).zip(ours.chunks(4096)) {
                let is_lost = lost.iter().any(|range| range.contains(&at));
                let is_zero = piece.iter().all(|byte| *byte == 0);
                assert!(is_zero || !is_lost, "{options} {len} {at:#x}");
                short += u64::from(is_zero && !is_lost);
            }
            // The last cluster of a file need not be written to its end.
            assert!(short < 16, "{options} {len}: {short}");
            fs::remove_file(dir.join("new")).unwrap();
        }
    }
    // An L2 table past the end of the file takes all it maps with it.
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-o",
        "cluster_size=512",
        "far",
        "256k",
    ]);
    here.io("far", &["write -P 5 0 256k"]);
    let path = dir.join("far");
    let l1 = number_at(&path, 40);
    put_number(&path, l1 + 8, (1 << 63) | (1 << 40));
    let lost = salvage(dir, salvaging(dir, "far", RAW));
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0], 32 << 10..64 << 10);
}

#[test]
fn a_read_that_fails_once_is_no_loss_for_who_saves_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("source.img");
    disk(&path, 5 << 20);
    let whole = fs::read(&path).unwrap();
    let mut saved = 0;
    for nth in (0..60).step_by(3) {
        let host = Arc::new(FaultyHost::failing(
            Arc::new(RealHost),
            Calls::Reading,
            nth,
            Fault::eio(),
            Then::Recover,
        ));
        let wish = Request::Convert(salvaging(dir.path(), "source.img", RAW));
        let plan = ops::plan(&context(host.clone(), dir.path()), &wish);
        if plan.danger == Danger::Refused {
            continue;
        }
        let lost = plan.unread().unwrap();
        if execute(plan).is_ok() {
            assert_eq!(lost.bytes(), 0);
            assert!(fs::read(dir.path().join("new")).unwrap() == whole, "{nth}");
            fs::remove_file(dir.path().join("new")).unwrap();
            saved += usize::from(host.struck().is_some());
        }
    }
    assert!(saved > 0);
}

#[test]
fn zeros_are_left_out_from_as_many_on_as_by_qemu_img() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let here = qemu.within(dir);
    let mut bytes = vec![5_u8; 8 << 20];
    for (from, len) in [
        (0, 2 << 10),
        (100 << 10, 4 << 10),
        (200 << 10, 8 << 10),
        ((300 << 10) + 512, 8 << 10),
        (1 << 20, 64 << 10),
        ((1 << 20) + (300 << 10), 200 << 10),
        ((2 << 20) - 4096, 12 << 10),
        (3 << 20, 1 << 20),
        (5 << 20, 68 << 10),
    ] {
        bytes[from..from + len].fill(0);
    }
    fs::write(dir.join("source.img"), &bytes).unwrap();
    let blocks = |name: &str| fs::metadata(dir.join(name)).unwrap().blocks();
    for (size, text) in [
        (0_u64, "0"),
        (512, "512"),
        (4 << 10, "4k"),
        (8 << 10, "8k"),
        (12 << 10, "12k"),
        (64 << 10, "64k"),
        (100 << 10, "100k"),
        (1 << 20, "1M"),
    ] {
        let sparse = qanopy::image::SparseSize::new(size).unwrap();
        for (form, format) in [(RAW, "raw"), (qcow2(Qcow2Options::default()), "qcow2")] {
            let made = plan(
                dir,
                Convert {
                    sparse,
                    ..wish(dir, "source.img", form)
                },
            );
            let room: u64 = made.space.iter().map(|need| need.needed).sum();
            let command = made.commands[0].clone();
            assert_eq!(command.contains("-S "), size != 4096, "{command}");
            execute(made).unwrap();
            here.img(&[
                "convert",
                "-S",
                text,
                "-f",
                "raw",
                "-O",
                format,
                "source.img",
                "theirs",
            ]);
            here.img(&["compare", "-f", "raw", "-F", format, "source.img", "new"]);
            assert!(blocks("new") * 512 <= room, "{text} {format}");
            let runs = |name: &str| {
                let text = here.img(&["map", "-f", format, "--output=json", name]);
                let map: serde_json::Value = serde_json::from_str(&text).unwrap();
                let runs = map.as_array().unwrap().iter();
                let data = runs.filter(|run| run["data"] == true);
                data.map(|run| (run["start"].as_u64(), run["length"].as_u64()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(runs("new"), runs("theirs"), "-S {text} {format}");
            fs::remove_file(dir.join("new")).unwrap();
            fs::remove_file(dir.join("theirs")).unwrap();
        }
    }
    // What tables say to be zero is stored with 0 only.
    here.img(&["create", "-f", "qcow2", "empty", "8M"]);
    here.io("empty", &["write -P 1 1M 64k"]);
    for (size, least, most) in [(0, 8 << 20, u64::MAX), (1 << 20, 0, 1 << 20)] {
        let sparse = qanopy::image::SparseSize::new(size).unwrap();
        for form in [RAW, qcow2(Qcow2Options::default())] {
            let wish = Convert {
                sparse,
                ..wish(dir, "empty", form)
            };
            run(dir, wish);
            let taken = blocks("new") * 512;
            assert!(taken >= least && taken <= most, "{size}: {taken}");
            fs::remove_file(dir.join("new")).unwrap();
        }
    }
}

/// Small images with their tables in every order; the name of each, and its snapshots.
fn cut_images(dir: &Path) -> Vec<(&'static str, &'static [&'static str])> {
    let mut s = support::script::Script::default();
    s.run("qemu-img create -q -f raw base.raw 512k");
    s.io("raw", "base.raw", &["write -P 9 0 512k"]);
    s.create("-o cluster_size=4k", "plain", "512k");
    let writes = [
        "write -P 1 0 20k",
        "write -P 2 300k 20k",
        "write -c -P 5 400k 4k",
    ];
    s.io("qcow2", "plain", &writes);
    s.create("-o cluster_size=4k -b base.raw -F raw", "over", "512k");
    s.io("qcow2", "over", &writes[..2]);
    s.create("-o cluster_size=512", "small", "512k");
    s.io("qcow2", "small", &writes[..2]);
    s.create("-o cluster_size=16k,extended_l2=on", "sub", "512k");
    s.io(
        "qcow2",
        "sub",
        &["write -P 1 1k 20k", "write -P 2 300k 20k"],
    );
    s.create("-o cluster_size=4k", "snaps", "512k");
    s.io("qcow2", "snaps", &["write -P 1 0 20k"]);
    s.run("qemu-img snapshot -c one snaps");
    s.io("qcow2", "snaps", &["write -P 2 8k 20k"]);
    s.run("qemu-img snapshot -c two snaps");
    s.io("qcow2", "snaps", &["write -P 3 8k 20k"]);
    s.build(dir);
    // The refcount table at the end, and the L2 table.
    let plain = fs::read(dir.join("plain")).unwrap();
    let number = |at: usize| {
        let bytes = plain[at..at + 8].try_into().unwrap();
        usize::try_from(u64::from_be_bytes(bytes) & 0x00ff_ffff_ffff_fe00).unwrap()
    };
    for (name, at) in [("counts-last", 48), ("map-last", number(40))] {
        let (table, copied) = (number(at), plain[at] & 0x80);
        let mut bytes = plain.clone();
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        let place = bytes.len() as u64;
        bytes.extend_from_slice(&plain[table..table + 4096]);
        bytes[at..at + 8].copy_from_slice(&place.to_be_bytes());
        bytes[at] |= copied;
        fs::write(dir.join(name), bytes).unwrap();
    }
    vec![
        ("plain", &[]),
        ("over", &[]),
        ("small", &[]),
        ("sub", &[]),
        ("snaps", &["one", "two"]),
        ("counts-last", &[]),
        ("map-last", &[]),
    ]
}

#[test]
fn of_an_image_that_was_cut_short_everything_is_read_that_qemu_reads() {
    if qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut read, mut lost, mut warned) = (0, 0, 0);
    for (name, snapshots) in cut_images(dir.path()) {
        let whole = fs::read(dir.path().join(name)).unwrap();
        let number = |at: usize| u64::from_be_bytes(whole[at..at + 8].try_into().unwrap());
        let map = usize::try_from(number(40)).unwrap();
        let cluster = 1_usize << whole[23];
        let inside = (map + 4..whole.len()).step_by((whole.len() / 24).max(1536));
        let ends = [map, map + 8, whole.len() - cluster, whole.len() - 1];
        for cut in inside.chain(ends) {
            let image = dir.path().join("cut");
            fs::write(&image, &whole[..cut]).unwrap();
            for snapshot in std::iter::once(None).chain(snapshots.iter().map(Some)) {
                let context = format!("{name} cut to {cut} bytes of {}, {snapshot:?}", whole.len());
                let expected = match snapshot {
                    None => oracle::guest_view(&image, Some("qcow2")),
                    Some(name) => oracle::snapshot_view(&image, name),
                };
                let mut wish = wish(dir.path(), "cut", RAW);
                wish.format = Some(Format::Qcow2);
                wish.snapshot = snapshot.map(|name| SnapshotName::Name((*name).into()));
                let plan = plan(dir.path(), wish);
                if plan.danger == Danger::Refused {
                    // Nothing of the disk can be found any more, or it has no such snapshot.
                    let why = words(&plan);
                    assert!(
                        cut <= map && why.contains("was cut short") || expected.is_err(),
                        "{context}: {why}"
                    );
                    lost += 1;
                    continue;
                }
                warned += usize::from(words(&plan).contains("was cut short"));
                let done = execute(plan);
                let Ok(expected) = expected else {
                    // A compressed cluster without its stream is damaged for everybody.
                    assert!(done.is_err(), "{context}");
                    continue;
                };
                done.unwrap_or_else(|why| panic!("{context}: {why}"));
                let now = oracle::file_view(&dir.path().join("new")).unwrap();
                assert!(now == expected, "{context}: {}", now.explain(&expected));
                fs::remove_file(dir.path().join("new")).unwrap();
                read += 1;
            }
        }
    }
    assert!(
        read > 100 && lost > 5 && warned > 30,
        "{read} read, {lost} lost, {warned} warned"
    );
}
