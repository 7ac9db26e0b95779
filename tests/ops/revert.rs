//! A leaf that is reverted shows what it is built on, as an overlay that was just made does; what it held can
//! take its place again.

use crate::support;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy::host::Host;
use qanopy::image::{Chain, Format};
use qanopy::ops::{
    CloneImage, Confirm, EffectKind, RecoverEntry, Recovery, Reflink, RefusalKind, Request, Revert,
    trash,
};
use support::crash_suite::{Attempt, CrashSuite, Promise};
use support::oracle::{Bytes, View};
use support::script::{Script, copy_tree};
use support::{Calls, Fault, FaultyHost, HoldMode, Then, checker, encrypted, oracle, own_code};

const LEAF: &str = "leaf.qcow2";

fn revert(dir: &Path) -> Request {
    Request::Revert(Revert::anew(dir.join(LEAF)))
}

fn back_to(dir: &Path, entry: &str) -> Request {
    Request::Revert(Revert {
        image: dir.join(LEAF),
        to: Some(entry.to_owned()),
        anew: None,
    })
}

/// base <- leaf, sibling; the leaf is longer, and of other options than a new image has by default.
fn family() -> Script {
    let mut s = Script::default();
    s.create("-o cluster_size=4k", "base.qcow2", "256k");
    s.io("qcow2", "base.qcow2", &["write -P 0x10 0 128k"]);
    s.create(
        "-o cluster_size=8k,refcount_bits=8,lazy_refcounts=on -F qcow2 -b base.qcow2",
        LEAF,
        "320k",
    );
    s.io("qcow2", LEAF, &["write -P 0x21 16k 64k", "write -z 96k 8k"]);
    s.create("-F qcow2 -b base.qcow2", "sibling.qcow2", "");
    s
}

fn view(dir: &Path) -> View {
    own_code::view(&dir.join(LEAF), Some("qcow2")).unwrap()
}

/// What it shows once it is anew.
fn anew(dir: &Path) -> View {
    let base = own_code::view(&dir.join("base.qcow2"), Some("qcow2")).unwrap();
    base.resized(320 << 10)
}

#[test]
fn a_leaf_starts_anew_and_what_it_held_comes_back() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family().build(dir);
    let host = own_code::real_host();
    let (old, bytes) = (view(dir), fs::read(dir.join(LEAF)).unwrap());
    let others = || ["base.qcow2", "sibling.qcow2"].map(|name| fs::read(dir.join(name)).unwrap());
    let before = others();
    let done = own_code::run(&host, dir, &revert(dir)).unwrap();
    assert!(view(dir) == anew(dir), "{}", view(dir).explain(&anew(dir)));
    assert!(oracle::check(&dir.join(LEAF)).is_clean());
    assert!(checker::check(&dir.join(LEAF)).is_clean());
    assert!(others() == before, "only the leaf changes");
    // Made as qemu-img makes it with the options that the image had.
    let mut same = Script::default();
    same.create(
        "-o cluster_size=8k,refcount_bits=8,lazy_refcounts=on -F qcow2 -b base.qcow2",
        "same.qcow2",
        "320k",
    );
    same.build(dir);
    let info = |name: &str| {
        let info = oracle::info(&dir.join(name)).unwrap();
        let keys = ["format-specific", "virtual-size", "cluster-size"];
        let names = ["backing-filename", "backing-filename-format"];
        let of = keys.iter().chain(&names).map(|key| info[key].clone());
        of.collect::<Vec<_>>()
    };
    assert_eq!(info(LEAF), info("same.qcow2"));
    fs::remove_file(dir.join("same.qcow2")).unwrap();

    let undone = own_code::run(&host, dir, &done.undo.unwrap()).unwrap();
    assert!(view(dir) == old);
    assert_eq!(
        fs::read(dir.join(LEAF)).unwrap(),
        bytes,
        "the very same file"
    );
    own_code::run(&host, dir, &undone.undo.unwrap()).unwrap();
    assert!(view(dir) == anew(dir));
    assert!(
        own_code::trashed(dir, LEAF).is_some(),
        "nothing is lost by it"
    );
}

/// Half-made files bear the number of the process that made them: here it is the same one.
fn remove_half_made(dir: &Path) {
    for file in support::script::files_below(dir) {
        if qanopy::image::maker_of(&file).is_some() {
            fs::remove_file(file).unwrap();
        }
    }
}

