//! New images encrypted with LUKS, empty or converted from others: the real tools open them, write into
//! them and call them clean, and every operation works on them.
#![allow(clippy::cast_possible_truncation)] // Helpers of tests: what they say and cast is known.

use crate::support;
use crate::support::planning;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;
use qanopy::host::{Host, RealHost};
use qanopy::image::{
    self, Compression, CompressionLevel, Keys, MeasureAs, Preallocation, Qcow2Options,
};
use qanopy::ops::{
    self, BackingStyle, Branch, ChangeKeySlot, Convert, ConvertForm, Create, Danger,
    DataFileOption, EncryptionOption, ImageOptions, KeySlotAction, Progress, RefusalKind, Request,
};
use serde_json::Value;
use support::chains::{Shape, trees};
use support::encrypted::{self, Kind, our_view, ours, theirs};
use support::image_crash_suite::refused_as;
use support::oracle::{self, View};
use support::script::noise;
use support::{Qemu, RecordingHost, checker};

/// The cheapest there is.
const CHEAP: EncryptionOption = EncryptionOption { iter_time_ms: 1 };

/// A disk that ends inside a cluster and inside a table of the smallest clusters.
const SIZE: u64 = 5 << 20;

fn context(host: &Arc<dyn Host>, dir: &Path) -> ops::Context {
    let mut context = planning::context(host.clone(), dir);
    context.keys = encrypted::keys();
    context
}

fn real() -> Arc<dyn Host> {
    Arc::new(RealHost)
}

/// Carries a request out, or says why not.
fn act(host: &Arc<dyn Host>, dir: &Path, request: &Request) -> Result<ops::Outcome, String> {
    let plan = ops::plan(&context(host, dir), request);
    let ready = support::own_code::agree(plan)?;
    ops::run(ready, &Progress::new()).map_err(|error| error.to_string())
}

/// Options in qemu-img's words, encrypted.
fn options(dir: &Path, text: &str) -> ImageOptions {
    let mut format = Qcow2Options::default();
    let mut data_file = None;
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=').unwrap() {
            ("cluster_size", bytes) => {
                format.cluster_bits = bytes.parse::<u64>().unwrap().trailing_zeros();
            }
            ("refcount_bits", bits) => {
                format.refcount_order = bits.parse::<u32>().unwrap().trailing_zeros();
            }
            ("compat", version) => format.old_version = version == "0.10",
            ("extended_l2", _) => format.extended_l2 = true,
            ("lazy_refcounts", _) => format.lazy_refcounts = true,
            ("compression_type", _) => format.compression = Compression::Zstd,
            ("preallocation", how) => {
                format.preallocation = match how {
                    "metadata" => Preallocation::Metadata,
                    "falloc" => Preallocation::Falloc,
                    _ => Preallocation::Full,
                }
            }
            ("data_file", name) => data_file = Some(dir.join(name)),
            ("data_file_raw", _) => {}
            other => panic!("{other:?}"),
        }
    }
    let raw = text.contains("data_file_raw");
    ImageOptions {
        format,
        data_file: data_file.map(|path| DataFileOption {
            path,
            raw,
            style: BackingStyle::Relative,
        }),
        encryption: Some(CHEAP),
    }
}

fn create(dir: &Path, name: &str, text: &str) -> Request {
    Request::Create(Create {
        path: dir.join(name),
        size: SIZE,
        image: options(dir, text),
    })
}

fn branch(dir: &Path, base: &Path, name: &str, image: ImageOptions) -> Request {
    Request::Branch(Branch {
        base: base.to_path_buf(),
        new: dir.join(name),
        format: None,
        size: None,
        style: BackingStyle::Relative,
        image,
    })
}

fn convert(source: &Path, new: &Path, image: ImageOptions) -> Convert {
    Convert {
        salvage: false,
        sparse: qanopy::image::SparseSize::default(),
        sources: vec![source.to_path_buf()],
        format: None,
        snapshot: None,
        bitmaps: image::CarriedBitmaps::None,
        new: new.to_path_buf(),
        form: ConvertForm::Qcow2 {
            image,
            compress: None,
        },
        backing: None,
        style: BackingStyle::Relative,
    }
}

/// What `qemu-img info` says of an image, but for what differs from one to the next.
fn info(qemu: &Qemu, image: &Path) -> Value {
    let outcome = qemu.try_img(&["info", "--output=json", image.to_str().unwrap()]);
    assert!(outcome.success(), "{}", outcome.stderr);
    let mut all: Value = serde_json::from_str(&outcome.text()).unwrap();
    let encrypt = all["format-specific"]["data"]["encrypt"].clone();
    let mut encrypt = encrypt.as_object().unwrap().clone();
    let uuid = encrypt.remove("uuid").unwrap();
    assert_eq!(uuid.as_str().unwrap().len(), 36);
    let digest = encrypt.remove("master-key-iters").unwrap();
    assert!(digest.as_u64().unwrap() >= 1000);
    let iterations = encrypt["slots"][0]["iters"].take();
    assert!(iterations.as_u64().unwrap() >= 1000);
    all["format-specific"]["data"]["encrypt"] = encrypt.into();
    for key in [
        "filename",
        "full-backing-filename",
        "actual-size",
        "children",
    ] {
        all.as_object_mut().unwrap().remove(key);
    }
    all
}

/// Whether these bytes lie anywhere in a file.
fn holds(file: &Path, needle: &[u8]) -> bool {
    let stored = fs::read(file).unwrap();
    stored.windows(needle.len()).any(|bytes| bytes == needle)
}

