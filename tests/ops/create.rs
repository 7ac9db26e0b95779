//! Every option a new image can be given: what we make is what qemu-img makes, and what it refuses we
//! refuse. A crash or a full disk leaves no half-made file, be it the image or its data file.

use crate::support;
use crate::support::planning;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use planning::{execute, execute_request, words};
use qanopy::host::{Host, RealHost};
use qanopy::image::{Compression, Preallocation, Qcow2Options};
use qanopy::ops::{
    self, BackingStyle, Branch, Create, CreateRaw, Danger, DataFileOption, Error, ImageOptions,
    Progress, RefusalKind, Request,
};
use serde_json::Value;
use support::image_crash_suite::refused_as;
use support::{Calls, Fault, FaultyHost, Qemu, RecordingHost, Then, qemu};

/// `cluster_size=512,data_file=x.raw` as our options; the data file lies in `dir`.
fn options(dir: &Path, text: &str) -> ImageOptions {
    let mut format = Qcow2Options::default();
    let mut data_file = None;
    let mut raw = false;
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once('=').unwrap();
        match key {
            "cluster_size" => format.cluster_bits = value.parse::<u64>().unwrap().ilog2(),
            "refcount_bits" => format.refcount_order = value.parse::<u64>().unwrap().ilog2(),
            "compat" => format.old_version = value == "0.10",
            "extended_l2" => format.extended_l2 = value == "on",
            "lazy_refcounts" => format.lazy_refcounts = value == "on",
            "compression_type" => {
                format.compression = match value {
                    "zstd" => Compression::Zstd,
                    _ => Compression::Zlib,
                };
            }
            "preallocation" => {
                format.preallocation = match value {
                    "metadata" => Preallocation::Metadata,
                    "falloc" => Preallocation::Falloc,
                    "full" => Preallocation::Full,
                    _ => Preallocation::Off,
                };
            }
            "data_file" => data_file = Some(dir.join(value)),
            "data_file_raw" => raw = value == "on",
            other => panic!("{other}"),
        }
    }
    ImageOptions {
        format,
        data_file: data_file.map(|path| DataFileOption {
            path,
            raw,
            style: BackingStyle::Relative,
        }),
        encryption: None,
    }
}

/// A new image in `dir`, on `base` if that is given.
fn request(dir: &Path, text: &str, size: u64, base: Option<&str>) -> Request {
    let image = options(dir, text);
    let new = dir.join("new.qcow2");
    match base {
        None => Request::Create(Create {
            path: new,
            size,
            image,
        }),
        Some(base) => Request::Branch(Branch {
            base: dir.join(base),
            new,
            format: None,
            size: Some(size),
            style: BackingStyle::Relative,
            image,
        }),
    }
}

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

/// What qemu-img says of the image, without what differs between any two files.
fn info(qemu: &Qemu) -> Value {
    let text = qemu.img(&["info", "--output=json", "new.qcow2"]);
    let mut value: Value = serde_json::from_str(&text).unwrap();
    let object = value.as_object_mut().unwrap();
    for key in ["filename", "actual-size", "children"] {
        object.remove(key);
    }
    value
}

