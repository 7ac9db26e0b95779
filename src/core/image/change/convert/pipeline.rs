//! The threads of a conversion: one cuts, several work, the caller writes. A fixed number of buffers
//! goes round between them, which bounds the memory and how far they run ahead of each other.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::image::error::{OfFile, Result};
use crate::image::{Error, ErrorKind, ProgressSink, internal};
use crate::qcow2::codec::Deflater;
use crate::qcow2::{Geometry, Header};

use super::options::{CompressionLevel, ConvertFrom};
use super::pieces::{Piece, Pieces, RAW_UNIT, SourceRun};
use super::sink::{InOrder, RawSink, Sink};
use super::sparse::SparseSize;
use super::work::{Cell, RunReader, Shape, cells};

/// Threads that read and compress.
const MIN_WORKERS: usize = 2;
const MAX_WORKERS: usize = 8;
/// Buffers for each of them: one in hand, one waiting before it, one behind it.
const BUFFERS: usize = 3;
/// How often the caller is asked whether to go on while nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// Bytes of the disk that hold nothing, dealt with between two looks at whether to go on: a multiple
/// of every cluster size.
const GAP: u64 = 16 << 20;

/// A piece with its number and a buffer to read it into.
struct Task {
    number: u64,
    start: u64,
    len: u64,
    runs: Vec<SourceRun>,
    buffer: Vec<u8>,
}

/// What became of a piece.
enum Done {
    Gap {
        start: u64,
        len: u64,
        absent: bool,
    },
    Read {
        start: u64,
        /// Bytes that held data.
        data: u64,
        runs: Vec<SourceRun>,
        buffer: Vec<u8>,
        cells: Vec<Cell>,
    },
}

type Numbered = Result<(u64, Done)>;

/// What the workers need to know of the target.
#[derive(Clone, Copy)]
enum Target<'a> {
    Raw(&'a RawSink),
    Qcow2 {
        geometry: Geometry,
        has_backing: bool,
        compress: Option<CompressionLevel>,
        sparse: SparseSize,
        header: &'a Header,
    },
}

/// Moves everything; an error of any thread ends them all.
pub(super) fn run(
    from: &ConvertFrom,
    sink: Sink<'_>,
    path: &Path,
    progress: &dyn ProgressSink,
) -> Result<()> {
    let header;
    let (target, in_order) = match sink {
        Sink::Raw(raw) => (Target::Raw(raw), InOrder::raw(raw)),
        Sink::Qcow2 {
            sequential,
            compress,
        } => {
            header = sequential.header().clone();
            let shares = compress.is_none() && sequential.may_share() && from.may_share();
            let target = Target::Qcow2 {
                geometry: header.geometry,
                has_backing: header.backing.is_some(),
                compress,
                sparse: from.sparse,
                header: &header,
            };
            (target, InOrder::Qcow2 { sequential, shares })
        }
    };
    let unit = match target {
        Target::Raw(_) => RAW_UNIT,
        Target::Qcow2 { geometry, .. } => geometry.cluster_size(),
    };
    let workers = thread::available_parallelism()
        .map_or(MIN_WORKERS, usize::from)
        .clamp(MIN_WORKERS, MAX_WORKERS);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (tasks, waiting) = bounded::<Task>(workers * BUFFERS);
        // Gaps take no buffer, but they are few: neighbours are one.
        let (ended, results) = unbounded::<Numbered>();
        let (free, buffers) = unbounded::<Vec<u8>>();
        for _ in 0..workers * BUFFERS {
            drop(free.send(Vec::new()));
        }
        let stop = &stop;
        {
            let ended = ended.clone();
            let buffers = buffers.clone();
            let pieces = Pieces::new(from, unit);
            scope.spawn(move || cut(pieces, &buffers, &tasks, &ended, stop));
        }
        for _ in 0..workers {
            let (waiting, ended) = (waiting.clone(), ended.clone());
            let reader = RunReader::saving(from.salvage.clone());
            scope.spawn(move || work((target, path), reader, &waiting, &ended, stop));
        }
        drop((ended, waiting, buffers));
        let mut writer = Writer {
            path,
            in_order,
            progress,
            next: 0,
            early: BTreeMap::new(),
        };
        let result = writer.run(&results, &free, stop);
        // Whoever waits for a buffer or a task finds out when these go.
        stop.store(true, Ordering::Relaxed);
        drop((results, free));
        result
    })
}