#[test]
fn what_we_create_encrypted_the_real_tool_opens_writes_and_calls_clean() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    // By such options the tool looks for data files from where it runs.
    let qemu = qemu.within(dir);
    for text in [
        "",
        "cluster_size=512,compat=0.10",
        "cluster_size=2097152,extended_l2=on",
        "cluster_size=512,refcount_bits=1",
        "refcount_bits=64,lazy_refcounts=on,compression_type=zstd",
        "preallocation=metadata",
        "cluster_size=4096,preallocation=falloc,refcount_bits=2",
        "preallocation=full",
        "cluster_size=32768,extended_l2=on,preallocation=metadata",
        "compat=0.10,preallocation=metadata",
        "compat=0.10,preallocation=full",
        "data_file=one.raw",
        "data_file=one.raw,preallocation=falloc",
        "data_file=one.raw,extended_l2=on,preallocation=metadata",
    ] {
        let image = dir.join("one.qcow2");
        act(&real(), dir, &create(dir, "one.qcow2", text)).unwrap();
        let kind = [(image.as_path(), Kind::Luks)];
        let data = text.contains("data_file").then(|| dir.join("one.raw"));
        assert!(encrypted::check_is_clean(&qemu, &kind), "{text}");
        // Also where the real tool's own image would show noise: places reserved in advance.
        assert!(theirs(&qemu, &kind).iter().all(|byte| *byte == 0), "{text}");
        let read = || ours(&RealHost, &image, &encrypted::keys()).unwrap();
        assert!(read().iter().all(|byte| *byte == 0), "{text}");
        let reserved = fs::metadata(data.as_ref().unwrap_or(&image)).unwrap();
        let blocks = std::os::unix::fs::MetadataExt::blocks(&reserved) * 512;
        let takes = ["falloc", "full", "compat=0.10,preallocation"];
        if takes.iter().any(|way| text.contains(way)) {
            assert!(blocks >= SIZE, "{text}: {blocks}");
        }

        encrypted::io(&qemu, &kind, &["write -P 1 0 1M", "write -P 2 3001k 700k"]);
        encrypted::io(&qemu, &kind, &["read -P 1 0 1M", "read -P 0 1M 1M"]);
        assert!(encrypted::check_is_clean(&qemu, &kind), "{text}");
        let read = read();
        assert!(read == theirs(&qemu, &kind), "{text}");
        assert!(read[0] == 1 && read[3_100_000] == 2, "{text}");
        // Nothing of it lies there in the clear.
        assert!(!holds(data.as_ref().unwrap_or(&image), &[1; 64]), "{text}");
        fs::remove_file(&image).unwrap();
        data.map(fs::remove_file).transpose().unwrap();
    }
}

#[test]
fn a_new_image_is_laid_out_as_that_of_the_real_tool_and_opens_with_its_passphrase_only() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (image, other) = (dir.join("one.qcow2"), dir.join("other.qcow2"));
    let request = Request::Create(Create {
        path: image.clone(),
        size: encrypted::SIZE,
        image: options(dir, ""),
    });
    let plan = ops::plan(&context(&real(), dir), &request);
    let command = plan.commands.join("\n");
    for words in ["--object secret,id=passphrase", "encrypt.format=luks"] {
        assert!(command.contains(words), "{command}");
    }
    act(&real(), dir, &request).unwrap();
    encrypted::one(&qemu, &other);
    assert_eq!(info(&qemu, &image), info(&qemu, &other));
    let len = |path: &Path| fs::metadata(path).unwrap().len();
    assert_eq!(len(&image), len(&other));

    // Under a name with another passphrase neither of us opens it.
    let wrong = dir.join("two.qcow2");
    fs::rename(&image, &wrong).unwrap();
    let error = ours(&RealHost, &wrong, &encrypted::keys()).unwrap_err();
    assert!(error.contains("opens none of its key slots"), "{error}");
    let outcome = encrypted::try_io(&qemu, &[(&wrong, Kind::Luks)], &["read 0 512"]);
    assert_ne!(outcome.code, 0);
    let said = &outcome.stderr;
    assert!(said.contains("Invalid password"), "{said}");
}

#[test]
fn what_cannot_be_encrypted_is_refused_and_nothing_is_made() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::write(dir.join("base.img"), noise(1, 1 << 20)).unwrap();
    let refused = |request: &Request, keys: Keys, kind: RefusalKind| {
        let mut context = context(&real(), dir);
        context.keys = keys;
        let plan = ops::plan(&context, request);
        assert_eq!(plan.danger, Danger::Refused);
        refused_as(&plan, kind)
    };
    let invalid = RefusalKind::Invalid;
    let raw = create(dir, "one.qcow2", "data_file=d,data_file_raw=on");
    let text = refused(&raw, encrypted::keys(), invalid);
    assert!(text.contains("noise to everybody else"), "{text}");
    refused(
        &create(dir, "one.qcow2", ""),
        Keys::none(),
        RefusalKind::PassphraseNeeded,
    );
    let base = dir.join("base.img");
    let new = branch(dir, &base, "one.qcow2", options(dir, "preallocation=full"));
    let text = refused(&new, encrypted::keys(), invalid);
    assert!(text.contains("only with extended L2 entries"), "{text}");
    let mut wish = convert(&base, &dir.join("one.qcow2"), options(dir, ""));
    if let ConvertForm::Qcow2 { compress, .. } = &mut wish.form {
        *compress = Some(CompressionLevel::Default);
    }
    let text = refused(&Request::Convert(wish), encrypted::keys(), invalid);
    assert!(text.contains("compress, or encrypt"), "{text}");
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
}

