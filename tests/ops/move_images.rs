//! Moving and renaming: every image shows what it showed, at every moment, and every name leads to
//! where it led, relative or absolute as it was.

use crate::support;
use crate::support::planning;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use planning::{context, execute_request, words};
use qanopy::host::{Host, RealHost};
use qanopy::ops::journal::{Journal, Standing};
use qanopy::ops::{
    self, BackingStyle, Branch, Confirm, MoveImages, Outcome, Plan, RecoverEntry, Recovery,
    RefusalKind, Relocation, Request, UndoEntry,
};
use serde_json::Value;
use support::image_crash_suite::refused_as;
use support::{Calls, Fault, FaultyHost, HoldMode, Qemu, RecordingHost, Then, qemu};

fn moving(dir: &Path, from: &str, to: &str, subtree: bool) -> Request {
    Request::Move(MoveImages {
        moves: vec![Relocation {
            from: dir.join(from),
            to: dir.join(to),
            style: None,
        }],
        subtree,
    })
}

fn plan(dir: &Path, request: &Request) -> Plan {
    ops::plan(&context(Arc::new(RealHost), dir), request)
}

fn run(dir: &Path, request: &Request) -> Outcome {
    execute_request(&context(Arc::new(RealHost), dir), request).unwrap()
}

/// A base with a relative child, an absolute one in another folder, and a grandchild without a
/// recorded format.
fn build(qemu: &Qemu, dir: &Path) {
    let here = qemu.within(dir);
    fs::create_dir_all(dir.join("other")).unwrap();
    fs::create_dir_all(dir.join("place")).unwrap();
    here.img(&["create", "-f", "qcow2", "base.qcow2", "2M"]);
    here.io("base.qcow2", &["write -P 7 0 1M"]);
    let over = |base: &str, new: &str| {
        here.img(&["create", "-f", "qcow2", "-F", "qcow2", "-b", base, new]);
    };
    over("base.qcow2", "near.qcow2");
    here.io("near.qcow2", &["write -P 8 64k 64k"]);
    over(dir.join("base.qcow2").to_str().unwrap(), "other/far.qcow2");
    here.io("other/far.qcow2", &["write -P 9 128k 64k"]);
    over("../near.qcow2", "other/top.qcow2");
    here.io("other/top.qcow2", &["write -P 10 192k 64k"]);
}

/// The recorded backing name and what the guest sees, by the image's name.
fn seen(qemu: &Qemu, dir: &Path, names: &[&str]) -> BTreeMap<String, (String, u64)> {
    let here = qemu.within(dir);
    let one = |name: &&str| {
        let info: Value =
            serde_json::from_str(&here.img(&["info", "--output=json", name])).unwrap();
        let backing = info["backing-filename"].as_str().unwrap_or_default();
        here.check_clean(name);
        ((*name).to_owned(), (backing.to_owned(), here.digest(name)))
    };
    names.iter().map(one).collect()
}

fn digests(seen: &BTreeMap<String, (String, u64)>) -> Vec<u64> {
    let mut all: Vec<u64> = seen.values().map(|(_, digest)| *digest).collect();
    all.sort_unstable();
    all
}

#[test]
fn a_renamed_base_is_followed_by_all_that_is_built_on_it_and_back_again() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    build(&qemu, dir);
    let before = seen(
        &qemu,
        dir,
        &[
            "base.qcow2",
            "near.qcow2",
            "other/far.qcow2",
            "other/top.qcow2",
        ],
    );
    let asked = plan(dir, &moving(dir, "base.qcow2", "golden.qcow2", false));
    assert_eq!(asked.confirm, Confirm::Yes, "{}", words(&asked));
    let outcome = run(dir, &moving(dir, "base.qcow2", "golden.qcow2", false));
    let after = seen(
        &qemu,
        dir,
        &[
            "golden.qcow2",
            "near.qcow2",
            "other/far.qcow2",
            "other/top.qcow2",
        ],
    );
    assert_eq!(digests(&after), digests(&before));
    assert_eq!(after["near.qcow2"].0, "golden.qcow2");
    let absolute = dir.join("golden.qcow2");
    assert_eq!(after["other/far.qcow2"].0, absolute.to_str().unwrap());
    assert!(!dir.join("base.qcow2").exists());
    run(dir, &outcome.undo.unwrap());
    assert_eq!(
        seen(
            &qemu,
            dir,
            &[
                "base.qcow2",
                "near.qcow2",
                "other/far.qcow2",
                "other/top.qcow2"
            ]
        ),
        before
    );
}

