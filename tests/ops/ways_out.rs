//! Every way out works: what a refusal offers instead is accepted and goes through, and nothing is refused for
//! that reason any more.

use crate::support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use qanopy::host::Host;
use qanopy::image::{Amendment, Format, Preallocation};
use qanopy::ops::{
    self, AmendImage, BackingStyle, BitmapAction, ChangeBitmap, ChangeSnapshot, Commit,
    CommittedLayer, Confirm, Dependants, Direction, Flatten, NewSize, Plan, Progress, Rebase,
    Relink, RepairAction, RepairImage, Request, Resize, Siblings, SnapshotAction, SnapshotName,
    Squash,
};
use support::script::Script;
use support::{oracle, own_code, qemu};

/// A refusal: how its files are made, what is asked, and how many ways out it has at least.
struct Case {
    name: &'static str,
    build: fn(&Path),
    request: fn(&Path) -> Request,
    ways: usize,
}

fn number(bytes: &[u8], at: usize) -> usize {
    let raw = u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    usize::try_from(raw & 0x00ff_ffff_ffff_fe00).unwrap()
}

/// Changes a file's bytes.
fn forge(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// The guest's second cluster is its first one, so that a cluster is used twice and counted once.
fn use_twice(bytes: &mut [u8]) {
    let table = number(bytes, number(bytes, 40));
    bytes.copy_within(table..table + 8, table + 8);
}

/// A base, three overlays in a row, and one beside them.
fn family(dir: &Path) {
    let mut s = Script::default();
    s.create("", "base", "1M");
    s.io("qcow2", "base", &["write -P 1 0 1M"]);
    s.create("-b base -F qcow2", "one", "1M");
    s.io("qcow2", "one", &["write -P 2 0 256k"]);
    s.create("-b one -F qcow2", "two", "1M");
    s.io("qcow2", "two", &["write -P 3 128k 256k"]);
    s.create("-b base -F qcow2", "beside", "1M");
    s.io("qcow2", "beside", &["write -P 4 512k 64k"]);
    s.build(dir);
}

fn alone(dir: &Path) {
    alone_with("", dir);
}

fn alone_with(options: &str, dir: &Path) {
    let mut s = Script::default();
    s.create(options, "alone", "1M");
    s.io("qcow2", "alone", &["write -P 1 0 512k"]);
    s.build(dir);
}

fn marked(bit: u8, dir: &Path) {
    alone(dir);
    forge(&dir.join("alone"), |bytes| bytes[79] |= bit);
}

fn damaged(dir: &Path) {
    alone(dir);
    forge(&dir.join("alone"), |bytes| use_twice(bytes));
}

fn narrow(dir: &Path) {
    alone_with("-o refcount_bits=1", dir);
    forge(&dir.join("alone"), |bytes| use_twice(bytes));
}

fn resized(path: &Path, size: u64, shrink: bool, dependants: Dependants) -> Request {
    Request::Resize(Resize {
        image: path.to_path_buf(),
        size: NewSize::To(size),
        shrink,
        preallocation: Preallocation::Off,
        dependants,
    })
}

fn grown(dir: &Path) -> Request {
    resized(&dir.join("alone"), 2 << 20, false, Dependants::Refuse)
}

fn commit(overlay: &Path, into: Option<&Path>, layer: CommittedLayer) -> Request {
    Request::Commit(Commit {
        overlay: overlay.to_path_buf(),
        into: into.map(Path::to_path_buf),
        layer,
        siblings: Siblings::Refuse,
        keep_old: None,
    })
}

fn snapshot(image: &Path, action: SnapshotAction) -> Request {
    Request::Snapshot(ChangeSnapshot {
        image: image.to_path_buf(),
        action,
    })
}

const CASES: &[Case] = &[
    Case {
        name: "a commit whose base another one reads",
        build: family,
        request: |dir| commit(&dir.join("one"), None, CommittedLayer::Trash),
        ways: 2,
    },
    Case {
        name: "a layer that is to stay with others between",
        build: |dir| {
            family(dir);
            fs::remove_file(dir.join("beside")).unwrap();
        },
        request: |dir| {
            commit(
                &dir.join("two"),
                Some(&dir.join("base")),
                CommittedLayer::Keep,
            )
        },
        ways: 1,
    },
    Case {
        name: "a squash of an image that nothing is built on",
        build: family,
        request: |dir| {
            Request::Squash(Squash {
                layer: dir.join("two"),
                direction: None::<Direction>,
            })
        },
        ways: 2,
    },
    Case {
        name: "a flatten onto an image that is not below",
        build: |dir| {
            family(dir);
            let mut s = Script::default();
            s.create("", "other", "1M");
            s.build(dir);
        },
        request: |dir| {
            Request::Flatten(Flatten {
                image: dir.join("two"),
                onto: Some(dir.join("other")),
                new: None,
                compress: None,
            })
        },
        ways: 1,
    },
    Case {
        name: "a disk that would become shorter",
        build: alone,
        request: |dir| resized(&dir.join("alone"), 256 << 10, false, Dependants::Refuse),
        ways: 1,
    },
    Case {
        name: "a disk whose end others read",
        build: family,
        request: |dir| resized(&dir.join("base"), 256 << 10, true, Dependants::Refuse),
        ways: 1,
    },
    Case {
        name: "a snapshot below others",
        build: |dir| {
            family(dir);
            let qemu = qemu().unwrap().within(dir);
            qemu.img(&["snapshot", "-c", "kept", "base"]);
            qemu.io("base", &["write -P 9 0 64k"]);
        },
        request: |dir| {
            let action = SnapshotAction::Apply {
                snapshot: SnapshotName::Name("kept".into()),
                dependants: Dependants::Refuse,
            };
            snapshot(&dir.join("base"), action)
        },
        ways: 1,
    },
    Case {
        name: "leaks beside damage",
        build: damaged,
        request: |dir| {
            Request::Repair(RepairImage {
                image: dir.join("alone"),
                action: RepairAction::Leaks,
            })
        },
        ways: 1,
    },
    Case {
        name: "growing what is damaged",
        build: damaged,
        request: grown,
        ways: 1,
    },
    Case {
        name: "growing what is damaged, with counts too narrow for its repair",
        build: narrow,
        request: grown,
        ways: 1,
    },
    Case {
        name: "wider counts for an image that is damaged since they are too narrow",
        build: narrow,
        request: |dir| {
            Request::Amend(AmendImage {
                image: dir.join("alone"),
                amendment: Amendment {
                    refcount_order: Some(4),
                    ..Amendment::default()
                },
            })
        },
        ways: 1,
    },
    Case {
        name: "a snapshot of what is damaged, with counts too narrow",
        build: narrow,
        request: |dir| {
            let action = SnapshotAction::Create { name: "new".into() };
            snapshot(&dir.join("alone"), action)
        },
        ways: 1,
    },
    Case {
        name: "a bitmap of what is damaged",
        build: damaged,
        request: |dir| {
            Request::Bitmap(ChangeBitmap {
                image: dir.join("alone"),
                bitmap: "new".into(),
                action: BitmapAction::Add {
                    granularity: None,
                    enabled: true,
                },
            })
        },
        ways: 1,
    },
    Case {
        name: "growing what is marked dirty",
        build: |dir| marked(1, dir),
        request: grown,
        ways: 1,
    },
    Case {
        name: "growing what is marked corrupt",
        build: |dir| marked(2, dir),
        request: grown,
        ways: 1,
    },
    Case {
        name: "a commit into what is damaged",
        build: |dir| {
            family(dir);
            fs::remove_file(dir.join("beside")).unwrap();
            forge(&dir.join("base"), |bytes| use_twice(bytes));
        },
        request: |dir| commit(&dir.join("one"), None, CommittedLayer::Trash),
        ways: 1,
    },
    Case {
        name: "a commit of what is damaged",
        build: |dir| {
            family(dir);
            forge(&dir.join("two"), |bytes| {
                let table = number(bytes, number(bytes, 40));
                bytes.copy_within(table + 16..table + 24, table + 24);
            });
        },
        request: |dir| commit(&dir.join("two"), None, CommittedLayer::Trash),
        ways: 1,
    },
    Case {
        name: "a rebase of what is damaged",
        build: |dir| {
            family(dir);
            forge(&dir.join("one"), |bytes| use_twice(bytes));
        },
        request: |dir| {
            Request::Rebase(Rebase {
                image: dir.join("one"),
                to: dir.join("beside"),
                format: None,
                style: None,
                dedupe: false,
                compress: false,
            })
        },
        ways: 1,
    },
    Case {
        name: "a commit into a base of which the format is not recorded",
        build: |dir| {
            family(dir);
            fs::remove_file(dir.join("beside")).unwrap();
            let qemu = qemu().unwrap().within(dir);
            qemu.img(&["rebase", "-u", "-b", "base", "-F", "qcow2", "one"]);
            support::fields::forget_format(&dir.join("one"));
        },
        request: |dir| commit(&dir.join("one"), None, CommittedLayer::Trash),
        ways: 1,
    },
    Case {
        name: "recording the format of a base that is an overlay itself",
        build: |dir| {
            family(dir);
            support::fields::forget_format(&dir.join("two"));
        },
        request: |dir| {
            Request::Relink(Relink {
                image: dir.join("two"),
                base: None,
                format: None::<Format>,
                style: None::<BackingStyle>,
            })
        },
        ways: 1,
    },
];

fn texts(plan: &Plan) -> Vec<String> {
    let refusals = plan.refusals.iter();
    refusals.map(|refusal| refusal.text.clone()).collect()
}

/// Does what is asked: first what a refusal offers, that of `way` and then the first of each, until it goes
/// through. What was offered and done is no reason any more.
fn take(host: &Arc<dyn Host>, dir: &Path, request: &Request, way: usize) -> Result<(), String> {
    let (mut way, mut settled) = (way, Vec::new());
    for _ in 0..4 {
        let plan = own_code::plan(host, dir, request);
        if let Some(text) = texts(&plan).into_iter().find(|text| settled.contains(text)) {
            return Err(format!("still refused: {text}"));
        }
        if plan.is_so() || !settled.is_empty() && is_elsewhere(request) {
            return Ok(());
        }
        if plan.confirm != Confirm::Impossible {
            return execute(plan);
        }
        let offered = plan.refusals.iter().flat_map(|refusal| {
            let ways = refusal.ways_out.iter();
            ways.map(|way| (refusal.text.clone(), way.clone()))
        });
        let Some((text, chosen)) = offered.clone().nth(way) else {
            return Err(format!("no way out of {:?}", texts(&plan)));
        };
        take(host, dir, &chosen.request, 0).map_err(|why| format!("{}: {why}", chosen.label))?;
        settled.push(text);
        way = 0;
    }
    Err("no end of refusals".to_owned())
}

/// Whether this is refused since another way did what was asked for: the image went with its layer.
fn is_elsewhere(request: &Request) -> bool {
    let layer = match request {
        Request::Commit(Commit { overlay: image, .. })
        | Request::Squash(Squash { layer: image, .. }) => image,
        _ => return false,
    };
    !layer.exists()
}

fn execute(plan: Plan) -> Result<(), String> {
    let done = ops::run(own_code::agree(plan)?, &Progress::new());
    done.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn every_way_out_goes_through_and_what_was_refused_goes_through_then() {
    if qemu().is_none() {
        return;
    }
    let host = own_code::real_host();
    let mut wrong = Vec::new();
    for case in CASES {
        let offered = {
            let home = tempfile::tempdir().unwrap();
            (case.build)(home.path());
            let plan = own_code::plan(&host, home.path(), &(case.request)(home.path()));
            let ways: usize = plan.refusals.iter().map(|it| it.ways_out.len()).sum();
            if ways < case.ways {
                wrong.push(format!(
                    "{}: {ways} ways out of {:?}",
                    case.name,
                    texts(&plan)
                ));
            }
            ways
        };
        for way in 0..offered {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path();
            (case.build)(dir);
            if let Err(why) = take(&host, dir, &(case.request)(dir), way) {
                wrong.push(format!("{}, way {way}: {why}", case.name));
            }
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let read = fs::read(&path).unwrap_or_default();
                let verdict = read.starts_with(b"QFI\xfb").then(|| oracle::check(&path));
                if verdict.as_ref().is_some_and(|verdict| !verdict.is_sound()) {
                    wrong.push(format!("{}, way {way}: {verdict:?}", case.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
