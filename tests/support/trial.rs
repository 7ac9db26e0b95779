//! An operation on a directory of images, cut off at every moment and with every call of it failing.
//! Whatever happens, images that are not its target show what they showed, internal snapshots as well;
//! the target shows old bytes and new ones; what the operation creates is whole or not there; and the
//! same request run again ends it.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use qanopy::host::Host;
use qanopy::ops::{self, Progress, Request};
use rustix::io::Errno;

use super::oracle::{View, Views};
use super::script::{Script, files_below};
use super::{Calls, Fault, FaultyHost, RecordingHost, Then, checker, oracle, ours};

/// One operation to be cut off.
pub struct Trial {
    /// Builds the images.
    pub script: Script,
    /// All of them.
    pub images: Vec<&'static str>,
    /// What is asked, of images in that directory.
    pub request: Box<dyn Fn(&Path) -> Request>,
    /// The image whose content changes, and the one whose content it receives.
    pub target: Option<(&'static str, &'static str)>,
    /// Images that go to the trash in the end.
    pub goes: Vec<&'static str>,
    /// Images that are merged away: what they show on the way is nobody's concern.
    pub mixed: Vec<&'static str>,
    /// A file that is created, and the image it shows the old content of.
    pub creates: Option<(&'static str, &'static str)>,
}

/// States looked at in each case; `QANOPY_CRASH_STATES` sets another number for a longer search.
const STATES: usize = 100;
/// One state in so many is looked at by qemu-img and finished.
const EVERY: usize = 20;
/// Calls made to fail for each kind of failure in each case.
const FAILURES: usize = 14;

