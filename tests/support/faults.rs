//! [`FaultyHost`]: a host whose n-th call fails. For showing that whatever the system refuses, no
//! image is lost.
//!
//! Run the operation once on a host that only counts, then once more for every call:
//!
//! ```ignore
//! let host = Arc::new(FaultyHost::counting(Arc::new(RealHost)));
//! operation(&host);
//! for nth in 0..host.count(Calls::Mutating) {
//!     // a fresh copy of the images, then:
//!     let host = FaultyHost::failing(Arc::new(RealHost), Calls::Mutating, nth, Fault::eio(), Then::Recover);
//!     let result = operation(&host);
//!     // result is an error, or the call did not matter; the images are sound: host.struck() tells
//!     // for the message which call it was
//! }
//! ```
//!
//! It wraps any host, so a recording one as well. Locks, `stat`, `canonical`, `space` and `holders`
//! never fail and are not counted.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use qanopy::host::{
    Access, Cloned, FileId, Holder, Host, HostFile, Lock, LockProbe, LockSet, LocksSeen, Segment,
    Space, Stat,
};
use rustix::io::Errno;

/// The unit a disk writes in one piece.
const SECTOR: u64 = 512;

/// A class of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// `read_at`, `segment_at`, `list_dir`, and opening for reading.
    Reading,
    /// Everything that changes a file or a directory, flushes and directory syncs included.
    Mutating,
    /// The part of the mutating calls that can run out of space: `write_at`, `zero`, `reserve`,
    /// `clone_range`, `copy_range`, `set_len`, `create_new`, `create_dir`, `rename_new`, `link_new`.
    Allocating,
    /// Flushes and directory syncs.
    Syncing,
    /// All of them.
    All,
}

/// What happens to the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this error and does nothing.
    Error(Errno),
    /// A write puts down its first half (whole sectors of it) and then fails with this error; other
    /// calls fail as with
    /// [`Fault::Error`].
    Partly(Errno),
    /// A read gives half of what was asked, as if the file ended there; other calls are not
    /// touched.
    ShortRead,
}

impl Fault {
    /// The disk is full.
    pub fn enospc() -> Fault {
        Fault::Error(Errno::NOSPC)
    }

    /// The disk is broken.
    pub fn eio() -> Fault {
        Fault::Error(Errno::IO)
    }
}

/// What happens to later calls of the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// They work.
    Recover,
    /// They fail the same way: the disk stays full, or dead.
    KeepFailing,
}

/// A host that fails on request.
#[derive(Debug)]
pub struct FaultyHost {
    inner: Arc<dyn Host>,
    state: Arc<State>,
    /// What is said to be free on every filesystem, in bytes; none for what is.
    free: Option<u64>,
    /// Whether two files can change places in one step.
    exchanges: bool,
}

/// What a call of a [`FaultyHost::telling`] sets off.
type Told = Box<dyn Fn() + Send + Sync>;

struct State {
    plan: Option<(Calls, usize, Fault, Then)>,
    /// Before this call of this class somebody is told, once.
    tells: Option<(Calls, usize, Told)>,
    /// Only calls for names that hold these words fail or are told of.
    only: Option<&'static str>,
    /// Whether two files can have blocks in common, whatever the filesystem can.
    shares: bool,
    counted: Mutex<Counted>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("plan", &self.plan).finish()
    }
}

#[derive(Debug, Default)]
struct Counted {
    /// What was called so far, one entry a call.
    calls: Vec<Call>,
    /// How many of them were of the plan's class.
    of_class: usize,
    /// Bytes written, copied and cloned.
    written: u64,
    /// Bytes cloned.
    shared: u64,
    /// The first call that failed.
    struck: Option<String>,
}

/// What a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Read,
    Allocate,
    Change,
    Sync,
}

impl Calls {
    fn contains(self, call: Call) -> bool {
        match self {
            Calls::Reading => call == Call::Read,
            Calls::Mutating => call != Call::Read,
            Calls::Allocating => call == Call::Allocate,
            Calls::Syncing => call == Call::Sync,
            Calls::All => true,
        }
    }
}

