//! Internal snapshots: taken, applied, deleted and copied out by us and by the real tools in turns,
//! each reading what the other wrote; and cut off at every moment.

use crate::support;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use proptest::prelude::*;

use qanopy::host::{Access, Host, RealHost};
use qanopy::image::{
    Chain, Format, ImageFile, MetadataOverlap, NewSnapshot, NoProgress, Root, SnapshotChange,
    Source, Target, Writer, check, read_header, snapshot_view, snapshots,
};
use qanopy::ops::{
    self, ChangeSnapshot, Confirm, Dependants, ExtractAs, Outcome, Plan, Progress, RefusalKind,
    Request, SnapshotAction, SnapshotName,
};
use qanopy::qcow2::Snapshot;
use qanopy::qcow2::snapshot::encode_table;
use support::image_crash_suite::refused_as;
use support::oracle::{self, View};
use support::script::Script;
use support::{HoldMode, Qemu, RecordingHost, checker, own_code};

fn opened(path: &Path) -> ImageFile {
    ImageFile::open(&RealHost, path, Access::ReadWrite).unwrap()
}

fn list(path: &Path) -> Vec<Snapshot> {
    let file = opened(path);
    let header = read_header(&file).unwrap();
    snapshots(&file, &header).unwrap()
}

fn take(path: &Path, name: &str) -> Result<(), String> {
    let new = NewSnapshot {
        name: name.as_bytes().to_vec(),
        date: SystemTime::now(),
    };
    SnapshotChange::create(&opened(path), &new, &NoProgress)
        .and_then(|change| change.commit(&NoProgress))
        .map_err(|error| error.to_string())
}

fn id_of(path: &Path, name: &str) -> Vec<u8> {
    let list = list(path);
    let found = list.iter().find(|s| s.name == name.as_bytes());
    found.map_or_else(|| panic!("no snapshot {name}"), |s| s.id.clone())
}

fn apply(path: &Path, name: &str) -> Result<(), String> {
    let id = id_of(path, name);
    SnapshotChange::apply(&opened(path), &id, &NoProgress)
        .and_then(|change| change.commit(&NoProgress))
        .map_err(|error| error.to_string())
}

fn delete(path: &Path, name: &str) -> Result<(), String> {
    let id = id_of(path, name);
    SnapshotChange::delete(&opened(path), &id, &NoProgress)
        .and_then(|change| change.commit(&NoProgress))
        .map_err(|error| error.to_string())
}

/// One thing done to an image.
#[derive(Debug, Clone)]
enum Step {
    Io(String),
    Take { ours: bool },
    Apply { which: usize, ours: bool },
    Delete { which: usize, ours: bool },
}

fn steps(size_kib: u64) -> impl Strategy<Value = Vec<Step>> {
    let io = (0..size_kib, 1u64..200, 0u8..6).prop_map(move |(at, len, kind)| {
        let len = len.min(size_kib - at);
        Step::Io(match kind {
            0 => format!("write -z {at}k {len}k"),
            1 => format!("discard {at}k {len}k"),
            kind => format!("write -P {} {at}k {len}k", 0x30 + kind),
        })
    });
    let step = prop_oneof![
        4 => io,
        3 => any::<bool>().prop_map(|ours| Step::Take { ours }),
        2 => (0usize..4, prop::bool::weighted(0.7)).prop_map(|(which, ours)| Step::Apply { which, ours }),
        2 => (0usize..4, prop::bool::weighted(0.7)).prop_map(|(which, ours)| Step::Delete { which, ours }),
    ];
    prop::collection::vec(step, 1..14)
}

fn options() -> impl Strategy<Value = String> {
    (any::<bool>(), 9u32..=17, 1u32..=6, any::<bool>()).prop_map(|(old, bits, order, extended)| {
        let mut text = format!("cluster_size={}", 1u64 << bits);
        if old {
            text.push_str(",compat=0.10");
        } else {
            text.push_str(&format!(",refcount_bits={}", 1 << order));
            if extended && bits >= 14 {
                text.push_str(",extended_l2=on");
            }
        }
        text
    })
}

