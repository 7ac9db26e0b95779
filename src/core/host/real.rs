//! [`RealHost`]: names and directories of this Linux. Open files are in `real_file`.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, accessat, fsync, linkat, lstat, open,
    openat, renameat_with, stat, statvfs, unlinkat,
};
use rustix::io::Errno;

use super::closed::{ClosedProcess, closed_processes};
use super::confined::{permit, permit_opened};
use super::device;
use super::file::{Access, HostFile};
use super::holder::Holder;
use super::holders::holders_of;
use super::interface::{Host, Space};
use super::real_file::{RealFile, kind_of, refuse_unless_bytes, stat_of};
use super::renamed::{rename_by_link, require_named};
use super::stat::{FileId, FileKind, Stat};

/// The machine this program runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealHost;

impl Host for RealHost {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn HostFile>> {
        permit(path)?;
        // Asked before opening, since opening a device can act on it (a tape rewinds); asked again
        // of the descriptor, since the name may lead elsewhere by then.
        let file_type = FileType::from_raw_mode(stat(path)?.st_mode);
        refuse_unless_bytes(kind_of(file_type), file_type)?;
        let flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match access {
            Access::ReadWrite => {
                // A device that is mounted, or part of another one, is the kernel's to write: `open(2)`, O_EXCL.
                let claim = match file_type {
                    FileType::BlockDevice => OFlags::EXCL,
                    _ => OFlags::empty(),
                };
                retry(|| open(path, flags | claim | OFlags::RDWR, Mode::empty()))?
            }
            Access::Read => {
                let flags = flags | OFlags::RDONLY;
                match retry(|| open(path, flags | OFlags::NOATIME, Mode::empty())) {
                    // Only the owner may leave the access time alone.
                    Err(Errno::PERM) => retry(|| open(path, flags, Mode::empty()))?,
                    other => other?,
                }
            }
        };
        permit_opened(&fd)?;
        Ok(Arc::new(RealFile::new(fd)?))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn HostFile>> {
        create(path, 0o644)
    }

    fn create_private(&self, path: &Path) -> io::Result<Arc<dyn HostFile>> {
        create(path, 0o600)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        permit(path)?;
        Ok(with_device_len(&stat(path)?))
    }

