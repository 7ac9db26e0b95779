//! [`RecordingHost`]: a host that records every change below one directory, so that a test can look
//! at every state a crash might leave there.
//!
//! ```ignore
//! let host = Arc::new(RecordingHost::new(dir));       // keeps a copy of the directory as it is now
//! operation(&host);                                   // the real thing, on the real files
//! host.mark("done");                                  // from here on its effect must be there
//! let log = host.log();
//! for state in log.crash_states(500, seed) {          // deterministic; at most 500 of them
//!     let after = log.replay(&state);                 // a temporary directory: the disk after it
//!     // open, check and compare the images in after.path();
//!     // state.passed("done") tells whether the crash came after the mark
//!     // on failure print log.describe(&state)
//! }
//! ```
//!
//! # What a crash may do
//! Changes are recorded in one global order (a lock around each makes it exact, also with threads).
//! A crash comes between two of them, at the *cut*. Then
//! - changes of a file's bytes or length before that file's last flush before the cut are there;
//! - every other such change before the cut is there, or not, each on its own; a write that covers
//!   more than one sector of 512 bytes may also be torn: some of its sectors are there, the others
//!   keep what they had (or zeros, where the write extended the file). A write inside one aligned
//!   sector is never torn;
//! - changes of names (create, rename, remove, make and remove directory) are there up to some point
//!   in their order, as a journal keeps it. That point is not before the last change whose
//!   directories (a rename has up to two) were all synced after it and before the cut. Flushing a
//!   file does not make its name durable;
//! - names and bytes are independent: a file may be there under its new name without its bytes.
//!
//! This is stricter than ext4 and XFS are, and about what POSIX allows on a journalled filesystem.
//! Not modelled: a rename of which only one half is there, a sector torn in itself, owner, mode and
//! extended attributes of created files. Backing names in images should be relative, since the
//! states live in other directories.
//!
//! Changes of names outside the directory are refused (`PermissionDenied`), and so is opening a
//! file there for writing; reading is not recorded and works everywhere.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use qanopy::host::{
    Access, Cloned, FileId, Holder, Host, HostFile, Lock, LockProbe, LockSet, LocksSeen, RealHost,
    Segment, Space, Stat,
};

/// The unit a disk writes in one piece.
const SECTOR: u64 = 512;

/// Which file of a recording: a number that stays with the file through renames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNo(pub usize);

