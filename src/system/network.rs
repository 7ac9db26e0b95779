//! Whether files lie on another machine, as far as the system says so.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

/// Filesystems whose files other machines change unseen, by their magic numbers (`statfs(2)`).
const KINDS: [(i64, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9P"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x0116_1970, "GFS2"),
];

/// The name of the network filesystem `path` lies on; none if it is a local one, or cannot be asked.
#[must_use]
pub fn network_filesystem(path: &Path) -> Option<&'static str> {
    let kind = statfs(path).ok()?.f_type & 0xffff_ffff;
    KINDS
        .iter()
        .find(|(magic, _)| *magic == kind)
        .map(|(_, name)| *name)
}

/// Whether anything in a folder lies on another machine: the folder itself, or what is mounted below it.
#[must_use]
pub fn is_over_network(folder: &Path) -> bool {
    if network_filesystem(folder).is_some() {
        return true;
    }
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mounts.split(|byte| *byte == b'\n').filter_map(mount_point);
    let mut below = mounts.filter(|mount| mount.starts_with(&folder) && *mount != folder);
    below.any(|mount| network_filesystem(&mount).is_some())
}

/// The mount point of a line of `mountinfo` (`proc_pid_mountinfo(5)`): its fifth word, with spaces and the like in
/// octal.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let word = line.split(|byte| *byte == b' ').nth(4)?;
    let mut name = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *byte == b'\\');
        let octal = octal.and_then(|digits| str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        name.push(octal.unwrap_or(*byte));
        rest = match octal {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
    }
    Some(OsString::from_vec(name).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_directory_and_one_that_is_not_there_are_no_network() {
        assert_eq!(network_filesystem(Path::new("/proc")), None);
        assert_eq!(network_filesystem(Path::new("/no/such/place")), None);
    }

    #[test]
    fn a_folder_holds_what_is_mounted_below_it() {
        let line = b"36 35 98:0 /mnt1 /mnt/my\\040images\\134x rw shared:1 - ext4 /dev/root rw";
        let expected = Path::new("/mnt/my images\\x");
        assert_eq!(mount_point(line).as_deref(), Some(expected));
        assert_eq!(mount_point(b""), None);
        assert_eq!(mount_point(b"1 2 3 4 /a\\9"), Some("/a\\9".into()));
        assert!(!is_over_network(Path::new("/proc")));
    }
}