/// Whether the counts may be too narrow: small compressed streams share a cluster by the dozen.
fn is_narrow(options: &str) -> bool {
    let bits = options.split("refcount_bits=").nth(1).unwrap_or("16");
    let bits = bits.split(',').next().unwrap();
    bits.parse::<u32>().unwrap() <= 8
}

/// The names of the snapshots, and what each and the active view show, by the real tools.
fn seen(path: &Path) -> (View, Vec<(String, View)>) {
    let active = oracle::guest_view(path, Some("qcow2")).unwrap();
    let list = oracle::snapshots(path);
    let views = list.into_iter().map(|name| {
        let view = oracle::snapshot_view(path, &name).unwrap();
        (name, view)
    });
    (active, views.collect())
}

fn checked(qemu: &Qemu, path: &Path) {
    qemu.check_clean(path);
    let found = check(&opened(path), &NoProgress).unwrap();
    assert_eq!(
        (found.corruptions, found.leaks),
        (0, 0),
        "{:?}",
        found.findings
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_takes_applies_and_deletes_both_see_the_same_and_call_it_clean(
        options in options(),
        backing in any::<bool>(),
        steps in steps(900),
    ) {
        let Some(qemu) = support::qemu() else { return Ok(()) };
        let dir = tempfile::tempdir().unwrap();
        let qemu = qemu.within(dir.path());
        let path = dir.path().join("image.qcow2");
        let mut args = vec!["create", "-f", "qcow2", "-o", &options];
        if backing {
            qemu.img(&["create", "-f", "qcow2", "base.qcow2", "700k"]);
            qemu.io("base.qcow2", &["write -P 0x11 0 700k"]);
            args.extend(["-b", "base.qcow2", "-F", "qcow2"]);
        }
        args.extend(["image.qcow2", "900k"]);
        qemu.img(&args);
        qemu.try_io("image.qcow2", &["write -c -P 0x21 0 256k"]);

        let mut model: Vec<(String, View)> = Vec::new();
        let mut active = oracle::guest_view(&path, Some("qcow2")).unwrap();
        for (number, step) in steps.iter().enumerate() {
            let pick = |which: usize| (!model.is_empty()).then(|| which % model.len());
            match step {
                Step::Io(command) => {
                    qemu.try_io("image.qcow2", &[command]);
                    active = oracle::guest_view(&path, Some("qcow2")).unwrap();
                }
                Step::Take { ours } => {
                    let name = format!("s{number}");
                    let before = std::fs::read(&path).unwrap();
                    let done = if *ours {
                        take(&path, &name).is_ok()
                    } else {
                        qemu.try_img(&["snapshot", "-c", &name, "image.qcow2"]).success()
                    };
                    if done {
                        model.push((name, active.clone()));
                    } else if *ours {
                        // Narrow counts: refused before anything is written.
                        prop_assert!(before == std::fs::read(&path).unwrap());
                        prop_assert!(is_narrow(&options), "{}", take(&path, &name).unwrap_err());
                    } else {
                        // The real tool leaves an image with leaks behind.
                        qemu.try_img(&["check", "-q", "-r", "all", "image.qcow2"]);
                    }
                }
                Step::Apply { which, ours } => {
                    let Some(at) = pick(*which) else { continue };
                    let name = model[at].0.clone();
                    let done = if *ours {
                        apply(&path, &name).is_ok()
                    } else {
                        qemu.try_img(&["snapshot", "-a", &name, "image.qcow2"]).success()
                    };
                    if done {
                        active = model[at].1.clone();
                    } else {
                        prop_assert!(is_narrow(&options));
                        qemu.try_img(&["check", "-q", "-r", "all", "image.qcow2"]);
                        active = oracle::guest_view(&path, Some("qcow2")).unwrap();
                    }
                }
                Step::Delete { which, ours } => {
                    let Some(at) = pick(*which) else { continue };
                    let (name, _) = model.remove(at);
                    if *ours {
                        delete(&path, &name).unwrap();
                    } else {
                        qemu.img(&["snapshot", "-d", &name, "image.qcow2"]);
                    }
                }
            }
            checked(&qemu, &path);
        }
        let (now, views) = seen(&path);
        prop_assert!(now == active, "active: {}", now.explain(&active));
        prop_assert_eq!(views.len(), model.len());
        for ((name, view), (expected, was)) in views.iter().zip(&model) {
            prop_assert_eq!(name, expected);
            prop_assert!(view == was, "{}: {}", name, view.explain(was));
        }
        let read = own_code::view(&path, Some("qcow2")).unwrap();
        prop_assert!(read == active, "as we read it: {}", read.explain(&active));
    }
}

fn request(image: &Path, action: SnapshotAction) -> Request {
    Request::Snapshot(ChangeSnapshot {
        image: image.to_path_buf(),
        action,
    })
}

fn named(name: &str) -> SnapshotName {
    SnapshotName::Name(name.into())
}

fn run(host: &Arc<dyn Host>, dir: &Path, request: &Request) -> Result<Outcome, String> {
    let plan = ops::plan(&own_code::context(host, dir), request);
    let ready = own_code::agree(plan)?;
    ops::run(ready, &Progress::new()).map_err(|error| error.to_string())
}

/// What an image may show: the active view, and each snapshot's by name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    active: u64,
    snapshots: Vec<(String, u64)>,
}

