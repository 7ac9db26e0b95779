//! Discard, the trash and the way back: what is built on a discarded image goes with it, in-use
//! images stay, nothing is overwritten, and a crash at any moment loses no file.

use crate::support;
use crate::support::planning;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use planning::{context, execute, execute_request, words};
use qanopy::host::{Host, RealHost};
use qanopy::image::{Amendment, Format, Preallocation};
use qanopy::machines::Machines;
use qanopy::ops::{
    self, AmendImage, ChangeSnapshot, Commit, Confirm, Consent, Danger, Denied, EmptyTrash, Error,
    Flatten, MoveImages, NeedKind, NoteKind, Outcome, Per, Progress, Rebase, RefusalKind,
    RepairImage, Request, Resize, Restore, Retention, Squash, Sweep, trash,
};
use support::crash_suite::{Attempt, CrashSuite, Promise};
use support::image_crash_suite::{refused_as, warns_of};
use support::oracle::{self, View};
use support::script::Script;
use support::{HoldMode, Qemu, RecordingHost, checker, own_code, qemu};

/// `root` with the branches `a` (then `a1`, `a2`) and `b`, a little data in each.
fn small_forest(qemu: &Qemu) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-o",
        "cluster_size=4k",
        "root",
        "1M",
    ]);
    for (base, name) in [("root", "a"), ("a", "a1"), ("a", "a2"), ("root", "b")] {
        let options = "cluster_size=4k";
        here.img(&[
            "create", "-f", "qcow2", "-o", options, "-F", "qcow2", "-b", base, name,
        ]);
        here.io(name, &["write -P 7 0 64k"]);
    }
    dir
}

fn real(dir: &Path) -> ops::Context {
    context(Arc::new(RealHost), dir)
}

fn discard(dir: &Path, names: &[&str]) -> Request {
    Request::discard(names.iter().map(|name| dir.join(name)).collect())
}

fn run(context: &ops::Context, request: &Request) -> Outcome {
    execute_request(context, request).unwrap()
}

fn entries(dir: &Path) -> Vec<trash::Entry> {
    trash::list(&RealHost, Some(&dir.join("state")), &[])
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "state")
        .collect();
    names.sort();
    names
}

#[test]
fn a_discarded_image_takes_along_what_is_built_on_it_and_all_come_back() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let here = qemu.within(dir.path());
    let before: BTreeMap<_, _> = ["root", "a", "a1", "a2", "b"]
        .map(|name| (name, here.digest(name)))
        .into();

    let plan = ops::plan(&real(dir.path()), &discard(dir.path(), &["a"]));
    // It comes back from the trash: nothing is lost.
    assert_eq!(plan.danger, Danger::Reversible);
    assert_eq!(plan.confirm, Confirm::Yes);
    let text = words(&plan);
    for part in [
        "trashes a ",
        "marked",
        "trashes a1",
        "built on a marked image",
        "trashes a2",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("root and its other child b"), "{text}");
    assert!(text.contains("looked in"), "{text}");
    assert!(plan.frees > 0);
    let outcome = execute(plan).unwrap();
    assert_eq!(names(dir.path()), [trash::DIR, "b", "root"]);
    here.check_clean("b");
    let list = entries(dir.path());
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].reason, "discard");
    assert!(list[0].discarded.is_some());
    // Leaves first.
    assert_eq!(list[0].files.last().unwrap().original, dir.path().join("a"));

    run(&real(dir.path()), &outcome.undo.unwrap());
    assert_eq!(names(dir.path()), ["a", "a1", "a2", "b", "root"]);
    for (name, digest) in before {
        assert_eq!(here.digest(name), digest, "{name}");
    }
    assert!(entries(dir.path()).is_empty());
}

#[test]
fn images_named_twice_and_inside_one_another_go_once() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let plan = ops::plan(
        &real(dir.path()),
        &discard(dir.path(), &["a1", "a", "a1", "b"]),
    );
    let order: Vec<_> = plan
        .effects
        .iter()
        .map(|effect| effect.path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(order, ["a", "a1", "a2", "b"]);
    assert_eq!(plan.confirm, Confirm::Yes);
}

#[test]
fn a_circle_of_backing_links_is_discarded_whole() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "x", "1M"]);
    here.img(&["create", "-f", "qcow2", "-F", "qcow2", "-b", "x", "y"]);
    here.img(&["rebase", "-u", "-F", "qcow2", "-b", "y", "x"]);
    let plan = ops::plan(&real(dir.path()), &discard(dir.path(), &["y"]));
    assert_eq!(plan.confirm, Confirm::Yes, "{}", words(&plan));
    let outcome = execute(plan).unwrap();
    assert_eq!(names(dir.path()), [trash::DIR]);
    run(&real(dir.path()), &outcome.undo.unwrap());
    assert_eq!(names(dir.path()), ["x", "y"]);
}

#[test]
fn an_image_that_a_process_holds_is_refused_and_the_process_named() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let holding = qemu.hold_with_nbd(&dir.path().join("a1"), HoldMode::ReadWrite);
    // `a` itself is held as the base of the held leaf.
    for name in ["a1", "a", "root"] {
        let plan = ops::plan(&real(dir.path()), &discard(dir.path(), &[name]));
        assert_eq!(plan.danger, Danger::Refused);
        let text = refused_as(&plan, RefusalKind::InUse);
        assert!(text.contains(&holding.pid().to_string()), "{text}");
        assert!(text.contains("qemu-nbd"), "{text}");
        assert!(matches!(plan.agree(Consent::Yes), Err(Denied::Refused(_))));
    }
    let plan = ops::plan(&real(dir.path()), &discard(dir.path(), &["a2"]));
    assert_eq!(plan.danger, Danger::Reversible);
}