/// Cuts the sources into pieces until they end.
fn cut(
    mut pieces: Pieces<'_>,
    buffers: &Receiver<Vec<u8>>,
    tasks: &Sender<Task>,
    ended: &Sender<Numbered>,
    stop: &AtomicBool,
) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let sent = match pieces.next_piece() {
            Ok(None) => return,
            Ok(Some(Piece::Gap { start, len, absent })) => {
                let gap = Done::Gap { start, len, absent };
                ended.send(Ok((number, gap))).is_ok()
            }
            Ok(Some(Piece::Work { start, len, runs })) => {
                let Ok(buffer) = buffers.recv() else { return };
                let task = Task {
                    number,
                    start,
                    len,
                    runs,
                    buffer,
                };
                tasks.send(task).is_ok()
            }
            Err(error) => {
                drop(ended.send(Err(error)));
                return;
            }
        };
        if !sent {
            return;
        }
        number += 1;
    }
}

/// Works on pieces until there are no more.
fn work(
    target: (Target<'_>, &Path),
    mut reader: RunReader,
    waiting: &Receiver<Task>,
    ended: &Sender<Numbered>,
    stop: &AtomicBool,
) {
    let _watch = Watch(stop);
    let mut deflater = None;
    let mut scratch = Vec::new();
    while let Ok(task) = waiting.recv() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let done = one(target, task, &mut reader, &mut deflater, &mut scratch);
        let failed = done.is_err();
        if ended.send(done).is_err() || failed {
            return;
        }
    }
}

/// A worker that panics stops the others, who would wait for it for ever.
struct Watch<'a>(&'a AtomicBool);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

fn one(
    (target, path): (Target<'_>, &Path),
    task: Task,
    reader: &mut RunReader,
    deflater: &mut Option<Deflater>,
    scratch: &mut Vec<u8>,
) -> Numbered {
    let Task {
        number,
        start,
        len,
        runs,
        mut buffer,
    } = task;
    // A piece is a few MiB at most.
    buffer.resize(internal::index(len).of(path)?, 0);
    reader.fill(start, &runs, &mut buffer)?;
    let data = runs
        .iter()
        .filter(|run| run.holds_data())
        .map(|run| run.len)
        .sum();
    let made = match target {
        Target::Raw(raw) => {
            raw.write(start, &buffer, &runs)?;
            Vec::new()
        }
        Target::Qcow2 {
            geometry,
            has_backing,
            compress,
            sparse,
            header,
        } => {
            if let (None, Some(level)) = (&deflater, compress) {
                *deflater = Some(
                    Deflater::with_level(header.compression, level.number())
                        .map_err(|error| Error::new(Path::new("the codec"), error))?,
                );
            }
            cells(
                start,
                &runs,
                &buffer,
                Shape {
                    geometry,
                    has_backing,
                    sparse,
                },
                deflater.as_mut(),
                scratch,
            )
            .of(path)?
        }
    };
    Ok((
        number,
        Done::Read {
            start,
            data,
            runs,
            buffer,
            cells: made,
        },
    ))
}

/// Puts what comes in any order into the order of the disk.
struct Writer<'a> {
    path: &'a Path,
    in_order: InOrder<'a>,
    progress: &'a dyn ProgressSink,
    next: u64,
    early: BTreeMap<u64, Done>,
}

impl Writer<'_> {
    fn run(
        &mut self,
        results: &Receiver<Numbered>,
        free: &Sender<Vec<u8>>,
        stop: &AtomicBool,
    ) -> Result<()> {
        loop {
            match results.recv_timeout(TICK) {
                Ok(result) => {
                    let (number, done) = result?;
                    self.early.insert(number, done);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if stop.load(Ordering::Relaxed) {
                        return Err(self.cancelled());
                    }
                    self.go_on(0)?;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            while let Some(done) = self.early.remove(&self.next) {
                self.next += 1;
                self.put(done, free)?;
            }
        }
    }

    /// Puts the next piece where it belongs.
    fn put(&mut self, done: Done, free: &Sender<Vec<u8>>) -> Result<()> {
        match done {
            Done::Gap { start, len, absent } => self.put_gap(start..start + len, absent),
            Done::Read {
                start,
                data,
                runs,
                buffer,
                cells,
            } => {
                self.in_order.put(start, &runs, &buffer, cells)?;
                // Nobody waits for it once all is cut.
                drop(free.send(buffer));
                self.go_on(data)
            }
        }
    }

    /// A part at a time: what is preallocated may have to be written.
    fn put_gap(&mut self, range: Range<u64>, absent: bool) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let len = GAP.min(range.end - at);
            self.in_order.gap(at, len, absent)?;
            at += len;
            self.go_on(0)?;
        }
        Ok(())
    }

    fn go_on(&self, bytes: u64) -> Result<()> {
        if self.progress.advance(bytes) {
            Ok(())
        } else {
            Err(self.cancelled())
        }
    }

    fn cancelled(&self) -> Error {
        Error::new(self.path, ErrorKind::Cancelled)
    }
}