#[test]
fn encrypted_and_plain_layers_are_built_on_each_other() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let at = |name: &str| dir.join(name);
    let base = at("base.img");
    fs::write(&base, noise(3, 3 << 20)).unwrap();
    let more = "extended_l2=on,preallocation=metadata";
    let sealed = branch(dir, &base, "one.qcow2", options(dir, more));
    let plan = ops::plan(&context(&real(), dir), &sealed);
    let warned = planning::words(&plan);
    assert!(warned.contains("base.img is not encrypted"), "{warned}");
    act(&real(), dir, &sealed).unwrap();
    let plain = ImageOptions::default();
    let open = branch(dir, &at("one.qcow2"), "plain.qcow2", plain);
    let plan = ops::plan(&context(&real(), dir), &open);
    let warned = planning::words(&plan);
    assert!(warned.contains("the overlay is not"), "{warned}");
    act(&real(), dir, &open).unwrap();
    let old = options(dir, "cluster_size=512,compat=0.10");
    act(
        &real(),
        dir,
        &branch(dir, &at("plain.qcow2"), "two.qcow2", old),
    )
    .unwrap();

    let (top, plain, one) = (at("two.qcow2"), at("plain.qcow2"), at("one.qcow2"));
    let chain = [
        (top.as_path(), Kind::Luks),
        (plain.as_path(), Kind::Plain),
        (one.as_path(), Kind::Luks),
        (base.as_path(), Kind::Raw),
    ];
    assert!(theirs(&qemu, &chain) == fs::read(&base).unwrap());
    encrypted::io(&qemu, &chain[2..], &["write -P 1 100k 1M"]);
    encrypted::io(&qemu, &chain[1..], &["write -P 2 512k 5k"]);
    encrypted::io(&qemu, &chain, &["write -P 3 514k 1k", "write -z 2M 64k"]);
    for from in 0..3 {
        assert!(encrypted::check_is_clean(&qemu, &chain[from..]));
    }
    let read = ours(&RealHost, &top, &encrypted::keys()).unwrap();
    assert!(read == theirs(&qemu, &chain));
    assert_eq!(
        [read[101 << 10], read[513 << 10], read[514 << 10]],
        [1, 2, 3]
    );
}

/// A chain with everything a disk may hold, and what it shows.
fn sources(qemu: &Qemu, dir: &Path) -> (PathBuf, Vec<u8>) {
    let (base, top) = (dir.join("base.qcow2"), dir.join("top.qcow2"));
    // The disk ends inside a sector's worth of a cluster.
    let size = ((3 << 20) + 512).to_string();
    qemu.img(&["create", "-q", "-f", "qcow2", base.to_str().unwrap(), &size]);
    qemu.io(
        &base,
        &[
            "write -P 1 0 1M",
            "write -z 300k 100k",
            "write -P 2 2M 700k",
        ],
    );
    let name = top.to_str().unwrap();
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        name,
    ]);
    qemu.io(
        &top,
        &[
            "write -P 3 64k 3k",
            "write -z 2100k 64k",
            "write -P 4 3M 512",
        ],
    );
    let shown = qemu.raw_bytes(&top);
    (top, shown)
}

#[test]
fn what_is_converted_to_and_from_encrypted_images_shows_the_same() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let qemu = qemu.within(dir);
    let (top, shown) = sources(&qemu, dir);
    for text in [
        "",
        "cluster_size=512,refcount_bits=1",
        "cluster_size=2097152,extended_l2=on",
        "cluster_size=32768,extended_l2=on,preallocation=metadata",
        "compat=0.10,cluster_size=4096",
        "compat=0.10,preallocation=metadata",
        "preallocation=full",
        "data_file=one.raw",
    ] {
        let image = dir.join("one.qcow2");
        let wish = convert(&top, &image, options(dir, text));
        act(&real(), dir, &Request::Convert(wish)).unwrap();
        let kind = [(image.as_path(), Kind::Luks)];
        assert!(theirs(&qemu, &kind) == shown, "{text}");
        assert!(encrypted::check_is_clean(&qemu, &kind), "{text}");
        let read = ours(&RealHost, &image, &encrypted::keys()).unwrap();
        assert!(read == shown, "{text}");
        let holder = text.contains("data_file").then(|| dir.join("one.raw"));
        assert!(
            !holds(holder.as_ref().unwrap_or(&image), &[2; 64]),
            "{text}"
        );

        // And out of it again, under another passphrase, then in the clear.
        let (again, raw) = (dir.join("two.qcow2"), dir.join("raw"));
        let wish = convert(&image, &again, options(dir, "cluster_size=8192"));
        act(&real(), dir, &Request::Convert(wish)).unwrap();
        let mut wish = convert(&again, &raw, ImageOptions::default());
        wish.form = ConvertForm::Raw {
            preallocation: Preallocation::Off,
        };
        act(&real(), dir, &Request::Convert(wish)).unwrap();
        assert!(fs::read(&raw).unwrap() == shown, "{text}");
        for path in [&image, &again, &raw].into_iter().chain(&holder) {
            fs::remove_file(path).unwrap();
        }
    }
    // Onto the base, with and without zero clusters.
    for text in ["", "compat=0.10"] {
        let image = dir.join("one.qcow2");
        let mut wish = convert(&top, &image, options(dir, text));
        wish.backing = Some(dir.join("base.qcow2"));
        act(&real(), dir, &Request::Convert(wish)).unwrap();
        let base = dir.join("base.qcow2");
        let chain = [(image.as_path(), Kind::Luks), (base.as_path(), Kind::Plain)];
        assert!(theirs(&qemu, &chain) == shown, "{text}");
        assert!(encrypted::check_is_clean(&qemu, &chain), "{text}");
        fs::remove_file(&image).unwrap();
    }
    // Of a raw file that ends inside a sector.
    let (odd, image) = (dir.join("odd.img"), dir.join("one.qcow2"));
    let mut bytes = noise(9, 100_001);
    fs::write(&odd, &bytes).unwrap();
    let wish = convert(&odd, &image, options(dir, ""));
    act(&real(), dir, &Request::Convert(wish)).unwrap();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    assert!(theirs(&qemu, &[(&image, Kind::Luks)]) == bytes);
}

