//! A chain of layers as its guest sees it: the top layer first, each showing through where the ones
//! above hold nothing. Opened for reading only.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{Access, FileId, Host};
use crate::image::error::{OfFile, Result};
use crate::image::read::joined::{Joined, in_row};
use crate::image::read::probe::recognised;
use crate::image::read::qcow2_layer::Qcow2;
use crate::image::read::trashed::where_it_is;
use crate::image::{
    BackingName, BackingTarget, Error, ErrorKind, Extent, Format, ImageFile, Keys, Placed,
    ProgressSink, Raw, State, internal,
};
use crate::qcow2::Header;

/// Layers followed at most. QEMU runs out of file descriptors near a thousand.
pub const MAX_DEPTH: usize = 4096;

/// Bytes of a raw file that are tried to be read at a time where its holes cannot be asked for.
const BLIND: u64 = 1 << 16;

/// One image of a chain.
#[derive(Debug)]
pub enum Layer {
    /// A qcow2 image.
    Qcow2(Box<Qcow2>),
    /// A raw image.
    Raw(Raw),
}

impl Layer {
    /// Opens one image and nothing it is built on. An external data file is opened with it.
    ///
    /// # Errors
    /// When it cannot be read, or its content is closed to us.
    pub fn open(host: &dyn Host, path: &Path, format: &Format) -> Result<Self> {
        Self::open_within(host, path, format, &|_| true)
    }

    /// As [`Layer::open`]; before a data file is opened, `may_follow` is asked.
    ///
    /// # Errors
    /// As there, and when the data file may not be followed.
    pub fn open_within(
        host: &dyn Host,
        path: &Path,
        format: &Format,
        may_follow: &dyn Fn(&Path) -> bool,
    ) -> Result<Self> {
        let file = ImageFile::open(host, path, Access::Read)?;
        match format {
            Format::Raw => Ok(Self::Raw(Raw::open(&file)?)),
            Format::Qcow2 => {
                let header = crate::image::read::qcow2_layer::read_header(&file)?;
                let data = match data_file_path(path, &header)? {
                    Some(name) => {
                        if !may_follow(&name) {
                            return Err(Error::new(path, ErrorKind::OutsideRoots(name)));
                        }
                        Some(ImageFile::open(host, &name, Access::Read)?)
                    }
                    None => None,
                };
                Ok(Self::Qcow2(Box::new(Qcow2::open(&file, data)?)))
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
            Self::Qcow2(image) => image.path(),
            Self::Raw(image) => image.path(),
        }
    }

    /// The file that holds the guest's bytes as the guest sees them. None of an encrypted
    /// image, whose bytes have to be read through the layer.
    #[must_use]
    pub fn guest_file(&self) -> Option<&ImageFile> {
        match self {
            Self::Qcow2(image) => image.guest_file(),
            Self::Raw(image) => Some(image.file()),
        }
    }

    /// The file in which the guest's bytes are stored, encrypted or not.
    #[must_use]
    pub fn stored_in(&self) -> &ImageFile {
        match self {
            Self::Qcow2(image) => image.stored_in(),
            Self::Raw(image) => image.file(),
        }
    }

    /// As [`Qcow2::unlock`]; a raw image is not locked.
    ///
    /// # Errors
    /// As there.
    pub fn unlock(&self, keys: &Keys, progress: &dyn ProgressSink) -> Result<()> {
        match self {
            Self::Qcow2(image) => image.unlock(keys, progress),
            Self::Raw(_) => Ok(()),
        }
    }

    /// What the guest sees, in bytes.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        match self {
            Self::Qcow2(image) => image.virtual_size(),
            Self::Raw(image) => image.virtual_size(),
        }
    }

    /// As [`Qcow2::extent_at`] and [`Raw::extent_at`].
    ///
    /// # Errors
    /// As there.
    pub fn extent_at(&self, start: u64, end: u64) -> Result<Extent> {
        match self {
            Self::Qcow2(image) => image.extent_at(start, end),
            Self::Raw(image) => image.extent_at(start, end),
        }
    }

    /// As [`Layer::extent_at`], or how far what is told nowhere reaches.
    pub(crate) fn extent_or_lost(&self, start: u64, end: u64) -> std::result::Result<Extent, u64> {
        match self {
            Self::Qcow2(image) => image.extent_or_lost(start, end),
            Self::Raw(image) => Ok(image.extent_at(start, end).unwrap_or_else(|_| {
                // Its bytes may be read where its holes cannot be asked for.
                let len = (end.saturating_sub(start)).clamp(1, BLIND);
                let state = State::Data { host: start };
                Extent { start, len, state }
            })),
        }
    }

    /// As [`Qcow2::placed_at`]; in a raw image holes have a place, too.
    ///
    /// # Errors
    /// As there.
    pub fn placed_at(&self, start: u64, end: u64) -> Result<Placed> {
        match self {
            Self::Qcow2(image) => image.placed_at(start, end),
            Self::Raw(image) => image.placed_at(start, end),
        }
    }

    /// As [`Qcow2::read`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&self, state: State, guest: u64, buf: &mut [u8]) -> Result<()> {
        match (self, state) {
            (Self::Qcow2(image), _) => image.read(state, guest, buf),
            (Self::Raw(image), State::Data { host }) => image.file().read(buf, host),
            (Self::Raw(_), _) => {
                buf.fill(0);
                Ok(())
            }
        }
    }

    /// The runs of this layer alone, in order, over `start..end`; an error is the last item.
    pub fn extents(&self, start: u64, end: u64) -> impl Iterator<Item = Result<Extent>> + '_ {
        let each = in_row(start, end, move |at| self.extent_at(at, end), Extent::end);
        Joined::new(each, Extent::joined)
    }
}

