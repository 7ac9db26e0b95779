//! An operation that is cut off at any moment is finished, or taken back where that is offered: what is
//! there then is what a whole run leaves, or what was there before. Where nothing is left to do that is said.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail the test.

#[path = "support/known.rs"]
#[allow(clippy::unwrap_used, clippy::panic, unreachable_pub, dead_code)] // As in `support`.
mod known;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use known::{carry_out, carry_out_request, context, words};
use qanopy::host::{Access, Host, RealHost};
use qanopy::image::{Amendment, Format, Preallocation, Unhurried};
use qanopy::ops::journal::Journal;
use qanopy::ops::{
    self, BackingStyle, BitmapAction, CommittedLayer, Confirm, Direction, ImageOptions, NewSize,
    Plan, Recovery, RepairAction, Request, Siblings, SnapshotAction, SnapshotName,
};
use serde_json::Value;
use support::script::Script;
use support::{Log, RecordingHost, ours};

/// States looked at in each case.
const STATES: usize = 8;

/// What each image shows, and what its header says, by its name. Half-made files are none.
fn images(dir: &Path) -> BTreeMap<String, String> {
    let forest = ours::scan(&ours::real_host(), dir);
    let there = forest.nodes().filter(|node| node.path.exists());
    there
        .map(|node| {
            let name = node.path.file_name().unwrap().to_str().unwrap().to_owned();
            let view = ours::view(&node.path, None).unwrap();
            let header = node.facts().map(|facts| {
                let backing = node
                    .backing
                    .as_ref()
                    .map(|link| format!("{:?}", link.recorded));
                let snapshots: Vec<_> = facts.first_snapshots.iter().map(|s| &s.name).collect();
                let size = facts.virtual_size;
                let (counts, bitmaps) = (facts.refcount_bits, facts.bitmaps);
                format!("{size} {counts} bits {backing:?} {snapshots:?} {bitmaps} bitmaps")
            });
            (name, format!("{view:?} {header:?}"))
        })
        .collect()
}

/// What taking it back comes to.
#[derive(Clone, Copy)]
enum Back {
    /// Everything is as it was.
    AsBefore,
    /// As before, but for images of which only the content is the same; these may be in the trash.
    But(&'static [&'static str]),
    /// It is not offered: a word of the reason.
    No(&'static str),
}

struct Case<'a> {
    build: &'a dyn Fn(&Path),
    request: &'a dyn Fn(&Path) -> Request,
    back: Back,
}

fn plan(dir: &Path, request: &Request) -> Plan {
    ops::plan(&context(Arc::new(RealHost), dir), request)
}

/// Cuts it off at some moments, and brings what is there to an end both ways.
fn prove(name: &str, case: &Case<'_>) {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(home.path()).unwrap();
    (case.build)(&dir);
    // What the building itself wrote down is not what is interrupted here.
    drop(fs::remove_dir_all(dir.join("state")));
    let before = images(&dir);
    let (log, begun) = record(&dir, &(case.request)(&dir));
    let after = images(&dir);
    for state in log.crash_states(STATES, 7) {
        for way in [Recovery::Finish, Recovery::RollBack] {
            let there = log.replay(&state);
            let root = fs::canonicalize(there.path()).unwrap();
            let story = format!("{name}, {way:?}: {}", log.describe(&state));
            // Half-made files bear the number of the process that made them: here it is the same one.
            for file in support::script::files_below(&root) {
                if qanopy::image::maker_of(&file).is_some() {
                    fs::remove_file(file).unwrap();
                }
            }
            interrupt(&root, &begun, &dir);
            let asked = plan(&root, &Request::Recover { entry: 1, way });
            let said = words(&asked);
            if let (Recovery::RollBack, Back::No(why)) = (way, case.back) {
                assert_eq!(asked.confirm, Confirm::Impossible, "{said}\n{story}");
                assert!(said.contains(why), "{said}\n{story}");
                let finish = &asked.refusals[0].ways_out[0].request;
                let offered = matches!(
                    finish,
                    Request::Recover {
                        way: Recovery::Finish,
                        ..
                    }
                );
                assert!(offered, "{finish:?}");
                continue;
            }
            assert!(asked.refusals.is_empty(), "{said}\n{story}");
            let through = state.passed("done") && way == Recovery::Finish;
            // Unlinking is not waited for: what is back after a crash is deleted again.
            let told = ["nothing is left to do", "only giving up", "from the trash"];
            let is_told = told.iter().any(|word| said.contains(word));
            assert!(!through || is_told || repeats(&asked), "{said}\n{story}");
            let done = carry_out(asked).unwrap_or_else(|error| panic!("{error}\n{story}"));
            let now = images(&root);
            match (way, case.back) {
                (Recovery::Finish, _) => assert_eq!(now, after, "{done:?}\n{story}"),
                (_, Back::But(but)) => {
                    for (name, was) in &before {
                        match now.get(name) {
                            Some(is) if !but.contains(&name.as_str()) => {
                                assert_eq!(is, was, "{name}: {done:?}\n{story}");
                            }
                            Some(_) => {}
                            None => assert!(but.contains(&name.as_str()), "{name}: {story}"),
                        }
                    }
                }
                _ => assert_eq!(now, before, "{done:?}\n{story}"),
            }
            let journal = Journal::at(&root.join("state"));
            assert!(journal.interrupted().unwrap().is_empty(), "{story}");
        }
    }
}