    fn born(&self, path: &Path) -> io::Result<Option<SystemTime>> {
        Ok(fs::metadata(path)?.created().ok())
    }

    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        Ok(with_device_len(&lstat(path)?))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rename_without_flag(from, to),
            Err(errno) => Err(errno.into()),
        }
    }

    fn rename_new_of(&self, file: FileId, from: &Path, to: &Path) -> io::Result<()> {
        let ((from_dir, from), (to_dir, to)) = (folder_of(from)?, folder_of(to)?);
        require_named(file, &from_dir, from)?;
        let rename = |from_dir: &OwnedFd, from: &OsStr, to_dir: &OwnedFd, to: &OsStr| {
            renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE)
        };
        match rename(&from_dir, from, &to_dir, to) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                return rename_by_link(file, (&from_dir, from), (&to_dir, to));
            }
            Err(errno) => return Err(errno.into()),
        }
        require_named(file, &to_dir, to).inspect_err(|_| {
            // It was put there between the two calls; where it cannot go back it is not lost.
            let _ = rename(&to_dir, to, &from_dir, from);
        })
    }

    fn exchange(&self, file: FileId, from: &Path, to: &Path) -> io::Result<()> {
        let ((from_dir, from), (to_dir, to)) = (folder_of(from)?, folder_of(to)?);
        let swap = || renameat_with(&from_dir, from, &to_dir, to, RenameFlags::EXCHANGE);
        require_named(file, &from_dir, from)?;
        match swap() {
            Ok(()) => {}
            Err(errno @ (Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, errno));
            }
            Err(errno) => return Err(errno.into()),
        }
        require_named(file, &to_dir, to).inspect_err(|_| {
            // It was put there between the two calls.
            let _ = swap();
        })
    }

    fn remove_file_of(&self, file: FileId, path: &Path) -> io::Result<()> {
        let (dir, name) = folder_of(path)?;
        require_named(file, &dir, name)?;
        Ok(unlinkat(&dir, name, AtFlags::empty())?)
    }

    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::hard_link(from, to) {
            // What filesystems without hard links answer.
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, error))
            }
            other => other,
        }
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::DirBuilder::new().mode(mode).create(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        permit(path)?;
        fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry(|| open(path, flags, Mode::empty()))?;
        match retry(|| fsync(&fd)) {
            // Network and FUSE filesystems without the call.
            Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let filesystem = retry(|| statvfs(path))?;
        Ok(Space {
            device: stat(path)?.st_dev,
            available: filesystem.f_bavail.saturating_mul(filesystem.f_frsize),
            total: filesystem.f_blocks.saturating_mul(filesystem.f_frsize),
        })
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn may_write(&self, path: &Path) -> io::Result<()> {
        let mut wanted = rustix::fs::Access::WRITE_OK;
        match FileType::from_raw_mode(stat(path)?.st_mode) {
            FileType::Directory => wanted |= rustix::fs::Access::EXEC_OK,
            FileType::BlockDevice => {
                let flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::EXCL | OFlags::RDONLY;
                retry(|| open(path, flags, Mode::empty()))?;
            }
            _ => {}
        }
        match accessat(CWD, path, wanted, AtFlags::EACCESS) {
            // Kernels that ask for the real user only; this program changes neither.
            Err(Errno::NOSYS | Errno::INVAL) => Ok(accessat(CWD, path, wanted, AtFlags::empty())?),
            other => Ok(other?),
        }
    }

    fn holders(&self, files: &[FileId]) -> HashMap<FileId, Vec<Holder>> {
        holders_of(files)
    }

    fn closed_processes(&self) -> Vec<ClosedProcess> {
        closed_processes()
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The folder a file is in, reached from the root without following a link, and the file's name.
fn folder_of(path: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let not_plain = || io::Error::new(io::ErrorKind::InvalidInput, "not a plain absolute path");
    let (Some(dir), Some(name), true) = (path.parent(), path.file_name(), path.is_absolute())
    else {
        return Err(not_plain());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = open("/", flags, Mode::empty())?;
    for part in dir.components() {
        at = match part {
            Component::RootDir => continue,
            Component::Normal(name) => openat(&at, name, flags, Mode::empty())?,
            _ => return Err(not_plain()),
        };
    }
    Ok((at, name))
}

fn create(path: &Path, mode: u32) -> io::Result<Arc<dyn HostFile>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = retry(|| open(path, flags, Mode::from_raw_mode(mode)))?;
    Ok(Arc::new(RealFile::new(fd)?))
}

/// For filesystems that cannot be told not to replace anything (NFS).
fn rename_without_flag(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(from)?.is_dir() {
        true => make_then_replace(from, to),
        false => link_then_unlink(from, to),
    }
}

/// A directory replaces none but an empty one: that is made first, which never replaces anything. Interrupted
/// between the two, the new name is that of an empty directory.
fn make_then_replace(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::rename(from, to)
}

/// A hard link never replaces anything; then the old name goes. Interrupted between the two, the file has both
/// names and has lost nothing.
fn link_then_unlink(from: &Path, to: &Path) -> io::Result<()> {
    match linkat(CWD, from, CWD, to, AtFlags::empty()) {
        Ok(()) => fs::remove_file(from),
        Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::MLINK) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this filesystem cannot rename without the risk of overwriting",
        )),
        Err(errno) => Err(errno.into()),
    }
}