#[test]
fn a_middle_image_moves_to_another_folder_and_names_its_base_from_there() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    build(&qemu, dir);
    let before = seen(&qemu, dir, &["base.qcow2", "near.qcow2", "other/top.qcow2"]);
    run(dir, &moving(dir, "near.qcow2", "place", false));
    let after = seen(
        &qemu,
        dir,
        &["base.qcow2", "place/near.qcow2", "other/top.qcow2"],
    );
    assert_eq!(digests(&after), digests(&before));
    assert_eq!(after["place/near.qcow2"].0, "../base.qcow2");
    assert_eq!(after["other/top.qcow2"].0, "../place/near.qcow2");
}

#[test]
fn a_subtree_keeps_its_shape() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    build(&qemu, dir);
    fs::create_dir(dir.join("place/other")).unwrap();
    let names = [
        "base.qcow2",
        "near.qcow2",
        "other/far.qcow2",
        "other/top.qcow2",
    ];
    let before = seen(&qemu, dir, &names);
    let outcome = run(dir, &moving(dir, "base.qcow2", "place", true));
    let after = seen(&qemu, &dir.join("place"), &names);
    assert_eq!(digests(&after), digests(&before));
    assert_eq!(after["near.qcow2"].0, "base.qcow2");
    assert_eq!(after["other/top.qcow2"].0, "../near.qcow2");
    assert_eq!(
        after["other/far.qcow2"].0,
        dir.join("place/base.qcow2").to_str().unwrap()
    );
    run(dir, &outcome.undo.unwrap());
    assert_eq!(seen(&qemu, dir, &names), before);
}

#[test]
fn to_another_filesystem_the_file_is_copied_and_the_old_one_kept_in_the_trash() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    build(&qemu, dir);
    // A filesystem of its own, in memory.
    let away = tempfile::tempdir_in("/dev/shm").unwrap();
    let before = seen(&qemu, dir, &["base.qcow2", "near.qcow2", "other/top.qcow2"]);
    let request = Request::Move(MoveImages {
        moves: vec![Relocation {
            from: dir.join("near.qcow2"),
            to: away.path().join("moved.qcow2"),
            style: None,
        }],
        subtree: false,
    });
    let outcome = run(dir, &request);
    assert!(!dir.join("near.qcow2").exists());
    assert!(
        outcome
            .remarks
            .iter()
            .any(|remark| remark.text.contains("trash"))
    );
    let moved = away.path().join("moved.qcow2");
    let after = seen(
        &qemu,
        dir,
        &["base.qcow2", moved.to_str().unwrap(), "other/top.qcow2"],
    );
    assert_eq!(digests(&after), digests(&before));
    let trashed = support::script::files_below(&dir.join(".qanopy-trash"));
    assert!(
        trashed.iter().any(|path| path.ends_with("near.qcow2")),
        "{trashed:?}"
    );
}

