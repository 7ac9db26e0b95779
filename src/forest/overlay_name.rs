//! The name that is proposed for an overlay.

use std::path::{Path, PathBuf};

/// A name for an overlay on `base` that is free, in the manner of people who number and letter their branches:
/// `RootBase-1`, on that `RootBase-1A`, on that `RootBase-1A-1`.
#[must_use]
pub fn overlay_name(base: &Path, is_free: impl Fn(&Path) -> bool) -> PathBuf {
    let stem = base.file_stem().unwrap_or(base.as_os_str());
    let stem = stem.to_string_lossy();
    let letters = ('A'..='Z').map(|letter| format!("{stem}{letter}.qcow2"));
    let numbers = (1..u32::MAX).map(|number| format!("{stem}-{number}.qcow2"));
    let is_numbered = stem.ends_with(|c: char| c.is_ascii_digit()) && stem.contains('-');
    letters
        .take(if is_numbered { 26 } else { 0 })
        .chain(numbers)
        .map(|name| base.with_file_name(name))
        .find(|path| is_free(path))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposed_name_goes_on_as_people_number_their_branches() {
        let name = |base: &str| overlay_name(Path::new(base), |_| true);
        assert_eq!(
            name("/vm/RootBase.qcow2"),
            Path::new("/vm/RootBase-1.qcow2")
        );
        assert_eq!(
            name("/vm/Overlay-1.qcow2"),
            Path::new("/vm/Overlay-1A.qcow2")
        );
        assert_eq!(
            name("/vm/Overlay-1A.qcow2"),
            Path::new("/vm/Overlay-1A-1.qcow2")
        );
        assert_eq!(name("disk.img"), Path::new("disk-1.qcow2"));
    }

    #[test]
    fn a_name_that_is_taken_is_not_proposed() {
        let taken = ["/vm/web-1.qcow2", "/vm/web-2.qcow2"];
        let is_free = |path: &Path| !taken.iter().any(|one| Path::new(one) == path);
        assert_eq!(
            overlay_name(Path::new("/vm/web.qcow2"), is_free),
            Path::new("/vm/web-3.qcow2")
        );
    }
}
