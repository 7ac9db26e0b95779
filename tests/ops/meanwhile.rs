//! One operation stands still at one of its calls to the host while another one runs from its plan to its end:
//! afterwards every image shows what it was promised to show, or one of the two was refused.

use crate::support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use qanopy::host::Host;
use qanopy::image::{Amendment, CarriedBitmaps, Preallocation, SparseSize};
use qanopy::ops::{
    self, AmendImage, BackingStyle, BitmapAction, Branch, ChangeBitmap, ChangeSnapshot, CloneImage,
    Commit, CommittedLayer, Confirm, Consent, Context, Convert, ConvertForm, Create, Dependants,
    Direction, EmptyTrash, Export, Flatten, ImageOptions, MoveImages, NewSize, Progress, Rebase,
    Reflink, Relink, Relocation, RepairAction, RepairImage, Request, Resize, Restore, Revert,
    Siblings, SnapshotAction, Squash,
};
use support::oracle::View;
use support::script::{Script, copy_tree, files_below};
use support::{Calls, FaultyHost, own_code};

/// So many places are tried at which one of two stands still.
const PLACES: usize = 4;

/// What is asked, and which file shows then what which one showed.
struct Op {
    name: &'static str,
    request: fn(&Path) -> Request,
    promise: Option<(&'static str, &'static str)>,
}

fn op(
    name: &'static str,
    promise: Option<(&'static str, &'static str)>,
    request: fn(&Path) -> Request,
) -> Op {
    Op {
        name,
        request,
        promise,
    }
}

fn commit(dir: &Path, layer: CommittedLayer) -> Request {
    Request::Commit(Commit {
        overlay: dir.join("top"),
        into: None,
        layer,
        siblings: Siblings::Refuse,
        keep_old: None,
    })
}

fn converted(dir: &Path, new: &str, form: ConvertForm) -> Request {
    Request::Convert(Convert {
        sources: vec![dir.join("top")],
        format: None,
        snapshot: None,
        bitmaps: CarriedBitmaps::None,
        salvage: false,
        sparse: SparseSize::default(),
        new: dir.join(new),
        form,
        backing: None,
        style: BackingStyle::Relative,
    })
}

fn moved(dir: &Path, from: &str, to: &str) -> Request {
    Request::Move(MoveImages {
        moves: vec![Relocation {
            from: dir.join(from),
            to: dir.join(to),
            style: None,
        }],
        subtree: false,
    })
}

fn branch(dir: &Path, base: &str) -> Request {
    Request::Branch(Branch {
        base: dir.join(base),
        new: dir.join("newcomer"),
        format: None,
        size: None,
        style: BackingStyle::Relative,
        image: ImageOptions::default(),
    })
}

fn others() -> Vec<Op> {
    vec![
        op("branch mid", None, |dir| branch(dir, "mid")),
        op("branch top", None, |dir| branch(dir, "top")),
        op("create", None, |dir| {
            Request::Create(Create {
                path: dir.join("newcomer"),
                size: 1 << 20,
                image: ImageOptions::default(),
            })
        }),
        op("discard top", None, |dir| {
            Request::discard(vec![dir.join("top")])
        }),
        op("move mid", None, |dir| moved(dir, "mid", "elsewhere")),
        op("move top", None, |dir| moved(dir, "top", "elsewhere")),
    ]
}

