//! Runs of which only the bytes tell whether  backing views show the same, read by several threads, some way
//! ahead of who writes what turns out to differ. Nothing is written here.

use std::collections::VecDeque;
use std::num::NonZero;
use std::ops::Range;
use std::path::Path;
use std::thread::{self, Scope};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::image::change::preserve::backing_change::{BackingChange, CompareBy};
use crate::image::change::preserve::units::{WINDOW, groups, is_zero};
use crate::image::error::{OfFile, Result};
use crate::image::internal::{Fault, distance, part};
use crate::image::read::backing_view::{BackingView, ViewRun};
use crate::image::{Error, ErrorKind};

/// Chunks that are read before they are asked for: a chunk is what one thread takes at a time, at most
/// [`WINDOW`] bytes of the disk.
const AHEAD: usize = 6;
/// More threads than this do not read faster.
const MOST_THREADS: usize = 4;
/// Bytes read and compared at a time, unless one unit is longer: two such buffers stay in a core's own
/// cache.
const PIECE: u64 = 256 << 10;

/// A run in doubt, at most [`WINDOW`] bytes of whole units.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where its bytes are stored in the old backing view; none where several places hold them.
    pub(super) old: Option<ViewRun>,
    /// The same of the new backing view.
    pub(super) new: Option<ViewRun>,
}

impl Candidate {
    /// How long it is, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether the tables alone say that the old backing view is zero here.
    pub(super) fn was_zero(&self) -> bool {
        self.old.as_ref().is_some_and(ViewRun::is_zero)
    }
}

/// Reads what a backing view shows from `start` on; true where it is zero by the tables, and nothing was read.
fn read(
    view: &BackingView,
    place: Option<&ViewRun>,
    start: u64,
    buffer: &mut [u8],
) -> Result<bool> {
    match place {
        Some(place) if place.is_zero() => return Ok(true),
        Some(ViewRun {
            extent,
            layer: Some(layer),
        }) => layer.read(extent.state.skip(start - extent.start), start, buffer)?,
        _ => view.read_at(buffer, start)?,
    }
    Ok(false)
}

/// Runs in doubt, and the threads that read them.
pub(super) struct CompareQueue<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    judge: JudgeOfBytes<'env>,
    /// What is not handed over yet.
    filling: Chunk,
    /// What was handed over, in order.
    ahead: VecDeque<Receiver<Result<Chunk>>>,
    tasks: Sender<Task>,
    waiting: Receiver<Task>,
    helpers: usize,
    scratch: Scratch,
    /// Shares that were dealt with: their room is used again.
    idle: Vec<Chunk>,
}

/// A chunk to be read, and where it goes then.
type Task = (Chunk, Sender<Result<Chunk>>);

/// What decides whether units differ.
#[derive(Debug, Clone, Copy)]
struct JudgeOfBytes<'a> {
    /// The image that receives what differs.
    path: &'a Path,
    change: BackingChange<'a>,
    unit: u64,
}

/// Two buffers of a thread.
#[derive(Debug, Default)]
struct Scratch {
    old: Vec<u8>,
    new: Vec<u8>,
}

/// What one thread takes at a time.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    candidates: Vec<Candidate>,
    /// How long they are together, in bytes.
    pub(super) len: u64,
    /// The runs that differ, each with the number of its candidate.
    differing: Vec<(usize, Range<u64>)>,
    /// Their bytes in the old backing view, one after the other; none of those that were zero by the tables.
    kept: Vec<u8>,
}

/// A run of units that differ.
pub(super) struct Differing<'a> {
    pub(super) candidate: &'a Candidate,
    /// Guest offsets in bytes.
    pub(super) range: Range<u64>,
    /// Its bytes in the old backing view, unless that is zero by the tables.
    pub(super) old: &'a [u8],
}

