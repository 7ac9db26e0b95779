//! Images made between a plan and its end, by qemu-img, and what every operation says to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::forest::{Forest, ScanOptions, scan_all};
use crate::host::RealHost;
use crate::image::{Amendment, Preallocation};
use crate::ops;
use crate::ops::amend::AmendImage;
use crate::ops::bitmap::{BitmapAction, ChangeBitmap};
use crate::ops::commit::request::{Commit, CommittedLayer, Siblings};
use crate::ops::flatten::Flatten;
use crate::ops::framework::backing_style::BackingStyle;
use crate::ops::framework::context::{Context, LookedIn};
use crate::ops::framework::error::Error;
use crate::ops::framework::nature::Relocation;
use crate::ops::framework::options::Dependants;
use crate::ops::framework::plan::{Confirm, Consent, Outcome, Plan};
use crate::ops::framework::progress::Progress;
use crate::ops::framework::request::Request;
use crate::ops::move_images::MoveImages;
use crate::ops::rebase::Rebase;
use crate::ops::relink::request::Relink;
use crate::ops::resize::Resize;
use crate::ops::resize::new_size::NewSize;
use crate::ops::revert::Revert;
use crate::ops::snapshot::request::{ChangeSnapshot, SnapshotAction};
use crate::ops::squash::Squash;

fn qemu(program: &str, dir: &Path, args: &[&str]) {
    let done = Command::new(program)
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(done.status.success(), "{program} {args:?}: {done:?}");
}

fn create(dir: &Path, base: Option<&str>, new: &str) {
    let mut args = vec!["create", "-q", "-f", "qcow2"];
    match base {
        Some(base) => args.extend(["-F", "qcow2", "-b", base, new]),
        None => args.extend([new, "4M"]),
    }
    qemu("qemu-img", dir, &args);
}

/// `base` with `mid` on it and `top` on that, all with data, and `other` that stands by itself.
fn chain(dir: &Path) {
    create(dir, None, "base");
    create(dir, None, "other");
    create(dir, Some("base"), "mid");
    create(dir, Some("mid"), "top");
    for (image, at) in [("base", "0"), ("mid", "1M"), ("top", "2M")] {
        let write = format!("write -P 7 {at} 64k");
        qemu("qemu-io", dir, &["-f", "qcow2", "-c", &write, image]);
    }
}

fn context(dir: &Path) -> Context {
    let host: Arc<dyn crate::host::Host> = Arc::new(RealHost);
    let options = ScanOptions {
        roots: vec![dir.to_path_buf()],
        ..ScanOptions::default()
    };
    Context {
        forest: Arc::new(scan_all(Arc::clone(&host), options).0),
        looked_in: LookedIn::within(vec![dir.to_path_buf()]),
        ..Context::nowhere(host, None)
    }
}

fn run(plan: Plan) -> Result<Outcome, Error> {
    let consent = match plan.confirm {
        Confirm::Count(number) => Consent::Count(number),
        Confirm::Nothing | Confirm::Yes | Confirm::Impossible => Consent::Yes,
    };
    ops::run(plan.agree(consent).unwrap(), &Progress::new())
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in walkdir::WalkDir::new(dir) {
        let path = entry.unwrap().into_path();
        let bytes = if path.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        all.insert(path, bytes);
    }
    all
}

