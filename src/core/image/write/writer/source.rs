//! Where bytes to be written come from.

use crate::image::ImageFile;
use crate::image::internal::{Fault, index, part};

/// Where bytes to be written come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// From memory.
    Bytes(&'a [u8]),
    /// From a file, at this byte offset; bytes past its end are zero.
    File {
        /// The file.
        file: &'a ImageFile,
        /// Byte offset of the first byte.
        offset: u64,
    },
}

impl Source<'_> {
    /// The source `by` bytes further on.
    pub(super) fn skip(self, by: u64) -> std::result::Result<Self, Fault> {
        Ok(match self {
            Self::Bytes(bytes) => Self::Bytes(part(bytes, index(by)?..bytes.len())?),
            Self::File { file, offset } => Self::File {
                file,
                offset: offset.saturating_add(by),
            },
        })
    }
}
