//! A disk that grows between two states, as at the first boot of a cloud image: the partition takes the new room, and
//! then its filesystem. What is told of it is what the kernel shows of both states, and no more.

use std::path::{Path, PathBuf};

use qanopy_guest::Disk;
use qanopy_guest::diff::{self, Options, VolumeState, Watch};
use qanopy_guest::disk::{Content, VolumeName};

use crate::support::changes::{self, State};
use crate::support::files::{self, Abilities};
use crate::support::mount::Mount;
use crate::support::source;
use crate::support::tools::{has, has_capability, is_root, run};

const UNIX: Abilities = Abilities { unix: true };
const MIB: u64 = 1 << 20;
/// Where the partition begins.
const START: u64 = MIB;

/// A filesystem that can grow.
struct Case {
    /// Makes it in a file.
    make: &'static [&'static str],
    /// Grows it while it is not mounted.
    offline: &'static [&'static str],
    /// Grows it where it is mounted, by its folder or by its device.
    online: &'static [&'static str],
    by_device: bool,
    /// How it is mounted beside another state of it.
    mount: &'static str,
    /// Its length in MiB before.
    mebibytes: u64,
}

/// The words of a shell, which must succeed.
fn shell(line: &str) {
    run(&["sh", "-c", &format!("PATH=$PATH:/usr/sbin:/sbin; {line}")]);
}

fn words(words: &[&str], last: &str) {
    run(&[words, &[last]].concat());
}

/// How long the only partition of a disk is, in bytes.
fn partition(disk: &Path) -> u64 {
    let table = run(&["sfdisk", "--dump", disk.to_str().unwrap()]);
    let size = table.split("size=").nth(1).unwrap();
    let sectors = size.split(',').next().unwrap().trim();
    sectors.parse::<u64>().unwrap() * 512
}

impl Case {
    /// A disk with the filesystem in its only partition, and files in it.
    fn made(&self, folder: &Path, table: &str) -> PathBuf {
        let (disk, volume) = (folder.join("before"), folder.join("volume"));
        let (disk_name, volume_name) = (disk.display(), volume.display());
        shell(&format!("truncate -s {}M {volume_name}", self.mebibytes));
        words(self.make, volume.to_str().unwrap());
        let mount = Mount::new(&volume, "noatime");
        files::populate(&mount.path(), UNIX);
        drop(mount);
        // Room for the table, and for the copy of a GUID partition table.
        shell(&format!("truncate -s {}M {disk_name}", self.mebibytes + 2));
        shell(&format!(
            "printf 'label: {table}\nstart=2048, size={}M\n' | sfdisk -q {disk_name}",
            self.mebibytes
        ));
        shell(&format!(
            "dd if={volume_name} of={disk_name} bs=1M seek=1 conv=notrunc,sparse status=none"
        ));
        disk
    }

    /// The filesystem of a disk, mounted.
    fn mounted(&self, disk: &Path, options: &str) -> Mount {
        let len = partition(disk);
        Mount::new(disk, &format!("{options},offset={START},sizelimit={len}"))
    }

    fn state(&self, disk: &Path) -> State {
        let mount = self.mounted(disk, &format!("ro{}", self.mount));
        State::of(&mount.path())
    }

    fn grow_online(&self, disk: &Path) {
        let mount = self.mounted(disk, "noatime");
        let at = mount.path();
        let at = at.to_str().unwrap();
        match self.by_device {
            true => {
                let device = run(&["findmnt", "-n", "-o", "SOURCE", at]);
                words(self.online, device.trim());
            }
            false => words(self.online, at),
        }
        files::change(&mount.path(), UNIX);
    }

    fn grow_offline(&self, disk: &Path) {
        let (start, len) = (START.to_string(), partition(disk).to_string());
        let disk_name = disk.to_str().unwrap();
        let place = ["--offset", &start, "--sizelimit", &len, disk_name];
        let device = run(&[&["losetup", "--find", "--show"], &place[..]].concat());
        let device = device.trim();
        words(&["e2fsck", "-f", "-y"], device);
        words(self.offline, device);
        run(&["losetup", "--detach", device]);
        let mount = self.mounted(disk, "noatime");
        files::change(&mount.path(), UNIX);
    }