fn digest(view: &View) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{view:?}").hash(&mut hasher);
    hasher.finish()
}

/// As we read it, without a process.
fn shown(path: &Path) -> Shown {
    let chain = Chain::open(&RealHost, path, Some(&Format::Qcow2), &|_| true).unwrap();
    let of = |chain: &Chain| {
        let mut bytes = vec![0; usize::try_from(chain.virtual_size()).unwrap()];
        chain.read_at(&mut bytes, 0).unwrap();
        digest(&View::of(&bytes))
    };
    Shown {
        active: of(&chain),
        snapshots: list(path)
            .iter()
            .map(|snapshot| {
                let name = String::from_utf8(snapshot.name.clone()).unwrap();
                (name, of(&snapshot_view(&chain, snapshot).unwrap()))
            })
            .collect(),
    }
}

/// Cuts `action` off at every moment, on an image made by `script`: each state is sound, shows all of
/// the old or all of the new, and the action can be run again where it has not happened.
fn survives(script: &Script, action: &SnapshotAction) {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    script.build(dir);
    let path = dir.join("image.qcow2");
    let before = shown(&path);
    let recorder = Arc::new(RecordingHost::new(dir));
    let host: Arc<dyn Host> = recorder.clone();
    run(&host, dir, &request(&path, action.clone()))
        .unwrap_or_else(|why| panic!("{why}\n{script}"));
    recorder.mark("done");
    let after = shown(&path);
    assert_ne!(before, after, "something was done\n{script}");
    let log = recorder.log();
    let (mut olds, mut news) = (0, 0);
    for (number, state) in log.crash_states(300, 7).enumerate() {
        let replayed = log.replay(&state);
        let image = replayed.path().join("image.qcow2");
        let context = || {
            let events = log.describe(&state);
            format!("state {number}:\n{events}\nof {action:?} in\n{script}")
        };
        let counted = checker::check(&image);
        // Neither the old image nor the new one has leaks.
        assert!(counted.is_clean(), "{counted:?}\n{}", context());
        let now = shown(&image);
        assert!(now == before || now == after, "{now:?}\n{}", context());
        assert!(!state.passed("done") || now == after, "{}", context());
        if now == before {
            olds += 1;
        } else {
            news += 1;
        }
        if number % 11 == 0 {
            let verdict = oracle::check(&image);
            assert!(verdict.is_clean(), "{verdict:?}\n{}", context());
            if now == before {
                let host = own_code::real_host();
                run(&host, replayed.path(), &request(&image, action.clone()))
                    .unwrap_or_else(|why| panic!("cannot be run again: {why}\n{}", context()));
                assert_eq!(shown(&image), after, "run again\n{}", context());
                assert!(oracle::check(&image).is_clean());
            }
        }
    }
    assert!(
        olds > 0 && news > 0,
        "both were met: {olds} old, {news} new"
    );
}

