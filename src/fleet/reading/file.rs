//! An open file of a host.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::blocks::{BLOCK, Blocks, copy};
use super::message::{Ask, MOST_READ, Told};
use super::session::{Gone, Sessions};
use crate::host::{Cloned, FileId, HostFile, Lock, LockProbe, LockSet, LocksSeen, Segment, Stat};

/// How long what is known of a file's holes is believed.
const FRESH: Duration = Duration::from_secs(2);

/// A file of a host, open for reading. A connection that was cut meanwhile is made again, and the file opened again if
/// it is still the same.
pub(super) struct FarFile {
    sessions: Arc<Sessions>,
    path: PathBuf,
    id: FileId,
    /// In which session it is open, and under which number.
    open: Mutex<(u64, u32)>,
    blocks: Mutex<Blocks>,
    segments: Mutex<Segments>,
}

/// What was told of a file's holes.
#[derive(Default)]
struct Segments {
    told: Option<Instant>,
    from: u64,
    list: Vec<Segment>,
}

impl fmt::Debug for FarFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FarFile({}, {:?})", self.sessions.name, self.path)
    }
}

impl FarFile {
    /// Opens it.
    ///
    /// # Errors
    /// The host's, or why it cannot be asked.
    pub(super) fn open(sessions: Arc<Sessions>, path: PathBuf) -> io::Result<Self> {
        let (id, open) = opened(&sessions, &path)?;
        Ok(Self {
            sessions,
            path,
            id,
            open: Mutex::new(open),
            blocks: Mutex::default(),
            segments: Mutex::default(),
        })
    }

    fn now_open(&self) -> MutexGuard<'_, (u64, u32)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, ask: impl Fn(u32) -> Ask) -> io::Result<Told> {
        let (session, file) = *self.now_open();
        match self.sessions.ask_in(session, &ask(file)) {
            Ok(told) => return Ok(told),
            Err(Gone::Failed(error)) => return Err(error),
            Err(Gone::Before) => {}
        }
        let (id, again) = opened(&self.sessions, &self.path)?;
        if id != self.id {
            return Err(io::Error::other("it is another file by now"));
        }
        *self.now_open() = again;
        let (session, file) = again;
        match self.sessions.ask_in(session, &ask(file)) {
            Ok(told) => Ok(told),
            Err(Gone::Failed(error)) => Err(error),
            Err(Gone::Before) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    fn bytes(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let len = u32::try_from(len.min(MOST_READ)).unwrap_or(u32::MAX);
        match self.ask(|file| Ask::Read { file, offset, len })? {
            Told::Bytes(bytes) if bytes.len() as u64 <= u64::from(len) => Ok(bytes),
            _ => Err(nonsense()),
        }
    }

    /// Reads what lies in one block.
    fn read_block(&self, buf: &mut [u8], number: u64, at: usize) -> io::Result<usize> {
        let blocks = || self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = blocks().copy(number, at, buf) {
            return Ok(read);
        }
        let bytes = self.bytes(number.saturating_mul(BLOCK as u64), BLOCK)?;
        let read = copy(&bytes, at, buf);
        blocks().keep(number, bytes);
        Ok(read)
    }
}

fn opened(sessions: &Sessions, path: &std::path::Path) -> io::Result<(FileId, (u64, u32))> {
    match sessions.ask(&Ask::Open(path.into()))? {
        (Told::Opened { file, stat }, session) => Ok((stat.id, (session, file))),
        _ => Err(nonsense()),
    }
}

/// The answer to another question.
pub(super) fn nonsense() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the host answers otherwise than it was asked",
    )
}

/// Nothing is changed there by this way.
pub(super) fn only_read() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "files of another machine are only read from here",
    )
}

impl Drop for FarFile {
    fn drop(&mut self) {
        let (session, file) = *self.now_open();
        self.sessions.say_in(session, Ask::Close(file));
    }
}

impl HostFile for FarFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let is_large = buf.len() >= BLOCK;
        let mut read = 0;
        while let Some(rest) = buf.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let from = offset.saturating_add(read as u64);
            let (got, wanted) = if is_large {
                let wanted = rest.len().min(MOST_READ);
                (copy(&self.bytes(from, wanted)?, 0, rest), wanted)
            } else {
                let (number, at) = (from / BLOCK as u64, from % BLOCK as u64);
                let at = usize::try_from(at).unwrap_or_default();
                let wanted = rest.len().min(BLOCK - at);
                let part = rest.get_mut(..wanted).unwrap_or_default();
                (self.read_block(part, number, at)?, wanted)
            };
            read += got;
            if got < wanted {
                break;
            }
        }
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        match self.ask(Ask::Len)? {
            Told::Len(len) => Ok(len),
            _ => Err(nonsense()),
        }
    }

    fn segment_at(&self, offset: u64) -> io::Result<Segment> {
        let mut known = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = known.at(offset) {
            return Ok(segment);
        }
        match self.ask(|file| Ask::Segments { file, offset })? {
            Told::Segments(list) => {
                *known = Segments {
                    told: Some(Instant::now()),
                    from: offset,
                    list,
                };
                known.at(offset).ok_or_else(nonsense)
            }
            _ => Err(nonsense()),
        }
    }

    fn stat(&self) -> io::Result<Stat> {
        match self.ask(Ask::StatOpen)? {
            Told::Stat(stat) => Ok(stat),
            _ => Err(nonsense()),
        }
    }

    fn lock(&self, _: LockSet) -> io::Result<Lock> {
        Err(only_read())
    }

    fn probe_lock(&self, want: LockSet) -> io::Result<LockProbe> {
        match self.ask(|file| Ask::Probe { file, want })? {
            Told::Probe(probe) => Ok(probe),
            _ => Err(nonsense()),
        }
    }

    fn locks_seen(&self) -> io::Result<LocksSeen> {
        match self.ask(Ask::LocksSeen)? {
            Told::LocksSeen(seen) => Ok(seen),
            _ => Err(nonsense()),
        }
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(only_read())
    }

    fn zero(&self, _: u64, _: u64) -> io::Result<()> {
        Err(only_read())
    }

    fn punch(&self, _: u64, _: u64) -> io::Result<()> {
        Err(only_read())
    }

    fn reserve(&self, _: u64, _: u64) -> io::Result<bool> {
        Err(only_read())
    }

    fn clone_range(&self, _: &dyn HostFile, _: u64, _: u64, _: u64) -> io::Result<Cloned> {
        Err(only_read())
    }

    fn copy_range(&self, _: &dyn HostFile, _: u64, _: u64, _: u64) -> io::Result<Cloned> {
        Err(only_read())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(only_read())
    }

    fn flush(&self) -> io::Result<()> {
        Err(only_read())
    }
}

impl Segments {
    /// What lies at an offset, where that is known.
    fn at(&self, offset: u64) -> Option<Segment> {
        let is_fresh = self.told.is_some_and(|told| told.elapsed() < FRESH);
        if !is_fresh || offset < self.from {
            return None;
        }
        self.list.iter().copied().find(|segment| {
            let (Segment::Data(end) | Segment::Hole(end)) = segment;
            offset < *end
        })
    }
}
