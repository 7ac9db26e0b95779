//! Persistent dirty bitmaps as far as a writer must know them: which clusters they take, and
//! marking those that will miss a change. Their bits are not looked at here.

use std::path::Path;

use crate::host::HostFile;
use crate::qcow2::bitmap::{
    Bitmap, BitmapFlags, BitmapTableEntry, encode_directory, parse_directory,
};
use crate::qcow2::{Autoclear, Header, HostOffset};

use super::Error;
use super::error::{IoContext, Result};
use super::qcow2_layer::read_entries;

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

/// Tells every range of the file that bitmaps take: offset and length in bytes, and what is there.
pub(crate) fn each_range(
    path: &Path,
    file: &dyn HostFile,
    header: &Header,
    tell: &mut dyn FnMut(u64, u64, &'static str),
) -> Result<()> {
    let Some((bitmaps, offset, len)) = directory(path, file, header)? else {
        return Ok(());
    };
    tell(offset.get(), len, "the bitmap directory");
    for bitmap in bitmaps {
        let entries = u64::from(bitmap.table_entries);
        tell(bitmap.table_offset.get(), entries * 8, "a bitmap table");
        let table = read_entries(
            path,
            file,
            bitmap.table_offset.get(),
            entries,
            "bitmap table",
        )?;
        for raw in table.iter() {
            let entry =
                BitmapTableEntry::parse(raw, header.geometry).map_err(|e| Error::new(path, e))?;
            if let BitmapTableEntry::Stored(cluster) = entry {
                tell(
                    cluster.get(),
                    header.geometry.cluster_size(),
                    "a bitmap's data",
                );
            }
        }
    }
    Ok(())
}
