//! Encrypted images: opened before anything is planned that reads or writes their content, so that a
//! passphrase that is missing or wrong is found out then. Where passphrases come from is the faces'
//! business.

use std::path::Path;

use crate::forest::NodeId;
use crate::image::{self, ErrorKind, Format, Layer, NoProgress};

use super::context::Context;

/// Opens the content of one qcow2 image, if it is encrypted.
///
/// # Errors
/// When there is no passphrase or a wrong one, or the encryption is not understood.
pub(in crate::ops) fn unlock(context: &Context, path: &Path) -> image::Result<()> {
    let layer = Layer::open(context.host.as_ref(), path, &Format::Qcow2)?;
    layer.unlock(&context.keys, &NoProgress)
}

/// Whether an image is encrypted, and the passphrase is missing or wrong.
#[must_use]
pub fn is_locked(context: &Context, path: &Path) -> bool {
    unlock(context, path)
        .is_err_and(|error| matches!(error.kind, ErrorKind::Locked | ErrorKind::WrongPassphrase))
}

/// Opens the content of every image of a chain that is known to be encrypted. No file is opened that the
/// scan has not opened.
///
/// # Errors
/// As [`unlock`].
pub(in crate::ops) fn unlock_chain(context: &Context, top: NodeId) -> image::Result<()> {
    let forest = context.forest.as_ref();
    let chain = forest.chain(top);
    let mut nodes = chain.into_iter().filter_map(|id| forest.get(id));
    nodes.try_for_each(|node| match node.is_encrypted() {
        true => unlock(context, &node.path),
        false => Ok(()),
    })
}