/// What holds whatever cuts it off: the name leads to the old content or to the new, or to nothing while the
/// trash keeps the old; and where it is anew the old is in the trash.
struct OldOrAnew {
    old: View,
    /// The two change places in one step: something has the name at every instant.
    swaps: bool,
    /// It is the only revert: what the trash calls the content before it is the old one.
    is_only: bool,
}

impl OldOrAnew {
    fn kept(&self, dir: &Path, context: &dyn Display) {
        let entries = trash::list(&qanopy::host::RealHost, None, &[dir.to_path_buf()]);
        let files: Vec<PathBuf> = entries
            .iter()
            .flat_map(|entry| &entry.files)
            .map(|file| file.kept_at.clone())
            .collect();
        let is_old = |path: &PathBuf| self.is_old(path, context);
        assert!(files.iter().any(is_old), "{files:?}\n{context}");
    }

    fn is_old(&self, path: &Path, context: &dyn Display) -> bool {
        let chain = Chain::open(&qanopy::host::RealHost, path, Some(&Format::Qcow2), &|_| {
            true
        });
        let chain = chain.unwrap_or_else(|error| panic!("{error}\n{context}"));
        let mut bytes = vec![0; usize::try_from(chain.virtual_size()).unwrap()];
        chain.read_at(&mut bytes, 0).unwrap();
        View::of(&bytes) == self.old
    }

    /// What the trash says of its files is true of them.
    fn said(&self, dir: &Path, context: &dyn Display) {
        let entries = trash::list(&qanopy::host::RealHost, None, &[dir.to_path_buf()]);
        for file in entries.iter().flat_map(|entry| &entry.files) {
            let is_said_old = file.why == "its content before a revert";
            let is_old = self.is_old(&file.kept_at, context);
            assert_eq!(is_said_old, is_old, "{file:?}\n{context}");
        }
    }
}

impl Promise for OldOrAnew {
    fn completed(&mut self, dir: &Path, context: &dyn Display) {
        assert!(view(dir) == anew(dir), "{context}");
    }

    fn check_quickly(&self, dir: &Path, done: bool, context: &dyn Display) {
        if self.is_only {
            self.said(dir, context);
        }
        if !dir.join(LEAF).exists() {
            assert!(!done && !self.swaps, "{context}");
            return self.kept(dir, context);
        }
        assert!(checker::check(&dir.join(LEAF)).is_sound(), "{context}");
        let now = view(dir);
        if now == self.old {
            return assert!(!done, "{context}");
        }
        assert!(now == anew(dir), "{}\n{context}", now.explain(&anew(dir)));
        self.kept(dir, context);
    }

    fn check_by_qemu(&self, dir: &Path, context: &dyn Display) {
        if dir.join(LEAF).exists() {
            let verdict = oracle::check(&dir.join(LEAF));
            assert!(verdict.is_sound(), "{verdict:?}\n{context}");
        }
        assert!(
            oracle::check(&dir.join("sibling.qcow2")).is_clean(),
            "{context}"
        );
    }

    fn finish(&self, dir: &Path, context: &dyn Display) {
        remove_half_made(dir);
        if !dir.join(LEAF).exists() {
            let entry = own_code::trashed(dir, LEAF).unwrap();
            let restore = Request::Restore(qanopy::ops::Restore {
                entries: vec![entry],
            });
            let done = own_code::run(&own_code::real_host(), dir, &restore);
            done.unwrap_or_else(|why| panic!("{why}\n{context}"));
            assert!(view(dir) == self.old, "{context}");
        }
        let done = own_code::run(&own_code::real_host(), dir, &revert(dir));
        done.unwrap_or_else(|why| panic!("{why}\n{context}"));
        assert!(view(dir) == anew(dir), "{context}");
    }
}

/// Whether files change places in one step where tests are run.
fn swaps(dir: &Path) -> bool {
    let [one, other] = ["one", "other"].map(|name| dir.join(name));
    fs::write(&one, "1").unwrap();
    fs::write(&other, "2").unwrap();
    let host = qanopy::host::RealHost;
    let file = host.stat_link(&one).unwrap().id;
    let swapped = host.exchange(file, &one, &other);
    let is = |path: &Path, text: &str| fs::read_to_string(path).unwrap() == text;
    assert!(
        is(&one, if swapped.is_ok() { "2" } else { "1" }),
        "{swapped:?}"
    );
    if let Err(error) = &swapped {
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    }
    fs::remove_file(one).unwrap();
    fs::remove_file(other).unwrap();
    swapped.is_ok()
}