/// Any options that go together, but for a data file's name.
fn any_options() -> impl Strategy<Value = Qcow2Options> {
    let preallocation = prop::sample::select(vec![
        Preallocation::Off,
        Preallocation::Metadata,
        Preallocation::Falloc,
        Preallocation::Full,
    ]);
    (9..=21_u32, 0..=6_u32, any::<[bool; 4]>(), preallocation).prop_map(
        |(cluster_bits, refcount_order, [extended, old, lazy, zstd], preallocation)| {
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
                preallocation,
            }
        },
    )
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.map_or(5, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 20,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_chain_encrypted_under_any_options_shows_the_same(
        tree in trees(Shape { snapshots: false, size: 3 << 20, ..Shape::default() }),
        formats in prop::collection::vec((any_options(), any::<bool>()), 2),
    ) {
        let Some(qemu) = support::qemu() else { return Ok(()) };
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        tree.build(dir);
        let qemu = qemu.within(dir);
        let source = dir.join(tree.name(tree.overlay));
        let format = tree.layers[tree.overlay].format();
        let shown = oracle::guest_view(&source, Some(format)).unwrap();
        for (format, apart) in formats {
            let what = format!("{format:?} {apart}\n{tree}");
            let path = dir.join("one.raw");
            let apart = apart && !format.old_version;
            let image = ImageOptions {
                format,
                data_file: apart.then(|| DataFileOption { path: path.clone(), raw: false, style: BackingStyle::Relative }),
                encryption: Some(CHEAP),
            };
            let new = dir.join("one.qcow2");
            let wish = Request::Convert(convert(&source, &new, image));
            let made = act(&real(), dir, &wish);
            prop_assert!(made.is_ok(), "{made:?}\n{what}");
            let kind = [(new.as_path(), Kind::Luks)];
            prop_assert!(View::of(&theirs(&qemu, &kind)) == shown, "{what}");
            let read = our_view(&RealHost, &new, &encrypted::keys()).unwrap();
            prop_assert!(read == shown, "{}\n{what}", read.explain(&shown));
            prop_assert!(encrypted::check_is_clean(&qemu, &kind), "{what}");
            if shown.len >= 1024 {
                encrypted::io(&qemu, &kind, &["write -P 7 512 512", "read -P 7 512 512"]);
            }
            let after = ours(&RealHost, &new, &encrypted::keys()).unwrap();
            prop_assert!(after == theirs(&qemu, &kind), "{what}");
            prop_assert!(encrypted::check_is_clean(&qemu, &kind), "{what}");
            fs::remove_file(&new).unwrap();
            drop(fs::remove_file(&path));
        }
    }
}

#[test]
fn a_crash_leaves_the_new_encrypted_image_whole_or_absent() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let (top, shown) = sources(&qemu, home.path());
    let options = |dir: &Path| options(dir, "cluster_size=4096,data_file=one.raw");
    let keys = encrypted::keys();
    for converted in [false, true] {
        let dir = home.path();
        let recorder = Arc::new(RecordingHost::new(dir));
        let host: Arc<dyn Host> = recorder.clone();
        let image = dir.join("one.qcow2");
        let request = if converted {
            Request::Convert(convert(&top, &image, options(dir)))
        } else {
            Request::Create(Create {
                path: image.clone(),
                size: SIZE,
                image: options(dir),
            })
        };
        act(&host, dir, &request).unwrap();
        recorder.mark("done");
        let log = recorder.log();
        let mut whole = 0;
        for (number, state) in log.crash_states(60, 5).enumerate() {
            let after = log.replay(&state);
            let said = || format!("state {number}:\n{}", log.describe(&state));
            let image = after.path().join("one.qcow2");
            if !image.exists() {
                assert!(!state.passed("done"), "{}", said());
                continue;
            }
            whole += 1;
            assert!(checker::check(&image).is_sound(), "{}", said());
            let view = our_view(&RealHost, &image, &keys).unwrap();
            let expected = if converted {
                support::oracle::View::of(&shown)
            } else {
                support::oracle::View::of(&vec![0; SIZE as usize])
            };
            assert!(view == expected, "{}", said());
        }
        assert!(whole > 0);
        fs::remove_file(&image).unwrap();
        fs::remove_file(dir.join("one.raw")).unwrap();
    }
}

#[test]
fn an_encrypted_copy_is_measured_as_by_the_real_tool() {
    let measured = |cluster_bits: u32| {
        let options = Qcow2Options {
            cluster_bits,
            ..Qcow2Options::default()
        };
        let target = MeasureAs::Qcow2 {
            options: &options,
            backing: false,
            luks: true,
        };
        let measured = image::measure(None, SIZE, target).unwrap();
        (measured.required, measured.fully_allocated)
    };
    // Printed by qemu-img 10.0.2, which takes many seconds for each.
    assert_eq!(measured(16), (2_424_832, 7_667_712));
    assert_eq!(measured(9), (2_173_952, 7_416_832));
}

/// Our program.
fn qanopy(qemu: &Qemu, home: &Path, words: &[&str]) -> support::qemu::Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
    command.env("XDG_STATE_HOME", home.join("state"));
    qemu.run(command.args(words))
}