    /// Grows the disk, its partition and the filesystem, changes files, and compares.
    fn assert_told(&self, table: &str, grow: fn(&Self, &Path)) {
        let folder = tempfile::tempdir().unwrap();
        let before = self.made(folder.path(), table);
        let after = folder.path().join("after");
        let was = self.state(&before);
        shell(&format!(
            "cp --sparse=always --reflink=never {} {after}; truncate -s {}M {after}; \
             echo ', +' | sfdisk -q -N 1 {after}",
            before.display(),
            self.mebibytes * 2 + 2,
            after = after.display(),
        ));
        grow(self, &after);
        let is = self.state(&after);
        assert_as_kernel([&before, &after], &changes::expected(&was, &is));
    }
}

/// Counts the nodes that can differ.
#[derive(Default)]
struct Differing(u64);

impl Watch for Differing {
    fn candidates(&mut self, nodes: u64) {
        self.0 = nodes;
    }
}

fn assert_as_kernel(disks: [&Path; 2], expected: &changes::Told) {
    let [before, after] = disks.map(source::raw);
    let changed = source::differing(&before, &after, 64 << 10);
    let [was, is] = [&before, &after].map(|disk| Disk::open(disk).unwrap());
    let total = |disk: &Disk| {
        let [volume] = &disk.volumes[..] else {
            panic!("{disk:?}");
        };
        match &volume.content {
            Content::Filesystem(filesystem) => filesystem.summary().total,
            other => panic!("{other:?}"),
        }
    };
    assert!(
        total(&is) > total(&was) + total(&was) / 2,
        "it did not grow"
    );
    let mut differing = Differing::default();
    let told = diff::disks(&was, &is, &changed, Options::default(), &mut differing).unwrap();
    let [volume] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(volume.name, VolumeName::Partition(1));
    assert!(
        matches!(volume.state, VolumeState::Compared),
        "{:?}",
        volume.state
    );
    changes::assert_same(&changes::told(&volume.changes), expected);
    assert!(expected.len() > 30);
    // Some 1,700 files are there.
    assert!(differing.0 < 200, "{} differ", differing.0);
}

/// Whether what these tests need is here.
fn can(tools: &[&str]) -> bool {
    has(&["sfdisk", "mount", "losetup", "findmnt", "dd"]) && has(tools) && is_root()
}

const EXT4: Case = Case {
    make: &["mkfs.ext4", "-q"],
    offline: &["resize2fs"],
    online: &["resize2fs"],
    by_device: true,
    mount: "",
    mebibytes: 160,
};

#[test]
fn an_ext4_that_grew_while_it_was_not_mounted_is_compared_as_the_kernel_shows_it() {
    if can(&["mkfs.ext4", "resize2fs", "e2fsck"]) {
        EXT4.assert_told("gpt", Case::grow_offline);
    }
}

#[test]
fn an_ext4_that_grew_while_it_was_mounted_is_compared_as_the_kernel_shows_it() {
    // The kernel asks for this right before it makes an ext4 larger.
    if can(&["mkfs.ext4", "resize2fs"]) && has_capability(24, "CAP_SYS_RESOURCE") {
        EXT4.assert_told("dos", Case::grow_online);
    }
}

#[test]
fn an_xfs_that_grew_is_compared_as_the_kernel_shows_it() {
    let case = Case {
        make: &["mkfs.xfs", "-q"],
        offline: &[],
        online: &["xfs_growfs"],
        by_device: false,
        mount: ",nouuid",
        mebibytes: 320,
    };
    if can(&["mkfs.xfs", "xfs_growfs"]) {
        case.assert_told("gpt", Case::grow_online);
    }
}

#[test]
fn a_btrfs_that_grew_is_compared_as_the_kernel_shows_it() {
    let case = Case {
        make: &["mkfs.btrfs", "-q"],
        offline: &[],
        online: &["btrfs", "filesystem", "resize", "max"],
        by_device: false,
        mount: "",
        mebibytes: 256,
    };
    if can(&["mkfs.btrfs", "btrfs"]) {
        case.assert_told("gpt", Case::grow_online);
    }
}