#[test]
fn a_move_to_another_filesystem_that_was_cut_off_is_finished_or_rolled_back() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let pristine = fs::canonicalize(home.path()).unwrap().join("forest");
    fs::create_dir(&pristine).unwrap();
    build(&qemu, &pristine);
    fs::remove_file(pristine.join("other/far.qcow2")).unwrap();
    let want = digests(&seen(
        &qemu,
        &pristine,
        &["base.qcow2", "near.qcow2", "other/top.qcow2"],
    ));
    for nth in 0.. {
        let way = match nth % 2 {
            0 => Recovery::Finish,
            _ => Recovery::RollBack,
        };
        let trial = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(trial.path()).unwrap().join("forest");
        support::script::copy_tree(&pristine, &root);
        // A filesystem of its own, in memory.
        let away = tempfile::tempdir_in("/dev/shm").unwrap();
        let moved = away.path().join("moved.qcow2");
        let request = Request::Move(MoveImages {
            moves: vec![Relocation {
                from: root.join("near.qcow2"),
                to: moved.clone(),
                style: None,
            }],
            subtree: false,
        });
        // Nothing happens any more from there on, as in a power cut.
        let faulty = Arc::new(FaultyHost::failing(
            Arc::new(RealHost),
            Calls::Mutating,
            nth,
            Fault::eio(),
            Then::KeepFailing,
        ));
        let known: Arc<dyn Host> = faulty.clone();
        drop(execute_request(&context(known, &root), &request));
        let story = format!("{way:?}, {:?}", faulty.struck());
        // Half-made files bear the number of the process that made them: here it is the same one.
        for dir in [root.as_path(), away.path()] {
            for file in support::script::files_below(dir) {
                if qanopy::image::maker_of(&file).is_some() {
                    fs::remove_file(file).unwrap();
                }
            }
        }
        let journal = root.join("state/journal.jsonl");
        let begun = fs::read_to_string(&journal).unwrap();
        let mut line: Value = serde_json::from_str(begun.lines().next().unwrap()).unwrap();
        line["process"] = "1 1 another-boot".into();
        fs::write(&journal, format!("{line}\n")).unwrap();
        let middle = |way: Recovery| match way {
            Recovery::Finish => moved.clone(),
            Recovery::RollBack | Recovery::Forget => root.join("near.qcow2"),
        };
        let both = [middle(Recovery::Finish), middle(Recovery::RollBack)];
        let now = both.iter().find(|path| path.exists()).unwrap();
        let now = now.to_str().unwrap();
        let views = seen(&qemu, &root, &["base.qcow2", now, "other/top.qcow2"]);
        assert_eq!(digests(&views), want, "{story}");

        let known = context_of(&[&root, away.path()], &root.join("state"));
        let asked = ops::plan(&known, &Request::Recover(RecoverEntry { entry: 1, way }));
        assert!(asked.refusals.is_empty(), "{}\n{story}", words(&asked));
        planning::execute(asked).unwrap_or_else(|error| panic!("{error}\n{story}"));
        let there = middle(way);
        let gone = both.iter().find(|path| **path != there).unwrap();
        assert!(there.exists() && !gone.exists(), "{story}");
        let there = there.to_str().unwrap();
        let views = seen(&qemu, &root, &["base.qcow2", there, "other/top.qcow2"]);
        assert_eq!(digests(&views), want, "{story}");
        let left = Journal::at(&root.join("state")).interrupted().unwrap();
        assert!(left.is_empty(), "{story}");
        if faulty.struck().is_none() {
            break;
        }
    }
}

