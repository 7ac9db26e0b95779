//! Operations on one image that must survive whatever happens: cut off at every moment, or refused any
//! call by the system, the image is sound and shows what it showed or what it is to show, and where it
//! has not happened the operation can be run again.

use std::path::Path;
use std::sync::Arc;

use qanopy::host::Host;
use qanopy::image::{Chain, Format};
use qanopy::ops::{self, Outcome, Plan, Progress, Request};
use rustix::io::Errno;

use super::oracle::{self, View};
use super::script::{Script, copy_tree};
use super::{Calls, Fault, FaultyHost, RecordingHost, Then, checker, ours};

/// Crash states looked at.
const STATES: usize = 90;
/// Calls of a class that are made to fail.
const FAILURES: usize = 16;
/// Every so many of them the real tools are asked, and the operation is run again.
const EVERY: usize = 13;

/// An operation in a directory of images.
pub struct Case<'a> {
    /// Makes the images.
    pub script: &'a Script,
    /// The one that changes; qcow2, unless it is called `.img`.
    pub image: &'a str,
    /// What is done to it.
    pub request: &'a dyn Fn(&Path) -> Request,
    /// All that matters of the directory's images, in words.
    pub shown: &'a dyn Fn(&Path) -> String,
    /// Whether a crash may leave leaked clusters.
    pub may_leak: bool,
}

/// Plans, agrees and runs; the refusal or the error in words.
pub fn run(host: &Arc<dyn Host>, dir: &Path, request: &Request) -> Result<Outcome, String> {
    let ready = ours::agree(plan(host, dir, request))?;
    ops::run(ready, &Progress::new()).map_err(|error| error.to_string())
}

/// The plan, every image in the directory being known, the one named even if it is raw.
pub fn plan(host: &Arc<dyn Host>, dir: &Path, request: &Request) -> Plan {
    let mut context = ours::context(host, dir);
    if let Request::Resize { image, .. } = request {
        let options = qanopy::forest::ScanOptions {
            roots: vec![dir.to_path_buf(), image.clone()],
            ..Default::default()
        };
        context.forest = Arc::new(qanopy::forest::scan_all(Arc::clone(host), options).0);
    }
    ops::plan(&context, request)
}

/// A plan's lines as one text.
pub fn words(plan: &Plan) -> String {
    let lines = plan.lines();
    let lines = lines
        .iter()
        .map(|line| format!("{} {}\n", line.label, line.text));
    lines.collect()
}

/// What the guest sees of an image, as we read it, in a few words.
pub fn digest(path: &Path) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let raw = path.extension().is_some_and(|end| end == "img");
    let format = if raw { Format::Raw } else { Format::Qcow2 };
    let chain = Chain::open(&qanopy::host::RealHost, path, Some(&format), &|_| true).unwrap();
    let mut bytes = vec![0; usize::try_from(chain.virtual_size()).unwrap()];
    chain.read_at(&mut bytes, 0).unwrap();
    let mut hasher = DefaultHasher::new();
    format!("{:?}", View::of(&bytes)).hash(&mut hasher);
    format!("{} bytes {:x}", bytes.len(), hasher.finish())
}

impl Case<'_> {
    fn sound(&self, dir: &Path, context: &dyn Fn() -> String) {
        if self.image.ends_with(".img") {
            return;
        }
        let counted = checker::check(&dir.join(self.image));
        let good = if self.may_leak {
            counted.is_sound()
        } else {
            counted.is_clean()
        };
        assert!(good, "{counted:?}\n{}", context());
    }

    fn sound_by_qemu(&self, dir: &Path, context: &dyn Fn() -> String) {
        if self.image.ends_with(".img") {
            return;
        }
        let verdict = oracle::check(&dir.join(self.image));
        assert!(verdict.is_sound(), "{verdict:?}\n{}", context());
    }

    fn finishes(&self, dir: &Path, after: &str, context: &dyn Fn() -> String) {
        let request = (self.request)(&dir.join(self.image));
        run(&ours::real_host(), dir, &request)
            .unwrap_or_else(|why| panic!("cannot be run again: {why}\n{}", context()));
        assert_eq!((self.shown)(dir), after, "run again\n{}", context());
        self.sound_by_qemu(dir, context);
    }

    /// Cuts the operation off at every moment.
    pub fn survives_crashes(&self) {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        self.script.build(dir);
        let before = (self.shown)(dir);
        let recorder = Arc::new(RecordingHost::new(dir));
        let host: Arc<dyn Host> = recorder.clone();
        let request = (self.request)(&dir.join(self.image));
        run(&host, dir, &request).unwrap_or_else(|why| panic!("{why}\n{}", self.script));
        recorder.mark("done");
        let after = (self.shown)(dir);
        assert_ne!(before, after, "something was done\n{}", self.script);
        self.sound_by_qemu(dir, &|| self.script.to_string());
        let log = recorder.log();
        let (mut olds, mut news) = (0, 0);
        for (number, state) in log.crash_states(STATES, 7).enumerate() {
            let replayed = log.replay(&state);
            let dir = replayed.path();
            let context = || {
                let events = log.describe(&state);
                format!("state {number}:\n{events}\nin\n{}", self.script)
            };
            self.sound(dir, &context);
            let now = (self.shown)(dir);
            assert!(
                now == before || now == after,
                "{now}\n{before}\n{after}\n{}",
                context()
            );
            assert!(!state.passed("done") || now == after, "{}", context());
            if now == before {
                olds += 1;
            } else {
                news += 1;
            }
            if number % EVERY == 0 {
                self.sound_by_qemu(dir, &context);
                if now == before {
                    self.finishes(dir, &after, &context);
                }
            }
        }
        assert!(
            olds > 0 && news > 0,
            "both were met: {olds} old, {news} new"
        );
    }

    /// Has calls of every kind fail, now and again.
    pub fn survives_failures(&self) {
        let home = tempfile::tempdir().unwrap();
        let pristine = home.path().join("pristine");
        self.script.build(&pristine);
        let before = (self.shown)(&pristine);
        let attempt = |host: FaultyHost| {
            let dir = home.path().join("dir");
            copy_tree(&pristine, &dir);
            let host = Arc::new(host);
            let shared: Arc<dyn Host> = host.clone();
            let result = run(&shared, &dir, &(self.request)(&dir.join(self.image)));
            (host, dir, result)
        };
        let (counted, dir, result) = attempt(FaultyHost::counting(ours::real_host()));
        result.unwrap();
        let after = (self.shown)(&dir);
        std::fs::remove_dir_all(dir).unwrap();
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
                let (host, dir, result) = attempt(failing);
                let context = || {
                    let struck = host.struck();
                    format!("{struck:?} gave {result:?} in\n{}", self.script)
                };
                if let Err(said) = &result {
                    assert!(!said.chars().any(char::is_control), "{said:?}");
                }
                self.sound(&dir, &context);
                let now = (self.shown)(&dir);
                assert!(now == before || now == after, "{now}\n{}", context());
                assert!(result.is_err() || now == after, "{}", context());
                number += 1;
                if number % EVERY == 0 && now == before {
                    self.finishes(&dir, &after, &context);
                }
                std::fs::remove_dir_all(dir).unwrap();
            }
        }
    }
}