impl Trial {
    /// Nothing built yet; nothing changes, goes or is created.
    pub fn new(images: &[&'static str], request: impl Fn(&Path) -> Request + 'static) -> Self {
        Self {
            script: Script::default(),
            images: images.to_vec(),
            request: Box::new(request),
            target: None,
            goes: Vec::new(),
            mixed: Vec::new(),
            creates: None,
        }
    }

    /// Both promises.
    pub fn prove(&self) {
        self.survives();
        self.endures();
    }

    /// Every crash leaves what is promised.
    pub fn survives(&self) {
        if super::qemu().is_none() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        self.script.build(dir);
        let promise = Promise::of(self, dir);
        let recorder = Arc::new(RecordingHost::new(dir));
        let host: Arc<dyn Host> = recorder.clone();
        ours::run(&host, dir, &(self.request)(dir))
            .unwrap_or_else(|why| panic!("{why}\n{}", self.script));
        recorder.mark("done");
        promise.check_quickly(dir, true, &self.script);
        promise.check_by_qemu(dir, &self.script);
        let log = recorder.log();
        let states = std::env::var("QANOPY_CRASH_STATES").map_or(STATES, |n| n.parse().unwrap());
        for (number, state) in log.crash_states(states, 11).enumerate() {
            let after = log.replay(&state);
            let context = format!(
                "state {number}:\n{}\nof {:?} in\n{}",
                log.describe(&state),
                (self.request)(Path::new(".")),
                self.script
            );
            promise.check_quickly(after.path(), state.passed("done"), &context);
            if number % EVERY == 0 {
                promise.check_by_qemu(after.path(), &context);
                promise.finish(after.path(), &context);
            }
        }
    }

    /// Every failing call leaves what is promised.
    pub fn endures(&self) {
        if super::qemu().is_none() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let pristine = home.path().join("pristine");
        self.script.build(&pristine);
        let promise = Promise::of(self, &pristine);
        let attempt = |host: FaultyHost| {
            let dir = home.path().join("dir");
            fs::create_dir(&dir).unwrap();
            for file in files_below(&pristine) {
                fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
            }
            let host = Arc::new(host);
            let shared: Arc<dyn Host> = host.clone();
            let plan = ours::plan(&shared, &dir, &(self.request)(&dir));
            let unread = plan
                .notes
                .iter()
                .any(|note| note.warning && note.text.contains("not known"));
            let result = ours::agree(plan)
                .and_then(|ready| ops::run(ready, &Progress::new()).map_err(|e| e.to_string()));
            (host, dir, result, unread)
        };
        let (counted, dir, result, _) = attempt(FaultyHost::counting(ours::real_host()));
        result.unwrap();
        fs::remove_dir_all(dir).unwrap();
        let mut number = 0;
        for (class, fault, then) in [
            (Calls::Allocating, Fault::enospc(), Then::KeepFailing),
            (Calls::Mutating, Fault::Partly(Errno::IO), Then::Recover),
            (Calls::Syncing, Fault::eio(), Then::Recover),
            (Calls::Reading, Fault::eio(), Then::Recover),
        ] {
            let calls = counted.count(class);
            for nth in (0..calls).step_by(calls.div_ceil(FAILURES).max(1)) {
                let failing = FaultyHost::failing(ours::real_host(), class, nth, fault, then);
                let (host, dir, result, unread) = attempt(failing);
                let context = format!(
                    "{:?} gave {result:?}\nin {:?} in\n{}",
                    host.struck(),
                    (self.request)(Path::new(".")),
                    self.script
                );
                if let Err(said) = &result {
                    assert!(!said.chars().any(char::is_control), "{said:?}");
                }
                // The scan could not read an image and the plan said so: it is on its own.
                let on_its_own = result.is_ok() && unread && class == Calls::Reading;
                if !on_its_own {
                    promise.check_quickly(&dir, result.is_ok(), &context);
                    number += 1;
                    if number % EVERY == 0 {
                        promise.check_by_qemu(&dir, &context);
                        promise.finish(&dir, &context);
                    }
                }
                fs::remove_dir_all(dir).unwrap();
            }
        }
    }
}

/// What all images showed before.
#[derive(Clone)]
pub struct Promise<'a> {
    trial: &'a Trial,
    before: Views,
    snapshots: Vec<(&'static str, Vec<(String, View)>)>,
    /// What the target shows in the end.
    whole: Option<View>,
}

impl<'a> Promise<'a> {
    /// What they show in `dir`.
    pub fn of(trial: &'a Trial, dir: &Path) -> Self {
        let snapshots = trial
            .images
            .iter()
            .map(|name| (*name, snapshots(&dir.join(name))));
        let promise = Self {
            trial,
            snapshots: snapshots.collect(),
            before: Views::of(dir, &trial.images),
            whole: None,
        };
        promise.to(trial)
    }

    /// The same images, asked something else.
    pub fn to(&self, trial: &'a Trial) -> Self {
        let whole = trial
            .target
            .map(|(target, source)| self.before.get(source).over(self.before.get(target)));
        Self {
            trial,
            whole,
            ..self.clone()
        }
    }