/// An image with two snapshots and something else in the active view.
fn with_snapshots(options: &str) -> Script {
    let mut script = Script::default();
    script.create(options, "image.qcow2", "512k");
    script.io("qcow2", "image.qcow2", &["write -P 0x10 0 200k"]);
    script.run("qemu-img snapshot -c first image.qcow2");
    script.io(
        "qcow2",
        "image.qcow2",
        &[
            "write -P 0x11 16k 40k",
            "write -z 100k 20k",
            "write -c -P 0x12 256k 64k",
        ],
    );
    script.run("qemu-img snapshot -c second image.qcow2");
    script.io(
        "qcow2",
        "image.qcow2",
        &["write -P 0x13 30k 60k", "discard 256k 64k"],
    );
    script
}

#[test]
fn taking_a_snapshot_survives_every_crash() {
    for options in ["-o cluster_size=4k", "-o cluster_size=512,refcount_bits=64"] {
        let name = "third".into();
        survives(&with_snapshots(options), &SnapshotAction::Create { name });
    }
}

#[test]
fn applying_a_snapshot_survives_every_crash() {
    for options in ["-o cluster_size=4k", "-o compat=0.10,cluster_size=1k", ""] {
        let action = SnapshotAction::Apply {
            snapshot: named("first"),
            dependants: Dependants::Refuse,
        };
        survives(&with_snapshots(options), &action);
    }
}

#[test]
fn applying_a_snapshot_of_another_size_survives_every_crash() {
    let mut script = with_snapshots("-o cluster_size=512");
    script.run("qemu-img resize -q image.qcow2 900k");
    script.io("qcow2", "image.qcow2", &["write -P 0x14 500k 400k"]);
    let action = SnapshotAction::Apply {
        snapshot: named("second"),
        dependants: Dependants::Refuse,
    };
    survives(&script, &action);
}

#[test]
fn deleting_a_snapshot_survives_every_crash() {
    for (options, name) in [("-o cluster_size=4k", "first"), ("", "second")] {
        let snapshot = named(name);
        survives(
            &with_snapshots(options),
            &SnapshotAction::Delete { snapshot },
        );
    }
}

/// A snapshot's view is written where a commit would change what it shows. What it shares with the active
/// view, tables or data, is the active view's own afterwards, and never without the flag that says so.
#[test]
fn writing_the_view_of_a_snapshot_survives_every_crash() {
    if support::qemu().is_none() {
        return;
    }
    for (options, after) in [
        ("-o cluster_size=4k", None),
        ("-o cluster_size=4k", Some("write -P 0x15 300k 4k")),
        (
            "-o compat=0.10,cluster_size=1k",
            Some("write -P 0x15 8k 1k"),
        ),
        ("-o extended_l2=on,cluster_size=16k", Some("write -z 2k 2k")),
    ] {
        let home = tempfile::tempdir().unwrap();
        let mut script = Script::default();
        script.create(options, "image.qcow2", "512k");
        script.io("qcow2", "image.qcow2", &["write -P 0x10 0 200k"]);
        script.io("qcow2", "image.qcow2", &["write -c -P 0x11 256k 64k"]);
        script.run("qemu-img snapshot -c kept image.qcow2");
        if let Some(after) = after {
            script.io("qcow2", "image.qcow2", &[after]);
        }
        script.build(home.path());
        let path = home.path().join("image.qcow2");
        let before = shown(&path);
        let recorder = Arc::new(RecordingHost::new(home.path()));
        let chain = Chain::open(&*recorder, &path, Some(&Format::Qcow2), &|_| true).unwrap();
        let snapshot = &list(&path)[0];
        let view = snapshot_view(&chain, snapshot).unwrap();
        let root = Root::Snapshot(snapshot.l1());
        let mut expected = vec![0; 512 << 10];
        view.read_at(&mut expected, 0).unwrap();
        let mut target =
            Target::open(&*recorder, &path, &Format::Qcow2, view, root, &NoProgress).unwrap();
        target.begin().unwrap();
        for at in [1 << 10, 270 << 10] {
            let bytes = [0x77; 3 << 10];
            let len = bytes.len();
            target.write(at, len as u64, Source::Bytes(&bytes)).unwrap();
            let at = usize::try_from(at).unwrap();
            expected[at..at + len].fill(0x77);
        }
        target.finish().unwrap();
        drop(target);
        recorder.mark("done");
        let after = shown(&path);
        assert_eq!(after.active, before.active, "{options}");
        assert_eq!(
            after.snapshots[0].1,
            digest(&View::of(&expected)),
            "{options}"
        );
        assert!(
            oracle::check(&path).is_clean(),
            "{options}: {:?}",
            oracle::check(&path)
        );
        let log = recorder.log();
        for (number, state) in log.crash_states(200, 3).enumerate() {
            let replayed = log.replay(&state);
            let image = replayed.path().join("image.qcow2");
            let counted = checker::check(&image);
            let context = || format!("state {number} of {script}\n{}", log.describe(&state));
            assert!(counted.is_sound(), "{counted:?}\n{}", context());
            assert_eq!(shown(&image).active, before.active, "{}", context());
            if number % 40 == 0 {
                assert_eq!(oracle::check(&image).corruptions, 0, "{}", context());
            }
        }
    }
}

