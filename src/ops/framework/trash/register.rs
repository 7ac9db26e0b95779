//! Which trash folders there are: one small file each in the state directory, named by a hash of
//! the folder's path, so that two programs writing at once cannot lose each other's entries.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::forest::TRASH_FOLDER;
use crate::host::{Access, Host};

/// Longer than any path the system takes.
const MAX_PATH: usize = 8192;

fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join("trash-folders")
}

fn file(state_dir: &Path, folder: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    hasher.write(folder.as_os_str().as_bytes());
    dir(state_dir).join(format!("{:016x}", hasher.finish()))
}

/// Creates a directory and those above it that are missing, for the owner only.
fn create_dirs(host: &dyn Host, path: &Path) -> io::Result<()> {
    match host.create_dir(path, 0o700) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_dirs(host, path.parent().ok_or(error)?)?;
            host.create_dir(path, 0o700)
        }
        Err(error) => Err(error),
    }
}

/// Writes down that there is a trash folder here.
pub(super) fn add(host: &dyn Host, state_dir: &Path, folder: &Path) -> io::Result<()> {
    let folder = host.canonical(folder)?;
    create_dirs(host, &dir(state_dir))?;
    let entry = match host.create_new(&file(state_dir, &folder)) {
        Ok(entry) => entry,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    };
    entry.write_at(folder.as_os_str().as_bytes(), 0)?;
    entry.flush()?;
    host.sync_dir(&dir(state_dir))
}

/// Forgets a trash folder that is no more; `folder` as [`add`] resolved it. Best effort: an entry
/// that leads nowhere does no harm.
pub(super) fn forget(host: &dyn Host, state_dir: &Path, folder: &Path) {
    let _ = host.remove_file(&file(state_dir, folder));
}

/// The folders written down, whether they are still there or not.
pub(super) fn all(host: &dyn Host, state_dir: &Path) -> Vec<PathBuf> {
    let Ok(names) = host.list_dir(&dir(state_dir)) else {
        return Vec::new();
    };
    names
        .iter()
        .filter_map(|name| {
            let entry = host.open(&dir(state_dir).join(name), Access::Read).ok()?;
            let mut path = vec![0; MAX_PATH];
            let read = entry.read_at(&mut path, 0).ok()?;
            path.truncate(read);
            let path = PathBuf::from(OsString::from_vec(path));
            // An entry cut short by a crash, or written by hand, names no trash folder.
            let is_one =
                path.is_absolute() && path.file_name().is_some_and(|name| name == TRASH_FOLDER);
            is_one.then_some(path)
        })
        .collect()
}