/// One change. Paths are relative to the recorded directory (which itself is the empty path).
#[derive(Debug, Clone)]
pub enum Event {
    /// Bytes of a file; what a range was cloned or copied to is recorded as this, too.
    Write {
        /// Which file.
        file: FileNo,
        /// Where.
        offset: u64,
        /// What.
        data: Arc<[u8]>,
    },
    /// A range made zero, extending the file where it passes the end.
    Zero {
        /// Which file.
        file: FileNo,
        /// Where.
        offset: u64,
        /// How much.
        len: u64,
    },
    /// A range given back; the length stays.
    Punch {
        /// Which file.
        file: FileNo,
        /// Where.
        offset: u64,
        /// How much.
        len: u64,
    },
    /// A new length.
    SetLen {
        /// Which file.
        file: FileNo,
        /// The length.
        len: u64,
    },
    /// Everything before in this file is on disk.
    Flush {
        /// Which file.
        file: FileNo,
    },
    /// A new, empty file.
    Create {
        /// Its name.
        path: PathBuf,
        /// Which file.
        file: FileNo,
    },
    /// A name moved, replacing what was there.
    Rename {
        /// The old name.
        from: PathBuf,
        /// The new name.
        to: PathBuf,
    },
    /// Two files that have each other's name.
    Exchange {
        /// A name.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// A second name of a file.
    Link {
        /// The name it has.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// A name of a file gone.
    Remove {
        /// The name.
        path: PathBuf,
    },
    /// A new directory.
    CreateDir {
        /// Its name.
        path: PathBuf,
    },
    /// A directory gone.
    RemoveDir {
        /// Its name.
        path: PathBuf,
    },
    /// Names in this directory are on disk.
    SyncDir {
        /// The directory.
        path: PathBuf,
    },
    /// Something the test wants to find again.
    Mark(String),
}

impl Event {
    /// The file whose bytes or length change.
    fn data_of(&self) -> Option<FileNo> {
        match self {
            Event::Write { file, .. }
            | Event::Zero { file, .. }
            | Event::Punch { file, .. }
            | Event::SetLen { file, .. } => Some(*file),
            _ => None,
        }
    }

    /// The directories whose names change; none for other events.
    fn directories(&self) -> Vec<&Path> {
        let paths: Vec<&PathBuf> = match self {
            Event::Create { path, .. }
            | Event::Remove { path }
            | Event::CreateDir { path }
            | Event::RemoveDir { path } => vec![path],
            Event::Rename { from, to } => vec![from, to],
            Event::Exchange { one, other } => vec![one, other],
            Event::Link { to, .. } => vec![to],
            _ => vec![],
        };
        paths
            .into_iter()
            .map(|path| path.parent().unwrap_or(Path::new("")))
            .collect()
    }

    /// How many sectors a write covers; 1 for what cannot be torn.
    fn sectors(&self) -> u64 {
        match self {
            Event::Write { offset, data, .. } if !data.is_empty() => {
                (offset + data.len() as u64 - 1) / SECTOR - offset / SECTOR + 1
            }
            _ => 1,
        }
    }
}

/// What is under a name.
#[derive(Debug, Clone)]
enum Entry {
    File(FileNo),
    Directory,
    Symlink(PathBuf),
}

/// What came of a change that no flush covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is not on disk.
    Lost,
    /// It is on disk.
    There,
    /// The first so many sectors of a write are on disk (0: its length only).
    Head(u64),
    /// All but the first so many sectors are on disk.
    Tail(u64),
    /// Each sector is on disk or not, by this seed.
    Scattered(u64),
}

impl Fate {
    /// Whether sector number `n` of a write made it.
    fn keeps(self, n: u64) -> bool {
        match self {
            Fate::Lost => false,
            Fate::There => true,
            Fate::Head(count) => n < count,
            Fate::Tail(count) => n >= count,
            Fate::Scattered(seed) => Dice(seed ^ n.wrapping_mul(0x9e37_79b9)).roll(2) == 0,
        }
    }
}

/// A state a crash may leave: where it came, how far the names got, and which changes of bytes
/// made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CrashState {
    /// Events before this index had happened.
    pub cut: usize,
    /// So many changes of names are there.
    pub names: usize,
    /// The changes of bytes that are on disk at all, by index of their event.
    pub data: BTreeMap<usize, Fate>,
    /// The marks before the cut.
    pub marks: Vec<String>,
}

impl CrashState {
    /// Whether the crash came after this mark.
    pub fn passed(&self, mark: &str) -> bool {
        self.marks.iter().any(|passed| passed == mark)
    }
}

/// A host that records what happens below one directory.
#[derive(Debug)]
pub struct RecordingHost {
    root: PathBuf,
    tape: Arc<Tape>,
    initial: Arc<Initial>,
}

/// What was there when the recording began.
#[derive(Debug)]
struct Initial {
    entries: BTreeMap<PathBuf, Entry>,
    /// The content of file `n`, under the name `n`.
    contents: tempfile::TempDir,
    /// How many files there were.
    files: usize,
}

#[derive(Debug, Default)]
struct Tape {
    state: Mutex<TapeState>,
}

#[derive(Debug, Default)]
struct TapeState {
    events: Vec<Event>,
    numbers: HashMap<FileId, FileNo>,
    next: usize,
}

impl TapeState {
    /// A number for a file that was not there before; its inode may have been another's.
    fn new_number(&mut self, id: FileId) -> FileNo {
        let number = FileNo(self.next);
        self.next += 1;
        self.numbers.insert(id, number);
        number
    }

    fn number(&mut self, id: FileId) -> FileNo {
        match self.numbers.get(&id) {
            Some(number) => *number,
            None => self.new_number(id),
        }
    }
}