#[test]
fn a_snapshot_is_copied_out_whole_or_not_at_all_whenever_it_is_cut_off() {
    if support::qemu().is_none() {
        return;
    }
    for form in [ExtractAs::Raw, ExtractAs::Qcow2, ExtractAs::Overlay] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let mut script = Script::default();
        script.create("", "base.qcow2", "300k");
        script.io("qcow2", "base.qcow2", &["write -P 0x09 0 300k"]);
        script.create(
            "-o cluster_size=4k -F qcow2 -b base.qcow2",
            "image.qcow2",
            "",
        );
        script.io("qcow2", "image.qcow2", &["write -P 0x10 3k 100k"]);
        script.run("qemu-img snapshot -c kept image.qcow2");
        script.io("qcow2", "image.qcow2", &["write -P 0x11 0 300k"]);
        script.build(dir);
        let recorder = Arc::new(RecordingHost::new(dir));
        let host: Arc<dyn Host> = recorder.clone();
        let action = SnapshotAction::Extract {
            snapshot: named("kept"),
            new: dir.join("out"),
            form,
        };
        let image = std::fs::read(dir.join("image.qcow2")).unwrap();
        run(&host, dir, &request(&dir.join("image.qcow2"), action)).unwrap();
        recorder.mark("done");
        let whole = std::fs::read(dir.join("out")).unwrap();
        let log = recorder.log();
        let (mut there, mut absent) = (0, 0);
        for state in log.crash_states(100, 5) {
            let replayed = log.replay(&state);
            let story = || format!("{form:?}: {}", log.describe(&state));
            let now = std::fs::read(replayed.path().join("image.qcow2")).unwrap();
            assert!(now == image, "{}", story());
            match std::fs::read(replayed.path().join("out")) {
                Ok(bytes) => {
                    assert!(bytes == whole, "{}", story());
                    there += 1;
                }
                Err(_) => {
                    assert!(!state.passed("done"), "{}", story());
                    absent += 1;
                }
            }
        }
        assert!(there > 0 && absent > 0, "{there} {absent}");
    }
}

#[test]
fn a_snapshot_taken_and_deleted_again_leaves_the_image_as_it_was() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let host = own_code::real_host();
    let path = dir.path().join("image.qcow2");
    with_snapshots("").build(dir.path());
    let before = shown(&path);
    let name = "third".into();
    let taken = run(
        &host,
        dir.path(),
        &request(&path, SnapshotAction::Create { name }),
    )
    .unwrap();
    let info = oracle::info(&path).unwrap();
    let third = &info["snapshots"][2];
    assert_eq!(
        (&third["id"], &third["name"]),
        (&"3".into(), &"third".into())
    );
    assert_eq!(third["vm-state-size"], 0);
    run(&host, dir.path(), &taken.undo.unwrap()).unwrap();
    assert_eq!(shown(&path), before);
    qemu.check_clean(&path);
}

