//! An operation on a directory of images, cut off at every moment, and with every call of it failing: the
//! one driver of both. What is promised of the images is said by a [`Promise`].

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use qanopy::host::Host;
use qanopy::ops::Outcome;
use rustix::io::Errno;

use super::script::{Script, copy_tree};
use super::{Calls, Fault, FaultyHost, RecordingHost, Then, own_code};

/// What must hold of a directory whatever happened in it.
pub trait Promise {
    /// The operation went through in `dir` with nothing in its way: what other states are held against.
    fn completed(&mut self, dir: &Path, context: &dyn Display);
    /// Looks with means that cost no process; `done` says that the operation reported success.
    fn check_quickly(&self, dir: &Path, done: bool, context: &dyn Display);
    /// Asks the real tools.
    fn check_by_qemu(&self, dir: &Path, context: &dyn Display);
    /// Asks the same of the program again, and looks at what comes of it.
    fn finish(&self, dir: &Path, context: &dyn Display);
}

/// What came of running it once.
pub struct Attempt {
    pub result: Result<Outcome, String>,
    /// An image could not be read and the plan said so: what became of that one is not looked at.
    pub unread: bool,
}

/// An operation, and how many of its states are looked at.
pub struct CrashSuite<'a> {
    /// Makes the images.
    pub script: &'a Script,
    /// What is done, in words.
    pub what: String,
    /// Does it once, in that directory.
    pub attempt: &'a dyn Fn(&Arc<dyn Host>, &Path) -> Attempt,
    /// Crash states; `QANOPY_CRASH_STATES` sets another number for a longer search.
    pub states: usize,
    /// Calls made to fail for each kind of failure.
    pub failures: usize,
    /// One state in so many is looked at by the real tools and finished.
    pub every: usize,
}

impl CrashSuite<'_> {
    /// Every crash leaves what is promised of the directory as it was before.
    pub fn survives_crashes<P: Promise>(&self, promise: impl FnOnce(&Path) -> P) -> P {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        self.script.build(dir);
        let mut promise = promise(dir);
        let recorder = Arc::new(RecordingHost::new(dir));
        let host: Arc<dyn Host> = recorder.clone();
        if let Err(why) = (self.attempt)(&host, dir).result {
            panic!("{why}\n{} in\n{}", self.what, self.script);
        }
        recorder.mark("done");
        promise.completed(dir, self.script);
        let log = recorder.log();
        let asked = std::env::var("QANOPY_CRASH_STATES");
        let states = asked.map_or(self.states, |n| n.parse().unwrap());
        for (number, state) in log.crash_states(states, 11).enumerate() {
            let after = log.replay(&state);
            let context = format!(
                "state {number}:\n{}\nof {} in\n{}",
                log.describe(&state),
                self.what,
                self.script
            );
            promise.check_quickly(after.path(), state.passed("done"), &context);
            if number % self.every == 0 {
                promise.check_by_qemu(after.path(), &context);
                promise.finish(after.path(), &context);
            }
        }
        promise
    }

    /// Every failing call leaves what is promised of the directory as it was before.
    pub fn survives_failures<P: Promise>(&self, promise: impl FnOnce(&Path) -> P) {
        let home = tempfile::tempdir().unwrap();
        let pristine = home.path().join("pristine");
        self.script.build(&pristine);
        let mut promise = promise(&pristine);
        let attempt = |host: FaultyHost| {
            let dir = home.path().join("dir");
            copy_tree(&pristine, &dir);
            let host = Arc::new(host);
            let shared: Arc<dyn Host> = host.clone();
            let attempt = (self.attempt)(&shared, &dir);
            (host, dir, attempt)
        };
        let (counted, dir, whole) = attempt(FaultyHost::counting(own_code::real_host()));
        whole.result.unwrap();
        promise.completed(&dir, self.script);
        fs::remove_dir_all(dir).unwrap();
        let mut number = 0;
        for (class, fault, then) in [
            (Calls::Allocating, Fault::enospc(), Then::KeepFailing),
            (Calls::Mutating, Fault::Partly(Errno::IO), Then::Recover),
            (
                Calls::Mutating,
                Fault::Partly(Errno::NOSPC),
                Then::KeepFailing,
            ),
            (Calls::Syncing, Fault::eio(), Then::Recover),
            (Calls::Reading, Fault::eio(), Then::Recover),
        ] {
            let calls = counted.count(class);
            for nth in (0..calls).step_by(calls.div_ceil(self.failures).max(1)) {
                let failing = FaultyHost::failing(own_code::real_host(), class, nth, fault, then);
                let (host, dir, Attempt { result, unread }) = attempt(failing);
                let context = format!(
                    "{:?} gave {result:?}\nin {} in\n{}",
                    host.struck(),
                    self.what,
                    self.script
                );
                if let Err(said) = &result {
                    assert!(!said.chars().any(char::is_control), "{said:?}");
                }
                if !(unread && result.is_ok() && class == Calls::Reading) {
                    promise.check_quickly(&dir, result.is_ok(), &context);
                    number += 1;
                    if number % self.every == 0 {
                        promise.check_by_qemu(&dir, &context);
                        promise.finish(&dir, &context);
                    }
                }
                fs::remove_dir_all(dir).unwrap();
            }
        }
    }
}
