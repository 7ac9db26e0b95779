//! An operation that is cut off at any moment is finished, or taken back where that is offered: what is
//! there then is what a whole run leaves, or what was there before. Where nothing is left to do that is said.

use crate::support;
use crate::support::planning;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use planning::{context, execute, execute_request, machine_of, named, words};
use qanopy::forest::{Annotation, FolderNotes, NOTES_FILE, annotation_of};
use qanopy::host::{Access, Host, RealHost};
use qanopy::image::{
    Amendment, CarriedBitmaps, Format, ImageFile, NoProgress, Preallocation, SparseSize,
};
use qanopy::machines::{Machine, Machines};
use qanopy::ops::journal::Journal;
use qanopy::ops::{
    self, AmendImage, BackingStyle, BitmapAction, Branch, ChangeBitmap, ChangeSnapshot, CloneImage,
    Commit, CommittedLayer, Confirm, Direction, EmptyTrash, Export, Flatten, ImageOptions, Import,
    Link, MoveImages, NewSize, NoteKind, Plan, Rebase, RecoverEntry, Recovery, RedoEntry,
    RefusalKind, Relink, RelinkSeveral, Relocation, RemoveLeftovers, RepairAction, RepairImage,
    Request, Resize, Restore, Revert, Siblings, SnapshotAction, SnapshotName, Squash, UndoEntry,
    trash,
};
use serde_json::Value;
use support::faults::{Calls, Fault, FaultyHost, Then};
use support::image_crash_suite::refused_as;
use support::script::Script;
use support::{Log, RecordingHost, own_code};

/// States looked at in each case.
const STATES: usize = 8;

