//! An image that guest bytes are written into, qcow2 or raw: one set of verbs for both.

use std::path::Path;

use crate::host::{Access, Host};
use crate::image::error::{OfFile, Result};
use crate::image::internal::index;
use crate::image::read::qcow2_layer::read_header;
use crate::image::write::transfer::{FilePosition, Transfer};
use crate::image::{
    Chain, Error, ErrorKind, Format, ImageFile, ProgressSink, Root, Source, State, Writer,
    data_file_path, require_sound, writable,
};
use crate::qcow2::Header;
use crate::qcow2::limits::MAX_CLUSTER_BITS;

/// What a raw file is allocated in.
const BLOCK: u64 = 4096;

/// Bytes that go through memory at a time: the largest cluster.
const THROUGH: u64 = 1 << MAX_CLUSTER_BITS;

/// An image opened for having its guest bytes changed.
#[derive(Debug)]
pub enum Target {
    /// A qcow2 image.
    Qcow2(Box<Writer>),
    /// A raw image.
    Raw(RawWriter),
}

/// A raw image opened for writing.
#[derive(Debug)]
pub struct RawWriter {
    file: ImageFile,
    transfer: Transfer,
}

impl Target {
    /// Opens the top image of `view` for writing; the rest of `view` is what it is built on. A
    /// qcow2 image is checked first: on metadata that cannot be trusted nothing is written. An
    /// encrypted one has to be unlocked in `view`.
    ///
    /// # Errors
    /// When it cannot be opened or read, may not be written (locked, unknown features, dirty,
    /// corrupt), or the check finds corruptions.
    pub fn open(
        host: &dyn Host,
        path: &Path,
        format: &Format,
        view: Chain,
        root: Root,
        progress: &dyn ProgressSink,
    ) -> Result<Self> {
        let file = ImageFile::open(host, path, Access::ReadWrite)?;
        match format {
            Format::Raw => Ok(Self::Raw(RawWriter {
                file,
                transfer: Transfer::new(),
            })),
            Format::Qcow2 => {
                let header = read_header(&file)?;
                writable(path, &header)?;
                let data = open_data_file(host, path, &header)?;
                let found = require_sound(&file, progress)?;
                Ok(Self::Qcow2(Box::new(Writer::open(
                    &file,
                    data,
                    view,
                    found.tables,
                    root,
                )?)))
            }
            other => Err(Error::new(
                path,
                ErrorKind::UnsupportedFormat(other.clone()),
            )),
        }
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Qcow2(writer) => writer.path(),
            Self::Raw(raw) => raw.file.path(),
        }
    }

    /// What is stored or not as a whole, in bytes: a cluster, or a block of most filesystems.
    #[must_use]
    pub fn unit(&self) -> u64 {
        match self {
            Self::Qcow2(writer) => writer.header().geometry.cluster_size(),
            Self::Raw(_) => BLOCK,
        }
    }

    /// To be called once before the first write: see [`Writer::begin`].
    ///
    /// # Errors
    /// As there.
    pub fn begin(&mut self) -> Result<()> {
        match self {
            Self::Qcow2(writer) => writer.begin(),
            Self::Raw(_) => Ok(()),
        }
    }

    /// To be called instead of [`Target::begin`] where no view changes: see
    /// [`Writer::begin_same_content`].
    ///
    /// # Errors
    /// As there.
    pub fn begin_same_content(&mut self) -> Result<()> {
        match self {
            Self::Qcow2(writer) => writer.begin_same_content(),
            Self::Raw(_) => Ok(()),
        }
    }

    /// As [`Writer::compress`]; a raw image has no clusters.
    ///
    /// # Errors
    /// As there.
    pub fn compress(&mut self) -> Result<()> {
        match self {
            Self::Qcow2(writer) => writer.compress(),
            Self::Raw(raw) => Err(Error::new(
                &raw.file,
                ErrorKind::UnsupportedFormat(Format::Raw),
            )),
        }
    }

    /// As [`Writer::expect_backing_size`].
    pub fn expect_backing_size(&mut self, size: u64) {
        if let Self::Qcow2(writer) = self {
            writer.expect_backing_size(size);
        }
    }

    /// As [`Writer::empty`]; a raw image has nothing below it and cannot be emptied.
    ///
    /// # Errors
    /// As there.
    pub fn empty(&mut self) -> Result<()> {
        match self {
            Self::Qcow2(writer) => writer.empty(),
            Self::Raw(raw) => Err(Error::new(
                &raw.file,
                ErrorKind::UnsupportedFormat(Format::Raw),
            )),
        }
    }

    /// Makes the guest's disk at least `size` bytes large; what is new reads as zero.
    ///
    /// # Errors
    /// As [`Writer::grow`].
    pub fn grow(&mut self, size: u64) -> Result<()> {
        match self {
            Self::Qcow2(writer) => writer.grow(size),
            Self::Raw(raw) => {
                if raw.file.len()? < size {
                    raw.file.set_len(size, "grow")?;
                    raw.file.flush()?;
                }
                Ok(())
            }
        }
    }

    /// Writes guest bytes; each at most once between opening and the end.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn write(&mut self, guest: u64, len: u64, source: Source<'_>) -> Result<()> {
        match self {
            Self::Qcow2(writer) => writer.write(guest, len, source),
            Self::Raw(raw) => raw.write(guest, len, source),
        }
    }

    /// Makes guest bytes read as zero, without writing zeros where there is another way.
    ///
    /// # Errors
    /// As [`Writer::write_zeros`].
    pub fn write_zeros(&mut self, guest: u64, len: u64) -> Result<()> {
        match self {
            Self::Qcow2(writer) => writer.write_zeros(guest, len),
            Self::Raw(raw) => raw
                .file
                .zero(guest, len, format_args!("write zeros at {guest:#x}")),
        }
    }

    /// Makes the image below show through at these guest bytes again, where whole units allow; it shows
    /// the same there. Returns how many bytes that was. A raw image has nothing below it.
    ///
    /// # Errors
    /// As [`Writer::unallocate`].
    pub fn unallocate(&mut self, guest: u64, len: u64) -> Result<u64> {
        match self {
            Self::Qcow2(writer) => writer.unallocate(guest, len),
            Self::Raw(_) => Ok(0),
        }
    }

    /// Whether blocks of other files can be shared, as far as is known: true until it was tried.
    #[must_use]
    pub fn may_clone(&self) -> bool {
        match self {
            Self::Qcow2(writer) => writer.may_clone(),
            Self::Raw(raw) => raw.transfer.may_clone(),
        }
    }

    /// Writes what `layers` show at one resolved run: data is taken from where it is stored.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn write_from(
        &mut self,
        layer: &crate::image::Layer,
        extent: crate::image::Extent,
    ) -> Result<()> {
        match extent.state {
            State::Unallocated | State::Zero => self.write_zeros(extent.start, extent.len),
            State::Data { host } => {
                let Some(file) = layer.guest_file() else {
                    return self.write_through(layer, extent);
                };
                self.write(
                    extent.start,
                    extent.len,
                    Source::File { file, offset: host },
                )
            }
            State::Compressed { .. } => {
                // One cluster at most.
                let mut bytes = vec![0; index(extent.len).of(layer.path())?];
                layer.read(extent.state, extent.start, &mut bytes)?;
                self.write(extent.start, extent.len, Source::Bytes(&bytes))
            }
        }
    }

    /// Writes a run that only the layer itself can read.
    fn write_through(
        &mut self,
        layer: &crate::image::Layer,
        extent: crate::image::Extent,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        let mut at = extent.start;
        // In pieces that do not cut the target's clusters in two.
        while let Some(piece) = extent.clip(at, at - at % THROUGH + THROUGH) {
            bytes.resize(index(piece.len).of(layer.path())?, 0);
            layer.read(piece.state, piece.start, &mut bytes)?;
            self.write(piece.start, piece.len, Source::Bytes(&bytes))?;
            at = piece.end();
        }
        Ok(())
    }

    /// All that was written is on stable storage and reachable.
    ///
    /// # Errors
    /// When it cannot be made so; the image is readable all the same.
    pub fn finish(&mut self) -> Result<()> {
        match self {
            Self::Qcow2(writer) => writer.finish(),
            Self::Raw(raw) => raw.file.flush(),
        }
    }
}

impl RawWriter {
    fn write(&mut self, guest: u64, len: u64, source: Source<'_>) -> Result<()> {
        let to = FilePosition {
            file: &self.file,
            offset: guest,
        };
        match source {
            Source::Bytes(bytes) => self.transfer.write(bytes, to),
            Source::File { file, offset } => {
                self.transfer.run(FilePosition { file, offset }, to, len)
            }
        }
    }
}

/// The external data file of an image that has one, opened for writing.
fn open_data_file(host: &dyn Host, path: &Path, header: &Header) -> Result<Option<ImageFile>> {
    let Some(name) = data_file_path(path, header)? else {
        return Ok(None);
    };
    ImageFile::open(host, &name, Access::ReadWrite).map(Some)
}