impl RecordingHost {
    /// Records from now on what happens below `root`, and keeps a copy of what is there.
    pub fn new(root: impl AsRef<Path>) -> Self {
        let root = fs::canonicalize(root).unwrap();
        let mut state = TapeState::default();
        let mut entries = BTreeMap::new();
        let contents = tempfile::tempdir().unwrap();
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(root.join(&directory)).unwrap() {
                let path = directory.join(entry.unwrap().file_name());
                let full = root.join(&path);
                let stat = fs::symlink_metadata(&full).unwrap();
                if stat.is_dir() {
                    entries.insert(path.clone(), Entry::Directory);
                    directories.push(path);
                } else if stat.is_symlink() {
                    entries.insert(path, Entry::Symlink(fs::read_link(&full).unwrap()));
                } else {
                    let id = FileId {
                        device: stat.dev(),
                        inode: stat.ino(),
                    };
                    let known = state.numbers.contains_key(&id);
                    let number = state.number(id);
                    if !known {
                        copy_sparse(&full, &contents.path().join(number.0.to_string()));
                    }
                    entries.insert(path, Entry::File(number));
                }
            }
        }
        let initial = Initial {
            entries,
            contents,
            files: state.next,
        };
        Self {
            root,
            tape: Arc::new(Tape {
                state: Mutex::new(state),
            }),
            initial: Arc::new(initial),
        }
    }

    /// Notes on the tape that the test has come to a point it wants to ask for later.
    pub fn mark(&self, name: &str) {
        let mut tape = self.tape.state.lock().unwrap();
        tape.events.push(Event::Mark(name.into()));
    }

    /// What happened so far.
    pub fn log(&self) -> Log {
        Log {
            events: self.tape.state.lock().unwrap().events.clone(),
            initial: Arc::clone(&self.initial),
        }
    }

    /// A path below the root, relative to it; links in its directory are resolved, one in its last
    /// part is not.
    fn relative(&self, path: &Path) -> io::Result<PathBuf> {
        let outside = || {
            let words = format!("{} is outside the recorded directory", path.display());
            io::Error::new(io::ErrorKind::PermissionDenied, words)
        };
        let absolute = std::path::absolute(path)?;
        if fs::canonicalize(&absolute).is_ok_and(|path| path == self.root) {
            return Ok(PathBuf::new());
        }
        let parent = fs::canonicalize(absolute.parent().ok_or_else(outside)?)?;
        let full = parent.join(absolute.file_name().ok_or_else(outside)?);
        full.strip_prefix(&self.root)
            .map(Path::to_owned)
            .map_err(|_| outside())
    }

    /// Does something and writes it down, both in one step.
    fn record(&self, event: Event, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut tape = self.tape.state.lock().unwrap();
        act()?;
        tape.events.push(event);
        Ok(())
    }
}

impl Host for RecordingHost {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn HostFile>> {
        if access == Access::ReadWrite {
            self.relative(&fs::canonicalize(path)?)?;
        }
        let inner = RealHost.open(path, access)?;
        let file = self.tape.state.lock().unwrap().number(inner.stat()?.id);
        Ok(Arc::new(RecordingFile {
            inner,
            file,
            tape: Arc::clone(&self.tape),
        }))
    }
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn HostFile>> {
        let name = self.relative(path)?;
        let mut tape = self.tape.state.lock().unwrap();
        let inner = RealHost.create_new(path)?;
        let file = tape.new_number(inner.stat()?.id);
        tape.events.push(Event::Create { path: name, file });
        Ok(Arc::new(RecordingFile {
            inner,
            file,
            tape: Arc::clone(&self.tape),
        }))
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        RealHost.stat(path)
    }
    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        RealHost.stat_link(path)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let event = Event::Rename {
            from: self.relative(from)?,
            to: self.relative(to)?,
        };
        self.record(event, || RealHost.rename_new(from, to))
    }
    fn exchange(&self, file: FileId, from: &Path, to: &Path) -> io::Result<()> {
        let event = Event::Exchange {
            one: self.relative(from)?,
            other: self.relative(to)?,
        };
        self.record(event, || RealHost.exchange(file, from, to))
    }
    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let event = Event::Link {
            from: self.relative(from)?,
            to: self.relative(to)?,
        };
        self.record(event, || RealHost.link_new(from, to))
    }
    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let event = Event::Rename {
            from: self.relative(from)?,
            to: self.relative(to)?,
        };
        self.record(event, || RealHost.rename_replace(from, to))
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let event = Event::Remove {
            path: self.relative(path)?,
        };
        self.record(event, || RealHost.remove_file(path))
    }
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        let event = Event::CreateDir {
            path: self.relative(path)?,
        };
        self.record(event, || RealHost.create_dir(path, mode))
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let event = Event::RemoveDir {
            path: self.relative(path)?,
        };
        self.record(event, || RealHost.remove_dir(path))
    }
    fn list_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        RealHost.list_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let event = Event::SyncDir {
            path: self.relative(&fs::canonicalize(path)?)?,
        };
        self.record(event, || RealHost.sync_dir(path))
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        RealHost.space(path)
    }
    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        RealHost.canonical(path)
    }
    fn may_write(&self, path: &Path) -> io::Result<()> {
        RealHost.may_write(path)
    }
    fn holders(&self, files: &[FileId]) -> HashMap<FileId, Vec<Holder>> {
        RealHost.holders(files)
    }
    fn now(&self) -> SystemTime {
        RealHost.now()
    }
}

