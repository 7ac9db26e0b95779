//! What the kernel tells in sysfs of a block device, without the device being opened: its length, and which
//! logical volume it is. LVM itself is never run.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{major, minor};

use super::stat::FileId;

/// A logical volume, as the device mapper names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Volume {
    /// The volume group.
    pub group: String,
    /// The volume in it.
    pub name: String,
}

/// Where sysfs is. `QANOPY_SYSFS` names another place, for machines that mount it elsewhere.
fn sysfs() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let given: Option<OsString> = std::env::var_os("QANOPY_SYSFS");
        given.map_or_else(|| PathBuf::from("/sys"), PathBuf::from)
    })
}

/// Where sysfs tells of the device with this number.
fn place(sysfs: &Path, number: u64) -> PathBuf {
    sysfs.join(format!("dev/block/{}:{}", major(number), minor(number)))
}

/// The length of a device in bytes; 0 where the kernel does not tell.
pub(super) fn length(number: u64) -> u64 {
    let told = length_in(sysfs(), number).or_else(|| length_in(Path::new("/sys"), number));
    told.unwrap_or(0)
}

fn length_in(sysfs: &Path, number: u64) -> Option<u64> {
    let sectors = fs::read_to_string(place(sysfs, number).join("size")).ok()?;
    Some(sectors.trim().parse::<u64>().ok()?.saturating_mul(512))
}

/// The logical volume that a device is, if it is one.
#[must_use]
pub fn volume_of(device: FileId) -> Option<Volume> {
    volume_in(sysfs(), device.device_number()?)
}

fn volume_in(sysfs: &Path, number: u64) -> Option<Volume> {
    let mapper = place(sysfs, number).join("dm");
    // Other users of the device mapper have identifiers of their own: `CRYPT-`, `mpath-`.
    let uuid = fs::read_to_string(mapper.join("uuid")).ok()?;
    if !uuid.starts_with("LVM-") {
        return None;
    }
    Volume::from_mapper_name(fs::read_to_string(mapper.join("name")).ok()?.trim_end())
}

impl Volume {
    /// Takes the device mapper's name apart: group and volume are joined by a hyphen, and a hyphen within
    /// one of them is written twice (`pve-vm--100--disk--0`).
    #[must_use]
    pub fn from_mapper_name(mapped: &str) -> Option<Self> {
        let bytes = mapped.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if *byte != b'-' {
                at += 1;
            } else if bytes.get(at + 1) == Some(&b'-') {
                at += 2;
            } else {
                break;
            }
        }
        let (group, name) = (mapped.get(..at)?, mapped.get(at + 1..)?);
        let whole = |part: &str| part.replace("--", "-");
        (!group.is_empty() && !name.is_empty()).then(|| Self {
            group: whole(group),
            name: whole(name),
        })
    }

    /// What a path below `/dev` names if it is the node of a logical volume: `/dev/pve/root`, or
    /// `/dev/mapper/pve-root`. That there is one is not said by it.
    #[must_use]
    pub fn of_node(path: &Path) -> Option<Self> {
        let mut parts = path.strip_prefix("/dev").ok()?.components();
        let (folder, name) = (parts.next()?, parts.next()?);
        let (folder, name) = (folder.as_os_str().to_str()?, name.as_os_str().to_str()?);
        if parts.next().is_some() {
            return None;
        }
        match folder {
            "mapper" => Self::from_mapper_name(name),
            // What else the kernel and udev keep there.
            "block" | "bus" | "char" | "cpu" | "disk" | "dri" | "fd" | "hugepages" | "input"
            | "loop" | "mqueue" | "net" | "nbd" | "pts" | "raw" | "shm" | "snd" | "usb"
            | "vfio" | "zvol" => None,
            group => Some(Self {
                group: group.to_owned(),
                name: name.to_owned(),
            }),
        }
    }

    /// `pve/vm-100-disk-0`, as the tools of LVM take it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(group: &str, name: &str) -> Option<Volume> {
        Some(Volume {
            group: group.to_owned(),
            name: name.to_owned(),
        })
    }

    #[test]
    fn a_mapper_name_is_taken_apart_at_its_single_hyphen() {
        let read = Volume::from_mapper_name;
        assert_eq!(
            read("pve-vm--100--disk--0.qcow2"),
            volume("pve", "vm-100-disk-0.qcow2")
        );
        assert_eq!(
            read("my--vg-snap_vm--1--disk--0_a"),
            volume("my-vg", "snap_vm-1-disk-0_a")
        );
        assert_eq!(read("pve-root"), volume("pve", "root"));
        for odd in ["", "-", "vg", "vg--lv", "-lv", "vg-"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_node_below_dev_may_be_that_of_a_volume() {
        let of = |path: &str| Volume::of_node(Path::new(path));
        assert_eq!(of("/dev/pve/vm-1-disk-0"), volume("pve", "vm-1-disk-0"));
        assert_eq!(of("/dev/mapper/pve-vm--1"), volume("pve", "vm-1"));
        for other in ["/dev/sda", "/dev/disk/by-id/x", "/dev/shm/a", "/srv/pve/a"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn sysfs_tells_length_and_volume_of_a_device() {
        let dir = tempfile::tempdir().unwrap();
        let number = rustix::fs::makedev(253, 7);
        assert_eq!(length_in(dir.path(), number), None);
        let device = dir.path().join("dev/block/253:7");
        fs::create_dir_all(device.join("dm")).unwrap();
        fs::write(device.join("size"), "32768\n").unwrap();
        fs::write(device.join("dm/name"), "pve-vm--1--disk--0\n").unwrap();
        fs::write(device.join("dm/uuid"), "CRYPT-LUKS2-x\n").unwrap();
        assert_eq!(length_in(dir.path(), number), Some(16 << 20));
        assert_eq!(volume_in(dir.path(), number), None, "no logical volume");
        fs::write(device.join("dm/uuid"), "LVM-abc\n").unwrap();
        assert_eq!(volume_in(dir.path(), number), volume("pve", "vm-1-disk-0"));
    }
}