/// The same host, or one that knows no exchange.
fn limited(host: &Arc<dyn Host>, swaps: bool) -> Arc<dyn Host> {
    match swaps {
        true => Arc::clone(host),
        false => Arc::new(FaultyHost::counting(Arc::clone(host)).without_exchange()),
    }
}

#[test]
fn whatever_cuts_a_revert_off_the_old_content_is_there() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    for swaps in [true, false] {
        if swaps && !self::swaps(home.path()) {
            continue;
        }
        let attempt = |host: &Arc<dyn Host>, dir: &Path| Attempt {
            result: own_code::run(&limited(host, swaps), dir, &revert(dir)),
            unread: false,
        };
        let suite = CrashSuite {
            script: &family(),
            what: format!("revert, in one step: {swaps}"),
            attempt: &attempt,
            states: 120,
            failures: 16,
            every: 13,
        };
        let promise = |dir: &Path| OldOrAnew {
            old: view(dir),
            swaps,
            is_only: true,
        };
        let _ = suite.survives_crashes(promise);
        suite.survives_failures(promise);
    }
}

/// What holds of a revert and of the way back: the name leads to the old content or to the new, and where it is
/// not the old that is in the trash.
struct ThereAndBack(OldOrAnew);

impl Promise for ThereAndBack {
    fn completed(&mut self, dir: &Path, context: &dyn Display) {
        assert!(view(dir) == self.0.old, "{context}");
    }

    fn check_quickly(&self, dir: &Path, done: bool, context: &dyn Display) {
        assert!(!done || view(dir) == self.0.old, "{context}");
        self.0.check_quickly(dir, false, context);
    }

    fn check_by_qemu(&self, dir: &Path, context: &dyn Display) {
        self.0.check_by_qemu(dir, context);
    }

    fn finish(&self, dir: &Path, context: &dyn Display) {
        self.0.finish(dir, context);
    }
}

#[test]
fn whatever_cuts_the_way_back_off_the_old_content_is_there() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    for swaps in [true, false] {
        if swaps && !self::swaps(home.path()) {
            continue;
        }
        let attempt = |host: &Arc<dyn Host>, dir: &Path| {
            let host = limited(host, swaps);
            let result = own_code::run(&host, dir, &revert(dir));
            let result = result.and_then(|done| own_code::run(&host, dir, &done.undo.unwrap()));
            Attempt {
                result,
                unread: false,
            }
        };
        let suite = CrashSuite {
            script: &family(),
            what: format!("revert and back, in one step: {swaps}"),
            attempt: &attempt,
            states: 160,
            failures: 16,
            every: 17,
        };
        let promise = |dir: &Path| {
            ThereAndBack(OldOrAnew {
                old: view(dir),
                swaps,
                is_only: false,
            })
        };
        let _ = suite.survives_crashes(promise);
        suite.survives_failures(promise);
    }
}

#[test]
fn whoever_depends_on_the_image_is_asked_before_it_and_nothing_changes() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family().build(dir);
    let host = own_code::real_host();
    let refused = |kind: RefusalKind| {
        let before = Bytes::below(dir);
        let plan = own_code::plan(&host, dir, &revert(dir));
        assert_eq!(plan.confirm, Confirm::Impossible, "{plan:?}");
        let kinds: Vec<RefusalKind> = plan.refusals.iter().map(|r| r.kind).collect();
        assert_eq!(kinds, [kind], "{plan:?}");
        before.assert_unchanged(dir, &kind.name());
        plan
    };
    for name in [LEAF, "base.qcow2"] {
        let holding = qemu.hold_with_nbd(&dir.join(name), HoldMode::ReadWrite);
        if name == LEAF {
            let plan = refused(RefusalKind::InUse);
            let pid = holding.pid().to_string();
            assert!(plan.refusals[0].text.contains(&pid), "{plan:?}");
        } else {
            // A base that something writes is said, as by a branch: what is built on it is worth nothing.
            let plan = own_code::plan(&host, dir, &revert(dir));
            let breaks = |effect: &&qanopy::ops::Effect| effect.kind == EffectKind::Breaks;
            assert!(
                plan.effects.iter().any(|effect| breaks(&effect)),
                "{plan:?}"
            );
        }
    }
    let planned = own_code::plan(&host, dir, &revert(dir));
    let holding = qemu.hold_with_nbd(&dir.join(LEAF), HoldMode::ReadWrite);
    let ready = own_code::agree(planned).unwrap();
    let error = qanopy::ops::run(ready, &qanopy::ops::Progress::new()).unwrap_err();
    assert!(
        error.to_string().contains(&holding.pid().to_string()),
        "{error}"
    );
    drop(holding);

    let mut child = Script::default();
    child.create("-F qcow2 -b leaf.qcow2", "child.qcow2", "");
    child.build(dir);
    refused(RefusalKind::HasDependants);
    // Also where that is in the trash.
    own_code::run(&host, dir, &Request::discard(vec![dir.join("child.qcow2")])).unwrap();
    refused(RefusalKind::HasDependants);
}

