//! Marking the dirty bitmaps that will miss a change.

use crate::image::error::Result;
use crate::image::read::bitmaps::directory;
use crate::image::{Error, ImageFile};
use crate::qcow2::Header;
use crate::qcow2::bitmap::{BitmapFlags, encode_directory};

/// Marks every bitmap that records writes as in use, so that QEMU knows it to be stale: the guest
/// content is about to change without it being told.
pub(crate) fn mark_stale(file: &ImageFile, header: &Header) -> Result<()> {
    let Some((mut bitmaps, offset, _)) = directory(file, header)? else {
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
    let bytes = encode_directory(&bitmaps, header.geometry).map_err(|e| Error::new(file, e))?;
    file.write_at(&bytes, offset.get(), "mark the bitmaps as in use")?;
    file.flush()
}
