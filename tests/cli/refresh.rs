//! Looking again at what changed gives what looking at everything gives.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use qanopy::forest::render::json;
use qanopy::forest::{Forest, ScanOptions, changed_since, refreshed, scan_all};
use qanopy::host::{Host, RealHost};
use qanopy::ops::{
    self, BackingStyle, Branch, Consent, Context, Create, LookedIn, Progress, Request,
};

fn host() -> Arc<dyn Host> {
    Arc::new(RealHost)
}

fn options(dir: &Path) -> ScanOptions {
    ScanOptions {
        roots: vec![dir.to_path_buf()],
        ..ScanOptions::default()
    }
}

/// The forest in words, but for the bytes on disk: a filesystem may give a file its blocks later.
fn told(forest: &Forest) -> serde_json::Value {
    let mut told = json(forest, &qanopy::ops::problem_json);
    let images = told["images"].as_array_mut().unwrap();
    for image in images {
        image["actual-size"].take();
    }
    told
}

fn scan(dir: &Path) -> Forest {
    scan_all(host(), options(dir)).0
}

fn run(dir: &Path, request: &Request) {
    let known = ScanOptions {
        raw: true,
        ..options(dir)
    };
    let context = Context {
        host: host(),
        forest: Arc::new(scan_all(host(), known).0),
        looked_in: LookedIn::default(),
        state_dir: None,
        keys: qanopy::image::Keys::none(),
        peers: qanopy::fleet::Peers::Nobody,
    };
    let plan = ops::plan(&context, request);
    if let Ok(ready) = plan.agree(Consent::Yes) {
        ops::run(ready, &Progress::new()).unwrap();
    }
}

fn create(dir: &Path, name: &str) {
    let path = dir.join(name);
    run(
        dir,
        &Request::Create(Create {
            path,
            size: 1 << 20,
            image: Default::default(),
        }),
    );
}

fn branch(dir: &Path, base: &str, new: &str) {
    let request = Request::Branch(Branch {
        base: dir.join(base),
        new: dir.join(new),
        format: None,
        size: None,
        style: BackingStyle::Relative,
        image: Default::default(),
    });
    run(dir, &request);
}

/// Base, two overlays, one on the first of them; a link to it; a raw base with an overlay.
fn forest(dir: &Path) {
    create(dir, "0.qcow2");
    branch(dir, "0.qcow2", "1.qcow2");
    branch(dir, "0.qcow2", "2.qcow2");
    branch(dir, "1.qcow2", "3.qcow2");
    fs::write(dir.join("4.img"), vec![0; 65_536]).unwrap();
    branch(dir, "4.img", "5.qcow2");
    std::os::unix::fs::symlink("3.qcow2", dir.join("6.qcow2")).unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Remove(usize),
    Rename(usize, usize),
    Copy(usize, usize),
    Branch(usize, usize),
    Spoil(usize),
    Link(usize, usize),
}

const NAMES: [&str; 9] = [
    "0.qcow2", "1.qcow2", "2.qcow2", "3.qcow2", "4.img", "5.qcow2", "6.qcow2", "7.qcow2", "8.qcow2",
];

fn step() -> impl Strategy<Value = Step> {
    let at = 0..NAMES.len();
    prop_oneof![
        at.clone().prop_map(Step::Remove),
        (at.clone(), at.clone()).prop_map(|(a, b)| Step::Rename(a, b)),
        (at.clone(), at.clone()).prop_map(|(a, b)| Step::Copy(a, b)),
        (at.clone(), at.clone()).prop_map(|(a, b)| Step::Branch(a, b)),
        at.clone().prop_map(Step::Spoil),
        (at.clone(), at).prop_map(|(a, b)| Step::Link(a, b)),
    ]
}

/// Does it, as far as it can be done, and tells which files it touched.
fn take(dir: &Path, step: &Step) -> Vec<PathBuf> {
    let path = |at: usize| dir.join(NAMES[at]);
    match *step {
        Step::Remove(a) => {
            let _ = fs::remove_file(path(a));
            vec![path(a)]
        }
        Step::Rename(a, b) => {
            let _ = fs::rename(path(a), path(b));
            vec![path(a), path(b)]
        }
        Step::Copy(a, b) => {
            let bytes = fs::read(path(a));
            if a != b
                && let Ok(bytes) = bytes
            {
                let _ = fs::write(path(b), bytes);
            }
            // Written through a link, it is the link's target that changed.
            vec![path(b), fs::canonicalize(path(b)).unwrap_or(path(b))]
        }
        Step::Branch(a, b) => {
            branch(dir, NAMES[a], NAMES[b]);
            vec![path(b)]
        }
        Step::Spoil(a) => {
            let target = fs::canonicalize(path(a)).unwrap_or(path(a));
            if target.exists() {
                fs::write(&target, "QFI\u{fb}no header").unwrap();
            }
            vec![target]
        }
        Step::Link(a, b) => {
            let _ = std::os::unix::fs::symlink(NAMES[a], path(b));
            vec![path(b)]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn looking_again_at_what_changed_is_as_good_as_looking_at_everything(
        steps in proptest::collection::vec(step(), 1..6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        forest(dir);
        let mut known = scan(dir);
        for step in steps {
            // A file written twice within one tick of the system's clock has the same time.
            std::thread::sleep(std::time::Duration::from_millis(10));
            let touched = take(dir, &step);
            let found = changed_since(&known, &RealHost, &options(dir));
            let by_itself = refreshed(&known, &host(), &options(dir), &found);
            known = refreshed(&known, &host(), &options(dir), &touched);
            let whole = scan(dir);
            prop_assert_eq!(told(&known), told(&whole), "after {:?}", step);
            prop_assert_eq!(told(&by_itself), told(&whole), "by itself after {:?}", step);
        }
    }
}

#[test]
fn a_link_stays_a_name_of_a_file_that_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    forest(dir);
    let mut known = scan(dir);
    for step in [Step::Link(5, 7), Step::Copy(0, 5)] {
        let touched = take(dir, &step);
        known = refreshed(&known, &host(), &options(dir), &touched);
        let names = |forest: &Forest| {
            let node = forest.by_path(&dir.join("5.qcow2")).unwrap();
            (node.path.clone(), node.other_names.clone())
        };
        assert_eq!(names(&known), names(&scan(dir)), "after {step:?}");
    }
}

#[test]
fn a_base_is_there_again_once_what_its_link_leads_to_comes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    forest(dir);
    let mut known = scan(dir);
    for step in [Step::Remove(4), Step::Link(7, 4), Step::Copy(0, 7)] {
        let touched = take(dir, &step);
        known = refreshed(&known, &host(), &options(dir), &touched);
        assert_eq!(told(&known), told(&scan(dir)), "after {step:?}");
    }
}

#[test]
fn a_folder_that_went_takes_its_images_along() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("below")).unwrap();
    create(dir, "below/base");
    branch(dir, "below/base", "top");
    let known = scan(dir);
    fs::rename(dir.join("below"), dir.join(".qanopy-trash")).unwrap();
    let fresh = refreshed(&known, &host(), &options(dir), &[dir.join("below")]);
    assert_eq!(told(&fresh), told(&scan(dir)));
}
