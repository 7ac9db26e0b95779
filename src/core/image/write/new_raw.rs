//! Making a raw image: an empty one, or one that is filled afterwards. It has nothing but its length.

use std::path::Path;

use crate::host::Host;
use crate::image::error::Result;
use crate::image::write::sequential::{reserve, write_zeros};
use crate::image::write::temp_file::TempFiles;
use crate::image::{Error, ErrorKind, ImageFile, Preallocation, ProgressSink};

/// Bytes that are written between two looks at whether to go on.
const PIECE: u64 = 16 << 20;

/// Creates the raw image `path` of `size` bytes, which must not exist. It gets its name when all of it is on
/// stable storage; `progress` counts the bytes that are filled with zeros.
///
/// # Errors
/// When something of that name exists, metadata is to be preallocated, which a raw image has not, the file
/// cannot be written, or it was stopped; nothing is left behind then.
pub fn create_raw(
    host: &dyn Host,
    path: &Path,
    size: u64,
    preallocation: Preallocation,
    progress: &dyn ProgressSink,
) -> Result<()> {
    let mut temp = TempFiles::new(host);
    let file = stage_raw(&mut temp, path, size, preallocation, |len| {
        progress.advance(len)
    })?;
    file.flush()?;
    if !progress.advance(0) {
        return Err(Error::new(path, ErrorKind::Cancelled));
    }
    temp.persist()
}

/// A raw image of its full length that reads as zero, under a temporary name. `go_on` is told how many bytes
/// were filled, and says whether to.
pub(crate) fn stage_raw(
    temp: &mut TempFiles<'_>,
    path: &Path,
    size: u64,
    preallocation: Preallocation,
    mut go_on: impl FnMut(u64) -> bool,
) -> Result<ImageFile> {
    if preallocation == Preallocation::Metadata {
        let text = "has no tables to preallocate: it is raw".to_owned();
        return Err(Error::new(path, ErrorKind::Unsupported(text)));
    }
    let file = temp.create(path)?;
    file.set_len(size, "set the length")?;
    match preallocation {
        Preallocation::Off | Preallocation::Metadata => {}
        Preallocation::Falloc if size == 0 => {}
        Preallocation::Falloc => reserve(&file, 0, size)?,
        Preallocation::Full => {
            let mut at = 0;
            while at < size {
                let len = PIECE.min(size - at);
                write_zeros(&file, at, len)?;
                at += len;
                if !go_on(len) {
                    return Err(Error::new(path, ErrorKind::Cancelled));
                }
            }
        }
    }
    Ok(file)
}