#[test]
fn every_operation_works_on_encrypted_images_with_their_passphrase() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let key = encrypted::passphrase_file(&dir.join("one.qcow2"));
    let words = |text: &str| -> Vec<String> {
        let key = format!("--passphrase-file={}", key.display());
        text.split_whitespace()
            .map(|word| match word {
                "KEY" => key.clone(),
                "CHEAP" => "--iter-time=1".to_owned(),
                word if word.ends_with(".qcow2") && !word.starts_with('-') => {
                    dir.join(word).display().to_string()
                }
                word => word.to_owned(),
            })
            .collect()
    };
    let run = |text: &str| {
        let words = words(text);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let outcome = qanopy(&qemu, dir, &words);
        assert_eq!(
            outcome.code,
            0,
            "{text}: {}{}",
            outcome.text(),
            outcome.stderr
        );
        outcome.text()
    };
    let at = |name: &str| dir.join(name);
    run("create --yes base.qcow2 3M --encrypt luks CHEAP KEY");
    let (base, top) = (at("base.qcow2"), at("top.qcow2"));
    let both = [(top.as_path(), Kind::Luks), (base.as_path(), Kind::Luks)];
    encrypted::io(&qemu, &both[1..], &["write -P 1 0 1M"]);
    run("branch --yes base.qcow2 top.qcow2 --encrypt luks CHEAP KEY --cluster-size 4K");
    encrypted::io(&qemu, &both, &["write -P 2 512k 1M", "write -z 64k 64k"]);
    let shown = theirs(&qemu, &both);
    let shows = |chain: &[(&Path, Kind)], what: &str| {
        assert!(theirs(&qemu, chain) == shown, "{what}");
        assert!(encrypted::check_is_clean(&qemu, chain), "{what}");
    };

    // Read only.
    let info: Value = serde_json::from_str(&run("info --json top.qcow2")).unwrap();
    let encrypt = &info["result"]["format-specific"]["data"]["encrypt"];
    assert_eq!(encrypt["format"], "luks");
    run("check top.qcow2");
    run("compare top.qcow2 top.qcow2 KEY");
    run("convert --yes top.qcow2 copy.qcow2 --encrypt luks CHEAP KEY");
    run("compare top.qcow2 copy.qcow2 KEY");
    let copy = at("copy.qcow2");
    shows(&[(&copy, Kind::Luks)], "convert");
    run("measure top.qcow2 --encrypt luks");
    run("map top.qcow2");

    // What changes the image itself, or makes another one of it.
    run("flatten --yes top.qcow2 plain.qcow2 KEY");
    shows(&[(&at("plain.qcow2"), Kind::Plain)], "flatten");
    run("snapshot create --yes copy.qcow2 before");
    run("resize --yes copy.qcow2 +1M KEY");
    run("resize --yes copy.qcow2 --shrink 3M KEY --confirm 1");
    encrypted::io(&qemu, &[(&copy, Kind::Luks)], &["write -P 9 0 3M"]);
    run("snapshot extract --yes copy.qcow2 before past.qcow2 --as qcow2 KEY");
    shows(&[(&at("past.qcow2"), Kind::Plain)], "extract");
    run("snapshot apply --confirm 1 copy.qcow2 before");
    run("snapshot delete --confirm 1 copy.qcow2 before");
    shows(&[(&copy, Kind::Luks)], "snapshots, resize");
    run("amend --yes copy.qcow2 --refcount-bits 32");
    run("bitmap add --yes copy.qcow2 b");
    run("bitmap remove --confirm 1 copy.qcow2 b");
    shows(&[(&copy, Kind::Luks)], "amend, bitmap");
    run("clone --yes copy.qcow2 clone.qcow2");
    shows(&[(&at("clone.qcow2"), Kind::Luks)], "clone");
    run("check --repair all --yes copy.qcow2");
    shows(&[(&copy, Kind::Luks)], "repair");

    // Between layers: away from its base and back, in and out of the clear.
    run("rebase --yes copy.qcow2 --to base.qcow2 --dedupe KEY");
    shows(&[(&copy, Kind::Luks), both[1]], "rebase");
    run("flatten --yes --in-place copy.qcow2 KEY");
    shows(&[(&copy, Kind::Luks)], "flatten --in-place");
    run("branch --yes top.qcow2 leaf.qcow2");
    let leaf = at("leaf.qcow2");
    run("squash --yes top.qcow2 --direction up KEY");
    shows(&[(&leaf, Kind::Plain), both[1]], "squash");
    run("commit --confirm 1 leaf.qcow2 KEY");
    shows(&both[1..], "commit");
    assert!(!holds(&base, &[2; 64]));

    // And taken back, for which the passphrase is needed once more.
    run("branch --yes base.qcow2 late.qcow2 --encrypt luks CHEAP KEY");
    let late = at("late.qcow2");
    encrypted::io(&qemu, &[(&late, Kind::Luks), both[1]], &["write -P 8 0 2M"]);
    run("commit --yes late.qcow2 --siblings preserve --keep-old old.qcow2 KEY");
    assert!(theirs(&qemu, &both[1..]) != shown);
    run("undo --yes KEY");
    shows(&both[1..], "undo");
}

