//! The node a person means by a path. What may be done with it is the operations' business.

use std::path::Path;

use crate::forest::Node;

use super::Context;
use super::words::shown;

/// The node of this name, or of the file this name leads to.
///
/// # Errors
/// A sentence, if the scan met no such image.
pub(super) fn named<'c>(context: &'c Context, path: &Path) -> Result<&'c Node, String> {
    let forest = context.forest.as_ref();
    let stat = context.host.stat(path);
    let by_file = || stat.as_ref().ok().and_then(|stat| forest.by_file(stat.id));
    forest
        .by_path(path)
        .or_else(by_file)
        .ok_or_else(|| match &stat {
            Ok(_) => format!("{} is no image that the scan met", shown(path)),
            Err(error) => format!("{} cannot be looked at: {error}", shown(path)),
        })
}
