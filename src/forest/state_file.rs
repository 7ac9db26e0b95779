//! A file in the folder of what is remembered: changed by one run at a time, and replaced in one step.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::system::wait_for_lock;

/// How long another run that holds the file is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// A file of one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateFile {
    dir: PathBuf,
    name: &'static str,
}

impl StateFile {
    /// The file `NAME.jsonl` in the directory `dir`, neither of which need exist yet.
    pub(super) fn at(dir: impl Into<PathBuf>, name: &'static str) -> Self {
        Self {
            dir: dir.into(),
            name,
        }
    }

    fn beside(&self, ends: &str) -> PathBuf {
        self.dir.join(format!("{}{ends}", self.name))
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.beside(".jsonl")
    }

    /// Keeps other runs from changing it as long as what is returned is there.
    ///
    /// # Errors
    /// The system's own; `WouldBlock` if another run holds it for seconds.
    pub(super) fn lock(&self) -> io::Result<File> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.beside(".lock"))?;
        wait_for_lock(&lock, LOCK_PATIENCE)?;
        Ok(lock)
    }

    /// Replaces it, under its lock.
    ///
    /// # Errors
    /// The system's own.
    pub(super) fn replace(
        &self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        let new = self.beside(".jsonl.new");
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&new, self.path())?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Writes one line.
///
/// # Errors
/// The system's own.
pub(super) fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// A path in JSON: text where it is text, otherwise its bytes.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Name {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&Path> for Name {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }
}

impl From<Name> for PathBuf {
    fn from(name: Name) -> Self {
        match name {
            Name::Text(text) => Self::from(text),
            Name::Bytes(bytes) => Self::from(OsString::from_vec(bytes)),
        }
    }
}
