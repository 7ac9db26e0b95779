//! Whether files lie on another machine, as far as the system says so.

use std::path::Path;

use rustix::fs::statfs;

use super::mounts::mounts;

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
    let points = mounts().into_iter().map(|mount| mount.point);
    let mut below = points.filter(|mount| mount.starts_with(&folder) && *mount != folder);
    below.any(|mount| network_filesystem(&mount).is_some())
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
    fn what_is_mounted_below_a_local_folder_is_local_as_well() {
        assert!(!is_over_network(Path::new("/proc")));
    }
}
