//! The trait [`Host`]: names, directories, free space, and the way to an open file. What an open
//! file can do is in `file`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::closed::ClosedProcess;
use super::file::{Access, HostFile};
use super::holder::Holder;
use super::stat::{FileId, FileKind, Stat};

/// Bytes on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Space {
    /// Device number, to tell filesystems apart.
    pub device: u64,
    /// Bytes an unprivileged writer may still use.
    pub available: u64,
    /// Size of the filesystem in bytes.
    pub total: u64,
}

/// The machine: names, directories, and the files behind them.
///
/// Errors are the system's own and do not name the path: the caller knows it.
pub trait Host: Send + Sync + fmt::Debug {
    /// Opens an existing regular file or block device, links followed. Never blocks on a pipe,
    /// never creates; anything else is `InvalidInput` with the kind in its text (a directory:
    /// `IsADirectory`).
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn HostFile>>;
    /// Creates a file that did not exist (`O_EXCL`, no link followed), readable and writable, with
    /// mode 0644 less the umask, as qemu-img does.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn HostFile>>;
    /// As [`Host::create_new`] with mode 0600, so that nobody else ever has it open; who may read it is
    /// said by [`limit_readers`](super::limit_readers). A host that keeps no modes creates it as any.
    fn create_private(&self, path: &Path) -> io::Result<Arc<dyn HostFile>> {
        self.create_new(path)
    }
    /// `stat`, links followed.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// When a file was made, links followed; none where the filesystem does not say.
    fn born(&self, _path: &Path) -> io::Result<Option<SystemTime>> {
        Ok(None)
    }
    /// `lstat`.
    fn stat_link(&self, path: &Path) -> io::Result<Stat>;
    /// Renames within one filesystem; fails with `AlreadyExists` if `to` exists. Where the
    /// filesystem cannot do this in one step the file has both names for a moment; where it cannot
    /// do it at all: `Unsupported`. `to` is never overwritten.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// As [`Host::rename_new`], of this very file and no other, both paths absolute: no symbolic link is
    /// followed in any part of them. Fails where `from` is a link or another file by now; what somebody
    /// put there in the last moment goes back.
    fn rename_new_of(&self, file: FileId, from: &Path, to: &Path) -> io::Result<()> {
        require_file(file, &self.stat_link(from)?)?;
        self.rename_new(from, to)
    }
    /// Gives this very file, found by `from`, the name `to`, and what has that name the other, in one step: at no
    /// instant is one of the names missing. Paths as for [`Host::rename_new_of`]. `Unsupported`, and nothing done,
    /// where the filesystem has no such step.
    fn exchange(&self, file: FileId, from: &Path, to: &Path) -> io::Result<()>;
    /// As [`Host::remove_file`], of this very file and no other, by an absolute path: no symbolic link is
    /// followed in any part of it.
    fn remove_file_of(&self, file: FileId, path: &Path) -> io::Result<()> {
        require_file(file, &self.stat_link(path)?)?;
        self.remove_file(path)
    }
    /// Gives a file a second name on the same filesystem (a hard link; a symbolic link as `from` is
    /// not followed); fails with `AlreadyExists` if `to` exists, with `CrossesDevices` or
    /// `Unsupported` where the two cannot be names of one file.
    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames within one filesystem, replacing `to` in one step.
    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Creates one directory with the given permission bits (less the umask); fails if it exists.
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, unsorted, without `.` and `..`.
    fn list_dir(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// Waits until the names in this directory are on stable storage. A filesystem that knows no
    /// such call answers `Ok`.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Free space where `path` lives; `path` must exist.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// The path with all links resolved.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;
    /// Whether this process may write into the file, or make and remove names in the directory, links
    /// followed. Opens nothing but a device, for reading.
    ///
    /// # Errors
    /// What writing would fail with: `EACCES` by the permissions, `EROFS` on a filesystem mounted
    /// read-only, `EPERM` where the file has the immutable flag, `EBUSY` where a device is mounted or part of
    /// another one.
    fn may_write(&self, path: &Path) -> io::Result<()>;
    /// Which other processes have these files open, found in one pass over `/proc`, best effort.
    /// A file that nobody has open is not in the answer. Having a file open does not mean using it
    /// as an image: look at [`Holder::locks`].
    fn holders(&self, files: &[FileId]) -> HashMap<FileId, Vec<Holder>>;
    /// The processes that do not show which files they have open, as those of other users; best effort. A host that runs
    /// none has none.
    fn closed_processes(&self) -> Vec<ClosedProcess> {
        Vec::new()
    }
    /// The time now.
    fn now(&self) -> SystemTime;
}

/// Fails unless it is that file.
pub(super) fn require_file(wanted: FileId, stat: &Stat) -> io::Result<()> {
    if stat.id == wanted && stat.kind != FileKind::Symlink {
        return Ok(());
    }
    Err(io::Error::other("it is another file by now"))
}
