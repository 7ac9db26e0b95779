//! The persistent dirty bitmaps of an image: the directory, and in `dirty` the bits of one, read, merged and
//! resized.

pub(crate) mod dirty;

pub use dirty::Dirty;

use std::path::Path;

use crate::host::printable_bytes;
use crate::image::error::{OfFile, Result};
use crate::image::{Error, ErrorKind, ImageFile, internal};
use crate::qcow2::bitmap::{Bitmap, BitmapFlags, parse_directory};
use crate::qcow2::{Autoclear, Header, HostOffset};

/// Bytes of all bitmap tables of an image that are read when it is opened: a thousand times what any
/// has. QEMU would go through as many as its directory can name, for minutes.
const MOST_TABLE_BYTES: u64 = 256 << 20;

/// The image's bitmaps; none if the image says that they are not consistent with its content.
///
/// # Errors
/// When the directory cannot be read or breaks the format's rules.
pub fn bitmaps(file: &ImageFile, header: &Header) -> Result<Vec<Bitmap>> {
    Ok(directory(file, header)?.map_or_else(Vec::new, |(bitmaps, ..)| bitmaps))
}

/// Refuses an image whose bitmaps QEMU would not load, for which it does not open the image. A bitmap
/// that is marked as in use is not loaded.
///
/// # Errors
/// When the directory or a table breaks the format's rules, or cannot be read.
pub(crate) fn require_loadable(file: &ImageFile, header: &Header) -> Result<()> {
    let size = header.virtual_size();
    let loaded = bitmaps(file, header).and_then(|mut list| {
        list.retain(|bitmap| !bitmap.flags.contains(BitmapFlags::IN_USE));
        let entries: u64 = list.iter().map(|it| u64::from(it.table_entries)).sum();
        if entries * 8 > MOST_TABLE_BYTES {
            let text = format!(
                "the tables of its {} dirty bitmaps take more than {MOST_TABLE_BYTES} bytes",
                list.len()
            );
            return Err(Error::new(file, ErrorKind::Damaged(text)));
        }
        list.iter()
            .try_for_each(|it| dirty::require_loadable(file, header.geometry, it, size))
    });
    loaded.map_err(|error| match error.kind {
        ErrorKind::Format(why) => Error::new(file, ErrorKind::Bitmaps(why.to_string())),
        ErrorKind::Damaged(why) => Error::new(file, ErrorKind::Bitmaps(why)),
        _ => error,
    })
}

/// The bits of one of the image's bitmaps.
///
/// # Errors
/// When there is no such bitmap, it is marked as in use (so nobody knows what it would say), or it
/// cannot be read.
pub fn dirty(file: &ImageFile, header: &Header, name: &[u8]) -> Result<Dirty> {
    let list = bitmaps(file, header)?;
    let bitmap = usable(file.path(), &list, name)?;
    dirty_bits(file, header, bitmap)
}

/// The bits of a bitmap that was read from the image: the directory, which may list 65,535 of them, is not
/// read again.
///
/// # Errors
/// As [`dirty`].
pub fn dirty_bits(file: &ImageFile, header: &Header, bitmap: &Bitmap) -> Result<Dirty> {
    if bitmap.flags.contains(BitmapFlags::IN_USE) {
        return Err(stale(file.path(), bitmap));
    }
    Dirty::read(file, header.geometry, bitmap, header.virtual_size())
}

/// The bitmap of that name, if it is not stale.
pub(crate) fn usable<'b>(path: &Path, list: &'b [Bitmap], name: &[u8]) -> Result<&'b Bitmap> {
    let bitmap = of_name(path, list, name)?;
    if bitmap.flags.contains(BitmapFlags::IN_USE) {
        return Err(stale(path, bitmap));
    }
    Ok(bitmap)
}

/// Refuses bitmaps of which one is stale.
pub(crate) fn refuse_stale(path: &Path, list: &[Bitmap]) -> Result<()> {
    let mut found = list
        .iter()
        .filter(|bitmap| bitmap.flags.contains(BitmapFlags::IN_USE));
    found
        .next()
        .map_or(Ok(()), |bitmap| Err(stale(path, bitmap)))
}

pub(crate) fn of_name<'b>(path: &Path, list: &'b [Bitmap], name: &[u8]) -> Result<&'b Bitmap> {
    let missing = || {
        let text = format!("has no dirty bitmap {}", printable_bytes(name));
        Error::new(path, ErrorKind::NoSuch(text))
    };
    let found = list.iter().find(|bitmap| bitmap.name == name);
    found.ok_or_else(missing)
}

pub(crate) fn stale(path: &Path, bitmap: &Bitmap) -> Error {
    let text = format!(
        "its dirty bitmap {} is marked as in use: it was not saved and missed changes, so it can only be removed",
        printable_bytes(&bitmap.name)
    );
    Error::new(path, ErrorKind::Unsupported(text))
}

pub(crate) type Directory = (Vec<Bitmap>, HostOffset, u64);

/// The bitmaps, and offset and length of the directory in bytes.
pub(crate) fn directory(file: &ImageFile, header: &Header) -> Result<Option<Directory>> {
    let Some(extension) = header
        .bitmaps()
        .filter(|_| header.autoclear.contains(Autoclear::BITMAPS))
    else {
        return Ok(None);
    };
    // The format's limits bound the directory to 64 MiB.
    let mut bytes = vec![0; internal::index(extension.directory_size).of(file)?];
    let offset = extension.directory_offset;
    file.read_padded(&mut bytes, offset.get(), "read the bitmap directory")?;
    let bitmaps = parse_directory(&bytes, extension.count, header.geometry)
        .map_err(|e| Error::new(file, e))?;
    Ok(Some((bitmaps, offset, extension.directory_size)))
}
