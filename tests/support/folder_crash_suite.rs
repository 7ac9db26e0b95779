//! What an operation on a directory of images promises when it is cut off, or a call of it fails:
//! images that are not its target show what they showed, internal snapshots as well;
//! the target shows old bytes and new ones; what the operation creates is whole or not there; and the
//! same request run again ends it.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use qanopy::host::Host;
use qanopy::ops::{self, NoteKind, Progress, Request};

use super::crash_suite::{self, Attempt, CrashSuite};
use super::image_crash_suite::warns_of;
use super::oracle::{View, Views};
use super::script::{Script, files_below};
use super::{checker, oracle, own_code};

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
    /// Images whose internal snapshots may show something else afterwards.
    pub loses_snapshots: Vec<&'static str>,
    /// Crash states looked at.
    pub states: usize,
    /// Calls made to fail for each kind of failure.
    pub failures: usize,
}

/// One state in so many is looked at by qemu-img and finished.
const EVERY: usize = 16;

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
            loses_snapshots: Vec::new(),
            states: 100,
            failures: 14,
        }
    }

    /// Both promises.
    pub fn prove(&self) {
        self.survives();
        self.endures();
    }

    fn suite<'a>(
        &'a self,
        attempt: &'a dyn Fn(&Arc<dyn Host>, &Path) -> Attempt,
    ) -> CrashSuite<'a> {
        CrashSuite {
            script: &self.script,
            what: format!("{:?}", (self.request)(Path::new("."))),
            attempt,
            states: self.states,
            failures: self.failures,
            every: EVERY,
        }
    }

    /// Every crash leaves what is promised.
    pub fn survives(&self) {
        if super::qemu().is_none() {
            return;
        }
        let attempt = |host: &Arc<dyn Host>, dir: &Path| Attempt {
            result: own_code::run(host, dir, &(self.request)(dir)),
            unread: false,
        };
        self.suite(&attempt)
            .survives_crashes(|dir| Promise::of(self, dir));
    }

    /// Every failing call leaves what is promised.
    pub fn endures(&self) {
        if super::qemu().is_none() {
            return;
        }
        let attempt = |host: &Arc<dyn Host>, dir: &Path| {
            let plan = own_code::plan(host, dir, &(self.request)(dir));
            let unread = warns_of(&plan, NoteKind::Unseen);
            let result = own_code::agree(plan)
                .and_then(|ready| ops::run(ready, &Progress::new()).map_err(|e| e.to_string()));
            Attempt { result, unread }
        };
        self.suite(&attempt)
            .survives_failures(|dir| Promise::of(self, dir));
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
            .filter(|name| !trial.loses_snapshots.contains(name))
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
}

impl crash_suite::Promise for Promise<'_> {
    fn completed(&mut self, dir: &Path, context: &dyn Display) {
        self.check_quickly(dir, true, context);
        self.check_by_qemu(dir, context);
    }

    fn check_quickly(&self, dir: &Path, done: bool, context: &dyn Display) {
        let view = |name: &str| {
            let format = if name.ends_with(".img") {
                "raw"
            } else {
                "qcow2"
            };
            let view = own_code::view(&dir.join(name), Some(format))
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
                assert!(!done || !counted.dirty, "{name} is left dirty\n{context}");
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

    fn check_by_qemu(&self, dir: &Path, context: &dyn Display) {
        let there: Vec<&&str> = self
            .trial
            .images
            .iter()
            .filter(|name| dir.join(name).exists())
            .collect();
        for name in there.iter().filter(|name| name.ends_with(".qcow2")) {
            let path = dir.join(name);
            if checker::check(&path).dirty {
                // QEMU repairs such an image when it opens it for writing.
                let qemu = super::qemu().unwrap();
                qemu.io(&path, &["read 0 512"]);
            }
            let verdict = oracle::check(&path);
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
        let host = own_code::real_host();
        let again = own_code::run(&host, dir, &(self.trial.request)(dir));
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