/// Carries it out, and tells every change it made and how the journal says that it began.
fn record(dir: &Path, request: &Request) -> (Log, String) {
    let recorder = Arc::new(RecordingHost::new(dir));
    let host: Arc<dyn Host> = recorder.clone();
    carry_out_request(&context(host, dir), request).unwrap();
    recorder.mark("done");
    let journal = fs::read_to_string(dir.join("state/journal.jsonl")).unwrap();
    (recorder.log(), journal.lines().next().unwrap().to_owned())
}

/// Whether all it does is to write once more what is there.
fn repeats(plan: &Plan) -> bool {
    matches!(
        plan.request,
        Request::Recover { way: Recovery::Finish, .. } if plan.title.contains("Relink") || plan.title.contains("Record")
    )
}

/// Writes a journal in which the operation was begun by a process that is no more.
fn interrupt(root: &Path, begun: &str, recorded_in: &Path) {
    let text = begun.replace(recorded_in.to_str().unwrap(), root.to_str().unwrap());
    let mut line: Value = serde_json::from_str(&text).unwrap();
    line["process"] = "1 1 another-boot".into();
    fs::create_dir_all(root.join("state")).unwrap();
    fs::write(root.join("state/journal.jsonl"), format!("{line}\n")).unwrap();
}

/// `root <- low <- high <- top`, and `other` on `root`.
fn chain(dir: &Path) {
    let mut s = Script::default();
    let small = "-o cluster_size=4k";
    s.create(small, "root.qcow2", "256k");
    s.io("qcow2", "root.qcow2", &["write -P 0x10 0 200k"]);
    for (base, new, write) in [
        ("root", "low", "write -P 0x21 8k 32k"),
        ("low", "high", "write -P 0x22 24k 32k"),
        ("high", "top", "write -P 0x23 100k 12k"),
        ("root", "other", "write -P 0x31 160k 8k"),
    ] {
        s.create(
            &format!("{small} -F qcow2 -b {base}.qcow2"),
            &format!("{new}.qcow2"),
            "",
        );
        s.io("qcow2", &format!("{new}.qcow2"), &[write]);
    }
    s.build(dir);
}

fn squash(dir: &Path, layer: &str, direction: Direction) -> Request {
    Request::Squash {
        layer: dir.join(layer),
        direction: Some(direction),
    }
}

fn commit(dir: &Path, top: &str, into: &str, keep_old: Option<&str>) -> Request {
    Request::Commit {
        overlay: dir.join(top),
        into: Some(dir.join(into)),
        layer: CommittedLayer::Trash,
        siblings: Siblings::Preserve,
        keep_old: keep_old.map(|name| dir.join(name)),
    }
}

