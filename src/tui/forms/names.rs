//! Names that are proposed for new files.

use std::path::Path;

use crate::forest::Forest;

/// A free name for a file made of `image`.
#[must_use]
pub(crate) fn name_beside(forest: &Forest, image: &Path, what: &str) -> String {
    let stem = image.file_stem().unwrap_or(image.as_os_str());
    let stem = stem.to_string_lossy();
    let plain = format!("{stem}-{what}.qcow2");
    let more = (2..u32::MAX).map(|number| format!("{stem}-{what}-{number}.qcow2"));
    std::iter::once(plain)
        .chain(more)
        .find(|name| forest.by_path(&image.with_file_name(name)).is_none())
        .unwrap_or_default()
}
