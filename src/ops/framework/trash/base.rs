//! What an image in the trash was built on: written down when it goes, and again whenever an operation of ours
//! has kept what it shows, so that a restore can tell whether anything else happened since.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::{Access, Host};
use crate::image::{self, BackingName, ImageFile, Probe, taken_from, where_it_is};
use crate::ops::framework::preconditions::FileVersion;

use super::file_name::Name;

/// A base, and what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ops) struct Base {
    /// Where it is outside the trash.
    path: Name,
    seen: FileVersion,
}

impl Base {
    /// What the image at this path is built on now; none if it is built on nothing that is there.
    pub(super) fn of(host: &dyn Host, path: &Path) -> Option<Self> {
        let base = base_of(host, path)?;
        let seen = FileVersion::now(host, &base).ok()?;
        Some(Self {
            path: Name::from(home(&base).as_os_str()),
            seen,
        })
    }
}

/// What the image at this path is built on, wherever that is now.
pub(in crate::ops) fn base_of(host: &dyn Host, path: &Path) -> Option<PathBuf> {
    let file = ImageFile::open(host, path, Access::Read).ok()?;
    let Probe::Qcow2(_, Some(backing)) = image::probe(&file).ok()? else {
        return None;
    };
    let named = BackingName::interpret(path, &backing.recorded);
    let named = named.file()?;
    // `a/../b` is the same place as `b`, unless there are links; what is gone has no other name.
    let named = host.canonical(named).unwrap_or_else(|_| {
        let dir = named.parent().and_then(|dir| host.canonical(dir).ok());
        match (dir, named.file_name()) {
            (Some(dir), Some(name)) => dir.join(name),
            _ => named.to_path_buf(),
        }
    });
    Some(where_it_is(host, path, named))
}

fn home(path: &Path) -> PathBuf {
    taken_from(path).unwrap_or_else(|| path.to_path_buf())
}

/// What became of the base of an image in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) enum Since {
    /// It is what it was, or the image is built on nothing.
    Same,
    /// It has another name now, and the image knows it by that.
    Moved(PathBuf),
    /// It was written.
    Written(PathBuf, FileVersion),
    /// Another file has its name.
    Replaced(PathBuf),
    /// It is in the trash itself.
    InTrash(PathBuf),
    /// It is not there.
    Missing(PathBuf),
    /// Nothing was written down of it.
    Unknown(PathBuf),
}

/// What became of the base of the image at `path`, of which `then` was written down.
pub(in crate::ops) fn since(host: &dyn Host, path: &Path, then: Option<&Base>) -> Since {
    let Some(base) = base_of(host, path) else {
        return Since::Same;
    };
    let Ok(now) = FileVersion::now(host, &base) else {
        return Since::Missing(base);
    };
    match then {
        _ if taken_from(&base).is_some() => Since::InTrash(base),
        None => Since::Unknown(base),
        Some(then) if !then.seen.is_same_file(&now) => Since::Replaced(base),
        Some(then) if then.seen != now => Since::Written(base, now),
        Some(then) if Name::from(home(&base).as_os_str()) != then.path => Since::Moved(base),
        Some(_) => Since::Same,
    }
}
