//! Logical volumes on disks whose volume groups the tools of LVM2 made. Filesystems are made in plain files and put
//! where these tools say that the volumes are, since no device mapper is needed that way.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use qanopy_guest::diff::{self, NoWatch, Options, VolumeDiff, VolumeState};
use qanopy_guest::disk::{Content, Disk, Volume};
use qanopy_guest::{Ranges, Source, explain};

use super::support::source::{self, differing, raw};
use super::support::tools::{has, is_root, run};
use super::support::{files, tree};

const MIB: u64 = 1 << 20;

/// A loop device until it is dropped.
struct Loop(String);

impl Loop {
    fn new(disk: &Path, at: u64, len: u64) -> Self {
        let (at, len) = (at.to_string(), len.to_string());
        let words = ["losetup", "-f", "--show", "-o", &at, "--sizelimit", &len];
        let told = run(&[&words[..], &[disk.to_str().unwrap()]].concat());
        Self(told.trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run(&["losetup", "-d", &self.0]);
    }
}

/// A disk with parts of it as loop devices, which the tools of LVM2 see and no other ones.
pub(super) struct Group {
    dir: tempfile::TempDir,
    pub(super) disk: PathBuf,
    parts: Vec<(Loop, u64)>,
}

impl Group {
    /// A disk of so many MiB with physical volumes at these MiB, in the group `my-vg`.
    pub(super) fn new(len: u64, parts: &[(u64, u64)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk.raw");
        File::create(&disk).unwrap().set_len(len * MIB).unwrap();
        let device = |(at, len): &(u64, u64)| (Loop::new(&disk, at * MIB, len * MIB), at * MIB);
        let parts: Vec<_> = parts.iter().map(device).collect();
        let group = Self { dir, disk, parts };
        let devices: Vec<&str> = group.parts.iter().map(|(device, _)| &*device.0).collect();
        group.lvm(&[&["pvcreate", "-q"], &devices[..]].concat());
        group.lvm(&[&["vgcreate", "-q", "my-vg"], &devices[..]].concat());
        group
    }

    /// Runs a tool of LVM2 without the device mapper.
    pub(super) fn lvm(&self, words: &[&str]) -> String {
        let only = |(device, _): &(Loop, u64)| format!("\"a|^{}$|\"", device.0);
        let filter: Vec<String> = self.parts.iter().map(only).collect();
        let config = format!(
            "devices {{ filter=[{},\"r|.*|\"] use_devicesfile=0 }} global {{ locking_dir=\"{}\" use_lvmpolld=0 }} \
             activation {{ udev_sync=0 udev_rules=0 monitoring=0 }} backup {{ backup=0 archive=0 }}",
            filter.join(","),
            self.dir.path().display()
        );
        let (tool, rest) = words.split_first().unwrap();
        let words = [&[*tool, "--driverloaded", "n", "--config", &config], rest].concat();
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let line = format!(
            "LVM_SUPPRESS_FD_WARNINGS=1 PATH=$PATH:/usr/sbin:/sbin {}",
            words.join(" ")
        );
        run(&["sh", "-c", &line])
    }

    pub(super) fn create(&self, name: &str, extents: u32) {
        let extents = extents.to_string();
        self.lvm(&[
            "lvcreate", "-q", "-an", "-Zn", "-Wn", "-n", name, "-l", &extents, "my-vg",
        ]);
    }

    /// Where a volume's segments are: in the volume, on the disk, bytes; as the tools say it.
    fn segments(&self, name: &str) -> Vec<(u64, u64, u64)> {
        let told = self.lvm(&[
            "lvs",
            "--segments",
            "--noheadings",
            "--nosuffix",
            "--units",
            "b",
            "-o",
            "seg_start,seg_size,devices",
            &format!("my-vg/{name}"),
        ]);
        let segment = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (device, extent) = words[2].trim_end_matches(')').split_once('(').unwrap();
            let (_, at) = self
                .parts
                .iter()
                .find(|(part, _)| part.0 == device)
                .unwrap();
            let extent: u64 = extent.parse().unwrap();
            let disk = at + MIB + extent * 4 * MIB;
            (words[0].parse().unwrap(), disk, words[1].parse().unwrap())
        };
        told.lines().map(segment).collect()
    }

    /// Puts the bytes of a file where a volume is.
    pub(super) fn fill(&self, name: &str, from: &Path) {
        let (from, to) = (File::open(from).unwrap(), self.writable());
        for (volume, disk, len) in self.segments(name) {
            let mut bytes = vec![0; usize::try_from(len).unwrap()];
            from.read_exact_at(&mut bytes, volume).unwrap();
            to.write_all_at(&bytes, disk).unwrap();
        }
    }

