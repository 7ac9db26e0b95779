//! The only floor that makes system calls: files, directories, locks, clones, holes, who holds what.
//!
//! Everything above sees a host through two small traits, [`Host`] and [`HostFile`], so that a test
//! can record, cut short, reorder or fail every call. Nothing here knows what an image is.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Which file this is, whatever name led to it: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// Device number, as `stat` gives it.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
}

/// What kind of thing a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A symbolic link (only from calls that do not follow links).
    Symlink,
    /// A pipe, a socket, a character device.
    Other,
}

/// What `stat` tells about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Device and inode.
    pub id: FileId,
    /// What kind of thing it is.
    pub kind: FileKind,
    /// Length in bytes. For a block device this is the device's size.
    pub len: u64,
    /// Bytes allocated on disk (`st_blocks` times 512).
    pub allocated: u64,
    /// Time of the last change of content.
    pub modified: SystemTime,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links.
    pub links: u64,
}

/// How a file is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading only; the file's access time is left alone where the system allows.
    Read,
    /// Reading and writing an existing file. Never creates, never truncates.
    ReadWrite,
}

/// What a range copy could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cloned {
    /// The range is shared or was copied inside the kernel; nothing more to do.
    Done,
    /// This pair of files or this alignment cannot do it: read and write instead.
    Unsupported,
}

/// What lies at an offset of a host file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Bytes that may differ from zero, up to this offset (exclusive).
    Data(u64),
    /// A hole that reads as zero, up to this offset (exclusive; the file's length for the last one).
    Hole(u64),
}

/// One open file. All offsets and lengths are in bytes; every method may be called from any thread.
pub trait HostFile: Send + Sync + fmt::Debug {
    /// Reads at `offset` until `buf` is full or the file ends; returns how much was read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes the whole of `buf` at `offset`, extending the file where needed.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the range read as zero without changing the file's length unless the range passes it;
    /// by the cheapest way there is (punch, zero range, writing zeros).
    fn zero(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Gives the range's blocks back to the filesystem; it reads as zero afterwards. A filesystem
    /// that cannot do it leaves the range as it was and returns `Ok`: the caller must not rely on
    /// the zeros.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Shares `len` bytes of `source` at `from` as this file's bytes at `to` (FICLONERANGE).
    fn clone_range(
        &self,
        source: &dyn HostFile,
        from: u64,
        to: u64,
        len: u64,
    ) -> io::Result<Cloned>;
    /// Copies inside the kernel (copy_file_range).
    fn copy_range(&self, source: &dyn HostFile, from: u64, to: u64, len: u64)
    -> io::Result<Cloned>;
    /// Sets the file's length; growth reads as zero.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The file's length; for a block device the device's size.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Waits until everything written before is on stable storage (fdatasync).
    fn fence(&self) -> io::Result<()>;
    /// What lies at `offset` (SEEK_DATA / SEEK_HOLE). Filesystems without holes answer `Data(len)`.
    /// At or past the end: `Hole(u64::MAX)`.
    fn segment_at(&self, offset: u64) -> io::Result<Segment>;
    /// `fstat`.
    fn stat(&self) -> io::Result<Stat>;
    /// Takes QEMU's image locks on this file, or says who stands in the way.
    /// They are released when the returned guard and the file are both dropped.
    fn lock(&self, want: LockSet) -> io::Result<Lock>;
    /// Would [`HostFile::lock`] succeed now? Takes nothing.
    fn probe_lock(&self, want: LockSet) -> io::Result<LockProbe>;
    /// The concrete file behind the trait, for calls that need two of a kind.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// Which of QEMU's lock bytes to take (QEMU's `file-posix`, observed with 10.0.2). Byte `100 + n`
/// says "I use permission n", byte `200 + n` says "I allow nobody else permission n", where n is
/// 0 consistent-read, 1 write, 2 write-unchanged, 3 resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockSet {
    /// As QEMU opens an image read-write: 100 101 103 and 201 203.
    ReadWrite,
    /// As QEMU opens an image read-only, and every backing file: 100 and 201 203.
    ReadOnly,
}

/// The answer to a wish for a lock.
#[derive(Debug)]
pub enum Lock {
    /// Held, until this guard is dropped.
    Held(LockGuard),
    /// Somebody else's use of the file forbids it.
    Busy(Conflict),
    /// The filesystem knows no open-file-description locks.
    Unsupported,
}

/// The answer to a question about a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockProbe {
    /// It could be taken.
    Free,
    /// Somebody else's use of the file forbids it.
    Busy(Conflict),
    /// The filesystem knows no open-file-description locks.
    Unsupported,
}

/// Why a lock cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conflict {
    /// Whether another process writes the file (holds byte 101).
    pub writer: bool,
    /// The processes that hold the file, as far as `/proc` shows them.
    pub holders: Vec<Holder>,
}

/// A process that holds a file open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// The command's name, control characters escaped.
    pub command: String,
    /// Whether it has the file open for writing.
    pub writes: bool,
    /// Whether it holds record locks on the file, as QEMU does.
    pub locks: bool,
}

/// Keeps a lock; what it needs to release is inside.
pub struct LockGuard {
    /// Dropped to release.
    _release: Option<Box<dyn Send + Sync>>,
}

impl LockGuard {
    /// A guard that drops `release` when the lock is to go.
    #[must_use]
    pub fn new(release: Option<Box<dyn Send + Sync>>) -> Self {
        Self { _release: release }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockGuard")
    }
}

/// Bytes on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Device number, to tell filesystems apart.
    pub device: u64,
    /// Bytes an unprivileged writer may still use.
    pub available: u64,
    /// Size of the filesystem in bytes.
    pub total: u64,
}

/// The machine: names, directories, and the files behind them.
pub trait Host: Send + Sync + fmt::Debug {
    /// Opens an existing regular file or block device. Never blocks on a pipe, never creates.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn HostFile>>;
    /// Creates a file that did not exist (`O_EXCL`, no link followed), readable and writable.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn HostFile>>;
    /// `stat`, links followed.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// `lstat`.
    fn stat_link(&self, path: &Path) -> io::Result<Stat>;
    /// Renames within one filesystem; fails with `AlreadyExists` if `to` exists.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames within one filesystem, replacing `to` in one step.
    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Creates one directory with the given permission bits; fails if it exists.
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, unsorted.
    fn list_dir(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// Waits until the names in this directory are on stable storage.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Free space where `path` lives.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// The path with all links resolved.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;
    /// The time now.
    fn now(&self) -> SystemTime;
}