impl<'scope, 'env> CompareQueue<'scope, 'env> {
    /// Nothing in doubt yet. Threads are started when there is something to read.
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        path: &'env Path,
        change: BackingChange<'env>,
        unit: u64,
    ) -> Self {
        let (tasks, waiting) = unbounded();
        Self {
            scope,
            judge: JudgeOfBytes { path, change, unit },
            filling: Chunk::default(),
            ahead: VecDeque::new(),
            tasks,
            waiting,
            helpers: 0,
            scratch: Scratch::default(),
            idle: Vec::new(),
        }
    }

    /// Adds one. Who is given a chunk back deals with it before going on.
    pub(super) fn add(&mut self, candidate: Candidate) -> Result<Option<Chunk>> {
        let full = self.filling.len + candidate.len() > WINDOW;
        if full {
            self.hand_over();
        }
        self.filling.len += candidate.len();
        self.filling.candidates.push(candidate);
        if full && self.ahead.len() > AHEAD {
            return self.next();
        }
        Ok(None)
    }

    /// The earliest chunk that was not given back yet; none if all were.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>> {
        if self.ahead.is_empty() && !self.filling.candidates.is_empty() {
            self.hand_over();
        }
        let Some(read) = self.ahead.pop_front() else {
            return Ok(None);
        };
        // This thread works as well rather than wait.
        while read.is_empty() {
            match self.waiting.try_recv() {
                Ok(task) => self.judge.work(task, &mut self.scratch),
                Err(_) => break,
            }
        }
        match read.recv() {
            Ok(chunk) => chunk.map(Some),
            // The thread that had it is gone: its panic goes on where the threads are joined.
            Err(_) => Err(Error::new(self.judge.path, ErrorKind::Cancelled)),
        }
    }

    /// Takes back a chunk that was dealt with.
    pub(super) fn reuse(&mut self, mut chunk: Chunk) {
        chunk.candidates.clear();
        chunk.differing.clear();
        chunk.kept.clear();
        chunk.len = 0;
        self.idle.push(chunk);
    }

    fn hand_over(&mut self) {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        // One more with each chunk, as far as there are cores beside the one of this thread.
        if self.helpers + 1 < threads.min(MOST_THREADS) {
            let (waiting, judge) = (self.waiting.clone(), self.judge);
            let helper = move || {
                let mut scratch = Scratch::default();
                for task in waiting {
                    judge.work(task, &mut scratch);
                }
            };
            // Where no thread is to be had this one does it all.
            if thread::Builder::new()
                .spawn_scoped(self.scope, helper)
                .is_ok()
            {
                self.helpers += 1;
            }
        }
        let next = self.idle.pop().unwrap_or_default();
        let chunk = std::mem::replace(&mut self.filling, next);
        let (done, read) = bounded(1);
        self.ahead.push_back(read);
        // This thread has the other end as well, so it is there.
        drop(self.tasks.send((chunk, done)));
    }
}

/// Whoever stops early waits for nothing that nobody wants.
impl Drop for CompareQueue<'_, '_> {
    fn drop(&mut self) {
        while self.waiting.try_recv().is_ok() {}
    }
}

impl JudgeOfBytes<'_> {
    fn work(self, (mut chunk, done): Task, scratch: &mut Scratch) {
        let read = self.read(&mut chunk, scratch);
        // Nobody waits for it any more where it was stopped.
        drop(done.send(read.map(|()| chunk)));
    }

    fn read(self, chunk: &mut Chunk, scratch: &mut Scratch) -> Result<()> {
        for (number, candidate) in chunk.candidates.iter().enumerate() {
            let mut at = candidate.start;
            while at < candidate.end {
                let to = at.saturating_add(PIECE.max(self.unit)).min(candidate.end);
                let found = self.compare(candidate, at..to, scratch)?;
                for Range { start: from, end } in found {
                    if !candidate.was_zero() {
                        let bytes = distance(at, from)
                            .and_then(|from| part(&scratch.old, from..distance(at, end)?));
                        chunk.kept.extend_from_slice(bytes.of(self.path)?);
                    }
                    match chunk.differing.last_mut() {
                        Some((of, last)) if *of == number && last.end == from => last.end = end,
                        _ => chunk.differing.push((number, from..end)),
                    }
                }
                at = to;
            }
        }
        Ok(())
    }

    /// The units of this part of a run that differ, as runs. The old bytes are left in `scratch`.
    fn compare(
        self,
        candidate: &Candidate,
        span: Range<u64>,
        scratch: &mut Scratch,
    ) -> Result<Vec<Range<u64>>> {
        let Scratch { old, new } = scratch;
        let len = distance(span.start, span.end).of(self.path)?;
        old.resize(len, 0);
        new.resize(len, 0);
        let BackingChange {
            old: before,
            new: after,
            judge,
            ..
        } = self.change;
        let old_is_zero = read(before, candidate.old.as_ref(), span.start, old)?;
        if judge == CompareBy::Tables {
            // It is put together from several places, so it differs.
            return Ok(vec![span]);
        }
        let new_is_zero = read(after, candidate.new.as_ref(), span.start, new)?;
        groups(span.start, span.end, self.unit, |range| {
            Ok(match (old_is_zero, new_is_zero) {
                (true, _) => !is_zero(part(new, range)?),
                (_, true) => !is_zero(part(old, range)?),
                _ => part(old, range.clone())? != part(new, range)?,
            })
        })
        .of(self.path)
    }
}

impl Chunk {
    /// What turned out to differ, in order.
    pub(super) fn differing(
        &self,
    ) -> impl Iterator<Item = std::result::Result<Differing<'_>, Fault>> {
        let mut rest = self.kept.as_slice();
        self.differing.iter().map(move |(number, range)| {
            let candidate = self.candidates.get(*number);
            let candidate = candidate.ok_or(Fault::new("a run that nobody was in doubt of"))?;
            let len = if candidate.was_zero() {
                0
            } else {
                distance(range.start, range.end)?
            };
            let (old, after) = rest
                .split_at_checked(len)
                .ok_or(Fault::new("a run without its bytes"))?;
            rest = after;
            Ok(Differing {
                candidate,
                range: range.clone(),
                old,
            })
        })
    }
}