#[test]
fn new_files_are_made_or_taken_away_again() {
    prove(
        "branch",
        &Case {
            build: &chain,
            request: &|dir| Request::Branch {
                base: dir.join("high.qcow2"),
                new: dir.join("new.qcow2"),
                size: None,
                style: BackingStyle::Relative,
                image: ImageOptions::default(),
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "flatten into a new file",
        &Case {
            build: &chain,
            request: &|dir| Request::Flatten {
                image: dir.join("top.qcow2"),
                onto: None,
                new: Some(dir.join("new.qcow2")),
                compress: None,
            },
            back: Back::AsBefore,
        },
    );
}

#[test]
fn an_import_of_which_a_part_has_its_names_is_taken_back() {
    let build = |dir: &Path| {
        chain(dir);
        fs::create_dir(dir.join("to")).unwrap();
        let request = Request::Export {
            image: dir.join("top.qcow2"),
            dir: dir.join("out"),
        };
        carry_out_request(&context(Arc::new(RealHost), dir), &request).unwrap();
        for name in ["top", "high", "low", "root", "other"] {
            fs::remove_file(dir.join(format!("{name}.qcow2"))).unwrap();
        }
    };
    let home = tempfile::tempdir().unwrap();
    if support::qemu().is_none() {
        return;
    }
    let dir = fs::canonicalize(home.path()).unwrap();
    build(&dir);
    fs::remove_dir_all(dir.join("state")).unwrap();
    let request = Request::Import {
        dir: dir.join("out"),
        to: dir.join("to"),
    };
    carry_out_request(&context(Arc::new(RealHost), &dir), &request).unwrap();
    let begun = fs::read_to_string(dir.join("state/journal.jsonl")).unwrap();
    let begun = begun.lines().next().unwrap().to_owned();
    // The base had its name already, and nothing else.
    for name in ["top", "high", "low"] {
        fs::remove_file(dir.join(format!("to/{name}.qcow2"))).unwrap();
    }
    interrupt(&dir, &begun, &dir);
    let recover = |way| Request::Recover { entry: 1, way };
    let asked = plan(&dir, &recover(Recovery::Finish));
    assert!(words(&asked).contains("roll it back"), "{}", words(&asked));
    let back = asked.refusals[0].ways_out[0].request.clone();
    assert_eq!(back, recover(Recovery::RollBack));
    carry_out(plan(&dir, &back)).unwrap();
    assert!(!dir.join("to/root.qcow2").exists());
    carry_out_request(&context(Arc::new(RealHost), &dir), &request).unwrap();
}

#[test]
fn what_goes_to_the_trash_and_comes_back_goes_or_comes_as_a_whole() {
    let discard = |dir: &Path| Request::Discard {
        images: vec![dir.join("low.qcow2")],
    };
    prove(
        "discard",
        &Case {
            build: &chain,
            request: &discard,
            back: Back::AsBefore,
        },
    );
    let entries = |dir: &Path| {
        let folders = fs::read_dir(dir.join(".qanopy-trash")).unwrap();
        let names = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".json")).collect();
        names.sort();
        names
    };
    let discarded = |dir: &Path| {
        chain(dir);
        carry_out_request(&context(Arc::new(RealHost), dir), &discard(dir)).unwrap();
    };
    prove(
        "restore",
        &Case {
            build: &discarded,
            request: &|dir| Request::Restore {
                entries: entries(dir),
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "empty the trash",
        &Case {
            build: &discarded,
            request: &|dir| Request::EmptyTrash {
                entries: entries(dir),
            },
            back: Back::No("is gone"),
        },
    );
}

#[test]
fn a_commit_is_finished_and_taken_back_where_the_old_content_is_kept() {
    prove(
        "commit",
        &Case {
            build: &chain,
            request: &|dir| commit(dir, "low.qcow2", "root.qcow2", None),
            back: Back::No("--keep-old"),
        },
    );
    prove(
        "commit keeping the old content",
        &Case {
            build: &chain,
            request: &|dir| commit(dir, "top.qcow2", "high.qcow2", Some("old.qcow2")),
            back: Back::But(&["top.qcow2", "old.qcow2"]),
        },
    );
}

#[test]
fn a_run_that_was_merged_goes_to_the_trash_as_a_whole() {
    prove(
        "commit of a run",
        &Case {
            build: &chain,
            request: &|dir| commit(dir, "top.qcow2", "root.qcow2", None),
            back: Back::No("can be finished"),
        },
    );
}

#[test]
fn a_layer_that_is_squashed_goes_in_the_direction_that_was_chosen() {
    // Two are built on it.
    let family = |dir: &Path| {
        chain(dir);
        let mut s = Script::default();
        s.create("-F qcow2 -b low.qcow2", "side.qcow2", "");
        s.io("qcow2", "side.qcow2", &["write -P 0x41 0 8k"]);
        s.build(dir);
    };
    // Where all of it was done only the layer comes back.
    prove(
        "squash up",
        &Case {
            build: &family,
            request: &|dir| squash(dir, "low.qcow2", Direction::Up),
            back: Back::But(&["high.qcow2", "side.qcow2"]),
        },
    );
    prove(
        "squash what is built on nothing up",
        &Case {
            build: &family,
            request: &|dir| squash(dir, "root.qcow2", Direction::Up),
            back: Back::But(&["low.qcow2", "other.qcow2"]),
        },
    );
    prove(
        "squash down",
        &Case {
            build: &chain,
            request: &|dir| squash(dir, "low.qcow2", Direction::Down),
            back: Back::No("can be finished"),
        },
    );
}

#[test]
fn a_squash_cut_off_between_two_images_is_taken_back_for_the_one_that_moved() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(home.path()).unwrap();
    chain(&dir);
    let mut s = Script::default();
    s.create("-F qcow2 -b low.qcow2", "side.qcow2", "");
    s.build(&dir);
    let before = images(&dir);
    let low_is = |dir: &Path| {
        let forest = ours::scan(&ours::real_host(), dir);
        let low = forest
            .by_path(&dir.join("low.qcow2"))
            .map(|low| low.children.len());
        low.filter(|_| dir.join("low.qcow2").exists())
    };
    let (log, begun) = record(&dir, &squash(&dir, "low.qcow2", Direction::Up));
    let mut seen = [0; 2];
    for cut in 0..=log.len() {
        let there = log.replay(&log.everything_before(cut));
        let root = fs::canonicalize(there.path()).unwrap();
        // Two are built on it until the first of them moves, then one, then none.
        let Some(left @ (0 | 1)) = low_is(&root) else {
            continue;
        };
        seen[left] += 1;
        interrupt(&root, &begun, &dir);
        let way = Recovery::RollBack;
        let asked = plan(&root, &Request::Recover { entry: 1, way });
        assert!(asked.refusals.is_empty(), "{}", words(&asked));
        carry_out(asked).unwrap();
        assert_eq!(images(&root), before);
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn an_image_that_nobody_looked_at_is_not_taken_for_one_that_was_dealt_with() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(home.path()).unwrap();
    chain(&dir);
    let (log, begun) = record(&dir, &squash(&dir, "low.qcow2", Direction::Up));
    let there = log.replay(&log.everything_before(0));
    let root = fs::canonicalize(there.path()).unwrap();
    interrupt(&root, &begun, &dir);
    // As on a share that is not mounted.
    fs::remove_file(root.join("high.qcow2")).unwrap();
    fs::remove_file(root.join("top.qcow2")).unwrap();
    for way in [Recovery::Finish, Recovery::RollBack] {
        let asked = plan(&root, &Request::Recover { entry: 1, way });
        assert_eq!(asked.confirm, Confirm::Impossible, "{}", words(&asked));
        assert!(
            words(&asked).contains("high.qcow2 is not among"),
            "{}",
            words(&asked)
        );
    }
}

#[test]
fn an_image_is_built_on_the_new_base_or_on_the_old_one() {
    prove(
        "rebase",
        &Case {
            build: &chain,
            request: &|dir| Request::Rebase {
                image: dir.join("top.qcow2"),
                to: dir.join("other.qcow2"),
                format: Some(Format::Qcow2),
                style: None,
                dedupe: true,
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "flatten in place",
        &Case {
            build: &chain,
            request: &|dir| Request::Flatten {
                image: dir.join("high.qcow2"),
                onto: Some(dir.join("root.qcow2")),
                new: None,
                compress: None,
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "flatten onto nothing",
        &Case {
            build: &chain,
            request: &|dir| Request::Flatten {
                image: dir.join("top.qcow2"),
                onto: None,
                new: None,
                compress: None,
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "build on something",
        &Case {
            build: &chain,
            request: &|dir| Request::Rebase {
                image: dir.join("root.qcow2"),
                to: dir.join("more.qcow2"),
                format: None,
                style: None,
                dedupe: false,
            },
            back: Back::AsBefore,
        }
        .after(&|dir| {
            let mut s = Script::default();
            s.create("", "more.qcow2", "256k");
            s.io("qcow2", "more.qcow2", &["write -P 0x77 100k 100k"]);
            s.build(dir);
        }),
    );
}

impl<'a> Case<'a> {
    /// The same on a chain with something more.
    fn after(self, more: &'a dyn Fn(&Path)) -> Case<'a> {
        let build: &'a dyn Fn(&Path) = Box::leak(Box::new(move |dir: &Path| {
            chain(dir);
            more(dir);
        }));
        Case { build, ..self }
    }
}

#[test]
fn what_is_one_write_is_made_or_not_and_can_be_taken_back() {
    let copied = |dir: &Path| {
        chain(dir);
        fs::copy(dir.join("high.qcow2"), dir.join("copy.qcow2")).unwrap();
    };
    prove(
        "relink",
        &Case {
            build: &copied,
            request: &|dir| Request::Relink {
                image: dir.join("top.qcow2"),
                base: Some(dir.join("copy.qcow2")),
                format: Some(Format::Qcow2),
                style: None,
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "resize",
        &Case {
            build: &chain,
            request: &|dir| Request::Resize {
                image: dir.join("top.qcow2"),
                size: NewSize::More(64 << 10),
                shrink: false,
                preallocation: Preallocation::Off,
                dependants: ops::Dependants::Refuse,
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "amend",
        &Case {
            build: &chain,
            request: &|dir| Request::Amend {
                image: dir.join("top.qcow2"),
                amendment: Amendment {
                    refcount_order: Some(5),
                    ..Amendment::default()
                },
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "snapshot",
        &Case {
            build: &chain,
            request: &|dir| Request::Snapshot {
                image: dir.join("top.qcow2"),
                action: SnapshotAction::Create { name: "one".into() },
            },
            back: Back::AsBefore,
        },
    );
    let with_snapshot = |dir: &Path| {
        chain(dir);
        support::script::run_in(dir, &["qemu-img", "snapshot", "-c", "one", "top.qcow2"]);
    };
    prove(
        "delete a snapshot",
        &Case {
            build: &with_snapshot,
            request: &|dir| Request::Snapshot {
                image: dir.join("top.qcow2"),
                action: SnapshotAction::Delete {
                    snapshot: SnapshotName::Name("one".into()),
                },
            },
            back: Back::No("is not kept"),
        },
    );
    prove(
        "bitmap",
        &Case {
            build: &chain,
            request: &|dir| Request::Bitmap {
                image: dir.join("top.qcow2"),
                bitmap: "b".into(),
                action: BitmapAction::Add {
                    granularity: None,
                    enabled: true,
                },
            },
            back: Back::AsBefore,
        },
    );
}

#[test]
fn a_repair_is_finished_or_its_tables_are_put_back() {
    let leaking = |dir: &Path| {
        chain(dir);
        // A cluster behind all others that is counted, and that nothing refers to.
        let path = dir.join("top.qcow2");
        let mut bytes = fs::read(&path).unwrap();
        let number = bytes.len().div_ceil(4096);
        bytes.resize((number + 1) * 4096, 0x5a);
        // The refcount block, where qemu-img puts the first.
        bytes[2 * 4096 + 2 * number..][..2].copy_from_slice(&1_u16.to_be_bytes());
        fs::write(&path, bytes).unwrap();
    };
    let leaks = |dir: &Path| {
        let path = dir.join("top.qcow2");
        let file = RealHost.open(&path, Access::Read).unwrap();
        qanopy::image::check(&path, &file, &Unhurried)
            .unwrap()
            .leaks
    };
    let home = tempfile::tempdir().unwrap();
    if support::qemu().is_none() {
        return;
    }
    leaking(home.path());
    assert_eq!(leaks(home.path()), 1, "the case is one");
    prove(
        "repair",
        &Case {
            build: &leaking,
            request: &|dir| Request::Repair {
                image: dir.join("top.qcow2"),
                action: RepairAction::Leaks,
            },
            back: Back::AsBefore,
        },
    );
}

#[test]
fn what_was_half_made_is_no_image_and_is_removed_once_its_process_has_ended() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(home.path()).unwrap();
    chain(&dir);
    let before = images(&dir);
    // More than any process number there is, and our own.
    let ended = dir.join(".old.qcow2.4294967294.qanopy-new");
    let running = dir.join(format!(".new.qcow2.{}.qanopy-new", std::process::id()));
    for file in [&ended, &running] {
        fs::copy(dir.join("low.qcow2"), file).unwrap();
    }
    // An overlay on the root that is no image yet keeps nobody from committing into it.
    assert_eq!(images(&dir), before);
    let found = ops::leftovers(&RealHost, std::slice::from_ref(&dir));
    let found: Vec<_> = found
        .iter()
        .map(|one| (one.path.clone(), one.runs))
        .collect();
    assert_eq!(found, [(running.clone(), true), (ended.clone(), false)]);
    let refused = plan(
        &dir,
        &Request::RemoveLeftovers {
            files: vec![running.clone(), dir.join("top.qcow2")],
        },
    );
    assert_eq!(refused.confirm, Confirm::Impossible);
    let said = words(&refused);
    assert!(said.contains("may be in the making"), "{said}");
    assert!(said.contains("nothing that qanopy was making"), "{said}");
    let asked = plan(
        &dir,
        &Request::RemoveLeftovers {
            files: vec![ended.clone()],
        },
    );
    assert_eq!(asked.confirm, Confirm::Count(1), "{}", words(&asked));
    carry_out(asked).unwrap();
    assert!(!ended.exists() && running.exists());
    assert_eq!(images(&dir), before);
}
