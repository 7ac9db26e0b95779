//! Blocks that several files have (reflinks): who removes one of these files gets none of them back.

use std::path::Path;

use crate::host::{Access, Host};

/// Bytes on disk of a file that others have as well; none where the filesystem does not tell, or the file cannot be
/// opened.
pub(in crate::ops) fn shared_bytes(host: &dyn Host, path: &Path) -> Option<u64> {
    let file = host.open(path, Access::Read).ok()?;
    file.shared_bytes(0..u64::MAX).ok().flatten()
}
