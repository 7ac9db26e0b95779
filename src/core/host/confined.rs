//! A process that may look at one folder only, wherever names and links lead.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static WITHIN: OnceLock<PathBuf> = OnceLock::new();

/// From here on this process opens and lists nothing outside the folder, which is given by its canonical name, and
/// keeps nothing of what it saw. The first call counts.
pub fn confine_to(dir: PathBuf) {
    let _ = WITHIN.set(dir);
}

/// The folder outside which nothing is looked at, if there is one.
#[must_use]
pub fn confined_to() -> Option<&'static Path> {
    WITHIN.get().map(PathBuf::as_path)
}

/// Whether this may be looked at, once all links are followed.
pub(super) fn permit(path: &Path) -> io::Result<()> {
    match confined_to() {
        Some(dir) => is_below(&fs::canonicalize(path)?, dir),
        None => Ok(()),
    }
}

/// The same of what was opened: its name may have come to lead elsewhere.
pub(super) fn permit_opened(fd: &OwnedFd) -> io::Result<()> {
    match confined_to() {
        Some(dir) => {
            let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
            is_below(&fs::read_link(name)?, dir)
        }
        None => Ok(()),
    }
}

fn is_below(path: &Path, dir: &Path) -> io::Result<()> {
    match path.starts_with(dir) {
        true => Ok(()),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}