impl State {
    /// Counts a call; the fault if its turn has come.
    fn next(&self, call: Call, path: &Path, words: impl FnOnce() -> String) -> Option<Fault> {
        let mut counted = self.counted.lock().unwrap();
        counted.calls.push(call);
        let class = match (&self.plan, &self.tells) {
            (Some((class, ..)), _) | (None, Some((class, ..))) => *class,
            (None, None) => return None,
        };
        let named = |part: &str| path.to_string_lossy().contains(part);
        if !class.contains(call) || !self.only.is_none_or(named) {
            return None;
        }
        let turn = counted.of_class;
        counted.of_class += 1;
        if let Some((_, nth, tell)) = &self.tells
            && turn == *nth
        {
            counted.struck = Some(format!("before call {turn} of {class:?}, {}", words()));
            drop(counted);
            tell();
            return None;
        }
        let (class, nth, fault, then) = self.plan?;
        let strikes = turn == nth || (turn > nth && then == Then::KeepFailing);
        if strikes && counted.struck.is_none() {
            counted.struck = Some(format!("call {turn} of {class:?}, {}: {fault:?}", words()));
        }
        strikes.then_some(fault)
    }

    /// Counts a call that is neither read nor write; fails it if its turn has come.
    fn pass(&self, call: Call, path: &Path, words: impl FnOnce() -> String) -> io::Result<()> {
        match self.next(call, path, words) {
            Some(Fault::Error(errno) | Fault::Partly(errno)) => Err(errno.into()),
            Some(Fault::ShortRead) | None => Ok(()),
        }
    }

    fn wrote(&self, bytes: u64) {
        self.counted.lock().unwrap().written += bytes;
    }
}

impl FaultyHost {
    /// Fails nothing, counts everything.
    pub fn counting(inner: Arc<dyn Host>) -> Self {
        Self::planned(inner, None)
    }

    /// Fails the call number `nth` (from 0) of a class.
    pub fn failing(
        inner: Arc<dyn Host>,
        class: Calls,
        nth: usize,
        fault: Fault,
        then: Then,
    ) -> Self {
        Self::planned(inner, Some((class, nth, fault, then)))
    }

    /// Fails nothing; calls `tell` before the call number `nth` (from 0) of a class.
    pub fn telling(
        inner: Arc<dyn Host>,
        class: Calls,
        nth: usize,
        tell: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self::made(inner, None, Some((class, nth, Box::new(tell))))
    }

    /// Only calls for files whose names hold these words fail, or are told of.
    pub fn only(mut self, part: &'static str) -> Self {
        let state = Arc::get_mut(&mut self.state).unwrap();
        state.only = Some(part);
        self
    }

    /// The same on a filesystem where files can have blocks in common: they are copied.
    pub fn sharing(mut self) -> Self {
        let state = Arc::get_mut(&mut self.state).unwrap();
        state.shares = true;
        self
    }

    fn planned(inner: Arc<dyn Host>, plan: Option<(Calls, usize, Fault, Then)>) -> Self {
        Self::made(inner, plan, None)
    }

    fn made(
        inner: Arc<dyn Host>,
        plan: Option<(Calls, usize, Fault, Then)>,
        tells: Option<(Calls, usize, Told)>,
    ) -> Self {
        let state = State {
            plan,
            tells,
            only: None,
            shares: false,
            counted: Mutex::default(),
        };
        Self {
            inner,
            state: Arc::new(state),
            free: None,
            exchanges: true,
        }
    }

    /// Fails nothing, and says that so many bytes are free.
    pub fn with_free(inner: Arc<dyn Host>, free: u64) -> Self {
        Self {
            free: Some(free),
            ..Self::counting(inner)
        }
    }

    /// The same on filesystems where no two files change places in one step.
    pub fn without_exchange(self) -> Self {
        Self {
            exchanges: false,
            ..self
        }
    }

