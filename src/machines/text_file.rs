//! Files of others, read within bounds: whoever wrote them may have written anything.

use std::io;
use std::path::{Path, PathBuf};

use crate::host::{Access, Host};

/// A definition is no longer than this.
const MAX_BYTES: usize = 4 << 20;
/// So many files of one folder are read at most.
const MAX_FILES: usize = 20_000;

/// The text of a file, what is no UTF-8 replaced.
///
/// # Errors
/// The system's; one of its own if the file is longer than 4 MiB.
pub(super) fn read(host: &dyn Host, path: &Path) -> io::Result<String> {
    let bytes = read_bytes(host, path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The bytes of a file. What the kernel makes up as it is read has no length beforehand.
///
/// # Errors
/// As [`read`].
pub(super) fn read_bytes(host: &dyn Host, path: &Path) -> io::Result<Vec<u8>> {
    let file = host.open(path, Access::Read)?;
    let mut bytes = Vec::new();
    loop {
        let begun = bytes.len();
        bytes.resize(begun + (64 << 10), 0);
        let rest = bytes.get_mut(begun..).unwrap_or_default();
        let read = file.read_at(rest, begun as u64)?;
        bytes.truncate(begun + read);
        if read == 0 {
            return Ok(bytes);
        }
        if bytes.len() > MAX_BYTES {
            let text = "it is longer than any definition";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
    }
}

/// The files and folders in a folder whose names end so, in order.
///
/// # Errors
/// The system's; one of its own if there are more than are read.
pub(super) fn list(host: &dyn Host, dir: &Path, ends: &str) -> io::Result<Vec<PathBuf>> {
    let mut names = host.list_dir(dir)?;
    names.retain(|name| name.as_encoded_bytes().ends_with(ends.as_bytes()));
    if names.len() > MAX_FILES {
        let text = "more definitions than are read";
        return Err(io::Error::other(text));
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// What was found in a folder that need not be there: a product that is not installed has none.
///
/// # Errors
/// As [`list`].
pub(super) fn list_if_there(host: &dyn Host, dir: &Path, ends: &str) -> io::Result<Vec<PathBuf>> {
    match list(host, dir, ends) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        other => other,
    }
}

/// The text of a file that need not be there.
pub(super) fn read_if_there(host: &dyn Host, path: &Path) -> Option<io::Result<String>> {
    match read(host, path) {
        Err(error) if is_absent(&error) => None,
        read => Some(read),
    }
}

/// The last component of a path, what is no UTF-8 replaced.
pub(super) fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Whether there is no such file or folder.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