/// A move that is brought to its end takes a copy that is there for its own only where it can be one.
#[test]
fn what_is_no_copy_of_an_interrupted_move_is_in_its_way() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    build(&qemu, dir);
    let away = tempfile::tempdir_in("/dev/shm").unwrap();
    let far = dir.join("other/far.qcow2");
    let asked = |to: &Path| {
        let request = Request::Move(MoveImages {
            moves: vec![Relocation {
                from: far.clone(),
                to: to.to_path_buf(),
                style: Some(BackingStyle::Absolute),
            }],
            subtree: false,
        });
        plan(dir, &request)
    };
    let refused = |to: &Path, kind: RefusalKind| refused_as(&asked(to), kind);
    // The same bytes on the same filesystem: a move there renames, and copies nothing.
    let beside = dir.join("other/beside.qcow2");
    fs::copy(&far, &beside).unwrap();
    refused(&beside, RefusalKind::AlreadyExists);
    // A link to the very file.
    let link = away.path().join("link.qcow2");
    std::os::unix::fs::symlink(&far, &link).unwrap();
    refused(&link, RefusalKind::AlreadyExists);
    let moved = away.path().join("moved.qcow2");
    fs::copy(&far, &moved).unwrap();
    let held = qemu.hold_with_nbd(&moved, HoldMode::ReadOnly);
    let said = refused(&moved, RefusalKind::InUse);
    assert!(said.contains(&held.pid().to_string()), "{said}");
    drop(held);
    let asked = asked(&moved);
    assert!(asked.refusals.is_empty(), "{}", words(&asked));
    assert_eq!(asked.copies, 0, "{}", words(&asked));
    planning::execute(asked).unwrap();
    assert!(moved.exists() && !far.exists());
    qemu.check_clean(moved.to_str().unwrap());
}

/// As [`context`], of several directories.
fn context_of(dirs: &[&Path], state: &Path) -> ops::Context {
    let options = qanopy::forest::ScanOptions {
        roots: dirs.iter().map(|dir| dir.to_path_buf()).collect(),
        follow: false,
        raw: true,
    };
    let (forest, _) = qanopy::forest::scan_all(Arc::new(RealHost), options.clone());
    ops::Context {
        forest: Arc::new(forest),
        looked_in: ops::LookedIn::within(options.roots),
        state_dir: Some(state.to_path_buf()),
        ..context(Arc::new(RealHost), state)
    }
}

#[test]
fn what_cannot_follow_or_is_in_the_way_is_refused() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    build(&qemu, dir);
    let here = qemu.within(dir);
    let refused = |request: &Request, kind: RefusalKind| refused_as(&plan(dir, request), kind);
    refused(
        &moving(dir, "base.qcow2", "near.qcow2", false),
        RefusalKind::AlreadyExists,
    );
    refused(
        &moving(dir, "base.qcow2", "nowhere/x.qcow2", false),
        RefusalKind::NotFound,
    );
    refused(
        &moving(dir, "absent.qcow2", "x.qcow2", false),
        RefusalKind::NotFound,
    );
    std::os::unix::fs::symlink("base.qcow2", dir.join("link.qcow2")).unwrap();
    refused(
        &moving(dir, "link.qcow2", "x.qcow2", false),
        RefusalKind::Unsupported,
    );
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-o",
        "data_file=d.raw",
        "data.qcow2",
        "1M",
    ]);
    refused(
        &moving(dir, "data.qcow2", "place", false),
        RefusalKind::Unsupported,
    );
    let base = dir.join("base.qcow2");
    let json = format!(
        r#"json:{{"driver":"qcow2","file":{{"driver":"file","filename":"{}"}}}}"#,
        base.display()
    );
    here.img(&["rebase", "-u", "-F", "qcow2", "-b", &json, "near.qcow2"]);
    refused(
        &moving(dir, "base.qcow2", "x.qcow2", false),
        RefusalKind::Unsupported,
    );
    here.img(&[
        "rebase",
        "-u",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "near.qcow2",
    ]);
    // Somebody reads a descendant: the base is in use as well.
    let held = here.hold_with_nbd(&dir.join("near.qcow2"), HoldMode::ReadWrite);
    let said = refused(
        &moving(dir, "base.qcow2", "x.qcow2", false),
        RefusalKind::InUse,
    );
    assert!(said.contains(&held.pid().to_string()), "{said}");
}

/// Wherever the image is by now.
fn found<'n>(dir: &Path, names: &[&'n str]) -> &'n str {
    names.iter().find(|name| dir.join(name).exists()).unwrap()
}

const ABOUT: [[&str; 2]; 3] = [
    ["base.qcow2", "base.qcow2"],
    ["near.qcow2", "place/renamed.qcow2"],
    ["other/top.qcow2", "other/top.qcow2"],
];