#[test]
fn an_image_taken_into_use_after_planning_stays() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let plan = ops::plan(&real(dir.path()), &discard(dir.path(), &["a"]));
    let _holding = qemu.hold_with_storage_daemon(&dir.path().join("a2"), HoldMode::ReadOnly);
    assert!(matches!(execute(plan), Err(Error::InUse(_))));
    assert_eq!(names(dir.path()), ["a", "a1", "a2", "b", "root"]);
}

#[test]
fn an_image_changed_after_planning_stays() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let plan = ops::plan(&real(dir.path()), &discard(dir.path(), &["a"]));
    qemu.within(dir.path()).io("a2", &["write -P 8 0 4k"]);
    plan.verify_preconditions().unwrap_err();
    assert!(matches!(execute(plan), Err(Error::Stale(_))));
    assert_eq!(names(dir.path()), ["a", "a1", "a2", "b", "root"]);
}

#[test]
fn a_place_that_is_taken_is_never_overwritten_by_a_restore() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let undo = run(&real(dir.path()), &discard(dir.path(), &["a"]))
        .undo
        .unwrap();
    fs::write(dir.path().join("a1"), "mine").unwrap();
    let plan = ops::plan(&real(dir.path()), &undo);
    refused_as(&plan, RefusalKind::AlreadyExists);
    assert_eq!(plan.danger, Danger::Refused);
    assert_eq!(fs::read(dir.path().join("a1")).unwrap(), b"mine");

    // Taken between planning and running.
    fs::remove_file(dir.path().join("a1")).unwrap();
    let plan = ops::plan(&real(dir.path()), &undo);
    fs::write(dir.path().join("a1"), "mine").unwrap();
    assert!(matches!(execute(plan), Err(Error::Stale(_))));
    assert_eq!(fs::read(dir.path().join("a1")).unwrap(), b"mine");
    assert_eq!(entries(dir.path())[0].files.len(), 3);
}

#[test]
fn only_emptying_the_trash_deletes_and_it_lists_every_file_first() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    run(&real(dir.path()), &discard(dir.path(), &["a"]));
    let request = Request::EmptyTrash(EmptyTrash {
        entries: vec![entries(dir.path())[0].name.clone()],
    });
    let plan = ops::plan(&real(dir.path()), &request);
    assert_eq!(plan.confirm, Confirm::Count(3));
    assert!(matches!(
        plan.clone().agree(Consent::Yes),
        Err(Denied::Count { needed: 3 })
    ));
    assert_eq!(plan.effects.len(), 3);
    assert!(plan.frees > 0);
    execute(plan).unwrap();
    assert_eq!(names(dir.path()), ["b", "root"]);
    assert!(entries(dir.path()).is_empty());
    let plan = ops::plan(&real(dir.path()), &request);
    assert_eq!(plan.danger, Danger::Refused);
}

#[test]
fn a_forged_manifest_leads_nothing_astray_and_a_lost_one_loses_nothing() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    run(&real(dir.path()), &discard(dir.path(), &["a"]));
    let name = entries(dir.path())[0].name.clone();
    let manifest = dir.path().join(trash::DIR).join(format!("{name}.json"));
    let forgeries = [
        Some(
            r#"{"discarded":18446744073709551615,"reason":"\u001b[31m","files":[{"name":"../../../etc/passwd","bytes":1,"why":"","turn":0},{"name":"/etc/passwd","bytes":1,"why":"","turn":1}]}"#,
        ),
        Some("{\"discarded\":"),
        Some("[]"),
        Some(""),
        None,
    ];
    for forged in forgeries {
        match forged {
            Some(text) => fs::write(&manifest, text).unwrap(),
            None => fs::remove_file(&manifest).unwrap(),
        }
        let entry = entries(dir.path()).remove(0);
        let mut originals: Vec<PathBuf> = entry.files.into_iter().map(|f| f.original).collect();
        originals.sort();
        let expected = ["a", "a1", "a2"].map(|name| dir.path().join(name));
        assert_eq!(originals, expected, "{forged:?}");
        let request = Request::Restore(Restore {
            entries: vec![name.clone()],
        });
        let plan = ops::plan(&real(dir.path()), &request);
        assert!(!words(&plan).contains('\u{1b}'));
        assert_eq!(plan.danger, Danger::Creates, "{}", words(&plan));
    }
}

#[test]
fn images_of_several_directories_come_back_to_their_own() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("one")).unwrap();
    fs::create_dir(dir.path().join("two")).unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "one/x", "1M"]);
    here.img(&[
        "create", "-f", "qcow2", "-F", "qcow2", "-b", "../one/x", "two/x",
    ]);
    let outcome = run(&real(dir.path()), &discard(dir.path(), &["one/x"]));
    assert_eq!(entries(dir.path()).len(), 1);
    assert_eq!(names(&dir.path().join("two")), [trash::DIR]);
    run(&real(dir.path()), &outcome.undo.unwrap());
    here.check_clean("two/x");
    assert_eq!(names(&dir.path().join("one")), ["x"]);
}

