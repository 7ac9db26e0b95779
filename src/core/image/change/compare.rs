//! Comparing what two chains show: the maps first, then the bytes that the maps leave in doubt, read
//! by several threads. What is in the same place of the same file is equal and is not read.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::image::error::{OfFile, Result};
use crate::image::internal::index;
use crate::image::{Chain, Error, ErrorKind, ProgressSink};

use super::places::{PlacePair, PlacePairs, Stored};

/// Differences are told in whole sectors of this many bytes.
const SECTOR: u64 = 512;
const SECTOR_LEN: usize = 512;
/// Bytes read at a time: two such buffers stay in a core's own cache.
const PIECE: u64 = 256 << 10;
/// Guest bytes one thread takes at a time, and the most pieces that is.
const JOB: u64 = 4 << 20;
const JOB_PIECES: usize = 256;
/// Guest bytes of one job at most, most of which need not be read.
const JOB_COVERS: u64 = 4 << 30;
/// Jobs that may be done before one that comes earlier on the disk is.
const AHEAD: u64 = 64;
/// More threads than this do not read faster.
const MOST_THREADS: usize = 4;

/// A run of guest bytes in which two chains differ: its first and its last sector do, and every one
/// between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DifferingRange {
    /// Guest offset in bytes.
    pub start: u64,
    /// Length in bytes, in whole sectors of 512 but for the end of the longer chain.
    pub len: u64,
}

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Differing runs.
    pub differences: u64,
    /// Bytes in them.
    pub differing: u64,
    /// Guest bytes that had to be read from at least one side.
    pub read: u64,
}

/// Compares what two chains show and tells every difference, in order, as it is found. Where one is
/// longer it differs wherever it is not zero. Memory stays bounded however much differs.
///
/// # Errors
/// When a table or a file cannot be read, a layer could not be opened, or it was stopped, by `progress`
/// or by `tell` breaking off.
pub fn compare(
    one: &Chain,
    other: &Chain,
    progress: &dyn ProgressSink,
    tell: &mut (dyn FnMut(DifferingRange) -> ControlFlow<()> + Send),
) -> Result<Comparison> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let comparison = Shared {
        walk: Mutex::new(Walk {
            places: PlacePairs::new(one, other)?,
            taken: 0,
        }),
        done: Mutex::new(Done {
            next: 0,
            early: BTreeMap::new(),
            teller: Teller {
                found: Comparison::default(),
                held: None,
                tell,
            },
            ended: None,
        }),
        moved_on: Condvar::new(),
        progress,
        one,
    };
    // This thread works as well: handing everything to others costs a switch a job.
    thread::scope(|scope| {
        for _ in 1..threads.clamp(1, MOST_THREADS) {
            scope.spawn(|| comparison.work());
        }
        comparison.work();
    });
    let done = comparison.done.into_inner();
    let done = done.unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = done.ended {
        return Err(error);
    }
    let (found, told) = done.teller.end();
    match told {
        ControlFlow::Continue(()) => Ok(found),
        ControlFlow::Break(()) => Err(stopped(one)),
    }
}

fn stopped(chain: &Chain) -> Error {
    Error::new(chain.path(), ErrorKind::Cancelled)
}

/// A run of the disk, and what of it has to be read.
struct Job<'a> {
    /// Its place in the order of the disk.
    number: u64,
    /// Guest bytes it covers, and those that are read.
    covers: u64,
    reads: u64,
    pieces: Vec<PlacePair<'a>>,
}

/// What the threads of one comparison share.
struct Shared<'a, 't> {
    walk: Mutex<Walk<'a>>,
    done: Mutex<Done<'t>>,
    /// The earliest job that is not done was done.
    moved_on: Condvar,
    progress: &'t dyn ProgressSink,
    one: &'a Chain,
}

/// How far the maps have been followed.
struct Walk<'a> {
    places: PlacePairs<'a>,
    taken: u64,
}

/// What came of the jobs.
struct Done<'t> {
    /// The number of the job whose differences are to be told next.
    next: u64,
    early: BTreeMap<u64, Report>,
    teller: Teller<'t>,
    /// Why nothing more is to be done.
    ended: Option<Error>,
}
/// What came of one job.
struct Report {
    covers: u64,
    reads: u64,
    differences: Vec<DifferingRange>,
}

impl<'a> Walk<'a> {
    /// The next job; none at the end of the disk.
    fn take(&mut self) -> Result<Option<Job<'a>>> {
        if self.places.is_at_end() {
            return Ok(None);
        }
        let begin = self.places.at();
        let mut job = Job {
            number: self.taken,
            covers: 0,
            reads: 0,
            pieces: Vec::new(),
        };
        while job.reads < JOB
            && job.pieces.len() < JOB_PIECES
            && self.places.at() - begin < JOB_COVERS
        {
            let Some(pair) = self.places.next(PIECE)? else {
                break;
            };
            if !pair.is_same() {
                job.reads += pair.len;
                job.pieces.push(pair);
            }
        }
        job.covers = self.places.at() - begin;
        self.taken += 1;
        Ok(Some(job))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_, '_> {
    /// Takes jobs and does them, until there are no more or something ended it.
    fn work(&self) {
        let mut buffers = [Vec::new(), Vec::new()];
        loop {
            let taken = {
                let mut walk = lock(&self.walk);
                if !self.wait_for_room(walk.taken) {
                    return;
                }
                walk.take()
            };
            let done = taken.and_then(|job| match job {
                None => Ok(None),
                Some(job) => {
                    let mut found = Vec::new();
                    job.pieces
                        .iter()
                        .try_for_each(|piece| piece.compare(&mut buffers, &mut found))?;
                    Ok(Some((job, found)))
                }
            });
            match done {
                Ok(None) => return,
                Ok(Some((job, differences))) => {
                    let report = Report {
                        covers: job.covers,
                        reads: job.reads,
                        differences,
                    };
                    self.report(job.number, report);
                }
                Err(error) => {
                    lock(&self.done).ended.get_or_insert(error);
                    self.moved_on.notify_all();
                    return;
                }
            }
        }
    }