/// The map, without what depends on the places of things in the file: start, length, depth, whether
/// the image itself has it.
fn map(qemu: &Qemu) -> Vec<(u64, u64, u64, bool)> {
    let text = qemu.img(&["map", "--output=json", "new.qcow2"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    let mut runs: Vec<(u64, u64, u64, bool)> = Vec::new();
    for run in value.as_array().unwrap() {
        let number = |key: &str| run[key].as_u64().unwrap();
        let (start, len, depth) = (number("start"), number("length"), number("depth"));
        let present = run["present"].as_bool().unwrap();
        match runs.last_mut() {
            Some(last) if last.2 == depth && last.3 == present => last.1 += len,
            _ => runs.push((start, len, depth, present)),
        }
    }
    runs
}

/// Makes the same image by both and compares all that can be seen of the two.
fn compare(qemu: &Qemu, text: &str, size: u64, base: Option<&str>) {
    let dir = tempfile::tempdir().unwrap();
    let dirs = [dir.path().join("ours"), dir.path().join("theirs")];
    let tools = dirs.each_ref().map(|dir| qemu.within(dir));
    for (dir, tool) in dirs.iter().zip(&tools) {
        fs::create_dir(dir).unwrap();
        if base.is_some() {
            tool.img(&["create", "-f", "qcow2", "base.qcow2", "1M"]);
            tool.io("base.qcow2", &["write -P 7 64k 128k"]);
        }
    }
    let what = format!("{text} of {size} on {base:?}");
    let plan = ops::plan(&real(&dirs[0]), &request(&dirs[0], text, size, base));
    let command = plan.commands.first().cloned().unwrap_or_default();
    execute(plan).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut args = vec!["create", "-f", "qcow2"];
    if let Some(base) = base {
        args.extend(["-F", "qcow2", "-b", base]);
    }
    if !text.is_empty() {
        args.extend(["-o", text]);
    }
    let length = size.to_string();
    args.extend(["new.qcow2", &length]);
    tools[1].img(&args);
    // The command shown says the same, whatever its order.
    for word in text
        .split(',')
        .filter(|word| !word.starts_with("data_file=") && *word != "cluster_size=65536")
    {
        assert!(command.contains(word), "{command}: {word}");
    }

    let [ours, theirs] = &tools;
    assert_eq!(info(ours), info(theirs), "{what}");
    ours.check_clean("new.qcow2");
    // Of a raw data file and subclusters QEMU maps none, so that its guest does not see what is in
    // the raw file; we map them all.
    let differs = text.contains("data_file_raw") && text.contains("extended_l2");
    if !differs {
        assert_eq!(map(ours), map(theirs), "{what}");
    }
    if size < 1 << 26 {
        assert_eq!(
            ours.digest("new.qcow2"),
            theirs.digest("new.qcow2"),
            "{what}"
        );
    }
    let stat = |at: usize, name: &str| fs::metadata(dirs[at].join(name)).unwrap();
    let holder = if text.contains("data_file") {
        "new.raw"
    } else {
        "new.qcow2"
    };
    if text.contains("falloc") || text.contains("full") {
        let blocks = [stat(0, holder).blocks(), stat(1, holder).blocks()];
        assert!(blocks[0] * 512 >= size, "{what}: {blocks:?}");
    } else {
        assert!(stat(0, holder).blocks() * 512 <= 24 << 20, "{what}");
    }
    if let Some(cluster) = info(ours)["cluster-size"].as_u64() {
        let clusters = [0, 1].map(|at| stat(at, "new.qcow2").len().div_ceil(cluster));
        assert!(clusters[0] <= clusters[1] + 1, "{what}: {clusters:?}");
    }
    if size == 0 {
        return;
    }
    // QEMU can write into it, anywhere.
    ours.io(
        "new.qcow2",
        &["write -P 5 0 64k", "write -P 6 300k 33k", "read -P 5 0 64k"],
    );
    ours.check_clean("new.qcow2");
}

#[test]
fn every_option_makes_what_qemu_img_makes_of_it() {
    let Some(qemu) = qemu() else { return };
    for cluster in [512, 65536, 2 << 20] {
        for more in [
            "",
            "compat=0.10",
            "lazy_refcounts=on",
            "compression_type=zstd",
            "refcount_bits=1",
            "refcount_bits=64",
            "preallocation=metadata",
            "refcount_bits=2,preallocation=falloc",
            "data_file=new.raw",
            "data_file=new.raw,preallocation=metadata",
        ] {
            let text = format!("cluster_size={cluster},{more}");
            compare(&qemu, text.trim_end_matches(','), 3_000_001, None);
        }
    }
    for more in [
        "cluster_size=16384,extended_l2=on",
        "cluster_size=2097152,extended_l2=on,preallocation=metadata",
        "extended_l2=on,preallocation=falloc,refcount_bits=8",
        "preallocation=full",
        "compat=0.10,preallocation=full",
        "data_file=new.raw,data_file_raw=on",
        "data_file=new.raw,data_file_raw=on,preallocation=full",
        "data_file=new.raw,preallocation=falloc,lazy_refcounts=on",
        "data_file=new.raw,extended_l2=on,preallocation=metadata",
        "data_file=new.raw,data_file_raw=on,extended_l2=on",
    ] {
        compare(&qemu, more, 3_000_001, None);
    }
    for more in ["", "preallocation=metadata", "refcount_bits=64"] {
        compare(&qemu, more, 0, None);
    }
    compare(&qemu, "refcount_bits=64", 5 << 40, None);
    compare(&qemu, "preallocation=metadata", 5 << 30, None);
    compare(
        &qemu,
        "cluster_size=512,preallocation=metadata,refcount_bits=64",
        9 << 20,
        None,
    );
}

#[test]
fn every_option_on_a_base_makes_what_qemu_img_makes_of_it() {
    let Some(qemu) = qemu() else { return };
    for more in [
        "cluster_size=512",
        "cluster_size=2097152,compression_type=zstd",
        "compat=0.10",
        "refcount_bits=1,lazy_refcounts=on",
        "extended_l2=on",
        "extended_l2=on,preallocation=metadata",
        "extended_l2=on,preallocation=full,cluster_size=131072",
        "extended_l2=on,preallocation=falloc",
        "data_file=new.raw",
    ] {
        for size in [1 << 20, (3 << 20) + 512] {
            compare(&qemu, more, size, Some("base.qcow2"));
        }
    }
}

#[test]
fn what_qemu_img_refuses_is_refused_and_nothing_is_made() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "base", "1M"]);
    let huge = 200 << 30;
    let counts = "cluster_size=512,refcount_bits=64,preallocation=metadata";
    for (text, size, base, why) in [
        (
            "data_file=d,data_file_raw=on",
            1 << 20,
            Some("base"),
            "raw image of the whole disk",
        ),
        (
            "data_file=d,compat=0.10",
            1 << 20,
            None,
            "no external data file with compat 0.10",
        ),
        (
            "extended_l2=on,cluster_size=8192",
            1 << 20,
            None,
            "at least 16 KiB",
        ),
        (
            "extended_l2=on,compat=0.10",
            1 << 20,
            None,
            "no extended L2 entries",
        ),
        (
            "refcount_bits=8,compat=0.10",
            1 << 20,
            None,
            "refcounts of 16 bits",
        ),
        (
            "lazy_refcounts=on,compat=0.10",
            1 << 20,
            None,
            "no lazy refcounts",
        ),
        (
            "compression_type=zstd,compat=0.10",
            1 << 20,
            None,
            "zlib only",
        ),
        (
            "preallocation=metadata",
            1 << 20,
            Some("base"),
            "cannot be preallocated",
        ),
        (
            "preallocation=falloc",
            1 << 20,
            Some("base"),
            "cannot be preallocated",
        ),
        (
            "preallocation=full,data_file=d",
            1 << 20,
            Some("base"),
            "cannot be preallocated",
        ),
        ("cluster_size=512", huge, None, "is the most"),
        // QEMU finds this one out by trying.
        (counts, 127 << 30, None, "reference counts can count"),
    ] {
        let plan = ops::plan(&real(dir.path()), &request(dir.path(), text, size, base));
        assert_eq!(plan.danger, Danger::Refused, "{text}: {}", words(&plan));
        let said = refused_as(&plan, RefusalKind::Invalid);
        assert!(said.contains(why), "{text}: {said}");
        if size <= huge && !text.contains("refcount_bits=64") {
            let mut args = vec!["create", "-f", "qcow2", "-o", text];
            if let Some(base) = base {
                args.extend(["-F", "qcow2", "-b", base]);
            }
            let length = size.to_string();
            args.extend(["theirs", &length]);
            assert!(!here.try_img(&args).success(), "qemu-img takes {text}");
            let _ = fs::remove_file(dir.path().join("theirs"));
            let _ = fs::remove_file(dir.path().join("d"));
        }
    }
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_data_file_that_exists_or_is_the_image_itself_is_never_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine"), b"mine").unwrap();
    for (name, kind) in [
        ("mine", RefusalKind::AlreadyExists),
        ("new.qcow2", RefusalKind::BackingName),
    ] {
        let text = format!("data_file={name}");
        let plan = ops::plan(
            &real(dir.path()),
            &request(dir.path(), &text, 1 << 20, None),
        );
        assert_eq!(plan.danger, Danger::Refused);
        refused_as(&plan, kind);
    }
    // One that appears while the person thinks.
    let wish = request(dir.path(), "data_file=d", 1 << 20, None);
    let plan = ops::plan(&real(dir.path()), &wish);
    fs::write(dir.path().join("d"), b"theirs").unwrap();
    assert!(matches!(execute(plan), Err(Error::Stale(_))));
    assert_eq!(fs::read(dir.path().join("d")).unwrap(), b"theirs");
    assert_eq!(fs::read(dir.path().join("mine")).unwrap(), b"mine");
}