#[test]
fn many_turns_of_taking_and_deleting_do_not_make_the_file_longer() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.qcow2");
    with_snapshots("").build(dir.path());
    let mut lengths = Vec::new();
    for _ in 0..6 {
        take(&path, "again").unwrap();
        delete(&path, "again").unwrap();
        lengths.push(std::fs::metadata(&path).unwrap().len());
    }
    assert!(
        lengths[2..].iter().all(|len| *len == lengths[2]),
        "{lengths:?}"
    );
    qemu.check_clean(&path);
}

#[test]
fn what_a_machine_left_in_a_snapshot_is_kept_byte_for_byte() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.qcow2");
    with_snapshots("").build(dir.path());
    // As a machine's snapshot is: clock, state size, instruction count, and data of the future.
    let file = opened(&path);
    let header = read_header(&file).unwrap();
    let mut edited = list(&path);
    edited[0].vm_clock_nanoseconds = 77_000_000_123;
    edited[0].set_extra(5 << 30, 512 << 10, Some(4711));
    edited[0].extra.extend_from_slice(b"of the future!!!");
    let bytes = encode_table(&edited).unwrap();
    file.host_file()
        .write_at(&bytes, header.snapshots_offset.get())
        .unwrap();
    qemu.check_clean(&path);
    take(&path, "third").unwrap();
    delete(&path, "second").unwrap();
    apply(&path, "third").unwrap();
    assert_eq!(list(&path)[0], edited[0]);
    let info = oracle::info(&path).unwrap();
    let first = &info["snapshots"][0];
    assert_eq!(first["vm-state-size"], 5u64 << 30);
    assert_eq!(first["icount"], 4711);
    assert_eq!(first["vm-clock-sec"], 77);
    qemu.check_clean(&path);
}

#[test]
fn a_snapshot_copied_out_shows_what_the_real_tool_copies_out() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (home, host) = (dir.path(), own_code::real_host());
    let mut script = Script::default();
    script.create("", "base.qcow2", "700k");
    script.io("qcow2", "base.qcow2", &["write -P 0x09 0 700k"]);
    script.create(
        "-o cluster_size=16k,extended_l2=on -F qcow2 -b base.qcow2",
        "image.qcow2",
        "900k",
    );
    script.io(
        "qcow2",
        "image.qcow2",
        &["write -P 0x10 3k 100k", "write -z 128k 40k"],
    );
    script.run("qemu-img snapshot -c kept image.qcow2");
    script.io("qcow2", "image.qcow2", &["write -P 0x11 0 900k"]);
    script.build(home);
    let path = home.join("image.qcow2");
    let expected = oracle::snapshot_view(&path, "kept").unwrap();
    let active = oracle::guest_view(&path, Some("qcow2")).unwrap();
    for (form, name, format) in [
        (ExtractAs::Raw, "out.img", "raw"),
        (ExtractAs::Qcow2, "out.qcow2", "qcow2"),
        (ExtractAs::Overlay, "overlay.qcow2", "qcow2"),
    ] {
        let new = home.join(name);
        let action = SnapshotAction::Extract {
            snapshot: named("kept"),
            new: new.clone(),
            form,
        };
        run(&host, home, &request(&path, action.clone())).unwrap();
        let got = oracle::guest_view(&new, Some(format)).unwrap();
        assert!(got == expected, "{name}: {}", got.explain(&expected));
        if format == "qcow2" {
            qemu.check_clean(&new);
        }
        let refused = run(&host, home, &request(&path, action));
        assert!(refused.is_err(), "never over an existing file");
    }
    assert!(oracle::guest_view(&path, Some("qcow2")).unwrap() == active);
    let names: Vec<_> = std::fs::read_dir(home).unwrap().collect();
    assert_eq!(names.len(), 5, "nothing else is left behind: {names:?}");
}

