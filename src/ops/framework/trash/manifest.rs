//! What a manifest says, and how it is written and read. A manifest adds to what the names in the
//! trash tell already; nothing depends on it being there or being true.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::forest::Annotation;
use crate::host::{Access, FileKind, Host};
use crate::image::temporary_name;
use crate::ops::framework::preconditions::FileVersion;

use super::base::Base;
use super::file_name::Name;

/// More than a batch of a hundred thousand files needs.
const MAX_LEN: u64 = 64 << 20;

/// What one trash folder holds of one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Seconds since 1970, UTC.
    pub(super) discarded: u64,
    /// What was done: `discard`, `commit`.
    pub(super) reason: String,
    /// The files, in the order they were moved.
    pub(super) files: Vec<ManifestFile>,
}

/// One file of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestFile {
    /// Its name in its directory.
    pub(super) name: Name,
    /// Bytes it took on disk.
    pub(super) bytes: u64,
    /// Why it went.
    pub(super) why: String,
    /// Its turn in the whole batch, over all folders: it comes back in the opposite order.
    pub(super) turn: u64,
    /// What it was built on, if on anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<Base>,
    /// Which file it is, where another one may have come to lie in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<FileVersion>,
    /// What the notes of its folder said of it, which do not go with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) annotation: Option<Annotation>,
}

impl ManifestFile {
    /// Whether this is about the file that lies there now.
    pub(super) fn is_of(&self, host: &dyn Host, kept_at: &Path) -> bool {
        let Some(was) = &self.file else { return true };
        // What cannot be looked at is not known to be another one.
        FileVersion::now(host, kept_at)
            .map_or(true, |now| now.is_same_file(was) || now.is_alike(was))
    }
}

impl From<&Name> for OsString {
    fn from(name: &Name) -> Self {
        match name {
            Name::Text(text) => text.into(),
            Name::Bytes(bytes) => OsString::from_vec(bytes.clone()),
        }
    }
}

impl Manifest {
    /// Writes it to a temporary name, waits for it to be stable, and gives it its name. The
    /// directory still has to be synced.
    pub(super) fn write(&self, host: &dyn Host, path: &Path) -> io::Result<()> {
        host.rename_new(&self.aside(host, path)?, path)
    }

    /// Writes it over what is there, in one step.
    pub(super) fn replace(&self, host: &dyn Host, path: &Path) -> io::Result<()> {
        host.rename_replace(&self.aside(host, path)?, path)
    }

    fn aside(&self, host: &dyn Host, path: &Path) -> io::Result<PathBuf> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let temporary = temporary_name(path);
        let file = host.create_new(&temporary)?;
        file.write_at(&text, 0)?;
        file.flush()?;
        Ok(temporary)
    }

    /// Reads it; a manifest that is not one is an error of kind `InvalidData`.
    pub(super) fn read(host: &dyn Host, path: &Path) -> io::Result<Self> {
        if host.stat_link(path)?.kind != FileKind::Regular {
            let text = "it is no regular file";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let file = host.open(path, Access::Read)?;
        let len = file.len()?;
        if len > MAX_LEN {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the manifest is too long to be one",
            ));
        }
        let mut text = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let read = file.read_at(&mut text, 0)?;
        text.truncate(read);
        Ok(serde_json::from_slice(&text)?)
    }
}
