//! What a scan is asked for.

use std::path::PathBuf;

/// The extensions of files that [`ScanOptions::raw`] lists though nothing in them tells an image.
pub const RAW_EXTENSIONS: [&str; 4] = ["img", "raw", "dd", "iso"];

/// Where to look, and how far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanOptions {
    /// Directories, looked through with all below them, and single files.
    pub roots: Vec<PathBuf>,
    /// Whether backing files outside the roots are opened too, and their backing files in turn.
    pub follow: bool,
    /// Whether files without a known format are listed when they are called like a disk image
    /// ([`RAW_EXTENSIONS`]).
    pub raw: bool,
}