    /// Bytes written, copied and cloned so far.
    pub fn written(&self) -> u64 {
        self.state.counted.lock().unwrap().written
    }

    /// Bytes cloned so far.
    pub fn shared(&self) -> u64 {
        self.state.counted.lock().unwrap().shared
    }

    /// How many calls of a class there were.
    pub fn count(&self, class: Calls) -> usize {
        let counted = self.state.counted.lock().unwrap();
        let of_class = counted.calls.iter().filter(|call| class.contains(**call));
        of_class.count()
    }

    /// The first call that failed, in words; `None` if its turn never came.
    pub fn struck(&self) -> Option<String> {
        self.state.counted.lock().unwrap().struck.clone()
    }

    fn pass(&self, call: Call, name: &str, path: &Path) -> io::Result<()> {
        self.state
            .pass(call, path, || format!("{name} {}", path.display()))
    }

    fn wrap(&self, path: &Path, inner: Arc<dyn HostFile>) -> Arc<dyn HostFile> {
        Arc::new(FaultyFile {
            inner,
            state: Arc::clone(&self.state),
            path: path.to_owned(),
        })
    }
}

impl Host for FaultyHost {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn HostFile>> {
        self.pass(Call::Read, "open", path)?;
        Ok(self.wrap(path, self.inner.open(path, access)?))
    }
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn HostFile>> {
        self.pass(Call::Allocate, "create_new", path)?;
        Ok(self.wrap(path, self.inner.create_new(path)?))
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.inner.stat(path)
    }
    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        self.inner.stat_link(path)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(Call::Allocate, "rename_new", from)?;
        self.inner.rename_new(from, to)
    }
    fn exchange(&self, file: FileId, from: &Path, to: &Path) -> io::Result<()> {
        if !self.exchanges {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.pass(Call::Change, "exchange", from)?;
        self.inner.exchange(file, from, to)
    }
    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(Call::Allocate, "link_new", from)?;
        self.inner.link_new(from, to)
    }
    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(Call::Change, "rename_replace", from)?;
        self.inner.rename_replace(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.pass(Call::Change, "remove_file", path)?;
        self.inner.remove_file(path)
    }
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.pass(Call::Allocate, "create_dir", path)?;
        self.inner.create_dir(path, mode)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.pass(Call::Change, "remove_dir", path)?;
        self.inner.remove_dir(path)
    }
    fn list_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.pass(Call::Read, "list_dir", path)?;
        self.inner.list_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.pass(Call::Sync, "sync_dir", path)?;
        self.inner.sync_dir(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        let space = self.inner.space(path)?;
        Ok(Space {
            available: self.free.unwrap_or(space.available),
            ..space
        })
    }
    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.canonical(path)
    }
    fn may_write(&self, path: &Path) -> io::Result<()> {
        self.inner.may_write(path)
    }
    fn holders(&self, files: &[FileId]) -> HashMap<FileId, Vec<Holder>> {
        self.inner.holders(files)
    }
    fn now(&self) -> SystemTime {
        self.inner.now()
    }
}

/// A file of a [`FaultyHost`].
#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn HostFile>,
    state: Arc<State>,
    path: PathBuf,
}

impl FaultyFile {
    fn words(&self, name: &str, offset: u64, len: u64) -> String {
        format!("{name} {} at {offset:#x}, {len} bytes", self.path.display())
    }
}