#[test]
fn links_are_told_from_files() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let elsewhere = tempfile::tempdir().unwrap();
    fs::hard_link(dir.path().join("a1"), dir.path().join("a1-too")).unwrap();
    fs::hard_link(dir.path().join("a2"), elsewhere.path().join("a2")).unwrap();
    std::os::unix::fs::symlink("b", dir.path().join("link-to-b")).unwrap();
    let plan = ops::plan(&real(dir.path()), &discard(dir.path(), &["a"]));
    let text = words(&plan);
    assert!(text.contains("another name of a1"), "{text}");
    assert!(text.contains("a2 has 1 name more"), "{text}");
    let plan = ops::plan(&real(dir.path()), &discard(dir.path(), &["link-to-b"]));
    let text = words(&plan);
    assert!(text.contains("trashes b "), "{text}");
    assert!(
        text.contains("link-to-b, which will lead nowhere"),
        "{text}"
    );
    execute(plan).unwrap();
    assert!(!dir.path().join("b").exists());
}

#[test]
fn prune_proposes_idle_leaves_and_nothing_else() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "alone", "1M"]);
    let old = std::time::SystemTime::now() - Duration::from_secs(100 * 86_400);
    for (name, days) in [("a1", 0), ("a2", 50), ("b", 0), ("root", 90), ("alone", 90)] {
        let file = fs::File::open(dir.path().join(name)).unwrap();
        file.set_modified(old - Duration::from_secs(days * 86_400))
            .unwrap();
    }
    let _holding = qemu.hold_with_nbd(&dir.path().join("b"), HoldMode::ReadOnly);
    let proposed = |days: u64| {
        ops::candidates(&real(dir.path()), Duration::from_secs(days * 86_400))
            .into_iter()
            .map(|one| {
                assert!(one.frees > 0 && one.why.contains("days"), "{one:?}");
                one.path.file_name().unwrap().to_str().unwrap().to_owned()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(proposed(30), ["a2", "a1"]);
    assert_eq!(proposed(120), ["a2"]);
    assert!(proposed(200).is_empty());
}

#[test]
fn garbage_is_whole_subtrees_that_nobody_needs() {
    let Some(qemu) = qemu() else { return };
    // `a1` and `a2` are built on `a`, `b` on `root`, as `a` is.
    let dir = small_forest(&qemu);
    let here = qemu.within(dir.path());
    let at = |name: &str| dir.path().join(name);
    let swept = |sweep: &Sweep| {
        let report = ops::garbage(&real(dir.path()), sweep);
        let names = report.garbage.iter().map(|one| {
            let names = one.images.iter().map(|path| path.file_name().unwrap());
            let names: Vec<&str> = names.map(|name| name.to_str().unwrap()).collect();
            names.join(" ")
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        (names, report)
    };
    let all = Sweep::default();
    let whole = Sweep {
        whole_trees: true,
        ..Sweep::default()
    };
    let (names, report) = swept(&all);
    assert_eq!(names, ["a a1 a2", "b"]);
    let allocated = |name: &str| fs::metadata(at(name)).unwrap().blocks() * 512;
    let frees: u64 = ["a", "a1", "a2", "b"].map(allocated).iter().sum();
    assert_eq!(
        report.garbage.iter().map(|one| one.frees).sum::<u64>(),
        frees
    );
    assert_eq!(swept(&whole).0, ["root a a1 a2 b"]);
    // One leaf that is held, or wanted, keeps what it is built on, and nothing beside it.
    let holding = qemu.hold_with_nbd(&at("a1"), HoldMode::ReadOnly);
    let (names, report) = swept(&whole);
    assert_eq!(names, ["a2", "b"]);
    let root = report.bases.iter().find(|base| base.path == at("root"));
    let needs = &root.unwrap().needs;
    assert!(
        needs.iter().any(|need| need.kind == NeedKind::Process),
        "{needs:?}"
    );
    drop(holding);
    let named = Sweep {
        roots: vec![at("a2")],
        ..Sweep::default()
    };
    assert_eq!(swept(&named).0, ["a1", "b"]);
    // What is young may be about to be used; what holds snapshots is told of.
    let old = std::time::SystemTime::now() - Duration::from_secs(100 * 86_400);
    here.img(&["snapshot", "-c", "before", "a2"]);
    for name in ["root", "a", "a2", "b"] {
        let file = fs::File::open(at(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    let older = Sweep {
        older_than: Duration::from_secs(86_400),
        ..Sweep::default()
    };
    let (names, report) = swept(&older);
    assert_eq!(names, ["a2", "b"]);
    let doubts: Vec<&String> = report.garbage.iter().flat_map(|one| &one.doubts).collect();
    assert!(doubts[0].contains("1 internal snapshot"), "{doubts:?}");
    // Why it is broken should be known before it goes.
    fs::remove_file(at("a")).unwrap();
    assert_eq!(swept(&all).0, ["b"]);
}

#[test]
fn leaves_are_kept_by_rule_for_each_base_or_each_tree() {
    let Some(qemu) = qemu() else { return };
    // `a1` and `a2` are built on `a`, `b` on `root`, as `a` is.
    let dir = small_forest(&qemu);
    let now = std::time::SystemTime::now();
    for (name, days) in [("a1", 5), ("a2", 3), ("b", 4)] {
        let file = fs::File::open(dir.path().join(name)).unwrap();
        file.set_modified(now - Duration::from_secs(days * 86_400))
            .unwrap();
    }
    let context = real(dir.path());
    let go = |last: usize, per: Per| {
        let rule = Retention {
            last,
            per,
            ..Retention::default()
        };
        let (go, stay) = rule.part(&context, ops::candidates(&context, Duration::ZERO));
        assert_eq!(go.len() + stay.len(), 3);
        assert_eq!(rule.keeps_nothing(), last == 0);
        let names = go.iter().map(|one| one.path.file_name().unwrap());
        names
            .map(|name| name.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(go(0, Per::Base), ["a1", "b", "a2"]);
    assert_eq!(go(1, Per::Base), ["a1"]);
    assert_eq!(go(1, Per::Tree), ["a1", "b"]);
    assert_eq!(go(2, Per::Tree), ["a1"]);
    assert_eq!(go(2, Per::Base), [""; 0]);
    // Within a second the younger one stays; of the same age the first by name.
    let at = |name: &str, millis: u64| {
        let file = fs::File::open(dir.path().join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_millis(millis))
            .unwrap();
    };
    for (a1, a2, goes) in [(1, 2, "a1"), (2, 1, "a2"), (1, 1, "a2")] {
        at("a1", a1);
        at("a2", a2);
        let context = real(dir.path());
        let rule = Retention {
            last: 1,
            ..Retention::default()
        };
        let (go, _) = rule.part(&context, ops::candidates(&context, Duration::ZERO));
        let names: Vec<_> = go.iter().map(|one| one.path.file_name().unwrap()).collect();
        assert_eq!(names, [goes]);
    }
}

#[test]
fn leaves_beside_the_disk_of_one_machine_are_kept_together() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let tools = qemu.within(dir.path());
    let on = |base: &str, name: &str| {
        tools.img(&[
            "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, name,
        ]);
    };
    // A disk of a machine on `a`, and a further layer there with a leaf on it.
    on("a", "web");
    on("a", "further");
    on("further", "x");
    let now = std::time::SystemTime::now();
    for (name, days) in [("x", 6), ("a1", 5), ("b", 4), ("a2", 3)] {
        let file = fs::File::open(dir.path().join(name)).unwrap();
        file.set_modified(now - Duration::from_secs(days * 86_400))
            .unwrap();
    }
    let mut context = real(dir.path());
    let machine = planning::machine_of(dir.path().join("web"));
    context.know_machines(Arc::new(Machines::of(vec![machine], Vec::new())));
    let go = |per: Per| {
        let rule = Retention {
            last: 1,
            per,
            ..Retention::default()
        };
        let (go, stay) = rule.part(&context, ops::candidates(&context, Duration::ZERO));
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let go: Vec<String> = go.iter().map(|one| name(&one.path)).collect();
        let why: Vec<String> = stay.into_iter().map(|(_, why)| why).collect();
        (go, why)
    };
    assert_eq!(go(Per::Base).0, ["a1"]);
    // All are built on what the machine's disk is built on: `b` on the root alone.
    let (gone, why) = go(Per::Machine);
    assert_eq!(gone, ["x", "a1", "b"]);
    assert_eq!(why, ["the youngest beside its machine"]);
    // Where no machine is known they are told apart by what they are built on; nobody uses `web` then.
    let context = real(dir.path());
    let rule = Retention {
        last: 1,
        per: Per::Machine,
        ..Retention::default()
    };
    let (go, _) = rule.part(&context, ops::candidates(&context, Duration::ZERO));
    assert_eq!(go.len(), 2);
}

/// After a crash: each image once, at its place or in the trash, with the bytes it had; every image
/// at its place has its base at its place; and what is in the trash can be restored.
fn assert_nothing_lost(root: &Path, bytes: &BTreeMap<&str, Vec<u8>>, story: &dyn Fn() -> String) {
    let list = trash::list(&RealHost, None, &[root.to_path_buf()]);
    let mut kept: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for file in list.iter().flat_map(|entry| &entry.files) {
        kept.insert(file.original.clone(), file.kept_at.clone());
    }
    let root = fs::canonicalize(root).unwrap();
    for (name, bytes) in bytes {
        let place = root.join(name);
        let found = match (place.exists(), kept.get(&place)) {
            (true, None) => place,
            (false, Some(kept)) => kept.clone(),
            other => panic!("{name}: {other:?}\n{}", story()),
        };
        assert_eq!(&fs::read(found).unwrap(), bytes, "{name}\n{}", story());
    }
    for (above, below) in [("a1", "a"), ("a2", "a"), ("a", "root"), ("b", "root")] {
        assert!(
            !root.join(above).exists() || root.join(below).exists(),
            "{above} misses {below}\n{}",
            story()
        );
    }
    if !list.is_empty() {
        for entry in &list {
            assert!(
                entry.problems.is_empty(),
                "{:?}\n{}",
                entry.problems,
                story()
            );
        }
        let request = Request::Restore(Restore {
            entries: list.into_iter().map(|entry| entry.name).collect(),
        });
        run(&real(&root), &request);
    }
    for name in bytes.keys() {
        assert!(root.join(name).exists(), "{name}\n{}", story());
    }
}

#[test]
fn a_crash_at_any_moment_of_discard_and_restore_loses_no_file() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    fs::create_dir(dir.path().join("state")).unwrap();
    let root = fs::canonicalize(dir.path()).unwrap();
    let bytes: BTreeMap<&str, Vec<u8>> = ["root", "a", "a1", "a2", "b"]
        .map(|name| (name, fs::read(root.join(name)).unwrap()))
        .into();
    let host = Arc::new(RecordingHost::new(&root));
    let outcome = run(&context(host.clone(), &root), &discard(&root, &["a"]));
    host.mark("discarded");
    run(&context(host.clone(), &root), &outcome.undo.unwrap());
    host.mark("restored");
    let log = host.log();
    for state in log.crash_states(400, 1) {
        let after = log.replay(&state);
        let gone = !after.path().join("a").exists();
        if state.passed("restored") {
            assert!(!gone, "{}", log.describe(&state));
        }
        assert_nothing_lost(after.path(), &bytes, &|| log.describe(&state));
    }
    let discarded = log
        .crash_states(4000, 2)
        .find(|state| state.marks == ["discarded"])
        .unwrap();
    assert!(!log.replay(&discarded).path().join("a1").exists());
}

#[test]
fn a_cancelled_discard_leaves_everything_in_place() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    let plan = ops::plan(&real(dir.path()), &discard(dir.path(), &["a"]));
    let progress = Progress::new();
    progress.cancel();
    let result = ops::run(plan.agree(Consent::Yes).unwrap(), &progress);
    assert!(matches!(result, Err(Error::Cancelled(_))), "{result:?}");
    assert_eq!(names(dir.path()), ["a", "a1", "a2", "b", "root"]);
}

#[test]
fn an_error_at_any_call_of_a_discard_loses_no_file() {
    use support::{Calls, Fault, FaultyHost, Then};
    let Some(qemu) = qemu() else { return };
    for then in [Then::Recover, Then::KeepFailing] {
        for nth in 0.. {
            let dir = small_forest(&qemu);
            let root = fs::canonicalize(dir.path()).unwrap();
            let bytes: BTreeMap<&str, Vec<u8>> = ["root", "a", "a1", "a2", "b"]
                .map(|name| (name, fs::read(root.join(name)).unwrap()))
                .into();
            let host = Arc::new(FaultyHost::failing(
                Arc::new(RealHost),
                Calls::Mutating,
                nth,
                Fault::eio(),
                then,
            ));
            let result = execute_request(&context(host.clone(), &root), &discard(&root, &["a"]));
            let Some(struck) = host.struck() else {
                result.unwrap();
                break;
            };
            if then == Then::Recover {
                // What went wrong once is put back; the register alone is dispensable.
                match result {
                    Ok(outcome) => assert!(!outcome.remarks.is_empty(), "{struck}"),
                    Err(_) => assert!(root.join("a1").exists(), "{struck}"),
                }
            }
            assert_nothing_lost(&root, &bytes, &|| struck.clone());
        }
    }
}

/// `RootBase` below `Overlay-1` (and `1A`), `Overlay-2` (and `2A`) and `Overlay-3`, each with data of its own.
fn siblings(qemu: &Qemu) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "RootBase", "4M"]);
    here.io("RootBase", &["write -P 1 0 2M"]);
    for (at, base, new) in [
        (0, "RootBase", "Overlay-1"),
        (1, "RootBase", "Overlay-2"),
        (2, "RootBase", "Overlay-3"),
        (3, "Overlay-1", "1A"),
        (4, "Overlay-2", "2A"),
    ] {
        here.img(&["create", "-f", "qcow2", "-F", "qcow2", "-b", base, new]);
        here.io(new, &[&format!("write -P {} {}k 128k", at + 2, at * 192)]);
    }
    dir
}

fn commit(dir: &Path, overlay: &str, siblings: ops::Siblings) -> Request {
    Request::Commit(Commit {
        overlay: dir.join(overlay),
        into: None,
        layer: ops::CommittedLayer::Trash,
        siblings,
        keep_old: None,
    })
}

fn restore_all(dir: &Path) -> ops::Plan {
    let entries = entries(dir).into_iter().map(|entry| entry.name).collect();
    ops::plan(&real(dir), &Request::Restore(Restore { entries }))
}

#[test]
fn what_is_in_the_trash_is_a_sibling_that_a_commit_is_refused_for_or_keeps_intact() {
    let Some(qemu) = qemu() else { return };
    let dir = siblings(&qemu);
    let here = qemu.within(dir.path());
    let names = ["Overlay-2", "2A", "Overlay-3"];
    let before = names.map(|name| here.digest(name));
    run(&real(dir.path()), &discard(dir.path(), &["Overlay-2"]));
    run(&real(dir.path()), &discard(dir.path(), &["Overlay-3"]));

    let plan = ops::plan(
        &real(dir.path()),
        &commit(dir.path(), "Overlay-1", ops::Siblings::Refuse),
    );
    let refusal = &plan.refusals[0];
    assert_eq!(refusal.kind, RefusalKind::HasDependants);
    for part in ["Overlay-2 (in the trash)", "Overlay-3 (in the trash)"] {
        assert!(refusal.text.contains(part), "{}", refusal.text);
    }
    // Merged upward instead, or downward: kept, deleted (each went by itself), or broken.
    let (upward, ways): (Vec<&Request>, Vec<&Request>) = refusal
        .ways_out
        .iter()
        .map(|way| &way.request)
        .partition(|way| matches!(way, Request::Squash(_)));
    assert_eq!(upward.len(), 1);
    let (keep, rest) = ways.split_first().unwrap();
    assert!(matches!(keep, Request::Commit(_)));
    let (last, delete) = rest.split_last().unwrap();
    assert!(matches!(last, Request::Commit(_)));
    let deleted = delete.iter().flat_map(|way| match way {
        Request::EmptyTrash(EmptyTrash { entries }) => entries.clone(),
        other => panic!("{other:?}"),
    });
    let mut deleted: Vec<String> = deleted.collect();
    let mut in_trash: Vec<String> = entries(dir.path()).into_iter().map(|e| e.name).collect();
    deleted.sort();
    in_trash.sort();
    assert_eq!(deleted, in_trash);

    let context = real(dir.path());
    let plan = ops::plan(
        &context,
        &commit(dir.path(), "Overlay-1", ops::Siblings::Preserve),
    );
    let consent = match plan.confirm {
        Confirm::Count(count) => Consent::Count(count),
        _ => Consent::Yes,
    };
    let ready = plan.agree(consent).unwrap().proving();
    let outcome = ops::run(ready, &Progress::new()).unwrap();
    let proof = outcome.remarks.last().unwrap();
    // RootBase is what it is about; 1A, Overlay-1 and the three in the trash are not.
    assert!(proof.text.contains("proven"), "{proof}");

    let plan = restore_all(dir.path());
    assert!(!words(&plan).contains("other content"), "{}", words(&plan));
    execute(plan).unwrap();
    for (name, digest) in names.iter().zip(before) {
        assert_eq!(here.digest(name), digest, "{name}");
        here.check_clean(name);
    }
}

/// What is in the trash shows, when it is put back, what it showed when it went, whatever was done to the images
/// that it is built on; or the plan says that it will not.
#[test]
fn every_operation_on_a_base_keeps_what_the_trash_holds_of_it_or_says_so() {
    let Some(qemu) = qemu() else { return };
    let made = siblings(&qemu);
    let there = qemu.within(made.path());
    there.img(&["snapshot", "-c", "old", "Overlay-2"]);
    there.io("Overlay-2", &["write -P 77 256k 128k"]);
    // A child that stays where it is.
    there.img(&[
        "create",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "Overlay-2",
        "2B",
    ]);
    let image = |dir: &Path| dir.join("Overlay-2");
    type Ask = Box<dyn Fn(&Path) -> Request>;
    let resize = |name: &'static str, size: ops::NewSize| -> Ask {
        Box::new(move |dir| {
            Request::Resize(Resize {
                image: dir.join(name),
                size,
                shrink: false,
                preallocation: Preallocation::Off,
                dependants: ops::Dependants::Refuse,
            })
        })
    };
    let squash = |direction| -> Ask {
        Box::new(move |dir| {
            Request::Squash(Squash {
                layer: image(dir),
                direction: Some(direction),
            })
        })
    };
    let asks: Vec<(&str, bool, Ask)> = vec![
        (
            "grow",
            true,
            resize("Overlay-2", ops::NewSize::More(1 << 20)),
        ),
        (
            "grow the root",
            true,
            resize("RootBase", ops::NewSize::More(1 << 20)),
        ),
        (
            "amend",
            true,
            Box::new(move |dir| {
                Request::Amend(AmendImage {
                    image: image(dir),
                    amendment: Amendment {
                        refcount_order: Some(5),
                        ..Amendment::default()
                    },
                })
            }),
        ),
        (
            "snapshot apply",
            false,
            Box::new(move |dir| {
                Request::Snapshot(ChangeSnapshot {
                    image: image(dir),
                    action: ops::SnapshotAction::Apply {
                        snapshot: ops::SnapshotName::Name("old".into()),
                        dependants: ops::Dependants::Break,
                    },
                })
            }),
        ),
        (
            "flatten",
            true,
            Box::new(move |dir| {
                Request::Flatten(Flatten {
                    image: image(dir),
                    onto: None,
                    new: None,
                    compress: None,
                })
            }),
        ),
        (
            "rebase",
            true,
            Box::new(move |dir| {
                Request::Rebase(Rebase {
                    image: image(dir),
                    to: dir.join("Overlay-1"),
                    format: Some(Format::Qcow2),
                    style: None,
                    dedupe: false,
                    compress: false,
                })
            }),
        ),
        ("squash down", true, squash(ops::Direction::Down)),
        ("squash up", true, squash(ops::Direction::Up)),
        (
            "repair",
            true,
            Box::new(move |dir| {
                Request::Repair(RepairImage {
                    image: image(dir),
                    action: ops::RepairAction::All,
                })
            }),
        ),
    ];
    for (what, keeps, ask) in asks {
        let home = tempfile::tempdir().unwrap();
        let dir = &home.path().join("dir");
        support::script::copy_tree(made.path(), dir);
        let here = qemu.within(dir);
        let names = ["2A", "Overlay-3"];
        let before = names.map(|name| here.digest(name));
        run(&real(dir), &discard(dir, &names));
        if what == "repair" {
            // A cluster at the end that nothing counts or uses.
            let mut file = fs::OpenOptions::new()
                .append(true)
                .open(image(dir))
                .unwrap();
            std::io::Write::write_all(&mut file, &[7; 65536]).unwrap();
        }
        let plan = ops::plan(&real(dir), &ask(dir));
        let text = words(&plan);
        assert!(plan.refusals.is_empty(), "{what}: {text}");
        if !keeps {
            assert!(matches!(plan.confirm, Confirm::Count(_)), "{what}: {text}");
            let breaks = text
                .lines()
                .any(|line| line.starts_with("breaks") && line.contains("2A"));
            assert!(breaks, "{what}: {text}");
            continue;
        }
        execute(plan).unwrap();
        let restore = restore_all(dir);
        let said = words(&restore);
        assert!(!said.contains("other content"), "{what}: {said}");
        // A layer that the operation itself put there stays there.
        let entries = entries(dir);
        let asked = entries.iter().filter(|entry| entry.reason == "discard");
        let request = Request::Restore(Restore {
            entries: asked.map(|entry| entry.name.clone()).collect(),
        });
        run(&real(dir), &request);
        for (name, digest) in names.iter().zip(before) {
            assert_eq!(here.digest(name), digest, "{what}: {name}");
            here.check_clean(name);
        }
    }
}

#[test]
fn broken_in_the_trash_is_said_by_number_and_told_again_by_the_restore() {
    let Some(qemu) = qemu() else { return };
    let dir = siblings(&qemu);
    run(&real(dir.path()), &discard(dir.path(), &["Overlay-3"]));
    let request = commit(dir.path(), "Overlay-2", ops::Siblings::Break);
    let plan = ops::plan(&real(dir.path()), &request);
    assert!(matches!(plan.confirm, Confirm::Count(_)));
    execute(plan).unwrap();
    let text = words(&restore_all(dir.path()));
    assert!(
        text.contains("RootBase was written after Overlay-3"),
        "{text}"
    );
    // The layer that the commit itself put there is what it was.
    assert!(!text.contains("after Overlay-2"), "{text}");
}

#[test]
fn a_restore_says_what_became_of_the_base_and_a_moved_one_is_followed() {
    let Some(qemu) = qemu() else { return };
    let dir = siblings(&qemu);
    let here = qemu.within(dir.path());
    let before = here.digest("2A");
    fs::create_dir(dir.path().join("sub")).unwrap();
    run(&real(dir.path()), &discard(dir.path(), &["2A"]));
    let moved = Request::Move(MoveImages {
        moves: vec![ops::Relocation {
            from: dir.path().join("Overlay-2"),
            to: dir.path().join("sub"),
            style: None,
        }],
        subtree: false,
    });
    run(&real(dir.path()), &moved);
    let plan = restore_all(dir.path());
    assert!(plan.notes.is_empty(), "{}", words(&plan));
    let entry = entries(dir.path()).remove(0).name;
    execute(plan).unwrap();
    assert_eq!(here.digest("2A"), before);

    // Written by others, replaced, gone to the trash itself, gone.
    run(&real(dir.path()), &discard(dir.path(), &["2A"]));
    assert_ne!(entries(dir.path())[0].name, entry);
    here.io("sub/Overlay-2", &["write -P 99 1M 64k"]);
    let text = words(&restore_all(dir.path()));
    assert!(text.contains("Overlay-2 was written after 2A"), "{text}");
    fs::copy(dir.path().join("sub/Overlay-2"), dir.path().join("copy")).unwrap();
    fs::rename(dir.path().join("copy"), dir.path().join("sub/Overlay-2")).unwrap();
    let text = words(&restore_all(dir.path()));
    assert!(text.contains("Overlay-2 is another file than"), "{text}");
    let entry = entries(dir.path()).remove(0).name;
    run(&real(dir.path()), &discard(dir.path(), &["sub/Overlay-2"]));
    let request = Request::Restore(Restore {
        entries: vec![entry.clone()],
    });
    let text = words(&ops::plan(&real(dir.path()), &request));
    assert!(
        text.contains("Overlay-2, which is in the trash too"),
        "{text}"
    );
    let mut others = entries(dir.path()).into_iter();
    let other = others.find(|other| other.name != entry).unwrap().name;
    let empty = Request::EmptyTrash(EmptyTrash {
        entries: vec![other],
    });
    let plan = ops::plan(&real(dir.path()), &empty);
    assert!(
        words(&plan).contains("2A in the trash is built on Overlay-2"),
        "{}",
        words(&plan)
    );
    execute(plan).unwrap();
    let text = words(&ops::plan(&real(dir.path()), &request));
    assert!(text.contains("which is not there"), "{text}");
}

#[test]
fn an_entry_that_is_not_what_was_shown_is_neither_restored_nor_deleted() {
    let Some(qemu) = qemu() else { return };
    for is_link in [false, true] {
        let dir = small_forest(&qemu);
        run(&real(dir.path()), &discard(dir.path(), &["a"]));
        let names: Vec<String> = entries(dir.path()).into_iter().map(|e| e.name).collect();
        let plans = || {
            let entries = names.clone();
            let restore = Request::Restore(Restore {
                entries: entries.clone(),
            });
            let empty = Request::EmptyTrash(EmptyTrash { entries });
            [restore, empty].map(|request| ops::plan(&real(dir.path()), &request))
        };
        let planned = plans();
        let folder = fs::canonicalize(dir.path())
            .unwrap()
            .join(trash::DIR)
            .join(&names[0]);
        let precious = dir.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        fs::rename(folder.join("a"), dir.path().join("kept")).unwrap();
        if is_link {
            std::os::unix::fs::symlink(&precious, folder.join("a")).unwrap();
        } else {
            fs::copy(dir.path().join("kept"), folder.join("a")).unwrap();
        }
        for plan in planned {
            let error = execute(plan).unwrap_err();
            assert!(matches!(error, Error::Stale(_)), "{error}");
        }
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        let left: Vec<String> = names_in(&folder);
        assert_eq!(left, ["a", "a1", "a2"]);
        assert!(!dir.path().join("a1").exists());
        if is_link {
            // Nobody takes it for an image that was discarded.
            assert!(entries(dir.path())[0].problems[0].contains("no regular file"));
        }
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_trash_folder_of_somebody_else_is_neither_believed_nor_used() {
    let Some(qemu) = qemu() else { return };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root gives a folder away");
        return;
    }
    let dir = siblings(&qemu);
    run(&real(dir.path()), &discard(dir.path(), &["Overlay-3"]));
    let trash = dir.path().join(trash::DIR);
    std::os::unix::fs::chown(&trash, Some(65534), None).unwrap();
    let context = real(dir.path());
    assert!(context.forest.nodes().all(|node| !node.is_in_trash()));
    assert!(entries(dir.path()).is_empty());
    let said = trash::foreign(&RealHost, Some(&dir.path().join("state")), &[]);
    assert!(
        said[0].contains("belongs to another user (65534)"),
        "{said:?}"
    );
    let plan = ops::plan(&context, &discard(dir.path(), &["1A"]));
    refused_as(&plan, RefusalKind::NotWritable);
    let plan = ops::plan(&context, &commit(dir.path(), "1A", ops::Siblings::Preserve));
    assert!(!plan.refusals.is_empty());
    std::os::unix::fs::chown(&trash, Some(0), None).unwrap();
    assert_eq!(entries(dir.path()).len(), 1);
}

#[test]
fn a_base_is_not_called_unneeded_while_the_trash_holds_what_is_built_on_it() {
    let Some(qemu) = qemu() else { return };
    let dir = small_forest(&qemu);
    run(&real(dir.path()), &discard(dir.path(), &["a1", "a2"]));
    let candidates = ops::candidates(&real(dir.path()), Duration::ZERO);
    let a = candidates
        .iter()
        .find(|one| one.path.ends_with("a"))
        .unwrap();
    assert!(a.why.contains("a1 (in the trash)"), "{}", a.why);
    let plan = ops::plan(&real(dir.path()), &discard(dir.path(), &["a"]));
    assert_eq!(plan.effects.len(), 1, "{}", words(&plan));
    assert!(
        words(&plan).contains("a1 (in the trash)"),
        "{}",
        words(&plan)
    );
}

/// A sibling in the trash that is preserved there.
struct InTrash {
    before: View,
}

impl InTrash {
    /// What the sibling shows once it is restored.
    fn restored(dir: &Path, context: &dyn Display) -> View {
        let entry = own_code::trashed(dir, "sibling.qcow2");
        let restore = Request::Restore(Restore {
            entries: vec![entry.unwrap_or_else(|| panic!("it is gone\n{context}"))],
        });
        own_code::run(&own_code::real_host(), dir, &restore)
            .unwrap_or_else(|why| panic!("it cannot be restored: {why}\n{context}"));
        own_code::view(&dir.join("sibling.qcow2"), Some("qcow2")).unwrap()
    }
}

impl Promise for InTrash {
    fn completed(&mut self, _: &Path, _: &dyn Display) {}

    fn check_quickly(&self, dir: &Path, _: bool, context: &dyn Display) {
        for name in ["base.qcow2", "top.qcow2"] {
            let path = dir.join(name);
            assert!(
                !path.exists() || checker::check(&path).is_sound(),
                "{name}\n{context}"
            );
        }
        let now = Self::restored(dir, context);
        assert!(
            now == self.before,
            "{}\n{context}",
            now.explain(&self.before)
        );
    }

    fn check_by_qemu(&self, dir: &Path, context: &dyn Display) {
        let verdict = oracle::check(&dir.join("sibling.qcow2"));
        assert!(verdict.is_sound(), "{verdict:?}\n{context}");
        let now = oracle::guest_view(&dir.join("sibling.qcow2"), Some("qcow2")).unwrap();
        assert!(now == self.before, "{context}");
    }

    fn finish(&self, _: &Path, _: &dyn Display) {}
}

#[test]
fn a_sibling_in_the_trash_is_preserved_there_whatever_moment_cuts_it_off() {
    if support::qemu().is_none() {
        return;
    }
    let mut script = Script::default();
    let small = "-o cluster_size=4k";
    script.create(small, "base.qcow2", "256k");
    script.io("qcow2", "base.qcow2", &["write -P 1 0 128k"]);
    for name in ["top.qcow2", "sibling.qcow2"] {
        script.create(&format!("{small} -F qcow2 -b base.qcow2"), name, "");
    }
    script.io("qcow2", "top.qcow2", &["write -P 2 16k 64k"]);
    script.io("qcow2", "sibling.qcow2", &["write -P 3 32k 8k"]);
    let attempt = |host: &Arc<dyn Host>, dir: &Path| {
        let request = Request::Commit(Commit {
            overlay: dir.join("top.qcow2"),
            into: None,
            layer: ops::CommittedLayer::Trash,
            siblings: ops::Siblings::Preserve,
            keep_old: None,
        });
        let plan = own_code::plan(host, dir, &request);
        let unread = warns_of(&plan, NoteKind::Unseen);
        let result = own_code::agree(plan)
            .and_then(|ready| ops::run(ready, &Progress::new()).map_err(|e| e.to_string()));
        Attempt { result, unread }
    };
    let suite = CrashSuite {
        script: &script,
        what: "a commit beside a sibling in the trash".to_owned(),
        attempt: &attempt,
        states: 80,
        failures: 12,
        every: 13,
    };
    let promise = |dir: &Path| {
        let before = own_code::view(&dir.join("sibling.qcow2"), Some("qcow2")).unwrap();
        let discard = Request::discard(vec![dir.join("sibling.qcow2")]);
        own_code::run(&own_code::real_host(), dir, &discard).unwrap();
        InTrash { before }
    };
    suite.survives_crashes(promise);
    suite.survives_failures(promise);
}