/// What the guests of the three images see, and no name leads nowhere.
fn guests(qemu: &Qemu, dir: &Path) -> Vec<u64> {
    let here = qemu.within(dir);
    ABOUT
        .iter()
        .map(|names| here.digest(found(dir, names)))
        .collect()
}

#[test]
fn a_crash_at_any_moment_breaks_no_link_and_can_be_finished_or_rolled_back() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(home.path()).unwrap();
    build(&qemu, &dir);
    fs::remove_file(dir.join("other/far.qcow2")).unwrap();
    let want = guests(&qemu, &dir);
    let host = Arc::new(RecordingHost::new(&dir));
    let request = moving(&dir, "near.qcow2", "place/renamed.qcow2", false);
    let known: Arc<dyn Host> = host.clone();
    execute_request(&context(known, &dir), &request).unwrap();
    host.mark("done");
    let begun = fs::read_to_string(dir.join("state/journal.jsonl")).unwrap();
    let begun = begun.lines().next().unwrap().to_owned();
    let log = host.log();
    for (turn, state) in log.crash_states(60, 1).enumerate() {
        let after = log.replay(&state);
        let story = log.describe(&state);
        let root = fs::canonicalize(after.path()).unwrap();
        assert_eq!(guests(&qemu, &root), want, "{story}");
        if state.passed("done") || turn % 3 != 0 {
            continue;
        }
        // The name that holds from both places is absolute, and led to the recorded folder.
        let here = qemu.within(&root);
        let middle = found(&root, &ABOUT[1]);
        let info: Value =
            serde_json::from_str(&here.img(&["info", "--output=json", middle])).unwrap();
        if info["backing-filename"] == dir.join("base.qcow2").to_str().unwrap() {
            let base = root.join("base.qcow2");
            let base = base.to_str().unwrap();
            here.img(&["rebase", "-u", "-F", "qcow2", "-b", base, middle]);
        }
        let text = begun.replace(dir.to_str().unwrap(), root.to_str().unwrap());
        let mut line: Value = serde_json::from_str(&text).unwrap();
        line["process"] = "1 1 another-boot".into();
        fs::create_dir_all(root.join("state")).unwrap();
        fs::write(root.join("state/journal.jsonl"), format!("{line}\n")).unwrap();
        let journal = Journal::at(&root.join("state"));
        let entry = journal.interrupted().unwrap().pop().unwrap();
        let way = if turn % 2 == 0 {
            Recovery::Finish
        } else {
            Recovery::RollBack
        };
        let ask = Request::Recover(RecoverEntry {
            entry: entry.id,
            way,
        });
        run(&root, &ask);
        assert_eq!(guests(&qemu, &root), want, "{story}");
        let (there, gone, name) = match way {
            Recovery::Finish => ("place/renamed.qcow2", "near.qcow2", "../base.qcow2"),
            Recovery::RollBack | Recovery::Forget => {
                ("near.qcow2", "place/renamed.qcow2", "base.qcow2")
            }
        };
        assert!(
            root.join(there).exists() && !root.join(gone).exists(),
            "{story}"
        );
        assert_eq!(seen(&qemu, &root, &[there])[there].0, name, "{story}");
        assert!(journal.interrupted().unwrap().is_empty());
    }
}

/// The bridging names are absolute and lead to the recorded folder: as they would be, had the crash
/// been where the state is looked at.
fn rehome(qemu: &Qemu, recorded: &Path, root: &Path) {
    let here = qemu.within(root);
    for file in support::script::files_below(root) {
        if file.extension().is_none_or(|end| end != "qcow2") {
            continue;
        }
        let name = file.to_str().unwrap();
        let info: Value =
            serde_json::from_str(&here.img(&["info", "--output=json", name])).unwrap();
        let backing = info["backing-filename"].as_str().unwrap_or_default();
        if let Some(rest) = backing.strip_prefix(recorded.to_str().unwrap()) {
            let there = format!("{}{rest}", root.display());
            here.img(&["rebase", "-u", "-F", "qcow2", "-b", &there, name]);
        }
    }
}

