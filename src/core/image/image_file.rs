//! An open file with its name: what fails on it is an error that names the file and what was tried.

use std::fmt::{self, Display};
use std::path::Path;
use std::sync::Arc;

use crate::host::{Access, Cloned, Host, HostFile, Segment, Stat};
use crate::image::error::{IoContext, Result};

/// An open file with its name. A copy of it is the same open file.
///
/// The methods are those of [`HostFile`]. `action` is what an error says could not be done.
#[derive(Clone)]
pub struct ImageFile {
    path: Arc<Path>,
    file: Arc<dyn HostFile>,
}

impl fmt::Debug for ImageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageFile({})", self.path.display())
    }
}

/// Errors are made of it as of its name.
impl AsRef<Path> for ImageFile {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl ImageFile {
    /// A file that is open already. `path` is for errors.
    #[must_use]
    pub fn new(path: &Path, file: Arc<dyn HostFile>) -> Self {
        Self {
            path: path.into(),
            file,
        }
    }

    /// Opens an existing file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(host: &dyn Host, path: &Path, access: Access) -> Result<Self> {
        let action = match access {
            Access::Read => "open",
            Access::ReadWrite => "open for writing",
        };
        Ok(Self::new(path, host.open(path, access).at(path, action)?))
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file without its name.
    #[must_use]
    pub fn host_file(&self) -> &Arc<dyn HostFile> {
        &self.file
    }

    pub(crate) fn read_at(
        &self,
        buf: &mut [u8],
        offset: u64,
        action: impl Display,
    ) -> Result<usize> {
        self.file.read_at(buf, offset).at(&self.path, action)
    }

    pub(crate) fn read_padded(
        &self,
        buf: &mut [u8],
        offset: u64,
        action: impl Display,
    ) -> Result<()> {
        self.file.read_padded(buf, offset).at(&self.path, action)
    }

    /// As [`ImageFile::read_padded`], of bytes that have no name.
    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.read_padded(buf, offset, format_args!("read at {offset:#x}"))
    }

    /// As [`ImageFile::write_at`], of bytes that have no name.
    pub(crate) fn write(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.write_at(buf, offset, format_args!("write at {offset:#x}"))
    }

    pub(crate) fn write_at(&self, buf: &[u8], offset: u64, action: impl Display) -> Result<()> {
        self.file.write_at(buf, offset).at(&self.path, action)
    }

    pub(crate) fn zero(&self, offset: u64, len: u64, action: impl Display) -> Result<()> {
        self.file.zero(offset, len).at(&self.path, action)
    }

    pub(crate) fn punch(&self, offset: u64, len: u64, action: impl Display) -> Result<()> {
        self.file.punch(offset, len).at(&self.path, action)
    }

    pub(crate) fn reserve(&self, offset: u64, len: u64, action: impl Display) -> Result<bool> {
        self.file.reserve(offset, len).at(&self.path, action)
    }

    pub(crate) fn clone_range(
        &self,
        source: &Self,
        from: u64,
        to: u64,
        len: u64,
    ) -> Result<Cloned> {
        self.file
            .clone_range(&*source.file, from, to, len)
            .at(&self.path, format_args!("clone to {to:#x}"))
    }

    pub(crate) fn copy_range(&self, source: &Self, from: u64, to: u64, len: u64) -> Result<Cloned> {
        self.file
            .copy_range(&*source.file, from, to, len)
            .at(&self.path, format_args!("copy to {to:#x}"))
    }

    pub(crate) fn set_len(&self, len: u64, action: impl Display) -> Result<()> {
        self.file.set_len(len).at(&self.path, action)
    }

    pub(crate) fn len(&self) -> Result<u64> {
        self.file.len().at(&self.path, "ask the length")
    }

    pub(crate) fn segment_at(&self, offset: u64) -> Result<Segment> {
        self.file
            .segment_at(offset)
            .at(&self.path, "look for holes")
    }

    /// Which file it is, how long, when it was changed.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn stat(&self, action: impl Display) -> Result<Stat> {
        self.file.stat().at(&self.path, action)
    }

    pub(crate) fn flush(&self) -> Result<()> {
        self.file.flush().at(&self.path, "flush")
    }
}