/// Where an image's external data file is, if its header names one.
///
/// # Errors
/// When the header says there is one and does not name it, or names no local file.
pub fn data_file_path(path: &Path, header: &Header) -> Result<Option<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    if !header.has_data_file() {
        return Ok(None);
    }
    let missing = || {
        Error::new(
            path,
            ErrorKind::Backing("its header does not name its data file".to_owned()),
        )
    };
    let name = header.data_file().ok_or_else(missing)?;
    match BackingName::interpret(path, std::ffi::OsStr::from_bytes(name)).target {
        BackingTarget::File(name) => Ok(Some(name)),
        BackingTarget::NotUnderstood { what: protocol, .. }
        | BackingTarget::Elsewhere { protocol } => Err(Error::new(
            path,
            ErrorKind::Backing(format!(
                "its data file is not a local file but {}",
                crate::host::printable_bytes(protocol.as_bytes())
            )),
        )),
    }
}

/// A run of guest bytes of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// The run; [`State::Unallocated`] only where not all layers were asked.
    pub extent: Extent,
    /// The layer that decides it, 0 for the top; none where no layer holds anything.
    pub layer: Option<usize>,
}

/// An opened chain.
#[derive(Debug, Clone)]
pub struct Chain {
    layers: Vec<Arc<Layer>>,
    /// Whether there is a layer below the last one that could not be opened.
    cut: bool,
}

impl Chain {
    /// A chain of layers that are open already, top first.
    #[must_use]
    pub fn new(layers: Vec<Arc<Layer>>) -> Self {
        Self { layers, cut: false }
    }

    /// Opens `top` and everything it is built on. Before a further file is opened (a backing file, a
    /// data file), `may_follow` is asked. An unrecorded format is recognised by content, as QEMU does
    /// when reading.
    ///
    /// # Errors
    /// When a layer cannot be opened, the links run in a circle, or a file may not be followed.
    pub fn open(
        host: &dyn Host,
        top: &Path,
        format: Option<&Format>,
        may_follow: &dyn Fn(&Path) -> bool,
    ) -> Result<Self> {
        match Self::open_partly(host, top, format, may_follow)? {
            (chain, None) => Ok(chain),
            (_, Some(error)) => Err(error),
        }
    }

    /// Opens as much of a chain as can be opened, as [`Chain::open`] does, and says what stood in the
    /// way of the rest. The chain it gives then ends above the layer that is missing: what its last
    /// layer does not hold is not zero but unknown.
    ///
    /// # Errors
    /// When not even `top` can be opened.
    pub fn open_partly(
        host: &dyn Host,
        top: &Path,
        format: Option<&Format>,
        may_follow: &dyn Fn(&Path) -> bool,
    ) -> Result<(Self, Option<Error>)> {
        let mut chain = Self::new(Vec::new());
        let mut met = HashSet::new();
        let mut next = Some((top.to_path_buf(), format.cloned()));
        while let Some((path, format)) = next.take() {
            match chain.descend(host, top, &path, format, may_follow, &mut met) {
                Ok(below) => next = below,
                Err(error) if chain.layers.is_empty() => return Err(error),
                Err(error) => {
                    chain.cut = true;
                    return Ok((chain, Some(error)));
                }
            }
        }
        Ok((chain, None))
    }

    /// Opens one more layer, and says what it is built on.
    fn descend(
        &mut self,
        host: &dyn Host,
        top: &Path,
        path: &Path,
        format: Option<Format>,
        may_follow: &dyn Fn(&Path) -> bool,
        met: &mut HashSet<FileId>,
    ) -> Result<Option<(PathBuf, Option<Format>)>> {
        if self.layers.len() >= MAX_DEPTH {
            return Err(Error::new(top, ErrorKind::TooDeep(MAX_DEPTH)));
        }
        if let Some(above) = self.layers.last()
            && !may_follow(path)
        {
            let kind = ErrorKind::OutsideRoots(path.to_path_buf());
            return Err(Error::new(above.path(), kind));
        }
        let file = ImageFile::open(host, path, Access::Read)?;
        if !met.insert(file.stat("stat")?.id) {
            return Err(Error::new(top, ErrorKind::Loop));
        }
        let format = match format {
            Some(format) => format,
            None => recognised(&file)?.unwrap_or(Format::Raw),
        };
        drop(file);
        let layer = Layer::open_within(host, path, &format, may_follow)?;
        let below = match &layer {
            Layer::Qcow2(image) => backing_of(host, path, image.header()),
            Layer::Raw(_) => Ok(None),
        };
        self.layers.push(Arc::new(layer));
        below
    }

