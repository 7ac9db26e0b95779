//! What clusters are compressed with, and which images have none that are.

use std::path::Path;

use crate::image::error::Result;
use crate::image::{Error, ErrorKind};
use crate::qcow2::codec::Deflater;
use crate::qcow2::{CryptMethod, Header, HostOffset};

/// What clusters are compressed with, and where the next stream goes.
#[derive(Debug)]
pub(super) struct Packing {
    pub(super) deflater: Deflater,
    /// The end of the last stream, while the cluster it lies in has room behind it.
    pub(super) open: Option<HostOffset>,
    /// One cluster.
    pub(super) plain: Vec<u8>,
}

/// Whether clusters of an image with this header may be stored compressed.
///
/// # Errors
/// Why not, if not.
pub fn may_compress(path: &Path, header: &Header) -> Result<()> {
    let why = if header.has_data_file() {
        "keeps its data in another file, in which nothing is compressed"
    } else if header.crypt != CryptMethod::None {
        "is encrypted, and compressed clusters are not: one or the other"
    } else {
        return Ok(());
    };
    Err(Error::new(path, ErrorKind::Unsupported(why.to_owned())))
}