fn operations() -> Vec<Op> {
    vec![
        op("commit", Some(("mid", "top")), |dir| {
            commit(dir, CommittedLayer::Trash)
        }),
        op("commit --keep", Some(("mid", "top")), |dir| {
            commit(dir, CommittedLayer::Keep)
        }),
        // The plan's own choice rests on what lies on the disk by now: each way has its own promise.
        op("squash up", None, |dir| {
            Request::Squash(Squash {
                layer: dir.join("mid"),
                direction: Some(Direction::Up),
            })
        }),
        op("squash down", Some(("base", "mid")), |dir| {
            Request::Squash(Squash {
                layer: dir.join("mid"),
                direction: Some(Direction::Down),
            })
        }),
        op("revert", None, |dir| {
            Request::Revert(Revert::anew(dir.join("top")))
        }),
        op("flatten", None, |dir| {
            Request::Flatten(Flatten {
                image: dir.join("top"),
                onto: None,
                new: None,
                compress: None,
            })
        }),
        op("rebase", None, |dir| {
            Request::Rebase(Rebase {
                image: dir.join("top"),
                to: dir.join("base"),
                format: None,
                style: None,
                dedupe: false,
                compress: false,
            })
        }),
        op("relink", None, |dir| {
            Request::Relink(Relink {
                image: dir.join("top"),
                base: None,
                format: None,
                style: Some(BackingStyle::Absolute),
            })
        }),
        op("resize", None, |dir| {
            Request::Resize(Resize {
                image: dir.join("top"),
                size: NewSize::To(2 << 20),
                shrink: false,
                preallocation: Preallocation::Off,
                dependants: Dependants::Refuse,
            })
        }),
        op("move base", None, |dir| moved(dir, "base", "renamed")),
        op("discard mid", None, |dir| {
            Request::discard(vec![dir.join("mid")])
        }),
        op("amend", None, |dir| {
            Request::Amend(AmendImage {
                image: dir.join("top"),
                amendment: Amendment {
                    lazy_refcounts: Some(true),
                    ..Amendment::default()
                },
            })
        }),
        op("protect", None, |dir| {
            Request::Protect(ops::Protect {
                image: dir.join("top"),
                mode: None,
            })
        }),
        op("note", None, |dir| {
            Request::Annotate(ops::Annotate {
                image: dir.join("top"),
                text: Some("what it is".to_owned()),
                ..ops::Annotate::default()
            })
        }),
        op("bitmap", None, |dir| {
            Request::Bitmap(ChangeBitmap {
                image: dir.join("top"),
                bitmap: "b".into(),
                action: BitmapAction::Add {
                    granularity: None,
                    enabled: true,
                },
            })
        }),
        op("snapshot", None, |dir| {
            Request::Snapshot(ChangeSnapshot {
                image: dir.join("top"),
                action: SnapshotAction::Create { name: "s".into() },
            })
        }),
        op("branch side", None, |dir| branch(dir, "side")),
        op("clone", None, |dir| {
            Request::Clone(CloneImage {
                image: dir.join("mid"),
                new: dir.join("copy"),
                chain: false,
                reflink: Reflink::Auto,
            })
        }),
        op("flatten into a new file", None, |dir| {
            Request::Flatten(Flatten {
                image: dir.join("top"),
                onto: None,
                new: Some(dir.join("copy")),
                compress: None,
            })
        }),
        op("export", None, |dir| {
            Request::Export(Export {
                image: dir.join("top"),
                dir: dir.join("exported"),
            })
        }),
        op("convert", None, |dir| {
            converted(
                dir,
                "copy",
                ConvertForm::Qcow2 {
                    image: ImageOptions::default(),
                    compress: None,
                },
            )
        }),
        op("convert into an image", Some(("alone", "top")), |dir| {
            converted(dir, "alone", ConvertForm::Existing)
        }),
        op("repair", None, |dir| {
            Request::Repair(RepairImage {
                image: dir.join("alone"),
                action: RepairAction::All,
            })
        }),
        op("delete what is in the trash", None, |dir| {
            Request::EmptyTrash(EmptyTrash {
                entries: vec![own_code::trashed(dir, "gone").unwrap()],
            })
        }),
        op("restore", None, |dir| {
            Request::Restore(Restore {
                entries: vec![own_code::trashed(dir, "gone").unwrap()],
            })
        }),
    ]
}

/// `mid` and `side` on `base`, `top` on `mid`, all with data.
fn family(dir: &Path) {
    let mut s = Script::default();
    s.create("", "base", "1M");
    s.io("qcow2", "base", &["write -P 0x10 0 256k"]);
    s.overlay("qcow2", "base", "mid");
    s.io("qcow2", "mid", &["write -P 0x21 64k 128k"]);
    s.overlay("qcow2", "base", "side");
    s.io("qcow2", "side", &["write -P 0x31 128k 64k"]);
    s.overlay("qcow2", "mid", "top");
    s.io("qcow2", "top", &["write -P 0x41 128k 512k"]);
    s.overlay("qcow2", "side", "gone");
    s.create("", "alone", "1M");
    s.io("qcow2", "alone", &["write -P 0x51 0 1M"]);
    s.build(dir);
    leak(&dir.join("alone"));
    let discard = Request::discard(vec![dir.join("gone")]);
    own_code::run(&own_code::real_host(), dir, &discard).unwrap();
}

/// Adds a cluster that is counted and that nothing refers to. Clusters are of 64 KiB, and their counts lie in
/// the third.
fn leak(image: &Path) {
    let mut bytes = fs::read(image).unwrap();
    bytes.resize(bytes.len().next_multiple_of(64 << 10), 0);
    let count = (2 << 16) + bytes.len() / (64 << 10) * 2;
    bytes[count + 1] = 1;
    bytes.resize(bytes.len() + (64 << 10), 7);
    fs::write(image, bytes).unwrap();
}