    /// Waits until job `number` is not too far ahead of the first that is not done; false if nothing
    /// more is to be done.
    fn wait_for_room(&self, number: u64) -> bool {
        let mut done = lock(&self.done);
        while done.ended.is_none() && number.saturating_sub(done.next) >= AHEAD {
            done = self
                .moved_on
                .wait(done)
                .unwrap_or_else(PoisonError::into_inner);
        }
        done.ended.is_none()
    }

    /// Tells what is next on the disk, and keeps what comes later.
    fn report(&self, number: u64, report: Report) {
        let mut guard = lock(&self.done);
        let done = &mut *guard;
        done.early.insert(number, report);
        while let Some(report) = done.early.remove(&done.next) {
            if done.ended.is_some() {
                break;
            }
            done.next += 1;
            done.teller.found.read += report.reads;
            let told = report
                .differences
                .into_iter()
                .try_for_each(|difference| done.teller.add(difference));
            if told.is_break() || !self.progress.advance(report.covers) {
                done.ended = Some(stopped(self.one));
            }
        }
        drop(guard);
        self.moved_on.notify_all();
    }
}

/// Joins differences that touch, counts them and tells them.
struct Teller<'a> {
    found: Comparison,
    held: Option<DifferingRange>,
    tell: &'a mut (dyn FnMut(DifferingRange) -> ControlFlow<()> + Send),
}

impl Teller<'_> {
    fn add(&mut self, next: DifferingRange) -> ControlFlow<()> {
        match &mut self.held {
            Some(held) if held.start + held.len == next.start => {
                held.len += next.len;
                ControlFlow::Continue(())
            }
            held => match held.replace(next) {
                Some(whole) => self.tell(whole),
                None => ControlFlow::Continue(()),
            },
        }
    }

    fn tell(&mut self, difference: DifferingRange) -> ControlFlow<()> {
        self.found.differences += 1;
        self.found.differing += difference.len;
        (self.tell)(difference)
    }

    fn end(mut self) -> (Comparison, ControlFlow<()>) {
        let told = match self.held.take() {
            Some(last) => self.tell(last),
            None => ControlFlow::Continue(()),
        };
        (self.found, told)
    }
}

impl PlacePair<'_> {
    fn compare(&self, buffers: &mut [Vec<u8>; 2], found: &mut Vec<DifferingRange>) -> Result<()> {
        let len = match self.sides.iter().flatten().next() {
            Some(stored) => index(self.len).of(stored.layer.path())?,
            None => return Ok(()),
        };
        let [one, other] = buffers;
        let [from_one, from_other] = &self.sides;
        let read = |from: &Option<Stored<'_>>, buffer: &mut Vec<u8>| match from {
            Some(stored) => {
                buffer.resize(len, 0);
                stored
                    .layer
                    .read(stored.state, self.at, buffer)
                    .map(|()| true)
            }
            None => Ok(false),
        };
        match (read(from_one, one)?, read(from_other, other)?) {
            (true, true) if one != other => {
                let sectors = one.chunks(SECTOR_LEN).zip(other.chunks(SECTOR_LEN));
                self.gather(sectors.map(|(one, other)| one != other), found);
            }
            (true, false) => self.gather(one.chunks(SECTOR_LEN).map(has_bits), found),
            (false, true) => self.gather(other.chunks(SECTOR_LEN).map(has_bits), found),
            (true, true) | (false, false) => {}
        }
        Ok(())
    }

    /// Makes runs of the sectors that differ.
    fn gather(&self, differ: impl Iterator<Item = bool>, found: &mut Vec<DifferingRange>) {
        let mut run: Option<DifferingRange> = None;
        let ends = self.at + self.len;
        for (start, differs) in (self.at..).step_by(SECTOR_LEN).zip(differ) {
            let len = SECTOR.min(ends - start);
            match (&mut run, differs) {
                (Some(run), true) => run.len += len,
                (None, true) => run = Some(DifferingRange { start, len }),
                (_, false) => found.extend(run.take()),
            }
        }
        found.extend(run);
    }
}

/// Whether a sector is not all zero.
fn has_bits(sector: &[u8]) -> bool {
    const ZEROS: [u8; SECTOR_LEN] = [0; SECTOR_LEN];
    ZEROS.get(..sector.len()) != Some(sector)
}