#[test]
fn a_subtree_that_was_cut_off_half_way_is_finished_or_rolled_back() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(home.path()).unwrap();
    build(&qemu, &dir);
    fs::create_dir(dir.join("place/other")).unwrap();
    let names = [
        "base.qcow2",
        "near.qcow2",
        "other/far.qcow2",
        "other/top.qcow2",
    ];
    let before = seen(&qemu, &dir, &names);
    let host = Arc::new(RecordingHost::new(&dir));
    let known: Arc<dyn Host> = host.clone();
    execute_request(
        &context(known, &dir),
        &moving(&dir, "base.qcow2", "place", true),
    )
    .unwrap();
    let begun = fs::read_to_string(dir.join("state/journal.jsonl")).unwrap();
    let begun = begun.lines().next().unwrap().to_owned();
    let log = host.log();
    for (turn, state) in log.crash_states(24, 5).enumerate() {
        let after = log.replay(&state);
        let story = log.describe(&state);
        let root = fs::canonicalize(after.path()).unwrap();
        rehome(&qemu, &dir, &root);
        let text = begun.replace(dir.to_str().unwrap(), root.to_str().unwrap());
        let mut line: Value = serde_json::from_str(&text).unwrap();
        line["process"] = "1 1 another-boot".into();
        fs::create_dir_all(root.join("state")).unwrap();
        fs::write(root.join("state/journal.jsonl"), format!("{line}\n")).unwrap();
        let way = if turn % 2 == 0 {
            Recovery::Finish
        } else {
            Recovery::RollBack
        };
        let asked = plan(&root, &Request::Recover(RecoverEntry { entry: 1, way }));
        if asked
            .refusals
            .iter()
            .any(|why| why.kind == RefusalKind::AlreadySo)
        {
            // Nothing was done yet, or everything.
            continue;
        }
        assert!(asked.refusals.is_empty(), "{}\n{story}", words(&asked));
        run(&root, &Request::Recover(RecoverEntry { entry: 1, way }));
        let place = match way {
            Recovery::Finish => root.join("place"),
            Recovery::RollBack | Recovery::Forget => root.clone(),
        };
        let after = seen(&qemu, &place, &names);
        assert_eq!(digests(&after), digests(&before), "{story}");
        assert_eq!(after["near.qcow2"].0, "base.qcow2", "{story}");
        assert_eq!(after["other/top.qcow2"].0, "../near.qcow2", "{story}");
    }
}

#[test]
fn a_file_that_is_the_data_of_another_image_does_not_move_alone() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::create_dir(dir.join("place")).unwrap();
    qemu.within(dir).img(&[
        "create",
        "-f",
        "qcow2",
        "-o",
        "data_file=d.raw",
        "data.qcow2",
        "1M",
    ]);
    let asked = plan(dir, &moving(dir, "d.raw", "place", false));
    refused_as(&asked, RefusalKind::HasDependants);
}

#[test]
fn a_failing_call_leaves_every_image_readable_and_the_move_can_be_repeated() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    build(&qemu, dir);
    fs::remove_file(dir.join("other/far.qcow2")).unwrap();
    let want = guests(&qemu, dir);
    let pristine = tempfile::tempdir().unwrap();
    let pristine = pristine.path().join("forest");
    support::script::copy_tree(dir, &pristine);
    for fault in [Fault::enospc(), Fault::eio()] {
        for nth in 0.. {
            let trial = tempfile::tempdir().unwrap();
            let root = &trial.path().join("forest");
            support::script::copy_tree(&pristine, root);
            let request = moving(root, "near.qcow2", "place/renamed.qcow2", false);
            let faulty = Arc::new(FaultyHost::failing(
                Arc::new(RealHost),
                Calls::Mutating,
                nth,
                fault,
                Then::KeepFailing,
            ));
            let known: Arc<dyn Host> = faulty.clone();
            let ended = execute_request(&context(known, root), &request);
            let story = faulty.struck();
            assert_eq!(guests(&qemu, root), want, "{story:?}");
            if story.is_none() {
                ended.unwrap();
                break;
            }
            let again = plan(root, &request);
            if again.refusals.is_empty() && root.join("near.qcow2").exists() {
                run(root, &request);
                assert_eq!(guests(&qemu, root), want, "{story:?}");
            }
        }
    }
}

