//! Paths of other machines.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path of another machine, with the machine's name before it.
#[must_use]
pub fn path_on(host: &str, path: &Path) -> PathBuf {
    let mut whole = OsString::from(host);
    whole.push(":");
    whole.push(path);
    whole.into()
}

/// The machine's name and the path there, of a path that has both; none of an absolute one, which is of this machine.
#[must_use]
pub fn host_and_path(path: &Path) -> Option<(&str, &Path)> {
    let bytes = path.as_os_str().as_bytes();
    let colon = bytes.windows(2).position(|two| two == b":/")?;
    let (host, rest) = bytes.split_at_checked(colon)?;
    let host = str::from_utf8(host).ok()?;
    let is_name = !host.is_empty() && !host.contains('/');
    let rest = Path::new(OsStr::from_bytes(rest.get(1..)?));
    is_name.then_some((host, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_whose_it_is() {
        let path = path_on("me@[::1]", Path::new("/srv/a:/b"));
        assert_eq!(path, Path::new("me@[::1]:/srv/a:/b"));
        assert!(!path.is_absolute());
        assert_eq!(
            host_and_path(&path),
            Some(("me@[::1]", Path::new("/srv/a:/b")))
        );
        for here in ["/srv/web:/a", "web", "web:a", ":/a", "a/web:/b"] {
            assert_eq!(host_and_path(Path::new(here)), None, "{here}");
        }
    }
}
