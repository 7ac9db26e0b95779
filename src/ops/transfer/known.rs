//! What is in the folder already: images that may be the same as ones that are sent, and pieces that need not be sent.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{Access, FileId, FileKind, Host, HostFile, Stat};
use crate::image::{self, BackingName, BackingTarget, Format, ImageFile};
use crate::ops::Error;

use super::header::{beside_header, header_digest};
use super::pieces::{Digest, Found, PIECE, Span, Stopped, digest, each_piece};
use super::source::{Described, Told};

/// Files of a folder that are looked at.
const MOST_FILES: usize = 4096;
/// Pieces that are remembered by their digests: 64 GiB, in 50 MiB of memory.
const MOST_PIECES: usize = 1 << 20;

/// An image in the folder.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    pub(super) bytes: u64,
    /// As it was before anything of it was read.
    stat: Stat,
    file: ImageFile,
    /// Of a qcow2 image: see [`Described`].
    header: Option<Digest>,
    virtual_size: u64,
    /// What it is built on: which file, recorded in which format.
    built_on: Option<(FileId, Option<Format>)>,
    /// Whether it is built on something that is not that clear.
    is_vague: bool,
}

/// The images of a folder, in the order of their names. What cannot be read is none.
pub(super) fn images_in(host: &dyn Host, dir: &Path) -> Vec<Image> {
    let mut names = host.list_dir(dir).unwrap_or_default();
    names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
    names.sort();
    names.truncate(MOST_FILES);
    names
        .iter()
        .filter_map(|name| look_at(host, &dir.join(name)))
        .collect()
}

fn look_at(host: &dyn Host, path: &Path) -> Option<Image> {
    let stat = host.stat_link(path).ok()?;
    if stat.kind != FileKind::Regular {
        return None;
    }
    let file = ImageFile::open(host, path, Access::Read).ok()?;
    let mut image = Image {
        path: path.to_path_buf(),
        id: stat.id,
        bytes: stat.len,
        header: None,
        stat: stat.clone(),
        virtual_size: stat.len,
        built_on: None,
        is_vague: false,
        file,
    };
    match image::recognised(&image.file).ok()? {
        None => return Some(image),
        Some(Format::Qcow2) => {}
        Some(_) => return None,
    }
    let header = image::read_header(&image.file).ok()?;
    image.header = header_digest(&header);
    image.virtual_size = header.virtual_size();
    if let Some(recorded) = header.backing_file() {
        let name = BackingName::interpret(path, OsStr::from_bytes(recorded));
        let base = match &name.target {
            BackingTarget::File(base) if !name.is_bare => host.stat(base).ok(),
            _ => None,
        };
        let format = header.backing_format().map(String::from_utf8_lossy);
        let format = format.map(|format| Format::from_name(&format));
        image.is_vague = base.is_none();
        image.built_on = base.map(|base| (base.id, format));
    }
    Some(image)
}

impl Image {
    /// Whether it may be the same as that one, built on `below`, as far as its header tells.
    pub(super) fn may_be(&self, described: &Described, below: Option<&(FileId, Format)>) -> bool {
        let is_alike = self.bytes == described.bytes && self.header == described.header;
        let is_qcow2 = described.format == Format::Qcow2;
        let is_built_alike = match (&self.built_on, below) {
            (None, None) => true,
            (Some((id, format)), Some((base, as_format))) => {
                id == base && format.as_ref() == Some(as_format)
            }
            _ => false,
        };
        is_alike && is_qcow2 == self.header.is_some() && is_built_alike && !self.is_vague
    }

    /// Whether it is still what was looked at.
    pub(super) fn is_unchanged(&self, host: &dyn Host) -> bool {
        let now = host.stat_link(&self.path);
        now.is_ok_and(|now| now.holds_the_same(&self.stat))
    }

    /// Whether pieces of it are likely to be the same.
    pub(super) fn is_like(&self, described: &Described) -> bool {
        let same_name = self
            .path
            .file_name()
            .is_some_and(|name| name == &*described.name);
        same_name || self.virtual_size == described.virtual_size
    }

    /// Begins to compare it with what is told of another image's pieces.
    pub(super) fn compared(&self, described: &Described) -> Compared<'_> {
        let is_alike = match described.header {
            None => true,
            Some(_) => image::read_header(&self.file)
                .map_err(Error::from)
                .and_then(|header| beside_header(&self.file, &header, self.bytes))
                .is_ok_and(|digest| Some(digest) == described.beside_header),
        };
        Compared {
            image: self,
            has_header: described.header.is_some(),
            at: 0,
            is_same: is_alike,
        }
    }
}

/// An image that is compared with what is told of another.
pub(super) struct Compared<'a> {
    image: &'a Image,
    has_header: bool,
    at: u64,
    is_same: bool,
}

impl Compared<'_> {
    /// Whether they are the same so far.
    pub(super) fn is_same(&self) -> bool {
        self.is_same
    }

    /// Whether all pieces were told of and are the same.
    pub(super) fn is_same_to_its_end(&self) -> bool {
        self.is_same && self.at == Span::whole(self.image.bytes).count
    }

    /// Takes in what is told next.
    pub(super) fn take(&mut self, told: Told) {
        let count = match told {
            Told::Zeros(count) => count,
            Told::Piece(_) => 1,
        };
        let span = Span {
            first: self.at,
            count,
        };
        self.at = span.end();
        if !self.is_same {
            return;
        }
        let mut is_same = true;
        let has_header = self.has_header;
        let file: &dyn HostFile = &**self.image.file.host_file();
        let looked = each_piece(file, self.image.bytes, span, |number, found| {
            is_same = match (found, told) {
                // Its header names another file, and what is beside it was compared.
                _ if number == 0 && has_header => true,
                (Found::Zeros(_), Told::Zeros(_)) => true,
                (Found::Bytes(bytes), Told::Piece(told)) => digest(bytes) == told,
                _ => false,
            };
            is_same.then_some(()).ok_or(())
        });
        self.is_same = is_same && looked.is_ok();
    }
}

/// Pieces of files by their digests: where each is.
#[derive(Debug, Default)]
pub(super) struct Index {
    files: Vec<Arc<dyn HostFile>>,
    pieces: HashMap<Digest, (usize, u64)>,
}

impl Index {
    /// Whether there is anything in it.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Takes in all pieces of an image, as long as there is room.
    pub(super) fn add(&mut self, image: &Image) {
        self.add_file(image.file.host_file(), image.bytes);
    }

    /// The same of any file, of which it gives the pieces' own digests in order; none for those of zeros.
    pub(super) fn add_file(&mut self, file: &Arc<dyn HostFile>, bytes: u64) {
        let at = self.files.len();
        self.files.push(Arc::clone(file));
        let pieces = &mut self.pieces;
        let taken = each_piece(&**file, bytes, Span::whole(bytes), |number, found| {
            if let Found::Bytes(found) = found
                // The last one may be shorter, and fits nowhere else.
                && found.len() as u64 == PIECE
            {
                if pieces.len() >= MOST_PIECES {
                    return Err(());
                }
                pieces.entry(digest(found)).or_insert((at, number));
            }
            Ok(())
        });
        // What cannot be read is sent.
        let _: Result<(), Stopped<()>> = taken;
    }

    /// Where a piece of that digest is: the file and the number.
    pub(super) fn place(&self, digest: &Digest) -> Option<(usize, u64)> {
        self.pieces.get(digest).copied()
    }

    /// The file of a place.
    pub(super) fn file(&self, file: usize) -> Option<&Arc<dyn HostFile>> {
        self.files.get(file)
    }
}