/// Each operation on the chain, with the image that it touches and that is given a dependant.
fn operations(dir: &Path) -> Vec<(Request, &'static str)> {
    let path = |name: &str| dir.join(name);
    let commit = |layer| {
        Request::Commit(Commit {
            overlay: path("top"),
            into: None,
            layer,
            siblings: Siblings::Refuse,
            keep_old: None,
        })
    };
    let moved = |from: &str, to: &str| {
        Request::Move(MoveImages {
            moves: vec![Relocation {
                from: path(from),
                to: path(to),
                style: None,
            }],
            subtree: false,
        })
    };
    vec![
        (commit(CommittedLayer::Trash), "mid"),
        (commit(CommittedLayer::Trash), "top"),
        (commit(CommittedLayer::Keep), "mid"),
        (
            Request::Squash(Squash {
                layer: path("mid"),
                direction: None,
            }),
            "mid",
        ),
        (
            Request::Flatten(Flatten {
                image: path("top"),
                onto: None,
                new: None,
                compress: None,
            }),
            "top",
        ),
        (
            Request::Rebase(Rebase {
                image: path("top"),
                to: path("base"),
                format: None,
                style: None,
                dedupe: false,
                compress: false,
            }),
            "top",
        ),
        (
            Request::Relink(Relink {
                image: path("top"),
                base: None,
                format: None,
                style: Some(BackingStyle::Absolute),
            }),
            "top",
        ),
        (
            Request::Resize(Resize {
                image: path("top"),
                size: NewSize::To(8 << 20),
                shrink: false,
                preallocation: Preallocation::Off,
                dependants: Dependants::Refuse,
            }),
            "top",
        ),
        (moved("top", "renamed"), "top"),
        (moved("base", "renamed"), "base"),
        (Request::discard(vec![path("mid")]), "top"),
        (Request::discard(vec![path("other")]), "other"),
        (Request::Revert(Revert::anew(path("top"))), "top"),
        (
            Request::Amend(AmendImage {
                image: path("top"),
                amendment: Amendment {
                    lazy_refcounts: Some(true),
                    ..Amendment::default()
                },
            }),
            "top",
        ),
        (
            Request::Bitmap(ChangeBitmap {
                image: path("top"),
                bitmap: "b".into(),
                action: BitmapAction::Add {
                    granularity: None,
                    enabled: true,
                },
            }),
            "top",
        ),
        (
            Request::Snapshot(ChangeSnapshot {
                image: path("top"),
                action: SnapshotAction::Create { name: "s".into() },
            }),
            "top",
        ),
    ]
}

fn is_stale(done: Result<Outcome, Error>, what: &Request, names: [&str; 2]) {
    match done {
        Err(Error::Stale(text)) => {
            for name in names {
                assert!(text.text.contains(name), "{what:?}: {text}");
            }
        }
        other => panic!("{what:?}: {other:?}"),
    }
}

#[test]
fn a_dependant_made_after_the_plan_makes_it_stale_and_nothing_is_written() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().canonicalize().unwrap();
    chain(&dir);
    for (request, base) in operations(&dir) {
        let plan = ops::plan(&context(&dir), &request);
        assert_eq!(plan.refusals, [], "{request:?}");
        create(&dir, Some(base), "newcomer");
        let before = contents(&dir);
        is_stale(run(plan), &request, ["newcomer", base]);
        assert_eq!(contents(&dir), before, "{request:?}");
        fs::remove_file(dir.join("newcomer")).unwrap();
    }
}

#[test]
fn an_image_that_came_to_be_built_on_it_by_its_header_alone_is_a_dependant_too() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().canonicalize().unwrap();
    chain(&dir);
    let request = Request::discard(vec![dir.join("top")]);
    let plan = ops::plan(&context(&dir), &request);
    let args = ["rebase", "-q", "-u", "-F", "qcow2", "-b", "top", "other"];
    qemu("qemu-img", &dir, &args);
    is_stale(run(plan), &request, ["other", "top"]);
    // One that knows it by another name, and one below a folder that is new.
    qemu("qemu-img", &dir, &["rebase", "-q", "-u", "-b", "", "other"]);
    let plan = ops::plan(&context(&dir), &request);
    std::os::unix::fs::symlink("top", dir.join("link")).unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    create(&dir, Some("../link"), "sub/newcomer");
    is_stale(run(plan), &request, ["newcomer", "top"]);
    assert!(dir.join("top").exists());
}

#[test]
fn what_has_nothing_to_do_with_it_leaves_a_plan_as_good_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().canonicalize().unwrap();
    chain(&dir);
    let request = Request::discard(vec![dir.join("top")]);
    let plan = ops::plan(&context(&dir), &request);
    create(&dir, Some("mid"), "sibling");
    create(&dir, None, "alone");
    fs::write(dir.join("notes"), "no image").unwrap();
    run(plan).unwrap();
    assert!(!dir.join("top").exists());
}

#[test]
fn an_image_that_another_run_has_seen_elsewhere_since_the_plan_is_a_dependant() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().canonicalize().unwrap();
    let (dir, far, state) = (root.join("lab"), root.join("far"), root.join("state"));
    fs::create_dir_all(&dir).unwrap();
    fs::create_dir_all(&far).unwrap();
    chain(&dir);
    let request = Request::discard(vec![dir.join("top")]);
    let context_here = Context {
        state_dir: Some(state.clone()),
        ..context(&dir)
    };
    let plan = ops::plan(&context_here, &request);
    create(&far, Some("../lab/top"), "newcomer");
    let seen: Arc<Forest> = context(&far).forest;
    crate::forest::Index::at(&state)
        .merge(&RealHost, &seen)
        .unwrap();
    is_stale(run(plan), &request, ["newcomer", "top"]);
    assert!(dir.join("top").exists());
}