impl FaultyFile {
    /// As filesystems do it: whole blocks, all of which the source has.
    fn share(&self, source: &dyn HostFile, from: u64, to: u64, len: u64) -> io::Result<Cloned> {
        let is_aligned = [from, to, len].iter().all(|n| n.is_multiple_of(4096));
        if !is_aligned || from + len > source.len()? {
            return Ok(Cloned::Unsupported);
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        source.read_padded(&mut bytes, from)?;
        self.inner.write_at(&bytes, to)?;
        Ok(Cloned::Done)
    }
}

impl HostFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let words = || self.words("read_at", offset, buf.len() as u64);
        match self.state.next(Call::Read, &self.path, words) {
            Some(Fault::Error(errno) | Fault::Partly(errno)) => Err(errno.into()),
            Some(Fault::ShortRead) => {
                let half = buf.len() / 2;
                self.inner.read_at(buf.get_mut(..half).unwrap(), offset)
            }
            None => self.inner.read_at(buf, offset),
        }
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let words = || self.words("write_at", offset, buf.len() as u64);
        match self.state.next(Call::Allocate, &self.path, words) {
            Some(Fault::Error(errno)) => Err(errno.into()),
            Some(Fault::Partly(errno)) => {
                // A disk tears no sector: what is put down ends where one does.
                let half = offset + buf.len() as u64 / 2;
                let half = (half / SECTOR * SECTOR).saturating_sub(offset);
                self.inner
                    .write_at(buf.get(..usize::try_from(half).unwrap()).unwrap(), offset)?;
                Err(errno.into())
            }
            Some(Fault::ShortRead) | None => {
                self.state.wrote(buf.len() as u64);
                self.inner.write_at(buf, offset)
            }
        }
    }
    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.state.pass(Call::Allocate, &self.path, || {
            self.words("zero", offset, len)
        })?;
        self.inner.zero(offset, len)
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.state.pass(Call::Change, &self.path, || {
            self.words("punch", offset, len)
        })?;
        self.inner.punch(offset, len)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.state.pass(Call::Allocate, &self.path, || {
            self.words("reserve", offset, len)
        })?;
        self.inner.reserve(offset, len)
    }
    fn clone_range(
        &self,
        source: &dyn HostFile,
        from: u64,
        to: u64,
        len: u64,
    ) -> io::Result<Cloned> {
        self.state.pass(Call::Allocate, &self.path, || {
            self.words("clone_range", to, len)
        })?;
        let done = match self.state.shares {
            true => self.share(source, from, to, len)?,
            false => self.inner.clone_range(source, from, to, len)?,
        };
        if done == Cloned::Done {
            self.state.wrote(len);
            self.state.counted.lock().unwrap().shared += len;
        }
        Ok(done)
    }
    fn copy_range(
        &self,
        source: &dyn HostFile,
        from: u64,
        to: u64,
        len: u64,
    ) -> io::Result<Cloned> {
        self.state.pass(Call::Allocate, &self.path, || {
            self.words("copy_range", to, len)
        })?;
        let done = self.inner.copy_range(source, from, to, len)?;
        if done == Cloned::Done {
            self.state.wrote(len);
        }
        Ok(done)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state
            .pass(Call::Allocate, &self.path, || self.words("set_len", len, 0))?;
        self.inner.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn flush(&self) -> io::Result<()> {
        self.state
            .pass(Call::Sync, &self.path, || self.words("flush", 0, 0))?;
        self.inner.flush()
    }
    fn segment_at(&self, offset: u64) -> io::Result<Segment> {
        self.state.pass(Call::Read, &self.path, || {
            self.words("segment_at", offset, 0)
        })?;
        self.inner.segment_at(offset)
    }
    fn shared_bytes(&self, range: Range<u64>) -> io::Result<Option<u64>> {
        let len = range.end.saturating_sub(range.start);
        self.state.pass(Call::Read, &self.path, || {
            self.words("shared_bytes", range.start, len)
        })?;
        self.inner.shared_bytes(range)
    }
    fn stat(&self) -> io::Result<Stat> {
        self.inner.stat()
    }
    fn lock(&self, want: LockSet) -> io::Result<Lock> {
        self.inner.lock(want)
    }
    fn probe_lock(&self, want: LockSet) -> io::Result<LockProbe> {
        self.inner.probe_lock(want)
    }
    fn locks_seen(&self) -> io::Result<LocksSeen> {
        self.inner.locks_seen()
    }
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.fd()
    }
}