/// A file of a [`RecordingHost`].
#[derive(Debug)]
struct RecordingFile {
    inner: Arc<dyn HostFile>,
    file: FileNo,
    tape: Arc<Tape>,
}

impl RecordingFile {
    fn record(&self, event: Event, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut tape = self.tape.state.lock().unwrap();
        act()?;
        tape.events.push(event);
        Ok(())
    }

    /// Clones or copies, then writes down what arrived.
    fn transfer(
        &self,
        to: u64,
        len: u64,
        act: impl FnOnce() -> io::Result<Cloned>,
    ) -> io::Result<Cloned> {
        let mut tape = self.tape.state.lock().unwrap();
        let done = act()?;
        if done == Cloned::Done {
            let mut data = vec![0; usize::try_from(len).unwrap()];
            let n = self.inner.read_at(&mut data, to)?;
            data.truncate(n);
            tape.events.push(Event::Write {
                file: self.file,
                offset: to,
                data: data.into(),
            });
        }
        Ok(done)
    }
}

impl HostFile for RecordingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let event = Event::Write {
            file: self.file,
            offset,
            data: buf.into(),
        };
        self.record(event, || self.inner.write_at(buf, offset))
    }
    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let file = self.file;
        let event = Event::Zero { file, offset, len };
        self.record(event, || self.inner.zero(offset, len))
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let file = self.file;
        let event = Event::Punch { file, offset, len };
        self.record(event, || self.inner.punch(offset, len))
    }
    /// The blocks are not modelled, only the length.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<bool> {
        let mut tape = self.tape.state.lock().unwrap();
        let reserved = self.inner.reserve(offset, len)?;
        if reserved {
            let (file, len) = (self.file, self.inner.len()?);
            tape.events.push(Event::SetLen { file, len });
        }
        Ok(reserved)
    }
    fn clone_range(
        &self,
        source: &dyn HostFile,
        from: u64,
        to: u64,
        len: u64,
    ) -> io::Result<Cloned> {
        self.transfer(to, len, || self.inner.clone_range(source, from, to, len))
    }
    fn copy_range(
        &self,
        source: &dyn HostFile,
        from: u64,
        to: u64,
        len: u64,
    ) -> io::Result<Cloned> {
        self.transfer(to, len, || self.inner.copy_range(source, from, to, len))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let file = self.file;
        self.record(Event::SetLen { file, len }, || self.inner.set_len(len))
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn flush(&self) -> io::Result<()> {
        let file = self.file;
        self.record(Event::Flush { file }, || self.inner.flush())
    }
    fn segment_at(&self, offset: u64) -> io::Result<Segment> {
        self.inner.segment_at(offset)
    }
    fn shared_bytes(&self, range: Range<u64>) -> io::Result<Option<u64>> {
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

/// What happened, and what was there before.
#[derive(Debug, Clone)]
pub struct Log {
    events: Vec<Event>,
    initial: Arc<Initial>,
}

/// What may still be lost at a cut.
struct Pending {
    /// Changes of bytes that a flush covers.
    kept: Vec<usize>,
    /// Changes of bytes that none does.
    open: Vec<usize>,
    /// So many changes of names are surely there.
    names_min: usize,
    /// So many changes of names happened.
    names_max: usize,
}

impl Log {
    /// Everything that happened, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many events there are; the largest cut.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// At most `budget` different states that a crash may leave, always the same ones for one seed:
    /// for every cut everything there, nothing there that may be missing, and the two mixtures of
    /// bytes and names; then (for up to half of what is left of the budget) each single open change
    /// missing or alone; then random subsets, with torn writes. A budget too small for all cuts
    /// takes cuts at random.
    pub fn crash_states(&self, budget: usize, seed: u64) -> impl Iterator<Item = CrashState> {
        let mut dice = Dice(seed);
        let cuts: Vec<Pending> = (0..=self.events.len())
            .map(|cut| self.pending(cut))
            .collect();

        let mut corners = Vec::new();
        let mut singles = Vec::new();
        for (cut, pending) in cuts.iter().enumerate() {
            let all = || pending.open.iter().map(|event| (*event, Fate::There));
            for names in [pending.names_max, pending.names_min] {
                corners.push(self.state(cut, pending, names, all()));
                corners.push(self.state(cut, pending, names, std::iter::empty()));
                for one in &pending.open {
                    let rest = all().filter(|(event, _)| event != one);
                    singles.push((cut, names, rest.collect::<Vec<_>>()));
                    singles.push((cut, names, vec![(*one, Fate::There)]));
                }
            }
        }

        let mut seen = HashSet::new();
        let mut states = Vec::new();
        let mut add = |states: &mut Vec<CrashState>, state: CrashState| {
            // The marks belong to the state: what must hold depends on them.
            if seen.insert((state.names, state.data.clone(), state.marks.len())) {
                states.push(state);
            }
        };
        if corners.len() > budget {
            dice.shuffle(&mut corners);
        }
        for state in corners {
            if states.len() < budget {
                add(&mut states, state);
            }
        }
        dice.shuffle(&mut singles);
        let until = states.len() + (budget - states.len()).div_ceil(2);
        for (cut, names, fates) in singles {
            if states.len() < until {
                let pending = cuts.get(cut).unwrap();
                add(
                    &mut states,
                    self.state(cut, pending, names, fates.into_iter()),
                );
            }
        }
        // Where all there is has been seen, more dice would roll for ever.
        let mut tries = budget.saturating_mul(4);
        while states.len() < budget && tries > 0 {
            tries -= 1;
            let cut = dice.below(cuts.len());
            let pending = cuts.get(cut).unwrap();
            let names = pending.names_min + dice.below(pending.names_max - pending.names_min + 1);
            // From "nearly all lost" to "nearly all there".
            let weight = 1 + dice.roll(7);
            let fates: Vec<_> = pending
                .open
                .iter()
                .map(|event| (*event, self.random_fate(*event, weight, &mut dice)))
                .collect();
            add(
                &mut states,
                self.state(cut, pending, names, fates.into_iter()),
            );
        }
        states.into_iter()
    }

    fn random_fate(&self, event: usize, weight: u64, dice: &mut Dice) -> Fate {
        let sectors = self.events.get(event).unwrap().sectors();
        if sectors > 1 && dice.roll(4) == 0 {
            return match dice.roll(3) {
                0 => Fate::Head(dice.roll(sectors)),
                1 => Fate::Tail(1 + dice.roll(sectors - 1)),
                _ => Fate::Scattered(dice.roll(u64::MAX)),
            };
        }
        if dice.roll(8) < weight {
            Fate::There
        } else {
            Fate::Lost
        }
    }

    /// A state with these fates of open changes; those not named are lost.
    fn state(
        &self,
        cut: usize,
        pending: &Pending,
        names: usize,
        fates: impl Iterator<Item = (usize, Fate)>,
    ) -> CrashState {
        let kept = pending.kept.iter().map(|event| (*event, Fate::There));
        let marks = self
            .events
            .iter()
            .take(cut)
            .filter_map(|event| match event {
                Event::Mark(name) => Some(name.clone()),
                _ => None,
            });
        CrashState {
            cut,
            names,
            data: kept
                .chain(fates.filter(|(_, fate)| *fate != Fate::Lost))
                .collect(),
            marks: marks.collect(),
        }
    }

    /// What may be lost by a crash before event number `cut`.
    fn pending(&self, cut: usize) -> Pending {
        let past = || self.events.iter().enumerate().take(cut);
        let mut flushed: HashMap<FileNo, usize> = HashMap::new();
        let mut synced: HashMap<&Path, usize> = HashMap::new();
        for (index, event) in past() {
            match event {
                Event::Flush { file } => drop(flushed.insert(*file, index)),
                Event::SyncDir { path } => drop(synced.insert(path, index)),
                _ => {}
            }
        }
        let mut pending = Pending {
            kept: Vec::new(),
            open: Vec::new(),
            names_min: 0,
            names_max: 0,
        };
        for (index, event) in past() {
            if let Some(file) = event.data_of() {
                if flushed.get(&file).is_some_and(|flush| *flush > index) {
                    pending.kept.push(index);
                } else {
                    pending.open.push(index);
                }
            }
            let directories = event.directories();
            if !directories.is_empty() {
                pending.names_max += 1;
                let durable = |path: &&Path| synced.get(path).is_some_and(|sync| *sync > index);
                if directories.iter().all(durable) {
                    pending.names_min = pending.names_max;
                }
            }
        }
        pending
    }

    /// The state in which everything before `cut` is on disk.
    pub fn everything_before(&self, cut: usize) -> CrashState {
        let pending = self.pending(cut);
        let all = pending.open.iter().map(|event| (*event, Fate::There));
        self.state(cut, &pending, pending.names_max, all)
    }

    /// Makes a state real in a new temporary directory.
    pub fn replay(&self, state: &CrashState) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        self.replay_into(state, dir.path());
        dir
    }

    /// Makes a state real in an empty directory.
    pub fn replay_into(&self, state: &CrashState, into: &Path) {
        let mut entries = self.initial.entries.clone();
        let names = self
            .events
            .iter()
            .filter(|event| !event.directories().is_empty());
        for event in names.take(state.names) {
            rename_in(&mut entries, event);
        }
        let mut first_names: HashMap<FileNo, PathBuf> = HashMap::new();
        for (path, entry) in &entries {
            let full = into.join(path);
            match entry {
                Entry::Directory => fs::create_dir_all(&full).unwrap(),
                Entry::Symlink(target) => std::os::unix::fs::symlink(target, &full).unwrap(),
                Entry::File(number) => match first_names.get(number) {
                    Some(first) => fs::hard_link(first, &full).unwrap(),
                    None => {
                        self.write_content(state, *number, &full);
                        first_names.insert(*number, full);
                    }
                },
            }
        }
    }

    fn write_content(&self, state: &CrashState, number: FileNo, path: &Path) {
        if number.0 < self.initial.files {
            let initial = self.initial.contents.path().join(number.0.to_string());
            copy_sparse(&initial, path);
        } else {
            fs::File::create_new(path).unwrap();
        }
        let file = RealHost.open(path, Access::ReadWrite).unwrap();
        for (index, fate) in &state.data {
            let event = self.events.get(*index).unwrap();
            if event.data_of() == Some(number) {
                apply(&*file, event, *fate);
            }
        }
    }

    /// The state in words, for the message of a failed test.
    pub fn describe(&self, state: &CrashState) -> String {
        let mut text = format!(
            "crash before event {} of {}, {} names changed",
            state.cut,
            self.events.len(),
            state.names
        );
        for (index, event) in self.events.iter().enumerate().take(state.cut) {
            let fate = match (event.data_of(), state.data.get(&index)) {
                (None, _) => String::new(),
                (Some(_), None) => "  LOST".into(),
                (Some(_), Some(Fate::There)) => String::new(),
                (Some(_), Some(torn)) => format!("  TORN {torn:?}"),
            };
            let what = match event {
                Event::Write { file, offset, data } => {
                    format!("write file {} at {offset:#x}, {} bytes", file.0, data.len())
                }
                other => format!("{other:?}"),
            };
            let _ = write!(text, "\n  {index:4} {what}{fate}");
        }
        text
    }
}

/// Changes names as an event says.
fn rename_in(entries: &mut BTreeMap<PathBuf, Entry>, event: &Event) {
    match event {
        Event::Create { path, file } => {
            entries.insert(path.clone(), Entry::File(*file));
        }
        Event::CreateDir { path } => {
            entries.insert(path.clone(), Entry::Directory);
        }
        Event::Remove { path } | Event::RemoveDir { path } => {
            entries.remove(path);
        }
        Event::Link { from, to } => {
            let entry = entries.get(from).unwrap().clone();
            entries.insert(to.clone(), entry);
        }
        Event::Exchange { one, other } => {
            let (first, second) = (entries[one].clone(), entries[other].clone());
            entries.insert(one.clone(), second);
            entries.insert(other.clone(), first);
        }
        Event::Rename { from, to } => {
            let below: Vec<PathBuf> = entries
                .keys()
                .filter(|path| path.starts_with(from))
                .cloned()
                .collect();
            for path in below {
                let entry = entries.remove(&path).unwrap();
                let rest = path.strip_prefix(from).unwrap();
                // Joining an empty path would add a slash.
                let new = if rest.as_os_str().is_empty() {
                    to.clone()
                } else {
                    to.join(rest)
                };
                entries.insert(new, entry);
            }
        }
        _ => {}
    }
}

/// Does to a file what an event says, as far as it got.
fn apply(file: &dyn HostFile, event: &Event, fate: Fate) {
    match event {
        Event::Write { offset, data, .. } => {
            if fate == Fate::There {
                file.write_at(data, *offset).unwrap();
                return;
            }
            let end = offset + data.len() as u64;
            if file.len().unwrap() < end {
                file.set_len(end).unwrap();
            }
            for n in (0..event.sectors()).filter(|n| fate.keeps(*n)) {
                let start = ((offset / SECTOR + n) * SECTOR).max(*offset);
                let stop = ((offset / SECTOR + n + 1) * SECTOR).min(end);
                let range = usize::try_from(start - offset).unwrap()
                    ..usize::try_from(stop - offset).unwrap();
                file.write_at(data.get(range).unwrap(), start).unwrap();
            }
        }
        Event::Zero { offset, len, .. } => file.zero(*offset, *len).unwrap(),
        Event::Punch { offset, len, .. } => {
            // A punch that a filesystem ignored would still have been one here.
            let len = (*len).min(file.len().unwrap().saturating_sub(*offset));
            file.zero(*offset, len).unwrap();
        }
        Event::SetLen { len, .. } => file.set_len(*len).unwrap(),
        other => panic!("{other:?} changes no bytes"),
    }
}

/// Copies a file with its holes and its mode.
fn copy_sparse(from: &Path, to: &Path) {
    let source = RealHost.open(from, Access::Read).unwrap();
    let target = RealHost.create_new(to).unwrap();
    let len = source.len().unwrap();
    target.set_len(len).unwrap();
    let mut offset = 0;
    while offset < len {
        offset = match source.segment_at(offset).unwrap() {
            Segment::Hole(end) => end,
            Segment::Data(end) => {
                let end = end.min(offset + (1 << 20));
                let mut data = vec![0; usize::try_from(end - offset).unwrap()];
                let n = source.read_at(&mut data, offset).unwrap();
                target.write_at(data.get(..n).unwrap(), offset).unwrap();
                end
            }
        };
    }
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
}

/// A small generator of numbers that look random (splitmix64), the same everywhere.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides.max(1)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll(end as u64)).unwrap()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

/// A digest of everything below a directory: names, kinds, bytes. Two states with the same digest
/// need one check only.
pub fn digest_tree(root: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        for path in paths {
            path.strip_prefix(root).unwrap().hash(&mut hasher);
            let stat = fs::symlink_metadata(&path).unwrap();
            if stat.is_symlink() {
                fs::read_link(&path).unwrap().hash(&mut hasher);
            } else if stat.is_dir() {
                directories.push(path);
            } else {
                fs::read(&path).unwrap().hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}
