//! When two qcow2 images are alike but for where their bases are: by digests of what their headers say, and of what is
//! beside these.

use crate::image::ImageFile;
use crate::ops::Error;
use crate::qcow2::Header;
use crate::qcow2::extension::ExtensionKind;

use super::pieces::{Digest, PIECE, digest};

/// The digest of all that a header says but for the backing file: two images with this alike, the pieces alike and
/// built on the same are the same image, wherever they lie. None for one that cannot be written again.
pub(super) fn header_digest(header: &Header) -> Option<Digest> {
    let mut header = header.clone();
    header.backing = None;
    let extensions = &mut header.extensions;
    extensions.retain(|extension| extension.kind() != ExtensionKind::BackingFormat);
    Some(digest(&header.encode().ok()?))
}

/// The digest of the first piece of a file of `len` bytes with the cluster that the header is in as zeros.
pub(super) fn beside_header(file: &ImageFile, header: &Header, len: u64) -> Result<Digest, Error> {
    let size = usize::try_from(PIECE.min(len)).unwrap_or(0);
    let mut piece = vec![0; size];
    let read = file.host_file().read_padded(&mut piece, 0);
    read.map_err(|error| Error::io("read", file.path(), &error))?;
    let cluster = usize::try_from(header.geometry.cluster_size()).unwrap_or(usize::MAX);
    let of_header = cluster.min(size);
    piece.get_mut(..of_header).unwrap_or_default().fill(0);
    Ok(digest(&piece))
}