/// What each image shows, and what its header says, by its name. Half-made files are none.
fn images(dir: &Path) -> BTreeMap<String, String> {
    let forest = own_code::scan(&own_code::real_host(), dir);
    let there = forest
        .nodes()
        .filter(|node| node.path.exists() && !node.is_in_trash());
    there
        .map(|node| {
            let name = node.path.file_name().unwrap().to_str().unwrap().to_owned();
            // One that cannot be read says so with its place, which is another one each time.
            let view = own_code::view(&node.path, None).map_err(|_| "unreadable");
            let header = node.info().map(|info| {
                let backing = node
                    .backing
                    .as_ref()
                    .map(|link| format!("{:?}", link.recorded));
                let snapshots: Vec<_> = info.first_snapshots.iter().map(|s| &s.name).collect();
                let size = info.virtual_size;
                let (counts, bitmaps) = (info.refcount_bits, info.bitmaps);
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
            let asked = plan(&root, &Request::Recover(RecoverEntry { entry: 1, way }));
            let said = words(&asked);
            if let (Recovery::RollBack, Back::No(why)) = (way, case.back) {
                assert_eq!(asked.confirm, Confirm::Impossible, "{said}\n{story}");
                assert!(said.contains(why), "{said}\n{story}");
                let finish = &asked.refusals[0].ways_out[0].request;
                let offered = matches!(
                    finish,
                    Request::Recover(RecoverEntry {
                        way: Recovery::Finish,
                        ..
                    })
                );
                assert!(offered, "{finish:?}");
                continue;
            }
            assert!(asked.refusals.is_empty(), "{said}\n{story}");
            let through = state.passed("done") && way == Recovery::Finish;
            // Unlinking is not waited for: what is back after a crash is deleted again.
            let told = [
                "nothing is left to do",
                "only giving up",
                "from the trash",
                "written once more",
            ];
            let is_told = told.iter().any(|word| said.contains(word));
            assert!(!through || is_told || repeats(&asked), "{said}\n{story}");
            let done = execute(asked).unwrap_or_else(|error| panic!("{error}\n{story}"));
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
    execute_request(&context(host, dir), request).unwrap();
    recorder.mark("done");
    let journal = fs::read_to_string(dir.join("state/journal.jsonl")).unwrap();
    (recorder.log(), journal.lines().next().unwrap().to_owned())
}

/// Whether all it does is to write once more what is there.
fn repeats(plan: &Plan) -> bool {
    matches!(
        plan.request,
        Request::Recover(RecoverEntry { way: Recovery::Finish, .. }) if plan.title.contains("Relink") || plan.title.contains("Record")
    )
}

/// Writes a journal in which the operation was begun by a process that is no more.
fn interrupt(root: &Path, begun: &str, recorded_in: &Path) {
    let text = begun.replace(recorded_in.to_str().unwrap(), root.to_str().unwrap());
    let mut line: Value = serde_json::from_str(&text).unwrap();
    line["process"] = "1 1 another-boot".into();
    fs::create_dir_all(root.join("state")).unwrap();
    // What it says of trash folders leads to the directory that was recorded.
    drop(fs::remove_dir_all(root.join("state/trash-folders")));
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
    Request::Squash(Squash {
        layer: dir.join(layer),
        direction: Some(direction),
    })
}

fn commit(dir: &Path, top: &str, into: &str, keep_old: Option<&str>) -> Request {
    Request::Commit(Commit {
        overlay: dir.join(top),
        into: Some(dir.join(into)),
        layer: CommittedLayer::Trash,
        siblings: Siblings::Preserve,
        keep_old: keep_old.map(|name| dir.join(name)),
    })
}

#[test]
fn new_files_are_made_or_taken_away_again() {
    prove(
        "branch",
        &Case {
            build: &chain,
            request: &|dir| {
                Request::Branch(Branch {
                    base: dir.join("high.qcow2"),
                    new: dir.join("new.qcow2"),
                    format: None,
                    size: None,
                    style: BackingStyle::Relative,
                    image: ImageOptions::default(),
                })
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "flatten into a new file",
        &Case {
            build: &chain,
            request: &|dir| {
                Request::Flatten(Flatten {
                    image: dir.join("top.qcow2"),
                    onto: None,
                    new: Some(dir.join("new.qcow2")),
                    compress: None,
                })
            },
            back: Back::AsBefore,
        },
    );
}

/// What is noted of `low` in the notes of its folder, and of nothing else.
fn noted_in_folder(dir: &Path) {
    chain(dir);
    let note = Annotation {
        text: "kernel 6.9".to_owned(),
        tags: vec!["web".to_owned()],
        in_folder: true,
    };
    let mut notes = FolderNotes::default();
    notes.insert("low.qcow2".as_ref(), note);
    fs::write(dir.join(NOTES_FILE), notes.to_bytes().unwrap()).unwrap();
}

/// Cuts it off at some moments, finishes it or takes it back, and gives what the notes tell of `low` and of the image
/// that it becomes; no note is left of what is not there.
fn prove_notes(request: &dyn Fn(&Path) -> Request, becomes: &str, is_kept: bool) {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(home.path()).unwrap();
    noted_in_folder(&dir);
    fs::create_dir(dir.join("to")).unwrap();
    let (log, begun) = record(&dir, &request(&dir));
    for state in log.crash_states(60, 7) {
        for way in [Recovery::Finish, Recovery::RollBack] {
            let there = log.replay(&state);
            let root = fs::canonicalize(there.path()).unwrap();
            let story = format!("{way:?}: {}", log.describe(&state));
            for file in support::script::files_below(&root) {
                if qanopy::image::maker_of(&file).is_some() {
                    fs::remove_file(file).unwrap();
                }
            }
            interrupt(&root, &begun, &dir);
            execute(plan(
                &root,
                &Request::Recover(RecoverEntry { entry: 1, way }),
            ))
            .unwrap();
            let (old, new) = (root.join("low.qcow2"), root.join(becomes));
            let (has, has_not) = match way {
                Recovery::Finish => (new, old),
                _ => (old, new),
            };
            let noted = |image: &Path| annotation_of(&RealHost, image).map(|noted| noted.text);
            let is_kept = is_kept || way == Recovery::RollBack;
            let expected = is_kept.then(|| "kernel 6.9".to_owned());
            assert_eq!(noted(&has), expected, "{story}");
            assert_eq!(noted(&has_not), None, "{story}");
            assert!(!FolderNotes::are_stale(&RealHost, &has_not), "{story}");
            assert!(!FolderNotes::are_stale(&RealHost, &has), "{story}");
        }
    }
}

#[test]
fn what_is_noted_in_a_folder_follows_an_image_whose_way_was_cut_off() {
    prove_notes(
        &|dir| {
            Request::Move(MoveImages {
                moves: vec![ops::Relocation {
                    from: dir.join("low.qcow2"),
                    to: dir.join("to/new.qcow2"),
                    style: None,
                }],
                subtree: false,
            })
        },
        "to/new.qcow2",
        true,
    );
}

#[test]
fn a_discard_that_was_cut_off_leaves_no_note_of_what_is_gone() {
    prove_notes(
        &|dir| Request::discard(vec![dir.join("low.qcow2")]),
        "to/new.qcow2",
        false,
    );
}

#[test]
fn an_import_of_which_a_part_has_its_names_is_taken_back() {
    let build = |dir: &Path| {
        chain(dir);
        fs::create_dir(dir.join("to")).unwrap();
        let request = Request::Export(Export {
            image: dir.join("top.qcow2"),
            dir: dir.join("out"),
        });
        execute_request(&context(Arc::new(RealHost), dir), &request).unwrap();
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
    let request = Request::Import(Import {
        dir: dir.join("out"),
        to: dir.join("to"),
    });
    execute_request(&context(Arc::new(RealHost), &dir), &request).unwrap();
    let begun = fs::read_to_string(dir.join("state/journal.jsonl")).unwrap();
    let begun = begun.lines().next().unwrap().to_owned();
    // The base had its name already, and nothing else.
    for name in ["top", "high", "low"] {
        fs::remove_file(dir.join(format!("to/{name}.qcow2"))).unwrap();
    }
    interrupt(&dir, &begun, &dir);
    let recover = |way| Request::Recover(RecoverEntry { entry: 1, way });
    let asked = plan(&dir, &recover(Recovery::Finish));
    assert!(asked.refusals.is_empty(), "{}", words(&asked));
    assert!(words(&asked).contains("there already"), "{}", words(&asked));
    let back = recover(Recovery::RollBack);
    execute(plan(&dir, &back)).unwrap();
    assert!(!dir.join("to/root.qcow2").exists());
    execute_request(&context(Arc::new(RealHost), &dir), &request).unwrap();
}

#[test]
fn what_goes_to_the_trash_and_comes_back_goes_or_comes_as_a_whole() {
    let discard = |dir: &Path| Request::discard(vec![dir.join("low.qcow2")]);
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
        execute_request(&context(Arc::new(RealHost), dir), &discard(dir)).unwrap();
    };
    prove(
        "restore",
        &Case {
            build: &discarded,
            request: &|dir| {
                Request::Restore(Restore {
                    entries: entries(dir),
                })
            },
            back: Back::AsBefore,
        },
    );
    let revert = |dir: &Path| Request::Revert(Revert::anew(dir.join("top.qcow2")));
    prove(
        "revert",
        &Case {
            build: &chain,
            request: &revert,
            back: Back::AsBefore,
        },
    );
    let reverted = |dir: &Path| {
        chain(dir);
        execute_request(&context(Arc::new(RealHost), dir), &revert(dir)).unwrap();
    };
    prove(
        "revert to what was before",
        &Case {
            build: &reverted,
            request: &|dir| {
                Request::Revert(Revert {
                    image: dir.join("top.qcow2"),
                    to: entries(dir).pop(),
                    anew: None,
                })
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "empty the trash",
        &Case {
            build: &discarded,
            request: &|dir| {
                Request::EmptyTrash(EmptyTrash {
                    entries: entries(dir),
                })
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
            back: Back::No("unless that was asked for"),
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

/// The machine `web`, whose definition says what its disk is built on.
fn with_pinned_disk(disk: PathBuf, base: PathBuf) -> Machine {
    let mut machine = machine_of(disk);
    machine.disks[0].pinned = vec![named(base)];
    machine
}

/// What harms the machine `web`, whose disk is `top.qcow2`, and was agreed to by number.
fn despite_machines(name: &str, request: &dyn Fn(&Path) -> Request, back: Back) {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(home.path()).unwrap();
    chain(&dir);
    let knowing = |host: Arc<dyn Host>, dir: &Path| {
        let mut context = context(host, dir);
        let web = machine_of(dir.join("top.qcow2"));
        context.know_machines(Arc::new(Machines::of(vec![web], Vec::new())));
        context
    };
    let plan =
        |dir: &Path, request: &Request| ops::plan(&knowing(Arc::new(RealHost), dir), request);
    let before = images(&dir);
    let refused = plan(&dir, &request(&dir));
    assert_eq!(refused.confirm, Confirm::Impossible, "{}", words(&refused));
    let recorder = Arc::new(RecordingHost::new(&dir));
    let host: Arc<dyn Host> = recorder.clone();
    let asked = Request::despite_machines(request(&dir));
    let planned = ops::plan(&knowing(host, &dir), &asked);
    assert!(matches!(planned.confirm, Confirm::Count(_)));
    execute(planned).unwrap();
    let after = images(&dir);
    let journal = fs::read_to_string(dir.join("state/journal.jsonl")).unwrap();
    let begun = journal.lines().next().unwrap();
    let log = recorder.log();
    let mut warned = [0; 2];
    for state in log.crash_states(STATES, 7) {
        for (number, way) in [Recovery::Finish, Recovery::RollBack]
            .into_iter()
            .enumerate()
        {
            let there = log.replay(&state);
            let root = fs::canonicalize(there.path()).unwrap();
            let story = format!("{name}, {way:?}: {}", log.describe(&state));
            for file in support::script::files_below(&root) {
                if qanopy::image::maker_of(&file).is_some() {
                    fs::remove_file(file).unwrap();
                }
            }
            interrupt(&root, begun, &dir);
            let asked = plan(&root, &Request::Recover(RecoverEntry { entry: 1, way }));
            let said = words(&asked);
            if let (Recovery::RollBack, Back::No(why)) = (way, back) {
                assert!(said.contains(why), "{said}\n{story}");
                continue;
            }
            // It was agreed to, and has to come to an end: nobody is in the way, and nothing is passed over.
            assert!(asked.refusals.is_empty(), "{said}\n{story}");
            warned[number] += usize::from(said.contains("the machine web"));
            execute(asked).unwrap_or_else(|error| panic!("{error}\n{story}"));
            match way {
                Recovery::Finish => assert_eq!(images(&root), after, "{story}"),
                _ => assert_eq!(images(&root), before, "{story}"),
            }
            let journal = Journal::at(&root.join("state"));
            assert!(journal.interrupted().unwrap().is_empty(), "{story}");
        }
    }
    assert!(warned[0] > 0, "{name}: {warned:?}");
}

#[test]
fn what_harms_a_machine_by_number_is_finished_and_taken_back_all_the_same() {
    let discard = |dir: &Path| Request::discard(vec![dir.join("high.qcow2")]);
    despite_machines("discard", &discard, Back::AsBefore);
    let rename = |dir: &Path| {
        MoveImages {
            moves: vec![Relocation {
                from: dir.join("top.qcow2"),
                to: dir.join("new.qcow2"),
                style: None,
            }],
            subtree: false,
        }
        .into()
    };
    despite_machines("move", &rename, Back::AsBefore);
    let merge = |dir: &Path| commit(dir, "top.qcow2", "high.qcow2", None);
    despite_machines("commit", &merge, Back::No("can be finished"));
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
        let forest = own_code::scan(&own_code::real_host(), dir);
        let low = forest
            .by_path(&dir.join("low.qcow2"))
            .map(|low| low.children.len());
        low.filter(|_| dir.join("low.qcow2").exists())
    };
    let (log, begun) = record(&dir, &squash(&dir, "low.qcow2", Direction::Up));
    let (mut seen, mut warned) = ([0; 2], false);
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
        let recover = Request::Recover(RecoverEntry { entry: 1, way });
        // A machine that would see other bytes is told of, and nothing stays half done for its sake.
        let mut knowing = context(Arc::new(RealHost), &root);
        let web = with_pinned_disk(root.join("high.qcow2"), root.join("low.qcow2"));
        knowing.know_machines(Arc::new(Machines::of(vec![web], Vec::new())));
        let told = ops::plan(&knowing, &recover);
        assert!(told.refusals.is_empty(), "{}", words(&told));
        warned |= words(&told).contains("the machine web");
        let asked = plan(&root, &recover);
        assert!(asked.refusals.is_empty(), "{}", words(&asked));
        execute(asked).unwrap();
        assert_eq!(images(&root), before);
    }
    assert!(seen[0] > 0 && seen[1] > 0 && warned, "{seen:?}");
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
        let asked = plan(&root, &Request::Recover(RecoverEntry { entry: 1, way }));
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
            request: &|dir| {
                Request::Rebase(Rebase {
                    image: dir.join("top.qcow2"),
                    to: dir.join("other.qcow2"),
                    format: Some(Format::Qcow2),
                    style: None,
                    dedupe: true,
                    compress: true,
                })
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "flatten in place",
        &Case {
            build: &chain,
            request: &|dir| {
                Request::Flatten(Flatten {
                    image: dir.join("high.qcow2"),
                    onto: Some(dir.join("root.qcow2")),
                    new: None,
                    compress: None,
                })
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "flatten onto nothing",
        &Case {
            build: &chain,
            request: &|dir| {
                Request::Flatten(Flatten {
                    image: dir.join("top.qcow2"),
                    onto: None,
                    new: None,
                    compress: None,
                })
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "relink several",
        &Case {
            build: &chain,
            request: &|dir| {
                let links = ["low", "other"].map(|image| {
                    let image = dir.join(format!("{image}.qcow2"));
                    Link::To(Relink::onto(&image, &dir.join("copy.qcow2")))
                });
                RelinkSeveral {
                    links: links.to_vec(),
                }
                .into()
            },
            back: Back::AsBefore,
        }
        .after(&|dir| {
            fs::copy(dir.join("root.qcow2"), dir.join("copy.qcow2")).unwrap();
        }),
    );
    prove(
        "build on something",
        &Case {
            build: &chain,
            request: &|dir| {
                Request::Rebase(Rebase {
                    image: dir.join("root.qcow2"),
                    to: dir.join("more.qcow2"),
                    format: None,
                    style: None,
                    dedupe: false,
                    compress: false,
                })
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
            request: &|dir| {
                Request::Relink(Relink {
                    image: dir.join("top.qcow2"),
                    base: Some(dir.join("copy.qcow2")),
                    format: Some(Format::Qcow2),
                    style: None,
                })
            },
            back: Back::AsBefore,
        },
    );
    let moved = |dir: &Path| {
        chain(dir);
        fs::rename(dir.join("high.qcow2"), dir.join("moved.qcow2")).unwrap();
    };
    prove(
        "relink from what is gone",
        &Case {
            build: &moved,
            request: &|dir| {
                Request::Relink(Relink {
                    image: dir.join("top.qcow2"),
                    base: Some(dir.join("moved.qcow2")),
                    format: Some(Format::Qcow2),
                    style: None,
                })
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "resize",
        &Case {
            build: &chain,
            request: &|dir| {
                Request::Resize(Resize {
                    image: dir.join("top.qcow2"),
                    size: NewSize::More(64 << 10),
                    shrink: false,
                    preallocation: Preallocation::Off,
                    dependants: ops::Dependants::Refuse,
                })
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "amend",
        &Case {
            build: &chain,
            request: &|dir| {
                Request::Amend(AmendImage {
                    image: dir.join("top.qcow2"),
                    amendment: Amendment {
                        refcount_order: Some(5),
                        ..Amendment::default()
                    },
                })
            },
            back: Back::AsBefore,
        },
    );
    prove(
        "snapshot",
        &Case {
            build: &chain,
            request: &|dir| {
                Request::Snapshot(ChangeSnapshot {
                    image: dir.join("top.qcow2"),
                    action: SnapshotAction::Create { name: "one".into() },
                })
            },
            back: Back::AsBefore,
        },
    );
    let with_snapshot = |dir: &Path| {
        chain(dir);
        support::script::run_in(dir, &["qemu-img", "snapshot", "-c", "one", "top.qcow2"]);
    };
    prove(
        "convert over what is there",
        &Case {
            build: &chain,
            request: &|dir| {
                Request::Convert(ops::Convert {
                    sources: vec![dir.join("other.qcow2")],
                    format: None,
                    snapshot: None,
                    bitmaps: CarriedBitmaps::None,
                    salvage: false,
                    sparse: SparseSize::default(),
                    new: dir.join("top.qcow2"),
                    form: ops::ConvertForm::Existing,
                    backing: None,
                    style: BackingStyle::Relative,
                })
            },
            back: Back::No("is not kept"),
        },
    );
    prove(
        "delete a snapshot",
        &Case {
            build: &with_snapshot,
            request: &|dir| {
                Request::Snapshot(ChangeSnapshot {
                    image: dir.join("top.qcow2"),
                    action: SnapshotAction::Delete {
                        snapshot: SnapshotName::Name("one".into()),
                    },
                })
            },
            back: Back::No("is not kept"),
        },
    );
    prove(
        "bitmap",
        &Case {
            build: &chain,
            request: &|dir| {
                Request::Bitmap(ChangeBitmap {
                    image: dir.join("top.qcow2"),
                    bitmap: "b".into(),
                    action: BitmapAction::Add {
                        granularity: None,
                        enabled: true,
                    },
                })
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
        let file = ImageFile::open(&RealHost, &path, Access::Read).unwrap();
        qanopy::image::check(&file, &NoProgress).unwrap().leaks
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
            request: &|dir| {
                Request::Repair(RepairImage {
                    image: dir.join("top.qcow2"),
                    action: RepairAction::Leaks,
                })
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
        &Request::RemoveLeftovers(RemoveLeftovers {
            files: vec![running.clone(), dir.join("top.qcow2")],
        }),
    );
    refused_as(&refused, RefusalKind::InUse);
    refused_as(&refused, RefusalKind::NotFound);
    let asked = plan(
        &dir,
        &Request::RemoveLeftovers(RemoveLeftovers {
            files: vec![ended.clone()],
        }),
    );
    assert_eq!(asked.confirm, Confirm::Count(1), "{}", words(&asked));
    execute(asked).unwrap();
    assert!(!ended.exists() && running.exists());
    assert_eq!(images(&dir), before);
}

/// Whatever undo without a number means.
fn undo() -> Request {
    Request::Undo(UndoEntry {
        entry: None,
        folders: Vec::new(),
    })
}

fn redo() -> Request {
    Request::Redo(RedoEntry {
        entry: None,
        folders: Vec::new(),
    })
}

fn run(dir: &Path, request: &Request) -> ops::Outcome {
    let asked = plan(dir, request);
    assert!(asked.refusals.is_empty(), "{request:?}\n{}", words(&asked));
    execute(asked).unwrap()
}

/// Every image's path, view and header, and what the trash holds but for what undo put aside there.
fn everything(dir: &Path) -> (BTreeMap<String, String>, Vec<String>) {
    let here = |path: &Path| path.strip_prefix(dir).unwrap().display().to_string();
    let forest = own_code::scan(&own_code::real_host(), dir);
    let mut seen = BTreeMap::new();
    for (name, view) in images(dir) {
        let mut nodes = forest.nodes();
        let node = nodes
            .find(|node| node.path.exists() && !node.is_in_trash() && node.path.ends_with(&name));
        seen.insert(here(&node.unwrap().path), view);
    }
    let entries = ops::trash::list(&RealHost, None, &[dir.to_path_buf()]);
    let kept = entries.iter().filter(|entry| entry.reason != "undo");
    let files = kept.flat_map(|entry| &entry.files);
    let mut files: Vec<String> = files.map(|file| here(&file.original)).collect();
    files.sort();
    (seen, files)
}

fn home() -> Option<(tempfile::TempDir, PathBuf)> {
    support::qemu()?;
    let home = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(home.path()).unwrap();
    chain(&dir);
    Some((home, dir))
}

fn branch(dir: &Path, base: &str, new: &str) -> Request {
    Request::Branch(Branch {
        base: dir.join(base),
        new: dir.join(new),
        format: None,
        size: None,
        style: BackingStyle::Relative,
        image: ImageOptions::default(),
    })
}

fn amend(dir: &Path, image: &str, order: u32) -> Request {
    Request::Amend(AmendImage {
        image: dir.join(image),
        amendment: Amendment {
            refcount_order: Some(order),
            ..Amendment::default()
        },
    })
}

#[test]
fn undo_is_as_deep_as_the_journal_and_redo_goes_the_same_way_forth() {
    let Some((_home, dir)) = home() else { return };
    let mut states = vec![everything(&dir)];
    for request in [
        branch(&dir, "high.qcow2", "new.qcow2"),
        amend(&dir, "new.qcow2", 5),
        amend(&dir, "new.qcow2", 3),
    ] {
        run(&dir, &request);
        states.push(everything(&dir));
    }
    for round in 0..2 {
        for state in states.iter().rev().skip(1) {
            let asked = plan(&dir, &undo());
            assert!(asked.title.starts_with("Undo: "), "{}", asked.title);
            run(&dir, &undo());
            assert_eq!(everything(&dir), *state, "undo, round {round}");
        }
        let none = plan(&dir, &undo());
        assert_eq!(none.confirm, Confirm::Impossible, "{}", words(&none));
        for state in states.iter().skip(1) {
            let asked = plan(&dir, &redo());
            assert!(asked.title.starts_with("Redo: "), "{}", asked.title);
            run(&dir, &redo());
            assert_eq!(everything(&dir), *state, "redo, round {round}");
        }
        assert_eq!(plan(&dir, &redo()).confirm, Confirm::Impossible);
    }
    // What something else was done after is not done again without being named.
    run(&dir, &undo());
    run(&dir, &amend(&dir, "other.qcow2", 5));
    let asked = plan(&dir, &redo());
    refused_as(&asked, RefusalKind::Stale);
}

#[test]
fn what_a_revert_brought_back_is_found_again_by_undo_and_redo() {
    let Some((_home, dir)) = home() else { return };
    let held = |dir: &Path| own_code::view(&dir.join("top.qcow2"), Some("qcow2")).unwrap();
    let old = held(&dir);
    let first = run(&dir, &Request::Revert(Revert::anew(dir.join("top.qcow2"))));
    let anew = held(&dir);
    run(&dir, &first.undo.unwrap());
    assert!(held(&dir) == old);
    run(&dir, &undo());
    assert!(held(&dir) == anew);
    run(&dir, &redo());
    assert!(held(&dir) == old);
    run(&dir, &undo());
    run(&dir, &undo());
    assert!(held(&dir) == old, "the first one is taken back as well");
    run(&dir, &redo());
    assert!(held(&dir) == anew);
}

#[test]
fn what_a_restore_brought_back_is_found_again_by_undo_and_redo() {
    let Some((_home, dir)) = home() else { return };
    let top = dir.join("top.qcow2");
    let discarded = run(&dir, &Request::discard(vec![top.clone()]));
    run(&dir, &discarded.undo.unwrap());
    for _ in 0..2 {
        run(&dir, &undo());
        assert!(!top.exists());
        run(&dir, &redo());
        assert!(top.exists());
    }
    run(&dir, &undo());
    run(&dir, &undo());
    assert!(top.exists(), "the discard is taken back as well");
}

#[test]
fn undo_says_first_what_it_passes_over_and_keeps_to_the_folders_it_is_told() {
    let Some((_home, dir)) = home() else { return };
    run(&dir, &amend(&dir, "top.qcow2", 5));
    run(&dir, &commit(&dir, "other.qcow2", "root.qcow2", None));
    let asked = plan(&dir, &undo());
    let first = asked.notes.first().unwrap();
    assert!(first.warning, "{}", words(&asked));
    assert_eq!(first.kind, NoteKind::Order, "{}", first.text);
    assert!(first.text.contains("Commit other.qcow2"), "{}", first.text);
    assert!(asked.title.contains("Amend top.qcow2"), "{}", asked.title);
    let elsewhere = plan(
        &dir,
        &Request::Undo(UndoEntry {
            entry: None,
            folders: vec![dir.join("sub")],
        }),
    );
    refused_as(&elsewhere, RefusalKind::NotReversible);
    fs::create_dir(dir.join("sub")).unwrap();
    run(&dir, &branch(&dir, "top.qcow2", "sub/new.qcow2"));
    let here = |folder: &str| {
        let folders = vec![dir.join(folder)];
        plan(
            &dir,
            &Request::Undo(UndoEntry {
                entry: None,
                folders,
            }),
        )
        .title
    };
    assert!(here("sub").contains("sub/new.qcow2") || here("sub").contains("new.qcow2"));
}

#[test]
fn undoing_a_commit_that_kept_the_old_content_restores_the_shape() {
    let Some((_home, dir)) = home() else { return };
    let before = everything(&dir);
    // One layer with a child, and a run of two with children on both.
    for (top, into) in [("high.qcow2", "low.qcow2"), ("high.qcow2", "root.qcow2")] {
        run(&dir, &commit(&dir, top, into, Some("old.qcow2")));
        assert!(!dir.join("high.qcow2").exists() && dir.join("old.qcow2").exists());
        let asked = plan(&dir, &undo());
        assert!(words(&asked).contains("restores"), "{}", words(&asked));
        run(&dir, &undo());
        assert_eq!(everything(&dir), before, "{top} into {into}");
    }
}

/// The trash's entry that holds the image of this name.
fn restore_of(dir: &Path, image: &str) -> Request {
    Request::Restore(Restore {
        entries: vec![own_code::trashed(dir, image).unwrap()],
    })
}

#[test]
fn a_merged_layer_that_gave_up_what_the_base_shows_receives_it_before_the_base_loses_it() {
    let Some((_home, dir)) = home() else { return };
    let before = everything(&dir);
    run(
        &dir,
        &commit(&dir, "low.qcow2", "root.qcow2", Some("old.qcow2")),
    );
    let layer = restore_of(&dir, "low.qcow2");
    run(&dir, &layer);
    run(
        &dir,
        &Request::Rebase(Rebase {
            image: dir.join("low.qcow2"),
            to: dir.join("other.qcow2"),
            format: Some(Format::Qcow2),
            style: None,
            dedupe: false,
            compress: false,
        }),
    );
    // Back on the base that shows all of it, it gives that up.
    run(&dir, &undo());
    run(&dir, &undo());
    let asked = plan(&dir, &undo());
    assert!(
        words(&asked).contains("first receives"),
        "{}",
        words(&asked)
    );
    run(&dir, &undo());
    assert_eq!(everything(&dir), before);
}

#[test]
fn a_commit_whose_layer_was_written_since_is_not_taken_back() {
    let Some((_home, dir)) = home() else { return };
    run(
        &dir,
        &commit(&dir, "low.qcow2", "root.qcow2", Some("old.qcow2")),
    );
    let entries = ops::trash::list(&RealHost, None, std::slice::from_ref(&dir));
    let layer = &entries[0].files[0].kept_at;
    assert!(layer.ends_with("low.qcow2"));
    let mut bytes = fs::read(layer).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(layer, bytes).unwrap();
    let seen = everything(&dir);
    let asked = plan(&dir, &undo());
    let said = refused_as(&asked, RefusalKind::Stale);
    assert!(said.contains("low.qcow2"), "{said}");
    assert_eq!(everything(&dir), seen);
}

#[test]
fn an_undo_takes_nothing_away_but_what_was_made() {
    let Some((_home, dir)) = home() else { return };
    let made = run(&dir, &branch(&dir, "top.qcow2", "new.qcow2"));
    drop(made);
    // By somebody who keeps no journal.
    let above = branch(&dir, "new.qcow2", "above.qcow2");
    execute(own_code::plan(&own_code::real_host(), &dir, &above)).unwrap();
    let asked = plan(&dir, &undo());
    let said = refused_as(&asked, RefusalKind::HasDependants);
    assert!(said.contains("above.qcow2"), "{said}");
}

#[test]
fn undoing_a_restore_leaves_what_stood_without_its_base_before() {
    let Some((_home, dir)) = home() else { return };
    let discard = |image: &str| Request::discard(vec![dir.join(image)]);
    run(&dir, &discard("top.qcow2"));
    run(&dir, &discard("high.qcow2"));
    run(&dir, &restore_of(&dir, "top.qcow2"));
    let before = views(&dir);
    run(&dir, &restore_of(&dir, "high.qcow2"));
    let asked = plan(&dir, &undo());
    assert!(
        words(&asked).contains("top.qcow2 is without a base again"),
        "{}",
        words(&asked)
    );
    run(&dir, &undo());
    assert_eq!(views(&dir), before);
    assert!(dir.join("top.qcow2").exists() && !dir.join("high.qcow2").exists());
    // Whatever was built meanwhile on what was without its base would lose it.
    run(&dir, &restore_of(&dir, "high.qcow2"));
    let branch = Request::Branch(Branch {
        base: dir.join("top.qcow2"),
        new: dir.join("since.qcow2"),
        format: None,
        size: None,
        style: BackingStyle::Relative,
        image: ImageOptions::default(),
    });
    own_code::run(&own_code::real_host(), &dir, &branch).unwrap();
    let asked = plan(&dir, &undo());
    let said = refused_as(&asked, RefusalKind::HasDependants);
    assert!(said.contains("since.qcow2"), "{said}");
}

#[test]
fn an_import_and_a_chain_that_an_error_cuts_off_are_finished_or_taken_back() {
    let Some((_home, pristine)) = home() else {
        return;
    };
    run(
        &pristine,
        &Request::Export(Export {
            image: pristine.join("top.qcow2"),
            dir: pristine.join("out"),
        }),
    );
    fs::remove_dir_all(pristine.join("state")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let home = fs::canonicalize(place.path()).unwrap();
    let kinds: [&dyn Fn(&Path) -> Request; 2] = [
        &|dir| {
            Request::Import(Import {
                dir: dir.join("out"),
                to: dir.join("to"),
            })
        },
        &|dir| {
            Request::Clone(CloneImage {
                image: dir.join("top.qcow2"),
                new: dir.join("to"),
                chain: true,
                reflink: ops::Reflink::Auto,
            })
        },
    ];
    let images_in = |dir: &Path| {
        let names = fs::read_dir(dir.join("to")).unwrap();
        let names = names.map(|one| one.unwrap().file_name());
        names
            .filter(|name| name.to_str().unwrap().ends_with(".qcow2"))
            .count()
    };
    for request in kinds {
        let mut ways = [0; 3];
        for nth in 0.. {
            let dir = home.join("dir");
            let _ = fs::remove_dir_all(&dir);
            support::script::copy_tree(&pristine, &dir);
            fs::create_dir(dir.join("to")).unwrap();
            let faulty = Arc::new(FaultyHost::failing(
                own_code::real_host(),
                Calls::Syncing,
                nth,
                Fault::eio(),
                Then::Recover,
            ));
            let known: Arc<dyn Host> = faulty.clone();
            let ended = execute_request(&context(known, &dir), &request(&dir));
            let Some(story) = faulty.struck() else { break };
            let journal = Journal::at(&dir.join("state"));
            let Some(entry) = journal.interrupted().unwrap().pop() else {
                assert_eq!(
                    fs::read_dir(dir.join("to")).unwrap().count(),
                    0,
                    "{story} {ended:?}"
                );
                continue;
            };
            let way = ways.iter().sum::<usize>() % 3;
            ways[way] += 1;
            let recover = |way| {
                Request::Recover(RecoverEntry {
                    entry: entry.id,
                    way,
                })
            };
            match way {
                0 => run(&dir, &request(&dir)),
                1 => run(&dir, &recover(Recovery::Finish)),
                _ => run(&dir, &recover(Recovery::RollBack)),
            };
            assert!(journal.interrupted().unwrap().is_empty(), "{story}");
            let there = images_in(&dir);
            assert_eq!(there, if way == 2 { 0 } else { 4 }, "{way}: {story}");
        }
        assert!(ways.iter().sum::<usize>() >= 3, "{ways:?}");
    }
}

#[test]
fn a_folder_that_an_import_makes_is_there_with_all_its_images_or_not_at_all() {
    let Some((_home, dir)) = home() else { return };
    let export = Request::Export(Export {
        image: dir.join("top.qcow2"),
        dir: dir.join("out"),
    });
    run(&dir, &export);
    fs::remove_dir_all(dir.join("state")).unwrap();
    let import = Request::Import(Import {
        dir: dir.join("out"),
        to: dir.join("new"),
    });
    let (log, begun) = record(&dir, &import);
    let (mut there, mut not) = (0, 0);
    for state in log.crash_states(40, 7) {
        let replayed = log.replay(&state);
        let root = fs::canonicalize(replayed.path()).unwrap();
        let story = log.describe(&state);
        let new = root.join("new");
        let names = || {
            let names = fs::read_dir(&new).into_iter().flatten();
            let mut names: Vec<_> = names.map(|one| one.unwrap().file_name()).collect();
            names.sort();
            names
        };
        if new.exists() {
            there += 1;
            let all = ["high.qcow2", "low.qcow2", "root.qcow2", "top.qcow2"];
            assert_eq!(names(), all, "{story}");
        } else {
            not += 1;
        }
        interrupt(&root, &begun, &dir);
        let back = Request::Recover(RecoverEntry {
            entry: 1,
            way: Recovery::RollBack,
        });
        execute(plan(&root, &back)).unwrap_or_else(|why| panic!("{why}\n{story}"));
        assert!(!new.exists() || names() == [trash::DIR], "{story}");
    }
    assert!(there > 0 && not > 0, "{there} {not}");
}

#[test]
fn forgetting_is_a_plan_that_says_what_stays_half_done() {
    let Some((_home, dir)) = home() else { return };
    let (log, begun) = record(&dir, &squash(&dir, "low.qcow2", Direction::Up));
    let there = log.replay(&log.everything_before(log.len() / 2));
    let root = fs::canonicalize(there.path()).unwrap();
    interrupt(&root, &begun, &dir);
    let forget = Request::Recover(RecoverEntry {
        entry: 1,
        way: Recovery::Forget,
    });
    let asked = plan(&root, &forget);
    let said = words(&asked);
    assert!(said.contains("may be changed in part"), "{said}");
    assert!(said.contains("not known any more"), "{said}");
    let journal = Journal::at(&root.join("state"));
    assert_eq!(
        journal.interrupted().unwrap().len(),
        1,
        "a plan settles nothing"
    );
    execute(asked).unwrap();
    assert!(journal.interrupted().unwrap().is_empty());
}

#[test]
fn a_recovery_that_is_killed_is_settled_with_what_it_was_about() {
    let Some((_home, dir)) = home() else { return };
    let (log, begun) = record(&dir, &commit(&dir, "low.qcow2", "root.qcow2", None));
    let there = log.replay(&log.everything_before(log.len() / 2));
    let root = fs::canonicalize(there.path()).unwrap();
    interrupt(&root, &begun, &dir);
    let finish = Request::Recover(RecoverEntry {
        entry: 1,
        way: Recovery::Finish,
    });
    let file = root.join("state/journal.jsonl");
    let first = fs::read_to_string(&file).unwrap();
    run(&root, &finish);
    // As if it had been killed before it could say how it ended.
    let second = fs::read_to_string(&file).unwrap();
    let second = second.lines().nth(1).unwrap().to_owned();
    let mut line: Value = serde_json::from_str(&second).unwrap();
    line["process"] = "1 1 another-boot".into();
    fs::write(&file, format!("{first}{line}\n")).unwrap();
    let journal = Journal::at(&root.join("state"));
    let left = journal.interrupted().unwrap();
    assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), [1]);
    run(&root, &finish);
    assert!(journal.interrupted().unwrap().is_empty());
}

#[test]
fn a_disk_is_not_made_larger_twice() {
    let Some((_home, dir)) = home() else { return };
    let grow = |dir: &Path| {
        Request::Resize(Resize {
            image: dir.join("top.qcow2"),
            size: NewSize::More(64 << 10),
            shrink: false,
            preallocation: Preallocation::Off,
            dependants: ops::Dependants::Refuse,
        })
    };
    let (log, begun) = record(&dir, &grow(&dir));
    for cut in [0, log.len()] {
        let there = log.replay(&log.everything_before(cut));
        let root = fs::canonicalize(there.path()).unwrap();
        interrupt(&root, &begun, &dir);
        let asked = plan(&root, &grow(&root));
        assert_eq!(asked.confirm, Confirm::Impossible, "{}", words(&asked));
        let finish = asked.refusals[0].ways_out[0].request.clone();
        run(&root, &finish);
        let forest = own_code::scan(&own_code::real_host(), &root);
        let size = forest
            .by_path(&root.join("top.qcow2"))
            .unwrap()
            .virtual_size();
        assert_eq!(size, Some(320 << 10));
    }
}

#[test]
fn clusters_that_an_interrupted_run_has_leaked_are_freed_both_ways() {
    let Some((_home, dir)) = home() else { return };
    let request = Request::Rebase(Rebase {
        image: dir.join("top.qcow2"),
        to: dir.join("root.qcow2"),
        format: Some(Format::Qcow2),
        style: None,
        dedupe: false,
        compress: false,
    });
    let (log, begun) = record(&dir, &request);
    let leaks = |root: &Path| {
        let path = root.join("top.qcow2");
        let file = ImageFile::open(&RealHost, &path, Access::Read).unwrap();
        qanopy::image::check(&file, &NoProgress).unwrap().leaks
    };
    let mut leaking = 0;
    for cut in 0..log.len() {
        let there = log.replay(&log.everything_before(cut));
        let root = fs::canonicalize(there.path()).unwrap();
        if leaks(&root) == 0 {
            continue;
        }
        leaking += 1;
        interrupt(&root, &begun, &dir);
        let way = [Recovery::Finish, Recovery::RollBack][cut % 2];
        let asked = plan(&root, &Request::Recover(RecoverEntry { entry: 1, way }));
        assert!(
            words(&asked).contains("that nothing uses"),
            "{}",
            words(&asked)
        );
        execute(asked).unwrap();
        assert_eq!(leaks(&root), 0, "{way:?} after {cut}");
    }
    assert!(leaking > 1, "{leaking}");
}

#[test]
fn a_putting_back_that_is_cut_off_at_any_moment_is_finished() {
    let Some((_home, dir)) = home() else { return };
    let path = dir.join("top.qcow2");
    let mut bytes = fs::read(&path).unwrap();
    let number = bytes.len().div_ceil(4096);
    bytes.resize((number + 1) * 4096, 0x5a);
    bytes[2 * 4096 + 2 * number..][..2].copy_from_slice(&1_u16.to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    let mended = run(
        &dir,
        &Request::Repair(RepairImage {
            image: path.clone(),
            action: RepairAction::All,
        }),
    );
    fs::remove_dir_all(dir.join("state")).unwrap();
    let (log, begun) = record(&dir, &mended.undo.unwrap());
    let want = fs::read(&path).unwrap();
    for state in log.crash_states(24, 11) {
        let there = log.replay(&state);
        let root = fs::canonicalize(there.path()).unwrap();
        let story = log.describe(&state);
        interrupt(&root, &begun, &dir);
        let asked = plan(
            &root,
            &Request::Recover(RecoverEntry {
                entry: 1,
                way: Recovery::Finish,
            }),
        );
        assert!(asked.refusals.is_empty(), "{}\n{story}", words(&asked));
        execute(asked).unwrap();
        let now = fs::read(root.join("top.qcow2")).unwrap();
        assert!(now.starts_with(&want[..4096]), "{story}");
        assert_eq!(now, want, "{story}");
    }
}

/// A number below `most`, from a sequence that its seed repeats.
fn below(seed: &mut u64, most: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    usize::try_from(*seed >> 33).unwrap() % most
}

/// One of the things that can be done with what is there now.
fn some_request(dir: &Path, seed: &mut u64) -> Request {
    let forest = own_code::scan(&own_code::real_host(), dir);
    let is_there = |node: &&qanopy::forest::Node| node.path.exists() && !node.is_in_trash();
    let mut there: Vec<_> = forest.nodes().filter(is_there).collect();
    there.sort_by_key(|node| node.path.clone());
    let restore = || {
        Request::Restore(Restore {
            // By what it holds: the names are not the same in each run.
            entries: ops::trash::list(&RealHost, None, &[dir.to_path_buf()])
                .into_iter()
                .min_by_key(|entry| entry.files.first().map(|file| file.original.clone()))
                .map(|entry| entry.name)
                .into_iter()
                .collect(),
        })
    };
    if there.is_empty() {
        return restore();
    }
    let node = there[below(seed, there.len())];
    let other = there[below(seed, there.len())].path.clone();
    let (image, number) = (node.path.clone(), below(seed, 1000));
    let new = dir.join(format!("n{number}.qcow2"));
    match below(seed, 12) {
        0 | 1 => Request::Branch(Branch {
            base: image,
            new,
            format: None,
            size: None,
            style: BackingStyle::Relative,
            image: ImageOptions::default(),
        }),
        2 => Request::Clone(CloneImage {
            image,
            new,
            chain: false,
            reflink: ops::Reflink::Auto,
        }),
        3 | 4 => Request::Move(MoveImages {
            moves: vec![ops::Relocation {
                from: image,
                to: if number % 2 == 0 {
                    new
                } else {
                    dir.join("sub")
                },
                style: None,
            }],
            subtree: number % 2 == 1,
        }),
        5 => Request::Amend(AmendImage {
            image,
            amendment: Amendment {
                refcount_order: Some(3 + u32::try_from(number).unwrap() % 3),
                ..Amendment::default()
            },
        }),
        6 => Request::Snapshot(ChangeSnapshot {
            image,
            action: SnapshotAction::Create {
                name: format!("s{number}").into(),
            },
        }),
        7 => Request::discard(vec![image]),
        8 => Request::Commit(Commit {
            overlay: image,
            into: None,
            layer: CommittedLayer::Trash,
            siblings: Siblings::Preserve,
            keep_old: Some(new),
        }),
        10 => Request::Revert(Revert::anew(image)),
        9 => Request::Rebase(Rebase {
            image,
            to: other,
            format: Some(Format::Qcow2),
            style: None,
            dedupe: false,
            compress: false,
        }),
        _ => restore(),
    }
}

/// What each image shows, by its path.
fn views(dir: &Path) -> BTreeMap<PathBuf, String> {
    let forest = own_code::scan(&own_code::real_host(), dir);
    let there = forest
        .nodes()
        .filter(|node| node.path.exists() && !node.is_in_trash());
    // One whose base is in the trash shows nothing.
    let view = |node: &qanopy::forest::Node| format!("{:?}", own_code::view(&node.path, None).ok());
    there.map(|node| (node.path.clone(), view(node))).collect()
}

/// Sequences of twelve operations, each taken back to the start, for twenty seconds or ten sequences: of the
/// first two an undo once lost something. Another ten begin at `QANOPY_SEED`.
#[test]
fn whatever_was_done_undo_leads_back_to_the_start() {
    let Some((_home, pristine)) = home() else {
        return;
    };
    fs::create_dir(pristine.join("sub")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(place.path()).unwrap().join("dir");
    let given = std::env::var("QANOPY_SEED").ok();
    let first = given.map(|seed| seed.parse::<u64>().unwrap());
    let seeds = first.map_or_else(
        || [11, 45].into_iter().chain(1..9).collect(),
        |first| Vec::from_iter(first..first + 10),
    );
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut done = 0;
    for number in seeds {
        if first.is_none() && std::time::Instant::now() > until && done > 24 {
            break;
        }
        let mut seed = number;
        let _ = fs::remove_dir_all(&dir);
        support::script::copy_tree(&pristine, &dir);
        let before = everything(&dir);
        let mut sequence = Vec::new();
        let mut states = Vec::new();
        for _ in 0..200 {
            if sequence.len() == 12 {
                break;
            }
            let request = some_request(&dir, &mut seed);
            let asked = plan(&dir, &request);
            let can = asked.refusals.is_empty() && matches!(asked.undo, ops::Undo::Possible(_));
            let here = views(&dir);
            if can && execute(asked).is_ok() {
                sequence.push(request);
                states.push(here);
            }
        }
        done += sequence.len();
        let story = || {
            let lines: Vec<String> = sequence
                .iter()
                .map(|one| format!("    {one:?},\n"))
                .collect();
            format!(
                "QANOPY_SEED={number} cargo test --test recovery whatever\n[\n{}]",
                lines.concat()
            )
        };
        for left in (0..sequence.len()).rev() {
            let asked = plan(&dir, &undo());
            assert!(
                asked.refusals.is_empty(),
                "at {left}: {} {}\n{}",
                asked.title,
                words(&asked),
                story()
            );
            execute(asked).unwrap_or_else(|error| panic!("at {left}: {error}\n{}", story()));
            let now = views(&dir);
            assert_eq!(now, states[left], "at {left}\n{}", story());
        }
        assert_eq!(everything(&dir), before, "{}", story());
    }
}

/// The program itself, with a state directory of its own.
fn program(dir: &Path, line: &str) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    let exe = env!("CARGO_BIN_EXE_qanopy");
    command
        .args(["-c", &line.replace("qanopy", exe)])
        .current_dir(dir)
        .env("XDG_STATE_HOME", dir.join("xdg"))
        .env("XDG_CONFIG_HOME", dir.join("config"));
    command
}

#[test]
fn the_program_marks_what_is_half_done_and_forgets_nothing_in_a_dry_run() {
    let Some((_home, dir)) = home() else { return };
    let (_, begun) = record(&dir, &amend(&dir, "top.qcow2", 5));
    interrupt(&dir, &begun, &dir);
    fs::create_dir_all(dir.join("xdg")).unwrap();
    fs::rename(dir.join("state"), dir.join("xdg/qanopy")).unwrap();
    let ask = |line: &str| {
        let out = program(&dir, line).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        (
            out.status.code(),
            text + &String::from_utf8_lossy(&out.stderr),
        )
    };
    let (code, said) = ask("qanopy tree --check .");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("top.qcow2 may be half done"), "{said}");
    let row = said
        .lines()
        .find(|line| line.contains("top.qcow2"))
        .unwrap();
    assert!(row.contains("interrupted"), "{said}");
    let (code, said) = ask("qanopy recover 1 --forget --dry-run");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("may be changed in part"), "{said}");
    let (_, said) = ask("qanopy recover");
    assert!(said.contains("interrupted: Amend"), "{said}");
    let (code, said) = ask("qanopy --read-only recover 1 --forget --yes");
    assert_eq!(code, Some(4), "{said}");
    let (code, said) = ask("qanopy recover 1 --forget --yes");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = ask("qanopy tree --check .");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_limit_of_the_size_and_a_lost_terminal_are_errors_and_no_deaths() {
    let Some((_home, dir)) = home() else { return };
    let line = "ulimit -f 64; exec qanopy convert root.qcow2 new.raw --to raw --yes";
    let out = program(&dir, line).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("too large"), "{said}");
    assert!(!dir.join("new.raw").exists());
    let line = "exec qanopy create big.qcow2 4G --preallocation full --yes";
    let mut child = program(&dir, line)
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Once it writes.
    let is_half = |one: &fs::DirEntry| qanopy::image::maker_of(&one.path()).is_some();
    while !fs::read_dir(&dir)
        .unwrap()
        .any(|one| is_half(&one.unwrap()))
    {
        assert!(child.try_wait().unwrap().is_none(), "it has ended already");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    support::script::run_in(&dir, &["kill", "-HUP", &pid]);
    assert_eq!(
        child.wait().unwrap().code(),
        Some(130),
        "asked to stop, not killed"
    );
    let left = fs::read_dir(&dir)
        .unwrap()
        .any(|one| is_half(&one.unwrap()));
    assert!(!left && !dir.join("big.qcow2").exists());
}