    fn writable(&self) -> File {
        File::options()
            .read(true)
            .write(true)
            .open(&self.disk)
            .unwrap()
    }

    /// Another state of the metadata, in which the texts are replaced.
    fn rewrite(&self, replaced: &[(&str, &str)]) {
        let file = self.dir.path().join("metadata");
        let name = file.to_str().unwrap();
        self.lvm(&["vgcfgbackup", "-q", "-f", name, "my-vg"]);
        let mut text = fs::read_to_string(&file).unwrap();
        for (from, to) in replaced {
            assert!(text.contains(from), "{from}: {text}");
            text = text.replace(from, to);
        }
        fs::write(&file, text).unwrap();
        self.lvm(&["vgcfgrestore", "-q", "-f", name, "my-vg"]);
    }

    /// The disk as it is now, in another file.
    pub(super) fn state(&self, name: &str) -> Source {
        let copy = self.dir.path().join(name);
        run(&["sync", self.disk.to_str().unwrap()]);
        run(&[
            "cp",
            "--sparse=always",
            self.disk.to_str().unwrap(),
            copy.to_str().unwrap(),
        ]);
        raw(&copy)
    }
}

pub(super) fn is_possible() -> bool {
    has(&[
        "pvcreate",
        "lvcreate",
        "losetup",
        "mkfs.ext4",
        "debugfs",
        "mkfs.xfs",
    ]) && is_root()
}

/// A file with an ext4 of so many MiB, which holds what is in a folder.
fn ext4(dir: &Path, holds: &Path, len: u64) -> PathBuf {
    let file = dir.join("ext4.raw");
    let _ = fs::remove_file(&file);
    let len = format!("{len}M");
    let words = ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0", "-d"];
    run(&[
        &words[..],
        &[holds.to_str().unwrap(), file.to_str().unwrap(), &len],
    ]
    .concat());
    file
}

fn volume<'a>(disk: &'a Disk, name: &str) -> &'a Volume {
    let found = disk.volumes.iter().find(|one| one.name.to_string() == name);
    found.unwrap_or_else(|| panic!("{name}: {disk:?}"))
}

fn assert_holds(volume: &Volume, folder: &Path) {
    let Content::Filesystem(filesystem) = &volume.content else {
        panic!("{volume:?}")
    };
    let mut ours = tree::of_filesystem(&**filesystem);
    ours.remove(&b"lost+found"[..]);
    tree::assert_same(&ours, &tree::of_folder(folder));
}

fn names(disk: &Disk) -> Vec<String> {
    disk.volumes
        .iter()
        .map(|one| one.name.to_string())
        .collect()
}

#[test]
fn filesystems_on_logical_volumes_are_read_where_the_tools_say_that_they_are() {
    if !is_possible() {
        return;
    }
    let group = Group::new(512, &[(1, 100), (101, 400)]);
    group.create("root", 4);
    group.create("other", 8);
    group.lvm(&["lvextend", "-q", "-l", "+10", "my-vg/root"]);
    group.lvm(&["lvextend", "-q", "-l", "+72", "my-vg/other"]);
    assert!(group.segments("root").len() > 1 && group.segments("other").len() > 1);
    let holds = group.dir.path().join("holds");
    fs::create_dir(&holds).unwrap();
    files::populate(&holds, files::Abilities { unix: true });
    group.fill("root", &ext4(group.dir.path(), &holds, 56));
    let xfs = group.dir.path().join("xfs.raw");
    File::create(&xfs).unwrap().set_len(320 * MIB).unwrap();
    run(&["mkfs.xfs", "-q", xfs.to_str().unwrap()]);
    group.fill("other", &xfs);
    // Without a table the whole disk would be one volume.
    for (entry, at, len) in [(446, 1, 100), (462, 101, 400)] {
        let [at, len] = [at, len].map(|mib: u32| (mib * 2048).to_le_bytes());
        let disk = group.writable();
        disk.write_all_at(&[0x8e], entry + 4).unwrap();
        disk.write_all_at(&[at, len].concat(), entry + 8).unwrap();
        disk.write_all_at(&[0x55, 0xaa], 510).unwrap();
    }

    let state = group.state("state.raw");
    let disk = Disk::open(&state).unwrap();
    assert_eq!(names(&disk), ["p1", "p2", "my--vg-other", "my--vg-root"]);
    for part in ["p1", "p2"] {
        let content = &volume(&disk, part).content;
        assert!(
            matches!(content, Content::Physical(group) if group == "my-vg"),
            "{content:?}"
        );
    }
    assert_holds(volume(&disk, "my--vg-root"), &holds);
    let Content::Filesystem(other) = &volume(&disk, "my--vg-other").content else {
        panic!("{disk:?}")
    };
    assert_eq!(
        (other.summary().kind, other.summary().total),
        ("XFS", 320 * MIB)
    );
    for name in ["root", "other"] {
        let told: Vec<_> = volume(&disk, &format!("my--vg-{name}"))
            .place
            .segments()
            .to_vec();
        let told: Vec<_> = told
            .iter()
            .map(|one| (one.volume, one.disk, one.len))
            .collect();
        assert_eq!(told, group.segments(name));
    }
    // What is in no volume is outside: tables, metadata of LVM2, free extents.
    let sums = explain::explain(&disk, &source::until(512 * MIB)).unwrap();
    assert_eq!(
        (sums.total(), sums.outside),
        (512 * MIB, (512 - 56 - 320) * MIB)
    );
}