#[test]
fn the_passphrases_of_a_conversion_are_told_apart() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::write(dir.join("a.img"), noise(2, 300_000)).unwrap();
    fs::write(dir.join("k1"), "one").unwrap();
    fs::write(dir.join("k2"), "two\n").unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
        command
            .current_dir(dir)
            .env("XDG_STATE_HOME", dir.join("state"));
        qemu.run(command.args(words).args(["--iter-time=1", "--yes"]))
    };
    let make = ["convert", "--encrypt=luks"];
    let with = |more: &[&'static str]| run(&[&make[..], more].concat());
    let outcome = with(&["a.img", "one.qcow2", "--passphrase-file=k1"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let both = [
        "one.qcow2",
        "new.qcow2",
        "--passphrase-file=one.qcow2=k1",
        "--passphrase-file=new.qcow2=k2",
    ];
    let said = with(&[&both[..], &["--dry-run"]].concat()).text();
    assert!(said.contains("ends with a line feed"), "{said}");
    let outcome = with(&both);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let secret = ["--object", "secret,id=s,data=two\n", "--image-opts"];
    let name = dir.join("new.qcow2");
    let named = format!(
        "driver=qcow2,file.filename={},encrypt.key-secret=s",
        name.display()
    );
    let raw = dir.join("raw");
    let mut command = Command::new("qemu-img");
    command
        .args(["convert", "-O", "raw"])
        .args(secret)
        .arg(&named)
        .arg(&raw);
    let outcome = qemu.run(&mut command);
    assert!(outcome.success(), "{}", outcome.stderr);
    assert!(fs::read(&raw).unwrap()[..300_000] == noise(2, 300_000));

    // Nobody is asked where there is no terminal, and an option for nothing is an error.
    let outcome = with(&["a.img", "other.qcow2"]);
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    let outcome = run(&[
        "create",
        "e.qcow2",
        "1M",
        "--encrypt=luks",
        "--passphrase-file=none",
    ]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
    command.current_dir(dir);
    command.args(["create", "e.qcow2", "1M", "--passphrase-file=k1"]);
    let outcome = qemu.run(&mut command);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(!dir.join("e.qcow2").exists() && !dir.join("other.qcow2").exists());
}

/// A command of our program in this folder, with a journal there.
fn in_folder(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
    command
        .current_dir(dir)
        .env("XDG_STATE_HOME", dir.join("state"))
        .args(words);
    command
}

/// What was encrypted and is plain in a new file is read by its owner alone, whoever may read the original.
#[test]
fn what_is_copied_in_the_clear_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::write(dir.join("k"), "one").unwrap();
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = qemu.run(in_folder(dir, &words).args(["--yes", "--passphrase-file=k"]));
        assert_eq!(
            outcome.code,
            0,
            "{line}: {}{}",
            outcome.text(),
            outcome.stderr
        );
    };
    let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
    let open = |name: &str| fs::set_permissions(dir.join(name), PermissionsExt::from_mode(0o644));
    run("create base.qcow2 1M --encrypt luks --iter-time 1");
    open("base.qcow2").unwrap();
    qemu.run(&mut in_folder(
        dir,
        &["branch", "base.qcow2", "top.qcow2", "--yes"],
    ));
    open("top.qcow2").unwrap();
    for (line, new) in [
        ("convert base.qcow2 one.qcow2", "one.qcow2"),
        ("convert base.qcow2 one.raw --to raw", "one.raw"),
        ("convert top.qcow2 two.qcow2", "two.qcow2"),
        ("flatten top.qcow2 three.qcow2", "three.qcow2"),
    ] {
        run(line);
        assert_eq!(mode(new), 0o600, "{line}");
    }
    // What stays encrypted is no more readable than it was, and no less.
    run("convert base.qcow2 four.qcow2 --encrypt luks --iter-time 1");
    assert_eq!(mode("four.qcow2"), 0o644);
}

/// Whoever may look into a process of this user may not look into one that reads a passphrase: its entry in
/// `/proc` belongs to root then.
#[test]
fn nobody_looks_into_a_process_that_holds_a_passphrase() {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::set_permissions(dir, PermissionsExt::from_mode(0o777)).unwrap();
    let run = |words: &[&str]| {
        fs::write(dir.join("k"), "one").unwrap();
        let outcome = qemu.run(&mut in_folder(dir, words));
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    };
    let luks = "--encrypt=luks";
    run(&[
        "create",
        "a.qcow2",
        "1M",
        luks,
        "--iter-time=1",
        "--passphrase-file=k",
    ]);
    let fifo = dir.join("fifo");
    let made = Command::new("mkfifo")
        .arg("-m")
        .arg("666")
        .arg(&fifo)
        .status();
    assert!(made.unwrap().success());
    let mut command = in_folder(
        dir,
        &[
            "flatten",
            "a.qcow2",
            "c.qcow2",
            "--yes",
            "--passphrase-file=fifo",
        ],
    );
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    // Of root's own processes the entry is root's in any case.
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        command.uid(65_534);
    }
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: the program cannot be run by another user here");
        return;
    };
    // There is a writer as soon as there is a reader.
    let mut writer = None;
    for _ in 0..500 {
        let opened = fs::OpenOptions::new()
            .write(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(&fifo);
        writer = opened.ok();
        if writer.is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut writer = writer.unwrap();
    let entry = fs::metadata(format!("/proc/{}/mem", child.id())).unwrap();
    let owner = entry.uid();
    writer.write_all(b"one").unwrap();
    drop(writer);
    child.wait().unwrap();
    assert_eq!(owner, 0);
}

/// The passphrase of an image that an interrupted run was to make is given by its name, which is not there.
#[test]
fn recovering_takes_the_passphrase_of_an_image_that_is_still_to_be_made() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::write(dir.join("a.img"), noise(2, 300_000)).unwrap();
    fs::write(dir.join("one"), "one").unwrap();
    fs::write(dir.join("two"), "two").unwrap();
    let run = |words: &[&str]| qemu.run(&mut in_folder(dir, words));
    let outcome = run(&[
        "convert",
        "a.img",
        "new.qcow2",
        "--encrypt=luks",
        "--iter-time=1",
        "--passphrase-file=one",
        "--yes",
    ]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    // As a kill leaves it before the new name is given.
    fs::remove_file(dir.join("new.qcow2")).unwrap();
    let journal = dir.join("state/qanopy/journal.jsonl");
    let lines = fs::read_to_string(&journal).unwrap();
    let begun = lines.lines().next().unwrap();
    fs::write(&journal, format!("{begun}\n")).unwrap();
    let recover = ["recover", "1", "--finish", "--yes"];
    let with = |key: &str| run(&[&recover[..], &[key]].concat());
    let outcome = with("--passphrase-file=other.qcow2=two");
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("cannot find other.qcow2"),
        "{}",
        outcome.stderr
    );
    let outcome = with("--passphrase-file=new.qcow2=two");
    assert_eq!(outcome.code, 0, "{}{}", outcome.text(), outcome.stderr);
    let opens = |key: &str| {
        let line = ["convert", "new.qcow2", "out.raw", "--to=raw", "--yes", key];
        run(&line).code
    };
    assert_ne!(opens("--passphrase-file=one"), 0);
    assert_eq!(opens("--passphrase-file=two"), 0);
}

