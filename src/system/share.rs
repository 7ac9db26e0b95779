//! Storage that several machines see: an export of a server that is mounted here. A file on it has a name that is the
//! same wherever the export is mounted: the server and the path there, `nas:/export/a.qcow2`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::mounts::{Mount, mounts};

/// Kinds of filesystems whose source names a server and a folder there.
const KINDS: [&str; 9] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "lustre",
    "fuse.sshfs",
    "fuse.glusterfs",
    "glusterfs",
];

/// What is mounted here of other machines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shares(Vec<Share>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    point: PathBuf,
    /// The name of what is mounted there; none where it is of this machine alone.
    name: Option<PathBuf>,
    /// Why locks that other machines take are not seen here, where they are not.
    lockless: Option<&'static str>,
    keeps_inodes: bool,
    is_read_only: bool,
}

/// A file of shared storage, as it is mounted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPlace {
    /// The name that the storage has for it.
    pub name: PathBuf,
    /// Whether its inode number is the server's, and the same on every machine.
    pub keeps_inodes: bool,
    /// Whether nothing may be written there from here.
    pub is_read_only: bool,
}

impl Shares {
    /// Those of this process.
    #[must_use]
    pub fn here() -> Self {
        Self::of(mounts())
    }

    fn of(mounts: Vec<Mount>) -> Self {
        let share = |mount: Mount| Share {
            name: name_of(&mount),
            lockless: lockless(&mount),
            keeps_inodes: keeps_inodes(&mount),
            is_read_only: mount.is_read_only,
            point: mount.point,
        };
        Self(mounts.into_iter().map(share).collect())
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|share| share.name.is_none())
    }

    /// The mount that a path lies on: of those above it the deepest, of several at one place the last.
    fn share(&self, path: &Path) -> Option<&Share> {
        let above = self.0.iter().filter(|share| path.starts_with(&share.point));
        above.max_by_key(|share| share.point.as_os_str().len())
    }

    /// The name that a file has on the storage it shares; none for one of this machine alone. `path` is absolute and
    /// has no links left in it.
    #[must_use]
    pub fn name(&self, path: &Path) -> Option<PathBuf> {
        self.place(path).map(|place| place.name)
    }

    /// The same, with how it is mounted.
    #[must_use]
    pub fn place(&self, path: &Path) -> Option<SharedPlace> {
        let share = self.share(path)?;
        let below = path.strip_prefix(&share.point).ok()?;
        let name = share.name.as_ref()?;
        let name = match below.as_os_str().is_empty() {
            true => name.clone(),
            false => name.join(below),
        };
        Some(SharedPlace {
            name,
            keeps_inodes: share.keeps_inodes,
            is_read_only: share.is_read_only,
        })
    }

    /// Why the locks that other machines take on a file are not seen here, as the rest of a sentence: `sshfs passes
    /// none on`; none where they are, or nobody else sees the file.
    #[must_use]
    pub fn lockless(&self, path: &Path) -> Option<&'static str> {
        self.share(path)?.lockless
    }

    /// Where a file of that name is here: by each mount that shows it.
    #[must_use]
    pub fn places(&self, name: &Path) -> Vec<PathBuf> {
        let place = |share: &Share| {
            let below = name.strip_prefix(share.name.as_ref()?).ok()?;
            let place = share.point.join(below);
            // Another mount may lie over it.
            (self.name(&place).as_deref() == Some(name)).then_some(place)
        };
        self.0.iter().filter_map(place).collect()
    }
}

