//! What an operation on one image promises when it is cut off at any moment, or refused any call by the
//! system: the image is sound and shows what it showed or what it is to show, and where it
//! has not happened the operation can be run again.

use std::cell::Cell;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use qanopy::host::Host;
use qanopy::image::{Chain, Format};
use qanopy::ops::{self, Confirm, NoteKind, Outcome, Plan, Progress, RefusalKind, Request, Resize};

use super::crash_suite::{Attempt, CrashSuite, Promise};
use super::oracle::{self, View};
use super::script::Script;
use super::{checker, own_code};

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
    let ready = own_code::agree(plan(host, dir, request))?;
    ops::run(ready, &Progress::new()).map_err(|error| error.to_string())
}

/// The plan, every image in the directory being known, the one named even if it is raw.
pub fn plan(host: &Arc<dyn Host>, dir: &Path, request: &Request) -> Plan {
    let mut context = own_code::context(host, dir);
    if let Request::Resize(Resize { image, .. }) = request {
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

/// That a plan is refused for a reason of this kind; the plan's lines.
#[track_caller]
pub fn refused_as(plan: &Plan, kind: RefusalKind) -> String {
    let said = words(plan);
    assert_eq!(plan.confirm, Confirm::Impossible, "{said}");
    let is_so = plan.refusals.iter().any(|refusal| refusal.kind == kind);
    assert!(is_so, "{kind:?} is not among {:?}", plan.refusals);
    said
}

/// Whether a plan warns of this kind of thing.
pub fn warns_of(plan: &Plan, kind: NoteKind) -> bool {
    let mut notes = plan.notes.iter();
    notes.any(|note| note.warning && note.kind == kind)
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

impl<'a> Case<'a> {
    fn suite(&'a self, attempt: &'a dyn Fn(&Arc<dyn Host>, &Path) -> Attempt) -> CrashSuite<'a> {
        CrashSuite {
            script: self.script,
            what: format!("{:?}", (self.request)(Path::new(self.image))),
            attempt,
            states: STATES,
            failures: FAILURES,
            every: EVERY,
        }
    }

    fn attempt(&self, host: &Arc<dyn Host>, dir: &Path) -> Attempt {
        Attempt {
            result: run(host, dir, &(self.request)(&dir.join(self.image))),
            unread: false,
        }
    }

    /// Cuts the operation off at every moment.
    pub fn survives_crashes(&self) {
        let attempt = |host: &Arc<dyn Host>, dir: &Path| self.attempt(host, dir);
        let promise = self
            .suite(&attempt)
            .survives_crashes(|dir| OldOrNew::of(self, dir));
        let (olds, news) = (promise.olds.get(), promise.news.get());
        assert!(
            olds > 0 && news > 0,
            "both were met: {olds} old, {news} new"
        );
    }

    /// Has calls of every kind fail, now and again.
    pub fn survives_failures(&self) {
        let attempt = |host: &Arc<dyn Host>, dir: &Path| self.attempt(host, dir);
        self.suite(&attempt)
            .survives_failures(|dir| OldOrNew::of(self, dir));
    }
}

/// The directory shows what it showed, or what it is to show.
struct OldOrNew<'a> {
    case: &'a Case<'a>,
    before: String,
    after: String,
    /// How often it showed the one and the other.
    olds: Cell<usize>,
    news: Cell<usize>,
}

impl<'a> OldOrNew<'a> {
    fn of(case: &'a Case<'a>, dir: &Path) -> Self {
        Self {
            case,
            before: (case.shown)(dir),
            after: String::new(),
            olds: Cell::new(0),
            news: Cell::new(0),
        }
    }
}

impl Promise for OldOrNew<'_> {
    fn completed(&mut self, dir: &Path, context: &dyn Display) {
        self.after = (self.case.shown)(dir);
        assert_ne!(self.before, self.after, "something was done\n{context}");
        self.check_by_qemu(dir, context);
    }

    fn check_quickly(&self, dir: &Path, done: bool, context: &dyn Display) {
        if !self.case.image.ends_with(".img") {
            let counted = checker::check(&dir.join(self.case.image));
            let good = if self.case.may_leak {
                counted.is_sound()
            } else {
                counted.is_clean()
            };
            assert!(good, "{counted:?}\n{context}");
        }
        let now = (self.case.shown)(dir);
        let (before, after) = (&self.before, &self.after);
        assert!(
            now == *before || now == *after,
            "{now}\n{before}\n{after}\n{context}"
        );
        assert!(!done || now == *after, "{now}\n{after}\n{context}");
        let met = if now == *before {
            &self.olds
        } else {
            &self.news
        };
        met.set(met.get() + 1);
    }

    fn check_by_qemu(&self, dir: &Path, context: &dyn Display) {
        if !self.case.image.ends_with(".img") {
            let verdict = oracle::check(&dir.join(self.case.image));
            assert!(verdict.is_sound(), "{verdict:?}\n{context}");
        }
    }

    fn finish(&self, dir: &Path, context: &dyn Display) {
        if (self.case.shown)(dir) != self.before {
            return;
        }
        let request = (self.case.request)(&dir.join(self.case.image));
        run(&own_code::real_host(), dir, &request)
            .unwrap_or_else(|why| panic!("cannot be run again: {why}\n{context}"));
        assert_eq!((self.case.shown)(dir), self.after, "run again\n{context}");
        self.check_by_qemu(dir, context);
    }
}