/// Knows one passphrase of an image, and another that it is to open to.
#[derive(Debug)]
struct Replacing {
    old: &'static str,
    new: &'static str,
}

impl image::Passphrases for Replacing {
    fn passphrases(&self, _: &Path) -> Vec<image::Passphrase> {
        vec![image::Passphrase::new(self.old.into())]
    }

    fn for_new(&self, _: &Path) -> Option<image::Passphrase> {
        Some(image::Passphrase::new(self.new.into()))
    }
}

fn keys(old: &'static str, new: &'static str) -> Keys {
    Keys::from(Arc::new(Replacing { old, new }))
}

/// Changes the key slots of `image`, or says why not.
fn slots(
    host: &Arc<dyn Host>,
    image: &Path,
    keys: Keys,
    action: KeySlotAction,
) -> Result<ops::Outcome, String> {
    let mut context = planning::context(host.clone(), image.parent().unwrap());
    context.keys = keys;
    let image = image.to_path_buf();
    let plan = ops::plan(&context, &Request::KeySlot(ChangeKeySlot { image, action }));
    let ready = support::own_code::agree(plan)?;
    ops::run(ready, &Progress::new()).map_err(|error| error.to_string())
}

/// Whether the real tool opens the image by a passphrase, and finds 64 KiB of 0x51 at its start.
fn opens(qemu: &Qemu, image: &Path, passphrase: &str) -> bool {
    let mut command = Command::new("qemu-io");
    command.args(["--object", &format!("secret,id=s,data={passphrase}")]);
    command.args(["-c", "read -P 0x51 0 64k", "--image-opts"]);
    let file = image.display();
    command.arg(format!(
        "driver=qcow2,file.filename={file},encrypt.format=luks,encrypt.key-secret=s"
    ));
    let outcome = qemu.run(&mut command);
    outcome.success() && !outcome.text().contains("Pattern verification failed")
}

fn add(slot: Option<usize>) -> KeySlotAction {
    KeySlotAction::Add {
        slot,
        iter_time_ms: 1,
    }
}

fn change(slot: Option<usize>) -> KeySlotAction {
    KeySlotAction::Change {
        slot,
        into: None,
        iter_time_ms: 1,
    }
}

/// An image that opens to `one`, with 64 KiB of 0x51 at its start.
fn opening_to_one(qemu: &Qemu, dir: &Path) -> PathBuf {
    let image = dir.join("one.qcow2");
    encrypted::one(qemu, &image);
    encrypted::io(qemu, &[(&image, Kind::Luks)], &["write -P 0x51 0 64k"]);
    image
}

#[test]
fn key_slots_are_added_changed_and_erased_and_the_real_tool_opens_what_is_left() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let image = &opening_to_one(&qemu, home.path());
    let opened = || ["one", "deux", "trois"].map(|word| opens(&qemu, image, word));
    let host = real();
    assert_eq!(opened(), [true, false, false]);

    let told = slots(&host, image, keys("one", "deux"), add(None)).unwrap();
    assert_eq!(opened(), [true, true, false], "{}", told.summary);
    // The same once more is not a third slot: an interrupted one is finished so.
    let again = slots(&host, image, keys("one", "deux"), add(Some(1))).unwrap_err();
    assert!(again.contains("already"), "{again}");
    // What takes it back needs a passphrase that is left.
    let Some(Request::KeySlot(ChangeKeySlot { action: undo, .. })) = told.undo else {
        panic!("{:?}", told.undo)
    };
    assert_eq!(undo, KeySlotAction::Erase { slot: 1 });

    slots(&host, image, keys("deux", "trois"), change(None)).unwrap();
    assert_eq!(opened(), [true, false, true]);
    let refused = slots(
        &host,
        image,
        keys("one", ""),
        KeySlotAction::Erase { slot: 0 },
    );
    let refused = refused.unwrap_err();
    assert!(refused.contains("none of the key slots"), "{refused}");
    slots(
        &host,
        image,
        keys("trois", ""),
        KeySlotAction::Erase { slot: 0 },
    )
    .unwrap();
    assert_eq!(opened(), [false, false, true]);

    let before = fs::read(image).unwrap();
    for (keys, action, why) in [
        (
            keys("trois", ""),
            KeySlotAction::Erase { slot: 2 },
            "only one",
        ),
        (
            keys("trois", ""),
            KeySlotAction::Erase { slot: 8 },
            "no key slot 8",
        ),
        (keys("nobody", "x"), add(None), "opens none"),
        (keys("trois", ""), add(None), "no new passphrase"),
        (keys("trois", "x"), add(Some(2)), "is active"),
        (keys("trois", "x"), change(Some(5)), "not active"),
    ] {
        let refused = slots(&host, image, keys, action).unwrap_err();
        assert!(refused.contains(why), "{refused}");
        assert!(fs::read(image).unwrap() == before, "{why}");
    }
    // The real tool fills a slot, and we erase one: nobody is in the other's way.
    let secrets = ["trois", "quatre"].map(|word| format!("secret,id={word},data={word}"));
    let mut command = Command::new("qemu-img");
    command.args(["amend", "--object", &secrets[0], "--object", &secrets[1]]);
    command.args([
        "-o",
        "encrypt.state=active,encrypt.new-secret=quatre,encrypt.iter-time=10",
    ]);
    let file = format!(
        "driver=qcow2,file.filename={},encrypt.format=luks,encrypt.key-secret=trois",
        image.display()
    );
    command.args(["--image-opts", &file]);
    let outcome = qemu.run(&mut command);
    assert!(outcome.success(), "{}", outcome.stderr);
    slots(
        &host,
        image,
        keys("quatre", ""),
        KeySlotAction::Erase { slot: 2 },
    )
    .unwrap();
    assert!(opens(&qemu, image, "quatre") && !opens(&qemu, image, "trois"));
    // All eight in use: there is no place for a ninth.
    for _ in 0..7 {
        slots(&host, image, keys("quatre", "x"), add(None)).unwrap();
    }
    let refused = slots(&host, image, keys("quatre", "x"), add(None)).unwrap_err();
    assert!(refused.contains("all key slots"), "{refused}");
    assert!(opens(&qemu, image, "quatre") && opens(&qemu, image, "x"));
    assert!(checker::check(image).is_sound());
}