    /// Opens the content of every encrypted layer, each with a passphrase that `keys` has for it. Until
    /// then such a layer tells what it holds where, and no bytes.
    ///
    /// # Errors
    /// As [`Qcow2::unlock`].
    pub fn unlock(&self, keys: &Keys, progress: &dyn ProgressSink) -> Result<()> {
        self.layers
            .iter()
            .try_for_each(|layer| layer.unlock(keys, progress))
    }

    /// The name of its top layer; empty where there is none.
    pub(crate) fn path(&self) -> &Path {
        self.layers
            .first()
            .map_or(Path::new(""), |layer| layer.path())
    }

    /// The layers, top first.
    #[must_use]
    pub fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// Whether it ends above a layer that could not be opened (see [`Chain::open_partly`]).
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// The chain without its uppermost layers, as many as are said.
    #[must_use]
    pub fn without(&self, uppermost: usize) -> Self {
        Self {
            layers: self.layers.iter().skip(uppermost).cloned().collect(),
            cut: self.cut,
        }
    }

    /// The layer of that number, 0 for the top.
    ///
    /// # Errors
    /// There is none, which is a fault of this program: layers are numbered by the chain that tells them.
    pub(crate) fn layer(&self, index: usize) -> Result<&Arc<Layer>> {
        internal::item(&self.layers, index).of(self.name())
    }

    /// The name of the top layer.
    pub(crate) fn name(&self) -> &Path {
        let top = self.layers.first();
        top.map_or(Path::new(""), |layer| layer.path())
    }

    /// The layer that decides a run of this chain; none where none does.
    ///
    /// # Errors
    /// As [`Chain::layer`].
    pub(crate) fn decider(&self, found: &Resolved) -> Result<Option<&Arc<Layer>>> {
        found.layer.map(|index| self.layer(index)).transpose()
    }

    /// The chain that the top layer is built on; empty at the root.
    #[must_use]
    pub fn below(&self) -> Self {
        self.without(1)
    }

    /// What the guest sees, in bytes; 0 for an empty chain.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.layers.first().map_or(0, |layer| layer.virtual_size())
    }

    /// Reads guest bytes; past the chain's end they are zero.
    ///
    /// # Errors
    /// As [`Chain::resolve`], and when a file cannot be read.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let mut rest = buf;
        let mut at = offset;
        while !rest.is_empty() {
            let run = self.resolve(at, at.saturating_add(rest.len() as u64))?;
            let len = internal::at_most(run.extent.len, rest.len()).max(1);
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
            match self.decider(&run)? {
                Some(layer) => layer.read(run.extent.state, at, part)?,
                None => part.fill(0),
            }
            at += len as u64;
            rest = after;
        }
        Ok(())
    }
}

/// The file and the recorded format that a header names as its backing file.
fn backing_of(
    host: &dyn Host,
    path: &Path,
    header: &Header,
) -> Result<Option<(PathBuf, Option<Format>)>> {
    use std::os::unix::ffi::OsStrExt;
    let Some(name) = header.backing_file() else {
        return Ok(None);
    };
    let format = header
        .backing_format()
        .map(|name| Format::from_name(&String::from_utf8_lossy(name)));
    let name = BackingName::interpret(path, std::ffi::OsStr::from_bytes(name));
    if name.is_bare && format.is_some() {
        let text = "it is described without the format that is recorded beside it, and QEMU opens no such \
                    description";
        return Err(Error::new(path, ErrorKind::Backing(text.to_owned())));
    }
    match name.target {
        BackingTarget::File(file) => {
            let file = where_it_is(host, path, file);
            Ok(Some((file, format.or(name.format))))
        }
        BackingTarget::NotUnderstood { files, what }
            if files.iter().any(|mention| mention.surely) =>
        {
            Err(Error::new(
                path,
                ErrorKind::Backing(format!(
                    "it is read in a way that is not understood here ({})",
                    crate::host::printable_bytes(what.as_bytes())
                )),
            ))
        }
        BackingTarget::NotUnderstood { what: protocol, .. }
        | BackingTarget::Elsewhere { protocol } => Err(Error::new(
            path,
            ErrorKind::Backing(format!(
                "it is not a local file but {}",
                crate::host::printable_bytes(protocol.as_bytes())
            )),
        )),
    }
}