/// [`stat_of`] with the size of a block device, which the kernel tells without the device being opened.
fn with_device_len(stat: &rustix::fs::Stat) -> Stat {
    let mut result = stat_of(stat);
    if result.kind == FileKind::BlockDevice {
        result.len = device::length(stat.st_rdev);
    }
    result
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn opening_never_blocks_on_a_pipe_and_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        for access in [Access::Read, Access::ReadWrite] {
            let error = RealHost.open(&pipe, access).unwrap_err();
            assert!(error.to_string().contains("a named pipe"), "{error}");
        }
        let error = RealHost.open(dir.path(), Access::Read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        let error = RealHost
            .open(Path::new("/dev/null"), Access::Read)
            .unwrap_err();
        assert!(error.to_string().contains("character device"), "{error}");
    }

    #[test]
    fn opening_never_creates() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        let error = RealHost.open(&path, Access::ReadWrite).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!path.exists());
    }

    #[test]
    fn creating_overwrites_nothing_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("f"), dir.path().join("link"));
        symlink(dir.path().join("elsewhere"), &link).unwrap();
        RealHost.create_new(&path).unwrap();
        for taken in [&path, &link] {
            let error = RealHost.create_new(taken).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn a_new_name_is_never_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, c) = (
            dir.path().join("a"),
            dir.path().join("b"),
            dir.path().join("c"),
        );
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
        for rename in [RealHost.rename_new(&a, &b), link_then_unlink(&a, &b)] {
            assert_eq!(rename.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(&b).unwrap(), b"b");
        RealHost.rename_new(&a, &c).unwrap();
        link_then_unlink(&c, &a).unwrap();
        assert!(a.exists() && !c.exists());
        RealHost.rename_replace(&a, &b).unwrap();
        assert_eq!(fs::read(&b).unwrap(), b"a");
        RealHost.remove_file(&b).unwrap();
        assert!(RealHost.list_dir(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn a_directory_gets_another_name_and_replaces_nothing_with_a_flag_for_that_and_without() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        type Rename = fn(&Path, &Path) -> io::Result<()>;
        let renames: [Rename; 2] = [
            |from, to| RealHost.rename_new(from, to),
            rename_without_flag,
        ];
        for rename in renames {
            fs::create_dir_all(at("new/inside")).unwrap();
            fs::create_dir(at("empty")).unwrap();
            fs::write(at("file"), "").unwrap();
            for taken in ["empty", "file"] {
                let error = rename(&at("new"), &at(taken)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            }
            rename(&at("new"), &at("to")).unwrap();
            assert!(at("to/inside").is_dir() && !at("new").exists());
            for name in ["to/inside", "to", "empty"] {
                fs::remove_dir(at(name)).unwrap();
            }
        }
    }

    #[test]
    fn directories_are_made_listed_synced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        RealHost.create_dir(&sub, 0o700).unwrap();
        assert_eq!(
            fs::metadata(&sub).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert!(RealHost.create_dir(&sub, 0o700).is_err());
        RealHost.sync_dir(&sub).unwrap();
        assert_eq!(RealHost.list_dir(dir.path()).unwrap(), ["sub"]);
        RealHost.remove_dir(&sub).unwrap();
        assert!(RealHost.sync_dir(&sub).is_err());
    }

    #[test]
    fn stat_tells_one_file_under_many_names() {
        let dir = tempfile::tempdir().unwrap();
        let (path, hard, soft) = (
            dir.path().join("f"),
            dir.path().join("h"),
            dir.path().join("s"),
        );
        fs::write(&path, [1; 5000]).unwrap();
        fs::hard_link(&path, &hard).unwrap();
        symlink(&path, &soft).unwrap();
        let stat = RealHost.stat(&path).unwrap();
        assert_eq!(
            (stat.len, stat.links, stat.kind),
            (5000, 2, FileKind::Regular)
        );
        assert_eq!(RealHost.stat(&soft).unwrap(), stat);
        assert_eq!(RealHost.stat(&hard).unwrap(), stat);
        assert_eq!(RealHost.stat_link(&soft).unwrap().kind, FileKind::Symlink);
        assert_eq!(
            RealHost
                .open(&soft, Access::Read)
                .unwrap()
                .stat()
                .unwrap()
                .id,
            stat.id
        );
        let real = fs::metadata(&path).unwrap();
        assert_eq!(stat.modified, real.modified().unwrap());
        assert_eq!(
            RealHost.canonical(&soft).unwrap(),
            fs::canonicalize(&path).unwrap()
        );
        let space = RealHost.space(&path).unwrap();
        assert!(space.available <= space.total && space.device == stat.id.device);
    }

    #[test]
    fn a_file_is_only_renamed_or_removed_where_it_is_that_file_and_no_link_leads_there() {
        let dir = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(dir.path()).unwrap();
        let at = |name: &str| top.join(name);
        fs::create_dir(at("d")).unwrap();
        symlink("d", at("link")).unwrap();
        fs::write(at("d/a"), "one").unwrap();
        fs::write(at("d/other"), "two").unwrap();
        symlink("a", at("d/to-a")).unwrap();
        let id = RealHost.stat(&at("d/a")).unwrap().id;
        for (from, to) in [
            ("d/other", "d/new"),
            ("d/to-a", "d/new"),
            ("link/a", "d/new"),
            ("d/a", "link/new"),
            ("d/a", "d/other"),
        ] {
            RealHost.rename_new_of(id, &at(from), &at(to)).unwrap_err();
        }
        for path in ["d/other", "d/to-a", "link/a"] {
            RealHost.remove_file_of(id, &at(path)).unwrap_err();
        }
        RealHost
            .remove_file_of(id, Path::new("d/../d/a"))
            .unwrap_err();
        let names = RealHost.list_dir(&at("d")).unwrap().len();
        assert_eq!(
            (names, fs::read(at("d/other")).unwrap()),
            (3, b"two".to_vec())
        );
        RealHost.rename_new_of(id, &at("d/a"), &at("b")).unwrap();
        RealHost.remove_file_of(id, &at("b")).unwrap();
        assert!(!at("b").exists() && !at("d/a").exists());
    }
}