#[test]
fn a_disk_that_is_a_physical_volume_as_a_whole_is_read() {
    if !is_possible() {
        return;
    }
    let group = Group::new(64, &[(0, 64)]);
    group.create("root", 3);
    let holds = group.dir.path().join("holds");
    fs::create_dir(&holds).unwrap();
    fs::write(holds.join("file"), "words").unwrap();
    group.fill("root", &ext4(group.dir.path(), &holds, 12));
    let disk = Disk::open(&group.state("state.raw")).unwrap();
    assert_eq!(names(&disk), ["disk", "my--vg-root"]);
    assert_holds(volume(&disk, "my--vg-root"), &holds);
}

fn compare(before: &Source, after: &Source) -> Vec<VolumeDiff> {
    let changed = differing(before, after, 4096);
    let [before, after] = [before, after].map(|state| Disk::open(state).unwrap());
    diff::disks(&before, &after, &changed, Options::default(), &mut NoWatch).unwrap()
}

fn told(diffs: &[VolumeDiff], name: &str) -> Vec<String> {
    let one = diffs
        .iter()
        .find(|one| one.name.to_string() == name)
        .unwrap();
    assert!(
        matches!(one.state, VolumeState::Compared | VolumeState::Same),
        "{one:?}"
    );
    let change =
        |change: &diff::Change| format!("{} {}", change.kind.name(), change.path.escape_ascii());
    one.changes.iter().map(change).collect()
}

#[test]
fn volumes_are_compared_by_name_wherever_they_were_moved_to() {
    if !is_possible() {
        return;
    }
    let group = Group::new(128, &[(0, 128)]);
    group.create("root", 4);
    let holds = group.dir.path().join("holds");
    fs::create_dir(&holds).unwrap();
    for name in ["kept", "changed", "gone"] {
        fs::write(holds.join(name), files::bytes(7, 300_000)).unwrap();
    }
    let filesystem = ext4(group.dir.path(), &holds, 16);
    group.fill("root", &filesystem);
    let before = group.state("before.raw");

    // The changed filesystem lies elsewhere already, in extents that belong to no volume.
    let new = group.dir.path().join("new");
    fs::write(&new, files::bytes(8, 299_000)).unwrap();
    let edits = group.dir.path().join("edits");
    fs::write(
        &edits,
        format!("rm gone\nrm changed\nwrite {} changed\n", new.display()),
    )
    .unwrap();
    run(&[
        "debugfs",
        "-w",
        "-f",
        edits.to_str().unwrap(),
        filesystem.to_str().unwrap(),
    ]);
    let bytes = fs::read(&filesystem).unwrap();
    group
        .writable()
        .write_all_at(&bytes, MIB + 10 * 4 * MIB)
        .unwrap();
    let unused = group.state("unused.raw");
    assert_eq!(told(&compare(&before, &unused), "my--vg-root"), [""; 0]);

    // Only the metadata says that the volume is there from now on, as after `pvmove`.
    group.rewrite(&[("\"pv0\", 0", "\"pv0\", 10")]);
    assert_eq!(group.segments("root"), [(0, MIB + 40 * MIB, 16 * MIB)]);
    let moved = group.state("moved.raw");
    let want = ["modified changed", "deleted gone"];
    assert_eq!(told(&compare(&unused, &moved), "my--vg-root"), want);
    assert_eq!(told(&compare(&before, &moved), "my--vg-root"), want);
    assert_eq!(told(&compare(&unused, &moved), "disk"), [""; 0]);

    // A volume that is new, and one whose name is gone.
    group.lvm(&["lvrename", "-q", "my-vg/root", "system"]);
    let diffs = compare(&moved, &group.state("renamed.raw"));
    let states: Vec<_> = diffs
        .iter()
        .map(|one| (one.name.to_string(), format!("{:?}", one.state)))
        .collect();
    assert!(
        states.contains(&("my--vg-system".to_owned(), "Added".to_owned())),
        "{states:?}"
    );
    assert!(
        states.contains(&("my--vg-root".to_owned(), "Deleted".to_owned())),
        "{states:?}"
    );
}

