//! What a world does to an operation: a filesystem that became read-only, a trash without room, reads that end
//! early, files that vanish meanwhile or changed since the plan, processes that hold an image, a person who
//! changes their mind. Every operation meets each of them; images that it is not about show what they showed.

use crate::support;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use qanopy::host::Host;
use qanopy::image::Format;
use qanopy::ops::{
    self, AmendImage, BackingStyle, BitmapAction, Branch, ChangeBitmap, ChangeSnapshot, CloneImage,
    Commit, CommittedLayer, Confirm, Convert, ConvertForm, Dependants, Direction, EffectKind,
    Export, ExtractAs, Flatten, ImageOptions, MoveImages, NewSize, NoteKind, Plan, Progress,
    Rebase, Refusal, RefusalKind, Relink, Relocation, Request, Resize, Siblings, SnapshotAction,
    SnapshotName, Squash,
};
use rustix::io::Errno;
use support::crash_suite::Promise as _;
use support::folder_crash_suite::{Promise, Trial};
use support::image_crash_suite::warns_of;
use support::oracle::Bytes;
use support::script::{Script, copy_tree};
use support::{Calls, Fault, FaultyHost, HoldMode, Then, own_code};

const FAMILY: [&str; 7] = [
    "root.qcow2",
    "base.qcow2",
    "layer.qcow2",
    "one.qcow2",
    "two.qcow2",
    "sibling.qcow2",
    "other.qcow2",
];

/// root <- base <- layer <- one, two; base <- sibling; root <- other. Other bytes in each; one has an internal
/// snapshot.
fn family() -> Script {
    let small = "-o cluster_size=4k";
    let mut s = Script::default();
    s.create(small, "root.qcow2", "256k");
    s.io("qcow2", "root.qcow2", &["write -P 0x10 0 128k"]);
    for (name, on, writes) in [
        (
            "base.qcow2",
            "root.qcow2",
            ["write -P 0x20 64k 64k", "write -z 100k 4k"],
        ),
        (
            "layer.qcow2",
            "base.qcow2",
            ["write -P 0x21 16k 70k", "write -z 160k 8k"],
        ),
        (
            "one.qcow2",
            "layer.qcow2",
            ["write -P 0x31 20k 3k", "write -P 0x41 8k 12k"],
        ),
        (
            "two.qcow2",
            "layer.qcow2",
            ["write -P 0x32 40k 30k", "write -P 0x42 200k 3k"],
        ),
        (
            "sibling.qcow2",
            "base.qcow2",
            ["write -P 0x33 70k 9k", "write -P 0x43 12k 4k"],
        ),
        (
            "other.qcow2",
            "root.qcow2",
            ["write -P 0x34 0 40k", "write -P 0x44 128k 9k"],
        ),
    ] {
        s.create(&format!("{small} -F qcow2 -b {on}"), name, "");
        s.io("qcow2", name, &writes);
    }
    s.run("qemu-img snapshot -c old one.qcow2");
    s.io("qcow2", "one.qcow2", &["write -P 0x51 0 30k"]);
    s.run("mkdir sub");
    s
}

fn commit(
    dir: &Path,
    overlay: &str,
    into: Option<&str>,
    layer: CommittedLayer,
    keep_old: Option<&str>,
) -> Request {
    Request::Commit(Commit {
        overlay: dir.join(overlay),
        into: into.map(|name| dir.join(name)),
        layer,
        siblings: Siblings::Preserve,
        keep_old: keep_old.map(|name| dir.join(name)),
    })
}

fn rebase(dir: &Path, dedupe: bool) -> Request {
    Request::Rebase(Rebase {
        image: dir.join("one.qcow2"),
        to: dir.join("other.qcow2"),
        format: Some(Format::Qcow2),
        style: None,
        dedupe,
        compress: false,
    })
}

fn snapshot(dir: &Path, image: &str, action: SnapshotAction) -> Request {
    Request::Snapshot(ChangeSnapshot {
        image: dir.join(image),
        action,
    })
}

fn moved(dir: &Path, to: &str, subtree: bool) -> Request {
    Request::Move(MoveImages {
        moves: vec![Relocation {
            from: dir.join("layer.qcow2"),
            to: dir.join(to),
            style: None,
        }],
        subtree,
    })
}