#[test]
fn what_cannot_start_anew_is_told_apart() {
    if support::qemu().is_none() {
        return;
    }
    let host = own_code::real_host();
    for (options, more, kind) in [
        ("-o cluster_size=64k", "256k", RefusalKind::NotInChain),
        (
            "-o data_file=d.img -F qcow2 -b base.qcow2",
            "",
            RefusalKind::Unsupported,
        ),
    ] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let mut s = Script::default();
        s.create("", "base.qcow2", "256k");
        s.create(options, LEAF, more);
        s.build(dir);
        let before = Bytes::below(dir);
        let plan = own_code::plan(&host, dir, &revert(dir));
        assert_eq!(plan.refusals[0].kind, kind, "{plan:?}");
        before.assert_unchanged(dir, &kind.name());
    }
    // What it records is not overruled by what the base looks like, which may be its guest's doing.
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family().build(dir);
    let mut s = Script::default();
    s.run("qemu-img rebase -q -u -F raw -b base.qcow2 leaf.qcow2");
    s.build(dir);
    let plan = own_code::plan(&host, dir, &revert(dir));
    assert_eq!(
        plan.refusals[0].kind,
        RefusalKind::BackingFormat,
        "{plan:?}"
    );
    // An encryption that is not made here any more would become none.
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family().build(dir);
    let mut bytes = fs::read(dir.join(LEAF)).unwrap();
    bytes[32..36].copy_from_slice(&1_u32.to_be_bytes());
    fs::write(dir.join(LEAF), bytes).unwrap();
    let plan = own_code::plan(&host, dir, &revert(dir));
    assert_eq!(plan.refusals[0].kind, RefusalKind::Unsupported, "{plan:?}");
    // The format it would be given is nobody's guess.
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family().build(dir);
    support::fields::forget_format(&dir.join(LEAF));
    let plan = own_code::plan(&host, dir, &revert(dir));
    assert_eq!(plan.refusals[0].kind, RefusalKind::BackingFormat);
    let way = &plan.refusals[0].ways_out[0].request;
    assert!(matches!(way, Request::Relink(_)), "{plan:?}");
    own_code::run(&host, dir, way).unwrap();
    own_code::run(&host, dir, &revert(dir)).unwrap();
    // An entry of another image, or of several, is none of this one.
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family().build(dir);
    own_code::run(
        &host,
        dir,
        &Request::discard(vec![dir.join("sibling.qcow2")]),
    )
    .unwrap();
    let entry = own_code::trashed(dir, "sibling.qcow2").unwrap();
    for entry in [entry.as_str(), "no-such-entry"] {
        let plan = own_code::plan(&host, dir, &back_to(dir, entry));
        assert_eq!(plan.confirm, Confirm::Impossible, "{plan:?}");
    }
}