fn number(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// What a context with this host sees in the directory as it is now.
fn seen(dir: &Path, host: Arc<dyn Host>) -> Context {
    Context {
        host,
        ..own_code::context(&own_code::real_host(), dir)
    }
}

/// Agrees with yes, or for what goes and moves by number: nothing that would be broken.
fn consent(plan: &ops::Plan) -> Consent {
    match (plan.confirm, &plan.request) {
        (Confirm::Count(number), request) if !matches!(request, Request::Branch(_)) => {
            Consent::Count(number)
        }
        _ => Consent::Yes,
    }
}

fn execute(plan: ops::Plan) -> Result<(), String> {
    let consent = consent(&plan);
    let ready = plan.agree(consent).map_err(|denied| denied.to_string())?;
    let done = ops::run(ready, &Progress::new());
    done.map(drop).map_err(|error| error.to_string())
}

/// The views of all that lies in the directory by the numbers of their files.
fn views(dir: &Path) -> BTreeMap<u64, (PathBuf, Result<View, String>)> {
    let files = files_below(dir).into_iter();
    let files = files.filter(|path| !path.iter().any(|part| part == ".qanopy-trash"));
    // An export says in one what it holds.
    let files = files.filter(|path| path.extension().is_none_or(|end| end != "json"));
    files
        .map(|path| {
            (
                number(&path),
                (path.clone(), own_code::view(&path, Some("qcow2"))),
            )
        })
        .collect()
}

struct Case<'a> {
    template: &'a Path,
    stands: &'a Op,
    runs: &'a Op,
}

impl Case<'_> {
    /// Has the one stand still at this call.
    fn at(&self, nth: usize) {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("images");
        copy_tree(self.template, &dir);
        let before = views(&dir);
        let number_of = |name: &str| before.iter().find(|(_, (path, _))| path.ends_with(name));
        let between = Arc::new(Mutex::new(None));
        let host = {
            let (dir, between, request) = (dir.clone(), Arc::clone(&between), self.runs.request);
            FaultyHost::telling(own_code::real_host(), Calls::All, nth, move || {
                let plan = ops::plan(&seen(&dir, own_code::real_host()), &request(&dir));
                let done = execute(plan);
                let newcomer = dir.join("newcomer");
                let shows = (done.is_ok() && newcomer.exists()).then(|| {
                    (
                        number(&newcomer),
                        own_code::view(&newcomer, Some("qcow2")).unwrap(),
                    )
                });
                *between.lock().unwrap() = Some((done, shows));
            })
        };
        let plan = ops::plan(&seen(&dir, Arc::new(host)), &(self.stands.request)(&dir));
        let stood = execute(plan);
        // How often a host is called depends on the time a little: the last calls may not come.
        let Some((ran, newcomer)) = between.lock().unwrap().take() else {
            return;
        };
        let told = || {
            format!(
                "{} ({stood:?}) stood at call {nth} while {} ran ({ran:?})",
                self.stands.name, self.runs.name
            )
        };
        let mut promised: BTreeMap<u64, &View> = BTreeMap::new();
        for (file, (_, view)) in &before {
            promised.insert(*file, view.as_ref().unwrap());
        }
        for (op, done) in [(self.runs, &ran), (self.stands, &stood)] {
            if let (Some((target, like)), Ok(())) = (op.promise, done) {
                let (file, _) = number_of(target).unwrap();
                let (_, (_, view)) = number_of(like).unwrap();
                promised.insert(*file, view.as_ref().unwrap());
            }
        }
        if let Some((file, view)) = &newcomer {
            promised.insert(*file, view);
        }
        for (file, (path, view)) in views(&dir) {
            let view = view.unwrap_or_else(|why| panic!("{}: {}: {why}", told(), path.display()));
            let Some(promised) = promised.get(&file) else {
                continue;
            };
            // A disk that was made larger shows what it showed, and zeros.
            let promised = promised.resized(view.len.max(promised.len));
            assert!(
                view.differences(&promised).is_empty(),
                "{}: {} shows something else: {}",
                told(),
                path.display(),
                view.explain(&promised)
            );
        }
    }
}