#[test]
fn a_crash_leaves_the_image_whole_or_absent_and_never_without_its_data_file() {
    let Some(qemu) = qemu() else { return };
    for (text, base) in [
        ("preallocation=full,cluster_size=4096", None),
        ("data_file=new.raw,data_file_raw=on", None),
        ("extended_l2=on,preallocation=falloc", Some("base")),
        ("data_file=sub/new.raw,preallocation=metadata", None),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let here = qemu.within(dir.path());
        here.img(&["create", "-f", "qcow2", "base", "1M"]);
        here.io("base", &["write -P 3 0 64k"]);
        fs::create_dir(dir.path().join("sub")).unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let host = Arc::new(RecordingHost::new(&root));
        let wish = request(&root, text, 1 << 20, base);
        execute_request(&context(host.clone(), &root), &wish).unwrap();
        host.mark("done");
        let data = ["new.raw", "sub/new.raw"]
            .into_iter()
            .find(|name| text.contains(&format!("={name}")));
        let files: Vec<&str> = std::iter::once("new.qcow2").chain(data).collect();
        let whole = files.iter().map(|name| fs::read(root.join(name)).unwrap());
        let whole: Vec<Vec<u8>> = whole.collect();
        let log = host.log();
        let mut seen = 0;
        for state in log.crash_states(120, 1) {
            let after = log.replay(&state);
            let story = log.describe(&state);
            let there = after.path().join("new.qcow2").exists();
            assert!(there || !state.passed("done"), "{story}");
            for (name, whole) in files.iter().zip(&whole) {
                match fs::read(after.path().join(name)) {
                    Ok(bytes) => assert!(bytes == *whole, "{name}: {story}"),
                    Err(_) => assert!(!there, "{name} is missing: {story}"),
                }
            }
            seen += usize::from(there);
        }
        assert!(seen > 0);
        here.check_clean("new.qcow2");
    }
}

