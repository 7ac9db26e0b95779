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

/// A name for an overlay on `base` that no image has yet, in the manner of people who number and
/// letter their branches: `RootBase-1`, on that `RootBase-1A`, on that `RootBase-1A-1`.
pub(super) fn free_name(forest: &Forest, base: &Path) -> String {
    let stem = base.file_stem().unwrap_or(base.as_os_str());
    let stem = stem.to_string_lossy();
    let dir = base.parent().unwrap_or(Path::new(""));
    let is_free = |name: &String| forest.by_path(&dir.join(name)).is_none();
    let letters = ('A'..='Z').map(|letter| format!("{stem}{letter}.qcow2"));
    let numbers = (1..u32::MAX).map(|number| format!("{stem}-{number}.qcow2"));
    let is_numbered = stem.ends_with(|c: char| c.is_ascii_digit()) && stem.contains('-');
    letters
        .take(if is_numbered { 26 } else { 0 })
        .chain(numbers)
        .find(is_free)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposed_name_goes_on_as_people_number_their_branches() {
        let forest = Forest::new();
        let name = |base: &str| free_name(&forest, Path::new(base));
        assert_eq!(name("/vm/RootBase.qcow2"), "RootBase-1.qcow2");
        assert_eq!(name("/vm/Overlay-1.qcow2"), "Overlay-1A.qcow2");
        assert_eq!(name("/vm/Overlay-1A.qcow2"), "Overlay-1A-1.qcow2");
        assert_eq!(name("/vm/disk.img"), "disk-1.qcow2");
    }
}