fn words(plan: &Plan) -> String {
    let lines = plan.lines();
    let lines = lines
        .iter()
        .map(|line| format!("{} {}\n", line.label, line.text));
    lines.collect()
}

#[test]
fn what_is_built_on_an_image_stands_in_the_way_of_applying_and_of_nothing_else() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (home, host) = (dir.path(), own_code::real_host());
    let mut script = with_snapshots("");
    script.overlay("qcow2", "image.qcow2", "child.qcow2");
    script.overlay("qcow2", "child.qcow2", "grandchild.qcow2");
    script.build(home);
    let path = home.join("image.qcow2");
    let apply = |dependants| SnapshotAction::Apply {
        snapshot: named("first"),
        dependants,
    };
    let context = own_code::context(&host, home);
    let plan = ops::plan(&context, &request(&path, apply(Dependants::Refuse)));
    assert_eq!(plan.confirm, Confirm::Impossible);
    let text = words(&plan);
    assert!(
        text.contains("breaks child.qcow2") && text.contains("breaks grandchild.qcow2"),
        "{text}"
    );
    let way_out = &plan.refusals[0].ways_out[0].request;
    assert_eq!(ops::plan(&context, way_out).confirm, Confirm::Count(2));
    let delete = SnapshotAction::Delete {
        snapshot: named("first"),
    };
    for (action, confirm) in [
        (SnapshotAction::Create { name: "new".into() }, Confirm::Yes),
        (delete, Confirm::Count(1)),
    ] {
        let plan = ops::plan(&context, &request(&path, action));
        assert_eq!(plan.confirm, confirm, "{}", words(&plan));
    }
    run(&host, home, way_out).unwrap();
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason_and_nothing_is_written() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (home, host) = (dir.path(), own_code::real_host());
    let qemu = qemu.within(home);
    qemu.img(&[
        "create",
        "-f",
        "qcow2",
        "-o",
        "refcount_bits=1",
        "narrow.qcow2",
        "1M",
    ]);
    qemu.io("narrow.qcow2", &["write 0 64k"]);
    qemu.img(&[
        "create",
        "-f",
        "qcow2",
        "-o",
        "data_file=d.raw",
        "data.qcow2",
        "1M",
    ]);
    qemu.img(&["create", "-f", "raw", "plain.img", "1M"]);
    with_snapshots("-o compat=0.10").build(home);
    qemu.img(&["create", "-f", "qcow2", "bitmaps.qcow2", "1M"]);
    qemu.img(&["snapshot", "-c", "small", "bitmaps.qcow2"]);
    qemu.img(&["resize", "bitmaps.qcow2", "2M"]);
    qemu.img(&["bitmap", "--add", "bitmaps.qcow2", "b"]);
    let new = |name: &str| SnapshotAction::Create { name: name.into() };
    let delete = |snapshot| SnapshotAction::Delete { snapshot };
    let long = "x".repeat(256);
    let (limit, invalid) = (RefusalKind::Image("limit"), RefusalKind::Invalid);
    for (image, action, kind) in [
        ("narrow.qcow2", new("a"), limit),
        ("data.qcow2", new("a"), RefusalKind::Unsupported),
        ("plain.img", new("a"), RefusalKind::Unsupported),
        ("image.qcow2", new("first"), RefusalKind::AlreadyExists),
        ("image.qcow2", new(""), invalid),
        ("image.qcow2", new(&long), invalid),
        ("image.qcow2", delete(named("third")), RefusalKind::NotFound),
        ("image.qcow2", delete(named("1")), RefusalKind::NotFound),
        (
            "image.qcow2",
            delete(SnapshotName::Id("9".into())),
            RefusalKind::NotFound,
        ),
        (
            "bitmaps.qcow2",
            SnapshotAction::Apply {
                snapshot: named("small"),
                dependants: Dependants::Refuse,
            },
            RefusalKind::Unsupported,
        ),
    ] {
        let path = home.join(image);
        let before = std::fs::read(&path).unwrap();
        let mut context = own_code::context(&host, home);
        if image.ends_with(".img") {
            let options = qanopy::forest::ScanOptions {
                roots: vec![path.clone()],
                ..Default::default()
            };
            context.forest = Arc::new(qanopy::forest::scan_all(Arc::clone(&host), options).0);
        }
        let plan = ops::plan(&context, &request(&path, action.clone()));
        refused_as(&plan, kind);
        assert!(before == std::fs::read(&path).unwrap());
    }
}