#[test]
fn an_image_that_is_moved_to_where_it_is_stays_there() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    qemu.within(dir)
        .img(&["create", "-f", "qcow2", "one.qcow2", "1M"]);
    std::os::unix::fs::symlink(".", dir.join("here")).unwrap();
    for to in ["", "one.qcow2", "here", "here/one.qcow2"] {
        for subtree in [false, true] {
            let asked = plan(dir, &moving(dir, "one.qcow2", to, subtree));
            refused_as(&asked, RefusalKind::AlreadySo);
            assert!(dir.join("one.qcow2").exists());
        }
    }
}

fn newest() -> Request {
    Request::Undo(UndoEntry {
        entry: None,
        folders: Vec::new(),
    })
}

#[test]
fn the_journal_takes_the_newest_operation_back_unless_the_files_moved_on() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    build(&qemu, dir);
    let undo = |dir: &Path| plan(dir, &newest());
    refused_as(&undo(dir), RefusalKind::NotReversible);
    run(dir, &moving(dir, "base.qcow2", "golden.qcow2", false));
    run(
        dir,
        &Request::Branch(Branch {
            base: dir.join("golden.qcow2"),
            new: dir.join("new.qcow2"),
            format: None,
            size: None,
            style: BackingStyle::Relative,
            image: ops::ImageOptions::default(),
        }),
    );
    // The newest first: the branch.
    let asked = undo(dir);
    assert!(asked.title.contains("new.qcow2"), "{}", words(&asked));
    run(dir, &newest());
    assert!(!dir.join("new.qcow2").exists());
    // Then the move: what a guest wrote since stays, since only names go back.
    qemu.within(dir).io("near.qcow2", &["write -P 1 0 512"]);
    let asked = undo(dir);
    assert!(asked.refusals.is_empty(), "{}", words(&asked));
    assert!(
        asked.title.starts_with("Undo: Move base.qcow2"),
        "{}",
        asked.title
    );
    assert!(asked.title.ends_with(" s ago)"), "{}", asked.title);
    // But not once another file has the name.
    fs::copy(dir.join("golden.qcow2"), dir.join("aside.qcow2")).unwrap();
    fs::rename(dir.join("aside.qcow2"), dir.join("golden.qcow2")).unwrap();
    let asked = undo(dir);
    let said = refused_as(&asked, RefusalKind::Stale);
    assert!(said.contains("golden.qcow2"), "{said}");
    assert!(dir.join("golden.qcow2").exists());
    let journal = Journal::at(&dir.join("state"));
    let entries = journal.entries().unwrap();
    assert_eq!(entries.len(), 3);
    assert_eq!(entries[1].standing, Standing::Undone);
    let twice = plan(
        dir,
        &Request::Undo(UndoEntry {
            entry: Some(entries[1].id),
            folders: Vec::new(),
        }),
    );
    refused_as(&twice, RefusalKind::NotReversible);
}