#[test]
fn whatever_call_fails_nothing_is_left_behind() {
    for text in [
        "data_file=new.raw,preallocation=full",
        "preallocation=falloc,cluster_size=512",
    ] {
        let dir = tempfile::tempdir().unwrap();
        for nth in 0.. {
            let host = Arc::new(FaultyHost::failing(
                Arc::new(RealHost),
                Calls::Mutating,
                nth,
                Fault::enospc(),
                Then::Recover,
            ));
            let wish = request(dir.path(), text, 1 << 20, None);
            let result = execute_request(&context(host.clone(), dir.path()), &wish);
            let Some(struck) = host.struck() else {
                result.unwrap();
                assert!(nth > 5);
                break;
            };
            match result {
                Err(Error::Failed(text)) => assert!(text.text.contains("new"), "{text}"),
                other => panic!("{struck}: {other:?}"),
            }
            let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
            assert!(names.is_empty(), "{struck}: {names:?}");
        }
    }
}

#[test]
fn stopping_a_preallocation_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let plan = ops::plan(
        &real(dir.path()),
        &request(dir.path(), "preallocation=full", 64 << 20, None),
    );
    let progress = Progress::new();
    progress.cancel();
    let ready = plan.agree(ops::Consent::Yes).unwrap();
    assert!(matches!(
        ops::run(ready, &progress),
        Err(Error::Cancelled(_))
    ));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(RealHost.stat(&dir.path().join("new.qcow2")).is_err());
}

/// A new raw image `new` in `dir`.
fn raw_request(dir: &Path, size: u64, preallocation: Preallocation) -> Request {
    Request::CreateRaw(CreateRaw {
        new: dir.join("new.raw"),
        size,
        preallocation,
    })
}