#[test]
fn an_encrypted_leaf_stays_encrypted_and_a_hard_link_keeps_the_old_content() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family().build(dir);
    fs::hard_link(dir.join(LEAF), dir.join("other-name.qcow2")).unwrap();
    let old = view(dir);
    let host = own_code::real_host();
    own_code::run(&host, dir, &revert(dir)).unwrap();
    let other = own_code::view(&dir.join("other-name.qcow2"), Some("qcow2")).unwrap();
    assert!(other == old && view(dir) == anew(dir));
    // Nobody gave the passphrase that the new image is to have.
    let secret = home.path().join("secret");
    fs::create_dir(&secret).unwrap();
    let mut base = Script::default();
    base.create("", "base.qcow2", "4M");
    base.build(&secret);
    encrypted::one(&qemu, &secret.join(LEAF));
    encrypted::build_on(&secret.join(LEAF), "base.qcow2", "qcow2");
    let plan = own_code::plan(&host, &secret, &revert(&secret));
    assert_eq!(plan.refusals[0].kind, RefusalKind::PassphraseNeeded);
    let mut context = own_code::context(&host, &secret);
    context.keys = encrypted::keys();
    let plan = qanopy::ops::plan(&context, &revert(&secret));
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    let ready = own_code::agree(plan).unwrap();
    qanopy::ops::run(ready, &qanopy::ops::Progress::new()).unwrap();
    let info = oracle::info(&secret.join(LEAF)).unwrap();
    assert_eq!(info["encrypted"], true, "{info}");
    // The copy of a clone is a leaf like any other.
    let clone = Request::Clone(CloneImage {
        image: dir.join("sibling.qcow2"),
        new: dir.join("copy.qcow2"),
        chain: false,
        reflink: Reflink::Auto,
    });
    own_code::run(&host, dir, &clone).unwrap();
    let revert = Request::Revert(Revert::anew(dir.join("copy.qcow2")));
    own_code::run(&host, dir, &revert).unwrap();
}

#[test]
fn a_base_that_changes_meanwhile_costs_nothing_of_what_the_leaf_held() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let pristine = home.path().join("pristine");
    family().build(&pristine);
    let bytes = fs::read(pristine.join(LEAF)).unwrap();
    let counted = Arc::new(FaultyHost::counting(own_code::real_host()));
    let dir = home.path().join("dir");
    copy_tree(&pristine, &dir);
    let host: Arc<dyn Host> = counted.clone();
    own_code::run(&host, &dir, &revert(&dir)).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    let mut refused = 0;
    for nth in (0..counted.count(Calls::All)).step_by(3) {
        copy_tree(&pristine, &dir);
        let base = dir.join("base.qcow2");
        let host = FaultyHost::telling(own_code::real_host(), Calls::All, nth, move || {
            // Somebody marks the base dirty, as a machine does that begins to write it.
            let mut header = fs::read(&base).unwrap();
            header[79] |= 1;
            fs::write(&base, header).unwrap();
        });
        let host: Arc<dyn Host> = Arc::new(host);
        let result = own_code::run(&host, &dir, &revert(&dir));
        refused += usize::from(result.is_err());
        let entries = trash::list(&qanopy::host::RealHost, None, std::slice::from_ref(&dir));
        let kept = entries.iter().flat_map(|entry| &entry.files);
        let mut places: Vec<PathBuf> = kept.map(|file| file.kept_at.clone()).collect();
        places.push(dir.join(LEAF));
        let is_old = |path: &PathBuf| fs::read(path).is_ok_and(|found| found == bytes);
        assert!(places.iter().any(is_old), "call {nth}: {result:?}");
        assert!(dir.join(LEAF).exists(), "call {nth}: {result:?}");
        fs::remove_dir_all(&dir).unwrap();
    }
    assert!(refused > 0, "it is noticed");
}

#[test]
fn a_leaf_that_starts_anew_is_read_by_whoever_read_it() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    family().build(dir);
    fs::set_permissions(dir.join(LEAF), fs::Permissions::from_mode(0o640)).unwrap();
    // Only root may give it away; the mode is the same question.
    drop(std::os::unix::fs::chown(dir.join(LEAF), Some(7), Some(9)));
    let stat = || {
        let stat = fs::metadata(dir.join(LEAF)).unwrap();
        (stat.mode(), stat.uid(), stat.gid())
    };
    let before = stat();
    own_code::run(&own_code::real_host(), dir, &revert(dir)).unwrap();
    assert_eq!(stat(), before);
}

