//! Persistent dirty bitmaps as far as a writer must know them: marking those that will miss a change.
//! Their bits are not looked at here.

use std::path::Path;

use crate::host::HostFile;
use crate::qcow2::bitmap::{Bitmap, BitmapFlags, encode_directory, parse_directory};
use crate::qcow2::{Autoclear, Header, HostOffset};

use super::Error;
use super::error::{IoContext, Result};

/// The image's bitmaps; none if the image says that they are not consistent with its content.
///
/// # Errors
/// When the directory cannot be read or breaks the format's rules.
pub fn bitmaps(path: &Path, file: &dyn HostFile, header: &Header) -> Result<Vec<Bitmap>> {
    Ok(directory(path, file, header)?.map_or_else(Vec::new, |(bitmaps, ..)| bitmaps))
}

type Directory = (Vec<Bitmap>, HostOffset, u64);

/// The bitmaps, and offset and length of the directory in bytes.
fn directory(path: &Path, file: &dyn HostFile, header: &Header) -> Result<Option<Directory>> {
    let Some(extension) = header
        .bitmaps()
        .filter(|_| header.autoclear.contains(Autoclear::BITMAPS))
    else {
        return Ok(None);
    };
    // The format's limits bound the directory to 64 MiB.
    let mut bytes = vec![0; usize::try_from(extension.directory_size).unwrap_or(0)];
    let offset = extension.directory_offset;
    file.read_at(&mut bytes, offset.get())
        .at(path, "read the bitmap directory")?;
    let bitmaps = parse_directory(&bytes, extension.count, header.geometry)
        .map_err(|e| Error::new(path, e))?;
    Ok(Some((bitmaps, offset, extension.directory_size)))
}

/// Marks every bitmap that records writes as in use, so that QEMU knows it to be stale: the guest
/// content is about to change without it being told.
pub(crate) fn mark_stale(path: &Path, file: &dyn HostFile, header: &Header) -> Result<()> {
    let Some((mut bitmaps, offset, _)) = directory(path, file, header)? else {
        return Ok(());
    };
    let mut stale = bitmaps
        .iter_mut()
        .filter(|bitmap| {
            bitmap.flags.contains(BitmapFlags::AUTO) && !bitmap.flags.contains(BitmapFlags::IN_USE)
        })
        .peekable();
    if stale.peek().is_none() {
        return Ok(());
    }
    stale.for_each(|bitmap| bitmap.flags |= BitmapFlags::IN_USE);
    // Only flags changed: each lies inside one sector, and a bitmap that is marked too early is
    // merely not used.
    let bytes = encode_directory(&bitmaps, header.geometry).map_err(|e| Error::new(path, e))?;
    file.write_at(&bytes, offset.get())
        .at(path, "mark the bitmaps as in use")?;
    file.fence().at(path, "flush")
}
