//! The end of an image's file: what lies behind the last cluster in use is cut off.

use std::path::Path;

use crate::host::{FileKind, HostFile};
use crate::image::error::{IoContext, Result};

/// Cuts the file off after `used` bytes, where it is longer. A device is as long as it is.
///
/// # Errors
/// When it cannot be cut or flushed; nothing in use is lost.
pub(crate) fn cut(path: &Path, file: &dyn HostFile, used: u64) -> Result<()> {
    let stat = file.stat().at(path, "ask the length")?;
    if stat.kind != FileKind::Regular || used == 0 || used >= stat.len {
        return Ok(());
    }
    file.set_len(used).at(path, "cut off the free end")?;
    file.flush().at(path, "flush")
}