/// Every operation on images, on the family.
fn operations() -> Vec<(&'static str, Trial)> {
    let mut all: Vec<(&'static str, Trial)> = Vec::new();
    let mut add = |name, request: fn(&Path) -> Request| {
        let mut trial = Trial::new(&FAMILY, request);
        trial.script = family();
        all.push((name, trial));
    };
    add("branch", |dir| {
        Request::Branch(Branch {
            base: dir.join("layer.qcow2"),
            new: dir.join("new.qcow2"),
            format: None,
            size: None,
            style: BackingStyle::Relative,
            image: ImageOptions::default(),
        })
    });
    add("commit and keep", |dir| {
        commit(dir, "layer.qcow2", None, CommittedLayer::Keep, None)
    });
    add("commit and trash", |dir| {
        commit(dir, "layer.qcow2", None, CommittedLayer::Trash, None)
    });
    add("commit a run", |dir| {
        let (into, old) = (Some("base.qcow2"), Some("old.qcow2"));
        commit(dir, "two.qcow2", into, CommittedLayer::Trash, old)
    });
    add("squash up", |dir| {
        Request::Squash(Squash {
            layer: dir.join("layer.qcow2"),
            direction: Some(Direction::Up),
        })
    });
    add("squash down", |dir| {
        Request::Squash(Squash {
            layer: dir.join("layer.qcow2"),
            direction: Some(Direction::Down),
        })
    });
    add("flatten", |dir| {
        Request::Flatten(Flatten {
            image: dir.join("one.qcow2"),
            onto: None,
            new: None,
            compress: None,
        })
    });
    add("flatten into a new file", |dir| {
        Request::Flatten(Flatten {
            image: dir.join("two.qcow2"),
            onto: Some(dir.join("root.qcow2")),
            new: Some(dir.join("new.qcow2")),
            compress: None,
        })
    });
    add("rebase", |dir| rebase(dir, false));
    add("rebase and dedupe", |dir| rebase(dir, true));
    add("relink", |dir| {
        Request::Relink(Relink {
            image: dir.join("layer.qcow2"),
            base: None,
            format: None,
            style: Some(BackingStyle::Absolute),
        })
    });
    add("rename", |dir| moved(dir, "moved.qcow2", false));
    add("move with all that is built on it", |dir| {
        moved(dir, "sub", true)
    });
    add("clone", |dir| {
        Request::Clone(CloneImage {
            image: dir.join("one.qcow2"),
            new: dir.join("new.qcow2"),
            chain: false,
            reflink: ops::Reflink::Auto,
        })
    });
    add("export", |dir| {
        Request::Export(Export {
            image: dir.join("one.qcow2"),
            dir: dir.join("out"),
        })
    });
    add("take a snapshot", |dir| {
        let action = SnapshotAction::Create { name: "new".into() };
        snapshot(dir, "sibling.qcow2", action)
    });
    add("apply a snapshot", |dir| {
        let action = SnapshotAction::Apply {
            snapshot: SnapshotName::Name("old".into()),
            dependants: Dependants::Refuse,
        };
        snapshot(dir, "one.qcow2", action)
    });
    add("extract a snapshot", |dir| {
        let action = SnapshotAction::Extract {
            snapshot: SnapshotName::Name("old".into()),
            new: dir.join("new.qcow2"),
            form: ExtractAs::Overlay,
        };
        snapshot(dir, "one.qcow2", action)
    });
    add("resize", |dir| {
        Request::Resize(Resize {
            image: dir.join("one.qcow2"),
            size: NewSize::To(1 << 20),
            shrink: false,
            preallocation: qanopy::image::Preallocation::Off,
            dependants: Dependants::Refuse,
        })
    });
    add("amend", |dir| {
        Request::Amend(AmendImage {
            image: dir.join("sibling.qcow2"),
            amendment: qanopy::image::Amendment {
                refcount_order: Some(5),
                ..Default::default()
            },
        })
    });
    add("add a bitmap", |dir| {
        Request::Bitmap(ChangeBitmap {
            image: dir.join("two.qcow2"),
            bitmap: "dirty".into(),
            action: BitmapAction::Add {
                granularity: None,
                enabled: true,
            },
        })
    });
    add("discard", |dir| {
        Request::discard(vec![dir.join("layer.qcow2")])
    });
    add("convert", |dir| {
        Request::Convert(Convert {
            salvage: false,
            sparse: qanopy::image::SparseSize::default(),
            sources: vec![dir.join("two.qcow2")],
            format: Some(Format::Qcow2),
            snapshot: None,
            new: dir.join("new.qcow2"),
            form: ConvertForm::Qcow2 {
                image: ImageOptions::default(),
                compress: None,
            },
            backing: None,
            style: BackingStyle::Relative,
            bitmaps: qanopy::image::CarriedBitmaps::None,
        })
    });
    for (name, trial) in &mut all {
        let (goes, mixed): (&[&'static str], &[&'static str]) = match *name {
            "commit and trash" | "squash up" | "rename" => (&["layer.qcow2"], &[]),
            "squash down" => (&["layer.qcow2"], &["layer.qcow2"]),
            "commit a run" => (&["two.qcow2", "layer.qcow2"], &["layer.qcow2"]),
            "discard" | "move with all that is built on it" => {
                (&["layer.qcow2", "one.qcow2", "two.qcow2"], &[])
            }
            "apply a snapshot" | "resize" => (&[], &["one.qcow2"]),
            _ => (&[], &[]),
        };
        trial.goes = goes.to_vec();
        trial.mixed = mixed.to_vec();
        trial.target = match *name {
            "commit and keep" | "commit and trash" | "squash down" => {
                Some(("base.qcow2", "layer.qcow2"))
            }
            "commit a run" => Some(("base.qcow2", "two.qcow2")),
            _ => None,
        };
        trial.creates = match *name {
            "branch" => Some(("new.qcow2", "layer.qcow2")),
            "flatten into a new file" | "convert" => Some(("new.qcow2", "two.qcow2")),
            "clone" => Some(("new.qcow2", "one.qcow2")),
            "export" => Some(("out/one.qcow2", "one.qcow2")),
            "rename" => Some(("moved.qcow2", "layer.qcow2")),
            "move with all that is built on it" => Some(("sub/one.qcow2", "one.qcow2")),
            "commit a run" => Some(("old.qcow2", "base.qcow2")),
            _ => None,
        };
    }
    all
}

/// The family, built once, and room for copies of it.
struct Place {
    home: tempfile::TempDir,
    operations: Vec<(&'static str, Trial)>,
}

impl Place {
    fn new() -> Option<Self> {
        support::qemu()?;
        let home = tempfile::tempdir().unwrap();
        family().build(&home.path().join("pristine"));
        Some(Self {
            home,
            operations: operations(),
        })
    }

    fn pristine(&self) -> PathBuf {
        self.home.path().join("pristine")
    }

    /// The family as it was, always in the same place.
    fn fresh(&self) -> PathBuf {
        let dir = self.home.path().join("dir");
        let _ = fs::remove_dir_all(&dir);
        copy_tree(&self.pristine(), &dir);
        dir
    }

    /// Calls `look` for every operation with what its images promise.
    fn each(&self, look: impl Fn(&str, &Trial, &Promise<'_>)) {
        let Some((_, first)) = self.operations.first() else {
            return;
        };
        let promise = Promise::of(first, &self.pristine());
        for (name, trial) in &self.operations {
            look(name, trial, &promise.to(trial));
        }
    }

    /// How many calls of a class the operation makes while it runs, planning included.
    fn calls(&self, trial: &Trial, class: Calls) -> usize {
        let dir = self.fresh();
        let host = Arc::new(FaultyHost::counting(own_code::real_host()));
        execute(&host, &dir, trial, &Progress::new()).unwrap();
        host.count(class)
    }
}

fn execute(
    host: &Arc<FaultyHost>,
    dir: &Path,
    trial: &Trial,
    progress: &Progress,
) -> Result<ops::Outcome, String> {
    let host: Arc<dyn Host> = host.clone();
    let plan = own_code::plan(&host, dir, &(trial.request)(dir));
    let ready = own_code::agree(plan)?;
    ops::run(ready, progress).map_err(|error| error.to_string())
}

/// A few of so many, first and last among them.
fn some_of(all: usize, few: usize) -> impl Iterator<Item = usize> {
    let step = all.div_ceil(few).max(1);
    (0..all).step_by(step).chain(all.checked_sub(1))
}

fn assert_tellable(name: &str, said: &str) {
    assert!(!said.chars().any(char::is_control), "{name}: {said:?}");
    assert!(said.len() > 20, "{name}: {said:?} helps nobody");
}

#[test]
fn on_a_filesystem_that_became_read_only_no_byte_changes() {
    let Some(place) = Place::new() else { return };
    place.each(|name, trial, _| {
        let dir = place.fresh();
        let before = Bytes::below(&dir);
        let fault = Fault::Error(Errno::ROFS);
        let (real, all) = (own_code::real_host(), Calls::Mutating);
        let host = Arc::new(FaultyHost::failing(real, all, 0, fault, Then::KeepFailing));
        let said = execute(&host, &dir, trial, &Progress::new()).unwrap_err();
        assert_tellable(name, &said);
        assert!(said.contains("read-only file system"), "{name}: {said}");
        before.assert_unchanged(&dir, &name);
    });
}

#[test]
fn a_trash_without_room_stops_what_needs_it_before_anything_is_lost() {
    let Some(place) = Place::new() else { return };
    let stopped = RefCell::new(Vec::new());
    place.each(|name, trial, promise| {
        let dir = place.fresh();
        let (real, class) = (own_code::real_host(), Calls::Allocating);
        let host = FaultyHost::failing(real, class, 0, Fault::enospc(), Then::KeepFailing);
        let host = Arc::new(host.only(".qanopy-trash"));
        let result = execute(&host, &dir, trial, &Progress::new());
        let context = format!("{name}: {result:?}, {:?}", host.struck());
        promise.check_quickly(&dir, result.is_ok(), &context);
        if let Err(said) = &result {
            assert_tellable(name, said);
            assert!(host.struck().is_some(), "{context}");
            assert!(
                FAMILY.iter().all(|image| dir.join(image).exists()),
                "{context}"
            );
            stopped.borrow_mut().push(name.to_owned());
        } else {
            assert!(host.struck().is_none(), "{context}");
        }
    });
    let needs = [
        "commit and trash",
        "commit a run",
        "squash up",
        "squash down",
        "discard",
    ];
    assert_eq!(*stopped.borrow(), needs);
}

#[test]
fn reads_that_end_early_are_errors_or_harmless() {
    let Some(place) = Place::new() else { return };
    place.each(|name, trial, promise| {
        for nth in some_of(place.calls(trial, Calls::Reading), 6) {
            let dir = place.fresh();
            let (real, class, fault) = (own_code::real_host(), Calls::Reading, Fault::ShortRead);
            let host = Arc::new(FaultyHost::failing(real, class, nth, fault, Then::Recover));
            let plan = own_code::plan(
                &(host.clone() as Arc<dyn Host>),
                &dir,
                &(trial.request)(&dir),
            );
            // The scan could not understand an image, and the plan says so: that one is on its own.
            let unread = warns_of(&plan, NoteKind::Unseen);
            let result = own_code::agree(plan)
                .and_then(|ready| ops::run(ready, &Progress::new()).map_err(|e| e.to_string()));
            let context = format!("{name}: {:?} gave {result:?}", host.struck());
            if let Err(said) = &result {
                assert_tellable(name, said);
            }
            if !(unread && result.is_ok()) {
                promise.check_quickly(&dir, result.is_ok(), &context);
            }
        }
    });
}

#[test]
fn an_image_that_vanishes_meanwhile_takes_nothing_else_along() {
    let Some(place) = Place::new() else { return };
    place.each(|name, trial, promise| {
        let calls = place.calls(trial, Calls::Mutating);
        for (turn, nth) in some_of(calls, 5).enumerate() {
            let dir = place.fresh();
            let victim = FAMILY[(turn * 3 + 2) % FAMILY.len()];
            let (from, aside) = (dir.join(victim), dir.join("sub/aside"));
            let vanish = move || {
                let _ = fs::rename(&from, &aside);
            };
            let real = own_code::real_host();
            let host = Arc::new(FaultyHost::telling(real, Calls::Mutating, nth, vanish));
            let result = execute(&host, &dir, trial, &Progress::new());
            let context = format!("{name}: {victim} vanished {:?}: {result:?}", host.struck());
            if let Err(said) = &result {
                assert_tellable(name, said);
            }
            let goes = trial.goes.contains(&victim);
            let (from, aside) = (dir.join(victim), dir.join("sub/aside"));
            if aside.exists() && !(goes && result.is_ok()) {
                assert!(!from.exists(), "{context}");
                fs::rename(&aside, &from).unwrap();
            }
            promise.check_quickly(&dir, result.is_ok(), &context);
        }
    });
}

#[test]
fn what_changed_since_the_plan_is_not_touched() {
    let Some(place) = Place::new() else { return };
    place.each(|name, trial, _| {
        for image in FAMILY {
            let dir = place.fresh();
            let host = own_code::real_host();
            let plan = own_code::plan(&host, &dir, &(trial.request)(&dir));
            let path = dir.join(image);
            let concerned = plan
                .effects
                .iter()
                .any(|effect| effect.path == path && effect.kind != EffectKind::Creates);
            let ready = own_code::agree(plan).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            let later = SystemTime::now() + Duration::from_secs(2);
            file.set_modified(later).unwrap();
            let before = Bytes::below(&dir);
            let result = ops::run(ready, &Progress::new());
            if concerned {
                let context = format!("{name}: {image} changed since, and {result:?}");
                assert!(matches!(&result, Err(ops::Error::Stale(_))), "{context}");
                let said = result.unwrap_err().to_string();
                assert!(said.contains(image), "{name}: {said}");
                before.assert_unchanged(&dir, &context);
            }
        }
    });
}

fn said(plan: &Plan) -> String {
    let said: Vec<&str> = plan
        .refusals
        .iter()
        .map(|refusal| refusal.text.as_str())
        .collect();
    said.join("\n")
}

#[test]
fn nothing_is_done_to_an_image_that_a_process_writes() {
    let Some(place) = Place::new() else { return };
    let qemu = support::qemu().unwrap();
    let dir = place.fresh();
    let host = own_code::real_host();
    // What each operation would do with nobody there.
    let free: Vec<Plan> = place
        .operations
        .iter()
        .map(|(_, trial)| own_code::plan(&host, &dir, &(trial.request)(&dir)))
        .collect();
    for image in FAMILY {
        let path = dir.join(image);
        let holding = qemu.hold_with_nbd(&path, HoldMode::ReadWrite);
        let before = Bytes::below(&dir);
        for ((name, trial), free) in place.operations.iter().zip(&free) {
            let changes = free.effects.iter().any(|effect| {
                effect.path == path
                    && !matches!(effect.kind, EffectKind::Reads | EffectKind::Creates)
            });
            let plan = own_code::plan(&host, &dir, &(trial.request)(&dir));
            if changes {
                let said = said(&plan);
                assert_eq!(
                    plan.confirm,
                    Confirm::Impossible,
                    "{name} while {image} is written: {said}"
                );
                let in_use = |refusal: &Refusal| refusal.kind == RefusalKind::InUse;
                assert!(plan.refusals.iter().any(in_use), "{name}: {said}");
                let pid = holding.pid().to_string();
                assert!(
                    said.contains(&pid),
                    "{name} while {image} is written: {said}"
                );
            }
        }
        before.assert_unchanged(&dir, &image);
    }
}

#[test]
fn who_changes_their_mind_is_obeyed_and_nothing_half_made_is_left() {
    let Some(place) = Place::new() else { return };
    place.each(|name, trial, promise| {
        for nth in some_of(place.calls(trial, Calls::All), 5) {
            let dir = place.fresh();
            let progress = Progress::new();
            let stop = progress.clone();
            let real = own_code::real_host();
            let host = Arc::new(FaultyHost::telling(real, Calls::All, nth, move || {
                stop.cancel()
            }));
            let result = execute(&host, &dir, trial, &progress);
            let context = format!("{name}: cancelled {:?}: {result:?}", host.struck());
            promise.check_quickly(&dir, result.is_ok(), &context);
            if let (Err(said), Some((new, _))) = (&result, trial.creates) {
                assert_tellable(name, said);
                // What a commit put aside is of use to the commit that goes on.
                let resumed = *name == *"commit a run"
                    || trial.goes.iter().any(|gone| !dir.join(gone).exists());
                assert!(resumed || !dir.join(new).exists(), "{context}");
            }
            let left: Vec<PathBuf> = support::script::files_below(&dir)
                .into_iter()
                .filter(|file| file.to_string_lossy().contains("qanopy-new"))
                .collect();
            assert!(left.is_empty(), "{context}: {left:?} are left");
        }
    });
}

/// What is asked of images in a directory.
type Asked = fn(&Path) -> Request;

#[test]
fn bytes_stop_flowing_soon_after_a_cancel_at_any_size() {
    const DATA: u64 = 96 << 20;
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let pristine = home.path().join("pristine");
    let mut s = Script::default();
    s.create("", "root.qcow2", "128M");
    s.overlay("qcow2", "root.qcow2", "layer.qcow2");
    s.io("qcow2", "layer.qcow2", &["write -P 0x21 0 96M"]);
    s.overlay("qcow2", "layer.qcow2", "one.qcow2");
    s.create("", "other.qcow2", "128M");
    s.build(&pristine);
    let operations: [(&str, Asked); 7] = [
        ("commit", |dir| {
            commit(dir, "layer.qcow2", None, CommittedLayer::Trash, None)
        }),
        ("flatten", |dir| {
            Request::Flatten(Flatten {
                image: dir.join("one.qcow2"),
                onto: None,
                new: None,
                compress: None,
            })
        }),
        ("flatten into a new file", |dir| {
            Request::Flatten(Flatten {
                image: dir.join("one.qcow2"),
                onto: None,
                new: Some(dir.join("new.qcow2")),
                compress: None,
            })
        }),
        ("rebase", |dir| rebase(dir, false)),
        ("clone", |dir| {
            Request::Clone(CloneImage {
                image: dir.join("layer.qcow2"),
                new: dir.join("new.qcow2"),
                chain: false,
                reflink: ops::Reflink::Auto,
            })
        }),
        ("export", |dir| {
            Request::Export(Export {
                image: dir.join("one.qcow2"),
                dir: dir.join("out"),
            })
        }),
        ("convert", |dir| {
            Request::Convert(Convert {
                salvage: false,
                sparse: qanopy::image::SparseSize::default(),
                sources: vec![dir.join("one.qcow2")],
                format: Some(Format::Qcow2),
                snapshot: None,
                new: dir.join("new.qcow2"),
                form: ConvertForm::Qcow2 {
                    image: ImageOptions::default(),
                    compress: None,
                },
                backing: None,
                style: BackingStyle::Relative,
                bitmaps: qanopy::image::CarriedBitmaps::None,
            })
        }),
    ];
    for (name, request) in operations {
        let dir = home.path().join("dir");
        let _ = fs::remove_dir_all(&dir);
        copy_tree(&pristine, &dir);
        let progress = Progress::new();
        let stop = progress.clone();
        // The sixth call is among the first that move data.
        let tell = move || stop.cancel();
        let host = Arc::new(FaultyHost::telling(
            own_code::real_host(),
            Calls::Allocating,
            5,
            tell,
        ));
        let shared: Arc<dyn Host> = host.clone();
        let ready = own_code::agree(own_code::plan(&shared, &dir, &request(&dir))).unwrap();
        let result = ops::run(ready, &progress);
        // On a filesystem that shares blocks there may be nothing to stop.
        if host.struck().is_none() {
            assert!(result.is_ok(), "{name}: {result:?}");
            continue;
        }
        assert!(
            matches!(result, Err(ops::Error::Cancelled(_))),
            "{name}: {result:?}"
        );
        assert!(
            host.written() < DATA / 2,
            "{name} wrote {} bytes",
            host.written()
        );
    }
}