#[test]
fn what_is_finished_after_an_interruption_is_read_by_whoever_read_the_old_one() {
    use std::os::unix::fs::PermissionsExt;
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let pristine = home.path().join("pristine");
    family().build(&pristine);
    let counted = Arc::new(FaultyHost::counting(own_code::real_host()).without_exchange());
    let dir = home.path().join("dir");
    copy_tree(&pristine, &dir);
    let host: Arc<dyn Host> = counted.clone();
    own_code::run(&host, &dir, &revert(&dir)).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    let mut finished = 0;
    // However it was asked for, what it was to become is written down.
    let ways: [fn(Request) -> Request; 2] = [|request| request, Request::despite_machines];
    let each = ways.iter().enumerate().flat_map(|(number, way)| {
        let calls = 0..counted.count(Calls::Mutating);
        calls.map(move |nth| (number, way, nth))
    });
    for (number, way, nth) in each {
        copy_tree(&pristine, &dir);
        fs::set_permissions(dir.join(LEAF), fs::Permissions::from_mode(0o640)).unwrap();
        let (class, fault) = (Calls::Mutating, Fault::eio());
        let host = FaultyHost::failing(own_code::real_host(), class, nth, fault, Then::KeepFailing);
        let host: Arc<dyn Host> = Arc::new(host.without_exchange());
        let state = home.path().join(format!("state-{number}-{nth}"));
        let context = |host: &Arc<dyn Host>| qanopy::ops::Context {
            state_dir: Some(state.clone()),
            ..own_code::context(host, &dir)
        };
        let run = |host: &Arc<dyn Host>, request: &Request| {
            let ready = own_code::agree(qanopy::ops::plan(&context(host), request))?;
            let done = qanopy::ops::run(ready, &qanopy::ops::Progress::new());
            done.map_err(|error| error.to_string())
        };
        let cut_off = run(&host, &way(revert(&dir)));
        if !dir.join(LEAF).exists() {
            finished += 1;
            remove_half_made(&dir);
            let finish = Request::Recover(RecoverEntry {
                entry: 1,
                way: Recovery::Finish,
            });
            let done = run(&own_code::real_host(), &finish);
            done.unwrap_or_else(|why| panic!("{why}, after {cut_off:?}"));
            assert!(view(&dir) == anew(&dir));
            let mode = fs::metadata(dir.join(LEAF)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o640, "{cut_off:?}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
    assert!(finished > 0, "it is cut off between the two renames");
}

#[test]
fn what_is_cut_off_while_it_is_finished_has_its_owner_and_mode_when_it_has_its_name() {
    use std::os::unix::fs::PermissionsExt;
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("dir");
    let pristine = home.path().join("pristine");
    family().build(&pristine);
    let state = home.path().join("state");
    let run = |host: &Arc<dyn Host>, request: &Request| {
        let context = qanopy::ops::Context {
            state_dir: Some(state.clone()),
            ..own_code::context(host, &dir)
        };
        let ready = own_code::agree(qanopy::ops::plan(&context, request))?;
        let done = qanopy::ops::run(ready, &qanopy::ops::Progress::new());
        done.map_err(|error| error.to_string())
    };
    let failing = |nth| {
        let (class, fault) = (Calls::Mutating, Fault::eio());
        let host = FaultyHost::failing(own_code::real_host(), class, nth, fault, Then::KeepFailing);
        Arc::new(host.without_exchange())
    };
    // Cut off when the old image is in the trash and nothing has its name.
    let cut_off = |nth| {
        let _ = fs::remove_dir_all(&dir);
        let _ = fs::remove_dir_all(&state);
        copy_tree(&pristine, &dir);
        fs::set_permissions(dir.join(LEAF), fs::Permissions::from_mode(0o640)).unwrap();
        let host: Arc<dyn Host> = failing(nth);
        let _ = run(&host, &revert(&dir));
        remove_half_made(&dir);
        !dir.join(LEAF).exists()
    };
    let at = (0..100).find(|nth| cut_off(*nth)).unwrap();
    let finish = Request::Recover(RecoverEntry {
        entry: 1,
        way: Recovery::Finish,
    });
    for nth in 0.. {
        assert!(cut_off(at));
        let host = failing(nth);
        let known: Arc<dyn Host> = host.clone();
        let ended = run(&known, &finish);
        let story = host.struck();
        if dir.join(LEAF).exists() {
            let mode = fs::metadata(dir.join(LEAF)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o640, "{story:?} {ended:?}");
        }
        if story.is_none() {
            assert!(nth > 3 && dir.join(LEAF).exists(), "{ended:?}");
            break;
        }
    }
}