#[test]
fn what_is_not_linear_is_named_and_never_said_to_be_the_same() {
    if !is_possible() {
        return;
    }
    // No table is there, so that the whole disk is looked at: its first part is one of two physical volumes.
    let group = Group::new(64, &[(0, 32), (32, 32)]);
    let words = "lvcreate -q -an -Zn -Wn -n both -i 2 -l 4 my-vg";
    group.lvm(&words.split(' ').collect::<Vec<_>>());
    group.lvm(&[
        "lvcreate",
        "-q",
        "-an",
        "-Zn",
        "-Wn",
        "-n",
        "alone",
        "-l",
        "1",
        "my-vg",
        &group.parts[1].0.0,
    ]);
    let before = group.state("before.raw");
    let disk = Disk::open(&before).unwrap();
    for (name, want) in [
        ("my--vg-both", "LVM striped volume"),
        ("my--vg-alone", "LVM volume with a missing physical volume"),
    ] {
        let content = &volume(&disk, name).content;
        assert!(
            matches!(content, Content::Named(words) if *words == want),
            "{content:?}"
        );
    }
    group.writable().write_all_at(b"new", MIB + 100).unwrap();
    let diffs = compare(&before, &group.state("after.raw"));
    let one = diffs
        .iter()
        .find(|one| one.name.to_string() == "my--vg-both");
    let one = one.unwrap();
    assert!(
        matches!(&one.state, VolumeState::NotRead(why) if why.contains("striped")),
        "{one:?}"
    );
}

/// The CRC of LVM2, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

#[test]
fn forged_metadata_is_refused_or_bounded() {
    if !is_possible() {
        return;
    }
    let group = Group::new(24, &[(0, 24)]);
    group.create("root", 2);
    group.create("other", 1);
    group.lvm(&["lvextend", "-q", "-l", "+2", "my-vg/root"]);
    run(&["sync", group.disk.to_str().unwrap()]);
    let image = fs::read(&group.disk).unwrap();
    let number = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
    // The metadata area is at 4 KiB: where in it the text begins, and how long it is.
    let text = 4096 + usize::try_from(number(4096 + 40)).unwrap();
    let len = usize::try_from(number(4096 + 48)).unwrap();
    assert_eq!(
        crc(&image[text..text + len]).to_le_bytes(),
        image[4096 + 56..4096 + 60]
    );

    let mut wrong = image.clone();
    wrong[text + 5] ^= 1;
    let disk = Disk::open(&(Arc::new(wrong) as Source)).unwrap();
    let content = &volume(&disk, "disk").content;
    assert!(
        matches!(content, Content::Failed(why) if why.to_string().contains("checksum")),
        "{content:?}"
    );

    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut opened = 0;
    for _ in 0..150 {
        let mut forged = image.clone();
        for _ in 0..=random(3) {
            // A byte of the text, or of the fields that say where it is.
            let at = if random(4) == 0 {
                4096 + random(64)
            } else {
                text + random(len)
            };
            forged[at] = [b'"', b'{', b'}', b'9', b'0', 0, 0xff, b'['][random(8)];
        }
        let sum = crc(&forged[text..text + len]).to_le_bytes();
        forged[4096 + 56..4096 + 60].copy_from_slice(&sum);
        let sum = crc(&forged[4100..4096 + 512]).to_le_bytes();
        forged[4096..4100].copy_from_slice(&sum);
        let start = Instant::now();
        let source: Source = Arc::new(forged);
        let disk = Disk::open(&source).unwrap();
        opened += usize::from(disk.volumes.len() > 1);
        let _ = explain::explain(&disk, &Ranges::all());
        assert!(start.elapsed().as_secs() < 2);
    }
    assert!(opened > 15, "{opened}");
}