#[test]
fn a_raw_image_is_what_qemu_img_makes_of_it() {
    let Some(qemu) = qemu() else { return };
    for (preallocation, size) in [
        (Preallocation::Off, 0),
        (Preallocation::Off, 3_000_001),
        (Preallocation::Off, 5 << 40),
        (Preallocation::Falloc, 0),
        (Preallocation::Falloc, 3_000_001),
        (Preallocation::Full, 3_000_001),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let here = qemu.within(dir.path());
        let plan = ops::plan(
            &real(dir.path()),
            &raw_request(dir.path(), size, preallocation),
        );
        assert_eq!(plan.danger, Danger::Creates);
        let command = plan.commands.first().cloned().unwrap_or_default();
        execute(plan).unwrap();
        let option = format!("preallocation={}", preallocation.name());
        assert_eq!(
            command.contains(&option),
            preallocation != Preallocation::Off
        );
        let length = size.to_string();
        here.img(&["create", "-f", "raw", "-o", &option, "theirs", &length]);
        let [ours, theirs] =
            ["new.raw", "theirs"].map(|name| fs::metadata(dir.path().join(name)).unwrap());
        assert_eq!(ours.len(), theirs.len(), "{option} of {size}");
        let blocks = [ours.blocks(), theirs.blocks()].map(|blocks| blocks.div_ceil(8));
        // qemu-img gives every raw file its first block.
        let least = u64::from(size > 0);
        assert_eq!(blocks[0].max(least), blocks[1], "{option} of {size}");
        if size < 1 << 26 {
            assert!(
                fs::read(dir.path().join("new.raw"))
                    .unwrap()
                    .iter()
                    .all(|byte| *byte == 0)
            );
        }
    }
}

#[test]
fn a_disk_is_as_large_as_its_clusters_map_and_no_larger() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    for (text, most) in [
        ("cluster_size=512", 128 << 30),
        ("cluster_size=65536", 2 << 50),
        ("cluster_size=2097152", 2 << 60),
        ("cluster_size=2097152,extended_l2=on", 1 << 60),
    ] {
        let wish = |size| request(dir.path(), text, size, None);
        let refused = ops::plan(&real(dir.path()), &wish(most + 512));
        assert_eq!(refused.danger, Danger::Refused, "{text}");
        refused_as(&refused, RefusalKind::Invalid);
        let length = (most + 512).to_string();
        let theirs = here.try_img(&["create", "-f", "qcow2", "-o", text, "theirs", &length]);
        assert!(!theirs.success(), "{text}");
        execute_request(&real(dir.path()), &wish(most)).unwrap();
        assert_eq!(info(&here)["virtual-size"].as_u64(), Some(most), "{text}");
        fs::remove_file(dir.path().join("new.qcow2")).unwrap();
    }
    // And it can be written to at its end.
    let wish = request(dir.path(), "cluster_size=2097152", 8 << 50, None);
    execute_request(&real(dir.path()), &wish).unwrap();
    here.io("new.qcow2", &["write -P 5 9007199254675456 64k"]);
    here.check_clean("new.qcow2");
    let chain = qanopy::image::Chain::open(
        &RealHost,
        &dir.path().join("new.qcow2"),
        Some(&qanopy::image::Format::Qcow2),
        &|_| true,
    )
    .unwrap();
    let mut bytes = [0; 8];
    chain.read_at(&mut bytes, (8 << 50) - 8).unwrap();
    assert_eq!(bytes, [5; 8]);
}

#[test]
fn a_crash_or_a_failure_leaves_a_raw_image_whole_or_absent() {
    for preallocation in [
        Preallocation::Off,
        Preallocation::Falloc,
        Preallocation::Full,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let host = Arc::new(RecordingHost::new(&root));
        let wish = raw_request(&root, 1 << 20, preallocation);
        execute_request(&context(host.clone(), &root), &wish).unwrap();
        host.mark("done");
        let log = host.log();
        for state in log.crash_states(60, 1) {
            let after = log.replay(&state);
            let story = log.describe(&state);
            match fs::read(after.path().join("new.raw")) {
                Ok(bytes) => assert!(bytes == vec![0; 1 << 20], "{story}"),
                Err(_) => assert!(!state.passed("done"), "{story}"),
            }
        }
        let dir = tempfile::tempdir().unwrap();
        for nth in 0.. {
            let host = Arc::new(FaultyHost::failing(
                Arc::new(RealHost),
                Calls::Mutating,
                nth,
                Fault::enospc(),
                Then::Recover,
            ));
            let wish = raw_request(dir.path(), 1 << 20, preallocation);
            let result = execute_request(&context(host.clone(), dir.path()), &wish);
            let Some(struck) = host.struck() else {
                result.unwrap();
                break;
            };
            assert!(matches!(result, Err(Error::Failed(_))), "{struck}");
            let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
            assert!(names.is_empty(), "{struck}: {names:?}");
        }
    }
}