#[test]
fn a_crash_never_leaves_an_image_that_opens_to_nobody() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let image = opening_to_one(&qemu, home.path());
    slots(&real(), &image, keys("one", "deux"), add(Some(6))).unwrap();
    // Which passphrase is given, what is done, and who may and who must open the image at the end.
    let cases = [
        (keys("one", "trois"), add(Some(1)), ["one", "deux"], "trois"),
        (keys("deux", "x"), change(None), ["one", "one"], "x"),
        (
            keys("one", ""),
            KeySlotAction::Erase { slot: 1 },
            ["one", "x"],
            "one",
        ),
    ];
    for (given, action, always, after) in cases {
        let recorder = Arc::new(RecordingHost::new(home.path()));
        let host: Arc<dyn Host> = recorder.clone();
        slots(&host, &image, given, action).unwrap();
        recorder.mark("done");
        let log = recorder.log();
        for (number, state) in log.crash_states(20, 3).enumerate() {
            let replayed = log.replay(&state);
            let said = || format!("state {number} of {action:?}:\n{}", log.describe(&state));
            let image = replayed.path().join("one.qcow2");
            assert!(checker::check(&image).is_sound(), "{}", said());
            let opens = |word| our_view(&RealHost, &image, &keys(word, "")).is_ok();
            assert!(always.iter().all(|word| opens(*word)), "{}", said());
            assert!(!state.passed("done") || opens(after), "{}", said());
        }
    }
}

#[test]
fn what_is_encrypted_is_converted_into_data_files_and_into_images_that_are_there() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let qemu = qemu.within(dir);
    let source = dir.join("source.qcow2");
    act(
        &real(),
        dir,
        &create(dir, "source.qcow2", "cluster_size=4096"),
    )
    .unwrap();
    let sealed = [(source.as_path(), Kind::Luks)];
    encrypted::io(
        &qemu,
        &sealed,
        &["write -P 1 0 1M", "write -P 2 3001k 700k"],
    );
    let shown = theirs(&qemu, &sealed);
    // In the clear, and in a data file of its own, raw or not.
    for more in [
        "",
        "data_file_raw=on",
        "data_file_raw=on,preallocation=full",
    ] {
        let text = format!("data_file=one.raw,{more}");
        let image = ImageOptions {
            encryption: None,
            ..options(dir, text.trim_end_matches(','))
        };
        let new = dir.join("one.qcow2");
        let wish = Request::Convert(convert(&source, &new, image));
        let plan = ops::plan(&context(&real(), dir), &wish);
        let warned = planning::words(&plan);
        assert!(
            warned.contains("and one.qcow2 is not: what is copied there"),
            "{warned}"
        );
        act(&real(), dir, &wish).unwrap();
        qemu.check_clean("one.qcow2");
        assert!(
            theirs(&qemu, &[(new.as_path(), Kind::Plain)]) == shown,
            "{more}"
        );
        let data = dir.join("one.raw");
        assert!(
            more.is_empty() || fs::read(&data).unwrap() == shown,
            "{more}"
        );
        for file in [&new, &data] {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
        fs::remove_file(&new).unwrap();
        fs::remove_file(&data).unwrap();
    }
    // Over an encrypted image that is there, which keeps its data file and its passphrase.
    for text in ["", "data_file=two.raw", "cluster_size=512"] {
        let there = dir.join("two.qcow2");
        act(&real(), dir, &create(dir, "two.qcow2", text)).unwrap();
        let kind = [(there.as_path(), Kind::Luks)];
        encrypted::io(&qemu, &kind, &["write -P 9 0 5M"]);
        let mut wish = convert(&source, &there, ImageOptions::default());
        wish.form = ConvertForm::Existing;
        act(&real(), dir, &Request::Convert(wish)).unwrap();
        assert!(theirs(&qemu, &kind) == shown, "{text}");
        assert!(encrypted::check_is_clean(&qemu, &kind), "{text}");
        let holder = if text.contains("data_file") {
            "two.raw"
        } else {
            "two.qcow2"
        };
        assert!(!holds(&dir.join(holder), &[1; 64]), "{text}");
        fs::remove_file(&there).unwrap();
        drop(fs::remove_file(dir.join("two.raw")));
    }
    // Everything of it is stored when asked, and saving what there is reads through the cipher.
    let new = dir.join("full.qcow2");
    let mut wish = convert(&source, &new, options(dir, ""));
    wish.sparse = qanopy::image::SparseSize::new(0).unwrap();
    wish.salvage = true;
    let plan = ops::plan(&context(&real(), dir), &Request::Convert(wish));
    let lost = plan.unread().unwrap();
    ops::run(support::own_code::agree(plan).unwrap(), &Progress::new()).unwrap();
    assert_eq!(lost.bytes(), 0);
    assert!(theirs(&qemu, &[(new.as_path(), Kind::Luks)]) == shown);
    let stored = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&new).unwrap()) * 512;
    assert!(stored >= SIZE, "{stored}");
}