/// `SERVER:/FOLDER` for what is mounted, without `.` and `..`.
fn name_of(mount: &Mount) -> Option<PathBuf> {
    if !KINDS.contains(&mount.kind.as_str()) {
        return None;
    }
    let source = mount.source.as_bytes();
    let (server, folder) = match source.strip_prefix(b"//") {
        // As SMB writes it.
        Some(rest) => rest.split_at_checked(rest.iter().position(|byte| *byte == b'/')?)?,
        None => {
            let colon = source.windows(2).rposition(|two| two == b":/")?;
            let (server, folder) = source.split_at_checked(colon)?;
            (server, folder.get(1..)?)
        }
    };
    // Who looks makes no other file of it.
    let server = match mount.kind.as_str() {
        "fuse.sshfs" => server.rsplit(|byte| *byte == b'@').next()?,
        _ => server,
    };
    if server.is_empty() || server.contains(&b'/') {
        return None;
    }
    let mut name = server.to_ascii_lowercase();
    name.push(b':');
    let folder = Path::new(OsStr::from_bytes(folder));
    let below = mount.root.strip_prefix("/").ok()?;
    let mut whole = PathBuf::from("/");
    for part in folder.join(below).components() {
        match part {
            Component::Normal(part) => whole.push(part),
            Component::RootDir | Component::CurDir => {}
            // Where that leads is known by the server alone.
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    name.extend(whole.as_os_str().as_bytes());
    Some(OsString::from_vec(name).into())
}

/// Whether the inode numbers are the server's own. sshfs makes them up, and SMB may.
fn keeps_inodes(mount: &Mount) -> bool {
    match mount.kind.as_str() {
        "fuse.sshfs" => false,
        "cifs" | "smb3" => mount.options.split(',').any(|one| one == "serverino"),
        _ => true,
    }
}

fn lockless(mount: &Mount) -> Option<&'static str> {
    let has = |option: &str| mount.options.split(',').any(|one| one == option);
    match mount.kind.as_str() {
        "fuse.sshfs" => Some("sshfs passes none on"),
        "nfs" | "nfs4" if has("nolock") || has("local_lock=all") || has("local_lock=posix") => {
            Some("it is mounted with nolock or local_lock")
        }
        "cifs" | "smb3" if has("nobrl") => Some("it is mounted with nobrl"),
        "lustre" if !has("flock") => Some("it is mounted without flock"),
        _ => None,
    }
}

/// Tells this machine from others, however it is called: two that say the same see the same processes. Empty where the
/// system does not say.
#[must_use]
pub fn machine_identity() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let processes = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    match boot.trim() {
        "" => String::new(),
        boot => format!("{boot} {}", processes.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mounts::read;
    use super::*;

    fn shares(lines: &[&str]) -> Shares {
        let table: String = lines
            .iter()
            .map(|line| format!("1 2 0:3 {line}\n"))
            .collect();
        Shares::of(read(table.as_bytes()))
    }

    fn name(line: &str, path: &str) -> Option<String> {
        let found = shares(&["/ / rw - ext4 /dev/vda rw", line]).name(Path::new(path));
        found.map(|name| name.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_file_has_one_name_wherever_its_export_is_mounted() {
        let expected = Some("nas:/export/vm/a".to_owned());
        for (line, path) in [
            ("/ /srv rw - nfs4 nas:/export rw", "/srv/vm/a"),
            ("/vm /srv/deep rw - nfs4 nas:/export rw", "/srv/deep/a"),
            ("/ /m rw - nfs NAS:/export/vm/ rw,nolock", "/m/a"),
            ("/ /m rw - fuse.sshfs me@nas:/export/./vm rw", "/m/a"),
            ("/ /m rw - cifs //nas/export rw", "/m/vm/a"),
        ] {
            assert_eq!(name(line, path), expected, "{line}");
        }
        let many = name("/ /m rw - ceph a:6789,b:6789:/x rw", "/m/a");
        assert_eq!(many.as_deref(), Some("a:6789,b:6789:/x/a"));
    }

    #[test]
    fn what_is_of_this_machine_has_no_such_name() {
        for (line, path) in [
            ("/ /m rw - ext4 nas:/export rw", "/m/a"),
            ("/ /m rw - fuse.sshfs nas: rw", "/m/a"),
            ("/ /m rw - fuse.sshfs nas:../x rw", "/m/a"),
            ("/ /m rw - nfs4 nas:/a/../b rw", "/m/a"),
            ("/ /m rw - nfs4 :/a rw", "/m/a"),
            ("/ /m rw - nfs4 nas:/a rw", "/n/a"),
            ("/ /m rw - 9p tag rw", "/m/a"),
        ] {
            assert_eq!(name(line, path), None, "{line}");
        }
    }

    #[test]
    fn a_mount_that_lies_over_another_hides_it() {
        let found = shares(&[
            "/ / rw - ext4 /dev/vda rw",
            "/ /m rw - nfs4 nas:/e rw",
            "/ /m/x rw - tmpfs none rw",
            "/ /n rw - nfs4 nas:/e rw",
        ]);
        assert_eq!(found.name(Path::new("/m/x/a")), None);
        let at = |name: &str| found.places(Path::new(name));
        assert_eq!(at("nas:/e/x/a"), [Path::new("/n/x/a")]);
        assert_eq!(at("nas:/e/a"), [Path::new("/m/a"), Path::new("/n/a")]);
        assert_eq!(at("other:/e/a"), [] as [&Path; 0]);
        assert!(!found.is_empty() && shares(&["/ / rw - ext4 x rw"]).is_empty());
    }

    #[test]
    fn how_it_is_mounted_says_what_its_inode_numbers_are_worth() {
        for (line, keeps_inodes, is_read_only) in [
            ("/ /m rw - nfs4 nas:/e rw", true, false),
            ("/ /m ro,nosuid - nfs4 nas:/e rw", true, true),
            ("/ /m rw - fuse.sshfs nas:/e rw", false, false),
            ("/ /m rw - cifs //nas/e rw,serverino", true, false),
            ("/ /m rw - cifs //nas/e ro", false, true),
        ] {
            let place = shares(&[line]).place(Path::new("/m/a")).unwrap();
            let expected = SharedPlace {
                name: "nas:/e/a".into(),
                keeps_inodes,
                is_read_only,
            };
            assert_eq!(place, expected, "{line}");
        }
    }

    #[test]
    fn which_locks_are_not_seen_is_told_by_how_it_is_mounted() {
        for (line, seen) in [
            ("/ /m rw - nfs4 nas:/e rw,vers=4.2,local_lock=none", true),
            (
                "/ /m rw - nfs nas:/e rw,vers=3,nolock,local_lock=all",
                false,
            ),
            ("/ /m rw - ceph a:/e rw", true),
            ("/ /m rw - fuse.sshfs a:/e rw", false),
            ("/ /m rw - cifs //a/e rw,nobrl", false),
        ] {
            assert_eq!(
                shares(&[line]).lockless(Path::new("/m/a")).is_none(),
                seen,
                "{line}"
            );
        }
        assert!(!machine_identity().is_empty());
    }
}