    /// Looks at all of them with our own reading; `done` says that the operation reported success.
    pub fn check_quickly(&self, dir: &Path, done: bool, context: &dyn Display) {
        let view = |name: &str| {
            let format = if name.ends_with(".img") {
                "raw"
            } else {
                "qcow2"
            };
            let view = ours::view(&dir.join(name), Some(format))
                .unwrap_or_else(|why| panic!("{name} cannot be read: {why}\n{context}"));
            view.resized(view.len.next_multiple_of(512))
        };
        let target = self.trial.target.map(|(target, _)| target);
        for name in &self.trial.images {
            let path = dir.join(name);
            if !path.exists() {
                assert!(self.trial.goes.contains(name), "{name} is gone\n{context}");
                if let (Some(target), Some(whole)) = (target, &self.whole) {
                    let now = view(target);
                    assert!(
                        now == *whole,
                        "{name} is gone, and {target} lacks content: {}\n{context}",
                        now.explain(whole)
                    );
                }
                continue;
            }
            assert!(
                !(done && self.trial.goes.contains(name)),
                "{name} is still there\n{context}"
            );
            if name.ends_with(".qcow2") {
                let counted = checker::check(&path);
                assert!(counted.is_sound(), "{name}: {counted:?}\n{context}");
            }
            let (was, now) = (self.before.get(name), view(name));
            match (&self.whole, target == Some(*name)) {
                (Some(whole), true) => {
                    assert!(
                        now.is_mixture(was, whole),
                        "{name} shows what it never was: {}\n{context}",
                        now.explain(whole)
                    );
                    assert!(
                        !done || now == *whole,
                        "{name} is not complete: {}\n{context}",
                        now.explain(whole)
                    );
                }
                _ if self.trial.mixed.contains(name) => {}
                _ => assert!(now == *was, "{name}: {}\n{context}", now.explain(was)),
            }
        }
        if let Some((name, source)) = self.trial.creates {
            let there = dir.join(name).exists();
            assert!(there || !done, "{name} was not created\n{context}");
            if there {
                let (now, was) = (view(name), self.before.get(source));
                assert!(now == *was, "{name}: {}\n{context}", now.explain(was));
                let counted = checker::check(&dir.join(name));
                assert!(counted.is_sound(), "{name}: {counted:?}\n{context}");
            }
        }
    }

    /// Asks qemu-img about all of them.
    pub fn check_by_qemu(&self, dir: &Path, context: &dyn Display) {
        let there: Vec<&&str> = self
            .trial
            .images
            .iter()
            .filter(|name| dir.join(name).exists())
            .collect();
        for name in there.iter().filter(|name| name.ends_with(".qcow2")) {
            let verdict = oracle::check(&dir.join(name));
            assert!(verdict.is_sound(), "{name}: {verdict:?}\n{context}");
        }
        let after = Views::of(dir, &there);
        let target = self.trial.target.map(|(target, _)| target);
        let others = there
            .iter()
            .filter(|name| Some(***name) != target && !self.trial.mixed.contains(**name));
        self.before.assert_same(&after, others, context);
        for (image, expected) in &self.snapshots {
            if !dir.join(image).exists() || self.trial.mixed.contains(image) {
                continue;
            }
            let now = snapshots(&dir.join(image));
            assert_eq!(now.len(), expected.len(), "{image}\n{context}");
            for ((name, was), (_, is)) in expected.iter().zip(now) {
                // qemu-img shows a snapshot as long as its image is now.
                let is = is.resized(was.len);
                assert!(
                    is == *was,
                    "snapshot {name} of {image}: {}\n{context}",
                    is.explain(was)
                );
            }
        }
    }

    /// Asks the same again and looks at its result.
    fn finish(&self, dir: &Path, context: &dyn Display) {
        let done_before = self.trial.goes.iter().any(|name| !dir.join(name).exists())
            || self
                .trial
                .creates
                .is_some_and(|(name, _)| dir.join(name).exists() && self.trial.target.is_none());
        // Half-made files bear the number of the process that made them: here it is the same one.
        for file in files_below(dir) {
            if file.extension().is_some_and(|end| end == "qanopy-new") {
                fs::remove_file(file).unwrap();
            }
        }
        let host = ours::real_host();
        let again = ours::run(&host, dir, &(self.trial.request)(dir));
        if let Err(why) = again {
            // Only what has nothing left to do may say so.
            let nothing_left = ["built on nothing", "directly", "already", "no image"]
                .iter()
                .any(|word| why.contains(word))
                || done_before;
            assert!(nothing_left, "cannot be run again: {why}\n{context}");
            return;
        }
        self.check_quickly(dir, true, &format!("run again after\n{context}"));
    }
}

fn snapshots(image: &Path) -> Vec<(String, View)> {
    if image.extension().is_some_and(|e| e == "img") {
        return Vec::new();
    }
    oracle::snapshots(image)
        .into_iter()
        .map(|name| {
            let view = oracle::snapshot_view(image, &name).unwrap();
            (name, view)
        })
        .collect()
}