#[test]
fn bitmaps_that_miss_the_change_are_marked_when_a_snapshot_is_applied() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.qcow2");
    with_snapshots("").build(dir.path());
    qemu.img(&[
        "bitmap".as_ref(),
        "--add".as_ref(),
        path.as_os_str(),
        "b".as_ref(),
    ]);
    take(&path, "third").unwrap();
    let flags = |path: &Path| {
        let info = oracle::info(path).unwrap();
        info["format-specific"]["data"]["bitmaps"][0]["flags"].to_string()
    };
    assert!(
        !flags(&path).contains("in-use"),
        "taking one changes no content"
    );
    apply(&path, "first").unwrap();
    assert!(flags(&path).contains("in-use"));
    qemu.check_clean(&path);
}

#[test]
fn an_image_that_a_process_writes_is_refused() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let host = own_code::real_host();
    with_snapshots("").build(dir.path());
    let path = dir.path().join("image.qcow2");
    let _held = qemu.hold_with_io(&path, HoldMode::ReadWrite);
    for action in [
        SnapshotAction::Create { name: "a".into() },
        SnapshotAction::Delete {
            snapshot: named("first"),
        },
    ] {
        let plan = ops::plan(
            &own_code::context(&host, dir.path()),
            &request(&path, action),
        );
        refused_as(&plan, RefusalKind::InUse);
    }
}

/// Two forged snapshots share one L1 table, and the counts say so: nothing is wrong with it until one of
/// them is written through it.
#[test]
fn the_view_of_a_snapshot_is_not_written_through_a_table_that_another_one_shares() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.qcow2");
    let mut script = Script::default();
    script.create("-o cluster_size=4k", "image.qcow2", "512k");
    script.io("qcow2", "image.qcow2", &["write -P 0x10 0 100k"]);
    script.run("qemu-img snapshot -c one image.qcow2");
    script.build(dir.path());
    let mut twins = list(&path);
    twins.push(qanopy::qcow2::Snapshot {
        id: b"2".to_vec(),
        ..twins[0].clone()
    });
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len().next_multiple_of(4096);
    bytes.resize(end, 0);
    bytes.extend(qanopy::qcow2::snapshot::encode_table(&twins).unwrap());
    bytes[60..64].copy_from_slice(&2_u32.to_be_bytes());
    bytes[64..72].copy_from_slice(&(end as u64).to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
    qemu.img(&["check", "-q", "-r", "all", path.to_str().unwrap()]);
    assert!(oracle::check(&path).is_clean());
    let before = std::fs::read(&path).unwrap();
    let chain = Chain::open(&RealHost, &path, Some(&Format::Qcow2), &|_| true).unwrap();
    let snapshot = &list(&path)[0];
    let view = snapshot_view(&chain, snapshot).unwrap();
    let root = Root::Snapshot(snapshot.l1());
    let qcow2 = &Format::Qcow2;
    let why = Target::open(&RealHost, &path, qcow2, view.clone(), root, &NoProgress).unwrap_err();
    assert!(why.to_string().contains("1 corruptions"), "{why}");
    // Nor by who has not checked it.
    let file = ImageFile::open(&RealHost, &path, Access::ReadWrite).unwrap();
    let why = Writer::open(&file, None, view, MetadataOverlap::default(), root).unwrap_err();
    assert!(why.to_string().contains("counted 2 times"), "{why}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