/// At which calls an operation stands still: the first after planning, and some more until its end.
fn places(template: &Path, op: &Op) -> Vec<usize> {
    let home = tempfile::tempdir().unwrap();
    let dir = &home.path().join("images");
    copy_tree(template, dir);
    let host = Arc::new(FaultyHost::counting(own_code::real_host()));
    let context = seen(dir, Arc::clone(&host) as Arc<dyn Host>);
    let plan = ops::plan(&context, &(op.request)(dir));
    let planned = host.count(Calls::All);
    execute(plan).unwrap_or_else(|error| panic!("{}: {error}", op.name));
    let calls = host.count(Calls::All) - planned;
    let mut places: Vec<usize> = (0..PLACES)
        .map(|part| planned + calls * part / PLACES)
        .collect();
    places.dedup();
    places
}

#[test]
fn whatever_runs_while_an_operation_stands_still_loses_nothing() {
    let _alone = support::alone();
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    family(home.path());
    let template = home.path();
    let places_of = |ops: Vec<Op>| -> Vec<(Op, Vec<usize>)> {
        let ops = ops.into_iter();
        ops.map(|op| {
            let places = places(template, &op);
            (op, places)
        })
        .collect()
    };
    let (all, others) = (places_of(operations()), places_of(others()));
    for one in &all {
        for other in &others {
            for ((stands, places), (runs, _)) in [(one, other), (other, one)] {
                let case = Case {
                    template,
                    stands,
                    runs,
                };
                places.iter().for_each(|nth| case.at(*nth));
            }
        }
    }
}

#[test]
fn a_base_that_a_process_writes_is_built_on_only_by_number() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family(dir);
    let plan = |request: &Request| ops::plan(&seen(dir, own_code::real_host()), request);
    let requests = || {
        let clone = Request::Clone(CloneImage {
            image: dir.join("top"),
            new: dir.join("newcomer"),
            chain: false,
            reflink: ops::Reflink::Auto,
        });
        [branch(dir, "mid"), clone]
    };
    for request in requests() {
        assert_eq!(plan(&request).confirm, Confirm::Nothing, "{request:?}");
    }
    // Both were planned before a process took the base.
    let early = requests().map(|request| plan(&request));
    let holding = qemu.hold_with_io(&dir.join("mid"), support::HoldMode::ReadWrite);
    for plan in early {
        let error = execute(plan).unwrap_err();
        assert!(error.contains("in use"), "{error}");
    }
    for request in requests() {
        let plan = plan(&request);
        assert_eq!(plan.confirm, Confirm::Count(1), "{request:?}");
        assert!(plan.clone().agree(Consent::Yes).is_err());
        let words: String = plan.lines().iter().map(|line| line.text.clone()).collect();
        assert!(
            words.contains("worthless") && words.contains("mid"),
            "{words}"
        );
        assert!(!dir.join("newcomer").exists());
        ops::run(plan.agree(Consent::Count(1)).unwrap(), &Progress::new()).unwrap();
        fs::remove_file(dir.join("newcomer")).unwrap();
    }
    drop(holding);
}

#[test]
fn a_plan_opens_no_image_that_is_remembered_and_built_on_something_else() {
    let _alone = support::alone();
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let root = home.path();
    let (near, far, state) = (root.join("near"), root.join("far"), root.join("state"));
    fs::create_dir(&near).unwrap();
    fs::create_dir(&far).unwrap();
    family(&near);
    let mut s = Script::default();
    s.create("", "base", "1M");
    s.overlay("qcow2", "base", "over-0");
    s.build(&far);
    for number in 1..300 {
        fs::copy(far.join("over-0"), far.join(format!("over-{number}"))).unwrap();
    }
    let around = |of: &Path| {
        let host = Arc::new(FaultyHost::counting(own_code::real_host()));
        let seen = Arc::clone(&host) as Arc<dyn Host>;
        let looked = Context::around(seen, Some(state.clone()), &[of.to_path_buf()], &[]);
        let context = looked.unwrap().context;
        (host.count(Calls::Reading), context.looked_in.remembered)
    };
    // What bases hold is noted when they are seen first.
    around(&near.join("mid"));
    let (alone, _) = around(&near.join("mid"));
    // Now hundreds are remembered that have nothing to do with it.
    around(&far.join("base"));
    let (beside, remembered) = around(&near.join("mid"));
    assert_eq!((beside, remembered), (alone, 0));
    // One that has is looked at, in a folder that nobody named.
    let mut s = Script::default();
    s.overlay("qcow2", "../near/mid", "over-x");
    s.build(&far);
    around(&far.join("base"));
    let (with_one, remembered) = around(&near.join("mid"));
    assert_eq!(remembered, 1);
    assert!(with_one < alone + 20, "{with_one} after {alone}");
}
