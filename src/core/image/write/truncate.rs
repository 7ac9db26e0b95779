//! The end of an image's file: what lies behind the last cluster in use is cut off.

use crate::image::ImageFile;

use crate::host::FileKind;
use crate::image::error::Result;

/// Cuts the file off after `used` bytes, where it is longer. A device is as long as it is.
///
/// # Errors
/// When it cannot be cut or flushed; nothing in use is lost.
pub(crate) fn cut(file: &ImageFile, used: u64) -> Result<()> {
    let stat = file.stat("ask the length")?;
    if stat.kind != FileKind::Regular || used == 0 || used >= stat.len {
        return Ok(());
    }
    file.set_len(used, "cut off the free end")?;
    file.flush()
}