#[test]
fn a_move_that_an_error_cuts_off_is_interrupted_and_the_same_command_does_the_rest() {
    let Some(qemu) = qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let pristine = home.path().join("pristine");
    fs::create_dir_all(pristine.join("place")).unwrap();
    let here = qemu.within(&pristine);
    here.img(&["create", "-f", "qcow2", "base.qcow2", "2M"]);
    here.io("base.qcow2", &["write -P 7 0 1M"]);
    for (base, new) in [("base.qcow2", "near.qcow2"), ("near.qcow2", "top.qcow2")] {
        here.img(&["create", "-f", "qcow2", "-F", "qcow2", "-b", base, new]);
        here.io(new, &["write -P 8 64k 64k"]);
    }
    let views = |dir: &Path, place: &str| {
        let here = qemu.within(dir);
        ["base", "near", "top"].map(|name| here.digest(format!("{place}{name}.qcow2")))
    };
    let want = views(&pristine, "");
    let (mut cut, mut ways) = (0, [0; 3]);
    for nth in 0.. {
        let dir = home.path().join("dir");
        let _ = fs::remove_dir_all(&dir);
        support::script::copy_tree(&pristine, &dir);
        let request = moving(&dir, "base.qcow2", "place", true);
        let faulty = Arc::new(FaultyHost::failing(
            support::own_code::real_host(),
            Calls::Mutating,
            nth,
            Fault::eio(),
            Then::Recover,
        ));
        let known: Arc<dyn Host> = faulty.clone();
        let ended = execute_request(&context(known, &dir), &request);
        let story = faulty.struck();
        if story.is_none() {
            ended.unwrap();
            break;
        }
        let journal = Journal::at(&dir.join("state"));
        let Some(entry) = journal.interrupted().unwrap().pop() else {
            continue;
        };
        cut += 1;
        let ended = ended.unwrap_err();
        let said = ended.to_string();
        assert_eq!(ended.kind_name(), "io", "{said}\n{story:?}");
        assert!(said.contains("A part of it is done"), "{said}\n{story:?}");
        assert!(entry.why.is_some_and(|why| said.starts_with(&why)));
        let way = nth % 3;
        ways[way] += 1;
        match way {
            0 => run(&dir, &request),
            1 => run(
                &dir,
                &Request::Recover(RecoverEntry {
                    entry: entry.id,
                    way: Recovery::Finish,
                }),
            ),
            _ => run(
                &dir,
                &Request::Recover(RecoverEntry {
                    entry: entry.id,
                    way: Recovery::RollBack,
                }),
            ),
        };
        assert!(journal.interrupted().unwrap().is_empty(), "{story:?}");
        assert_eq!(dir.join("place/base.qcow2").exists(), way != 2, "{story:?}");
        assert_eq!(dir.join("base.qcow2").exists(), way == 2, "{story:?}");
        let place = if way == 2 { "" } else { "place/" };
        assert_eq!(views(&dir, place), want, "{way} {story:?}");
    }
    assert!(cut > 6 && ways.iter().all(|n| *n > 0), "{cut} {ways:?}");
}

#[test]
fn a_damaged_or_forged_journal_does_no_harm() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    fs::create_dir(dir.join("state")).unwrap();
    let file: PathBuf = dir.join("state/journal.jsonl");
    let begun = r#"{"event":"begun","id":1,"time":0,"process":"","title":"t","request":{"Undo":{"entry":1}},"roll_back":{"Recover":{"entry":1,"way":"Finish"}},"files":[]}"#;
    let done = r#"{"event":"done","id":1,"summary":"s","undo":{"Undo":{"entry":1}},"touched":[],"left":[]}"#;
    fs::write(&file, format!("garbage\n\u{1b}[31m\n{begun}\n")).unwrap();
    for way in [Recovery::Finish, Recovery::RollBack] {
        let asked = plan(dir, &Request::Recover(RecoverEntry { entry: 1, way }));
        assert_eq!(asked.confirm, Confirm::Impossible, "{}", words(&asked));
    }
    fs::write(&file, format!("{begun}\n{done}\n")).unwrap();
    let asked = plan(
        dir,
        &Request::Undo(UndoEntry {
            entry: Some(1),
            folders: Vec::new(),
        }),
    );
    assert_eq!(asked.confirm, Confirm::Impossible, "{}", words(&asked));
    let none = plan(
        dir,
        &Request::Recover(RecoverEntry {
            entry: 7,
            way: Recovery::Finish,
        }),
    );
    refused_as(&none, RefusalKind::NotFound);
}
