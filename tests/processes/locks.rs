//! QEMU's image locks, both ways: what QEMU holds we respect and name, what we hold QEMU respects. And images
//! on block devices, whose names and lengths are not ours.

use crate::support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy::host::{Access, Conflict, Host, HostFile, Lock, LockProbe, LockSet, RealHost};
use support::devices::LoopDevice;
use support::{HoldMode, Qemu};

/// An overlay on a base, in a directory of their own.
struct Pair {
    _dir: tempfile::TempDir,
    base: PathBuf,
    overlay: PathBuf,
}

fn pair(qemu: &Qemu) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let here = qemu.within(dir.path());
    here.img(&["create", "-f", "qcow2", "base.qcow2", "1M"]);
    here.img(&[
        "create",
        "-f",
        "qcow2",
        "-b",
        "base.qcow2",
        "-F",
        "qcow2",
        "ov.qcow2",
    ]);
    Pair {
        base: dir.path().join("base.qcow2"),
        overlay: dir.path().join("ov.qcow2"),
        _dir: dir,
    }
}

fn open(path: &Path) -> Arc<dyn HostFile> {
    RealHost.open(path, Access::ReadWrite).unwrap()
}

/// The conflict that stands against a lock; `None` where it is free. Asking and taking agree.
fn conflict(path: &Path, want: LockSet) -> Option<Conflict> {
    let file = open(path);
    let asked = match file.probe_lock(want).unwrap() {
        LockProbe::Free => None,
        LockProbe::Busy(conflict) => Some(conflict),
        LockProbe::Unsupported => panic!("these tests need open-file-description locks"),
    };
    let taken = match file.lock(want).unwrap() {
        Lock::Held(_) => None,
        Lock::Busy(conflict) => Some(conflict),
        Lock::Unsupported => panic!("these tests need open-file-description locks"),
    };
    assert_eq!(asked, taken);
    taken
}

/// A machine's disk cannot be locked in any way, its base can only be read; both name the process.
fn assert_held_by_a_machine(pair: &Pair, pid: u32, command: &str) {
    for want in [LockSet::ReadWrite, LockSet::ReadOnly] {
        let conflict = conflict(&pair.overlay, want).unwrap();
        assert!(conflict.writer);
        let [holder] = conflict.holders.as_slice() else {
            panic!("{conflict:?}");
        };
        assert_eq!((holder.pid, holder.command.as_str()), (pid, command));
        assert!(holder.writes && holder.locks);
    }
    let writing = conflict(&pair.base, LockSet::ReadWrite).unwrap();
    assert!(!writing.writer, "the machine only reads the base");
    assert_eq!(writing.holders.first().unwrap().pid, pid);
    assert_eq!(conflict(&pair.base, LockSet::ReadOnly), None);
}

#[test]
fn an_image_in_use_by_qemu_nbd_is_refused_and_the_process_named() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let held = qemu.hold_with_nbd(&pair.overlay, HoldMode::ReadWrite);
    assert_held_by_a_machine(&pair, held.pid(), "qemu-nbd");
    drop(held);
    for path in [&pair.base, &pair.overlay] {
        assert_eq!(conflict(path, LockSet::ReadWrite), None, "free again");
    }
}

#[test]
fn an_image_in_use_by_qemu_storage_daemon_is_refused_and_the_process_named() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let held = qemu.hold_with_storage_daemon(&pair.overlay, HoldMode::ReadWrite);
    assert_held_by_a_machine(&pair, held.pid(), "qemu-storage-daemon");
}

#[test]
fn an_image_that_qemu_only_reads_can_be_read_and_not_written() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let _held = qemu.hold_with_io(&pair.overlay, HoldMode::ReadOnly);
    assert_eq!(conflict(&pair.overlay, LockSet::ReadOnly), None);
    assert!(!conflict(&pair.overlay, LockSet::ReadWrite).unwrap().writer);
}

#[test]
fn one_pass_finds_what_a_process_holds_of_a_whole_chain() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let held = qemu.hold_with_io(&pair.overlay, HoldMode::ReadWrite);
    let ids = [&pair.base, &pair.overlay].map(|path| RealHost.stat(path).unwrap().id);
    let found = RealHost.holders(&ids);
    for (id, writes) in ids.iter().zip([false, true]) {
        let holder = found.get(id).unwrap().first().unwrap();
        assert_eq!(holder.pid, held.pid());
        assert_eq!((holder.writes, holder.locks), (writes, true));
    }
}

#[test]
fn qemu_refuses_an_image_we_write() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let file = open(&pair.overlay);
    let lock = file.lock(LockSet::ReadWrite).unwrap();
    assert!(matches!(lock, Lock::Held(_)));
    let path = pair.overlay.to_str().unwrap();
    for args in [&["info", path][..], &["check", path], &["commit", path]] {
        let outcome = qemu.try_img(args);
        assert!(!outcome.success(), "{args:?}");
        assert!(outcome.stderr.contains("lock"), "{}", outcome.stderr);
    }
    drop(lock);
    qemu.img(&["info", path]);
}

#[test]
fn qemu_reads_an_image_we_pin_and_does_not_write_it() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let file = RealHost.open(&pair.base, Access::Read).unwrap();
    let lock = file.lock(LockSet::ReadOnly).unwrap();
    assert!(matches!(lock, Lock::Held(_)));
    let path = pair.base.to_str().unwrap();
    qemu.img(&["info", path]);
    qemu.img(&["check", path]);
    qemu.io(&pair.overlay, &["write -P 7 0 64k"]);
    let overlay = pair.overlay.to_str().unwrap();
    for args in [&["resize", path, "2M"][..], &["commit", overlay]] {
        let outcome = qemu.try_img(args);
        assert!(!outcome.success(), "{args:?}");
        assert!(outcome.stderr.contains("lock"), "{}", outcome.stderr);
    }
}

/// A chain of three on loop devices behind nodes in a folder of their own, as Proxmox makes one on LVM.
struct Volumes {
    dir: tempfile::TempDir,
    group: PathBuf,
    devices: Vec<LoopDevice>,
}

const VOLUMES: [&str; 3] = ["snap_a.qcow2", "snap_b.qcow2", "disk.qcow2"];

impl Volumes {
    fn new(qemu: &Qemu, sizes: [u64; 3]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("vg");
        std::fs::create_dir(&group).unwrap();
        let mut devices: Vec<LoopDevice> = Vec::new();
        let mut below: Option<PathBuf> = None;
        for (name, bytes) in VOLUMES.into_iter().zip(sizes) {
            let device = LoopDevice::new(dir.path(), bytes)?;
            let node = group.join(name);
            device.node(&node);
            let mapper = format!("pve-{}", name.replace('-', "--"));
            device.name_in_sysfs(&dir.path().join("sys"), &mapper);
            let node = node.to_str().unwrap().to_owned();
            let options = "extended_l2=on,cluster_size=128k";
            let mut words = vec!["create", "-q", "-f", "qcow2", "-o", options];
            let base = below.take();
            if let Some(base) = &base {
                words.extend(["-F", "qcow2", "-b", base.to_str().unwrap()]);
            }
            words.push(&node);
            if base.is_none() {
                words.push("64M");
            }
            qemu.img(&words);
            below = Some(group.join(name));
            devices.push(device);
        }
        let volumes = Self {
            dir,
            group,
            devices,
        };
        for (at, name) in VOLUMES.into_iter().enumerate() {
            let write = format!("write -P {} {}M 2M", at + 1, at + 1);
            qemu.io(volumes.path(name), &[&write]);
        }
        Some(volumes)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.group.join(name)
    }

    /// `qanopy WORDS` in the folder: its exit code, and all it printed.
    fn qanopy(&self, words: &str) -> (Option<i32>, String) {
        let home = self.dir.path();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_qanopy"))
            .args(words.split_whitespace())
            .current_dir(&self.group)
            .env("QANOPY_SYSFS", home.join("sys"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.code(), text)
    }

    /// Every node is where it was and what it was, and nothing else came into the folder.
    fn assert_names_are_left_alone(&self) {
        let mut names: Vec<_> = std::fs::read_dir(&self.group)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let mut expected = VOLUMES;
        expected.sort_unstable();
        assert_eq!(names, expected);
        for (name, device) in VOLUMES.into_iter().zip(&self.devices) {
            let id = |path: &Path| RealHost.stat(path).unwrap().id;
            assert_eq!(id(&self.path(name)), id(&device.path), "{name}");
        }
    }
}

const MIB: u64 = 1 << 20;

#[test]
fn a_folder_of_device_nodes_shows_the_chain_and_what_it_takes_of_each_device() {
    let Some(qemu) = support::qemu() else { return };
    let Some(volumes) = Volumes::new(&qemu, [16 * MIB; 3]) else {
        return;
    };
    let (code, tree) = volumes.qanopy("tree .");
    assert_eq!(code, Some(0), "{tree}");
    for name in VOLUMES {
        assert!(tree.contains(name), "{tree}");
    }
    assert!(!tree.contains(" 0 B"), "{tree}");
    let (_, info) = volumes.qanopy("info disk.qcow2");
    assert!(!info.contains(" 0 B"), "{info}");
    // A link as LVM makes them, and a second node: each is another name of the same image.
    let links = volumes.dir.path().join("links");
    std::fs::create_dir(&links).unwrap();
    std::os::unix::fs::symlink("../vg/snap_b.qcow2", links.join("snap_b")).unwrap();
    let second = links.join("dm-1");
    volumes.devices.first().unwrap().node(&second);
    let (_, json) = volumes.qanopy("tree --json ../links .");
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    let nodes = parsed["result"]["images"].as_array().unwrap();
    assert_eq!(nodes.len(), 3, "one device is one image: {json}");
    for (image, names) in nodes.iter().zip([2, 2, 1]) {
        assert_eq!(image["names"].as_array().unwrap().len(), names, "{json}");
    }
}

#[test]
fn a_device_is_called_by_the_name_of_its_volume_and_a_volume_without_one_is_not_activated() {
    let Some(qemu) = support::qemu() else { return };
    let Some(volumes) = Volumes::new(&qemu, [16 * MIB; 3]) else {
        return;
    };
    // By the kernel's name nobody knows which volume it is.
    let other = volumes.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    volumes.devices.first().unwrap().node(&other.join("dm-1"));
    let (_, tree) = volumes.qanopy("tree ../other");
    let name = VOLUMES[0];
    assert!(tree.contains(&format!("pve/{name}")), "{tree}");
    let (_, json) = volumes.qanopy("tree --json ../other");
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        parsed["result"]["images"][0]["volume"],
        format!("pve/{name}"),
        "{json}"
    );
    let (_, info) = volumes.qanopy("info ../other/dm-1");
    assert!(
        info.contains(&format!("pve/{name}, a logical volume")),
        "{info}"
    );
    let (_, json) = volumes.qanopy("info --json ../other/dm-1");
    assert!(
        json.contains(&format!("\"volume\": \"pve/{name}\"")),
        "{json}"
    );

    let idle = volumes.dir.path().join("idle");
    std::fs::create_dir(&idle).unwrap();
    for (name, base) in [
        ("top.qcow2", "/dev/qanopy-no-such-group/vm-1-disk-0"),
        ("mapped.qcow2", "/dev/mapper/qanopy--none-vm--2"),
    ] {
        let path = idle.join(name);
        qemu.img(&[
            "create",
            "-q",
            "-u",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            base,
            path.to_str().unwrap(),
            "1M",
        ]);
    }
    let (code, tree) = volumes.qanopy("tree --check ../idle");
    assert_eq!(code, Some(3), "{tree}");
    for part in [
        "(not activated)",
        "lvchange -ay qanopy-no-such-group/vm-1-disk-0",
        "lvchange -ay qanopy-none/vm-2",
    ] {
        assert!(tree.contains(part), "{part}: {tree}");
    }
    let (code, said) = volumes.qanopy("flatten ../idle/top.qcow2 --in-place --dry-run");
    assert_ne!(code, Some(3), "{said}");
    assert!(
        said.contains("a logical volume that is not activated"),
        "{said}"
    );
}

/// What a repair of a device replaces is kept where files are kept, and can be put back.
#[test]
fn the_tables_of_a_device_are_not_kept_among_the_nodes() {
    use std::os::unix::fs::FileExt;
    let Some(qemu) = support::qemu() else { return };
    let Some(volumes) = Volumes::new(&qemu, [16 * MIB; 3]) else {
        return;
    };
    let disk = volumes.path(VOLUMES[0]);
    // Held by nobody while the program looks.
    let read = |offset: u64, len: usize| {
        let mut bytes = vec![0; len];
        let device = std::fs::File::open(&disk).unwrap();
        device.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    };
    let number_at = |offset: u64| u64::from_be_bytes(read(offset, 8).try_into().unwrap());
    let bits = u32::from_be_bytes(read(20, 4).try_into().unwrap());
    // A cluster near the end of the device that is counted and used by nothing.
    let count = || number_at(number_at(48)) + 2 * ((15 * MIB) >> bits);
    let at = count();
    let device = std::fs::OpenOptions::new().write(true).open(&disk).unwrap();
    device.write_all_at(&1_u16.to_be_bytes(), at).unwrap();
    device.sync_all().unwrap();
    drop(device);
    let counted = || u16::from_be_bytes(read(count(), 2).try_into().unwrap());
    let name = VOLUMES[0];
    let (code, said) = volumes.qanopy(&format!("check {name}"));
    assert_eq!(code, Some(3), "{said}");
    let (code, said) = volumes.qanopy(&format!("check --repair leaks {name} --yes"));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(counted(), 0, "{said}");
    volumes.assert_names_are_left_alone();
    let kept = volumes.dir.path().join("state/qanopy/tables/.qanopy-trash");
    assert!(kept.is_dir(), "{said}");
    let (code, said) = volumes.qanopy("undo --yes");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(counted(), 1);
    volumes.assert_names_are_left_alone();
}

#[test]
fn what_is_on_a_device_is_merged_and_no_name_of_a_device_changes() {
    let Some(qemu) = support::qemu() else { return };
    let Some(volumes) = Volumes::new(&qemu, [16 * MIB; 3]) else {
        return;
    };
    let disk = volumes.path("disk.qcow2");
    let before = qemu.digest(&disk);
    let (code, plan) = volumes.qanopy("commit disk.qcow2 --dry-run");
    assert_eq!(code, Some(0), "{plan}");
    assert!(plan.contains("lvremove pve/disk.qcow2"), "{plan}");
    let needs = plan.lines().find(|line| line.contains("needs")).unwrap();
    assert!(
        needs.contains("snap_b.qcow2"),
        "the device's own room: {needs}"
    );
    let (code, done) = volumes.qanopy("commit disk.qcow2 --confirm 1");
    assert_eq!(code, Some(0), "{done}");
    volumes.assert_names_are_left_alone();
    for path in [&disk, &volumes.path("snap_b.qcow2")] {
        assert_eq!(qemu.digest(path), before, "{}", path.display());
        qemu.img(&["check", "-q", path.to_str().unwrap()]);
    }
}

#[test]
fn a_device_is_never_renamed_removed_cut_or_grown() {
    let Some(qemu) = support::qemu() else { return };
    let Some(volumes) = Volumes::new(&qemu, [16 * MIB; 3]) else {
        return;
    };
    for (words, says) in [
        (
            "discard disk.qcow2 --yes --confirm 1",
            "lvremove pve/disk.qcow2",
        ),
        (
            "commit disk.qcow2 --into snap_a.qcow2 --yes",
            "block device",
        ),
        (
            "move disk.qcow2 other.qcow2 --yes",
            "lvrename pve disk.qcow2 other.qcow2",
        ),
        (
            "resize disk.qcow2 +1G --preallocation full --yes",
            "lvextend --size +",
        ),
    ] {
        let (code, text) = volumes.qanopy(words);
        assert_eq!(code, Some(4), "{words}: {text}");
        assert!(text.contains(says), "{words}: {text}");
        volumes.assert_names_are_left_alone();
    }
    let (code, text) = volumes.qanopy("resize disk.qcow2 +10M --dry-run");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("lvextend"), "{text}");
    let (code, text) = volumes.qanopy("clone disk.qcow2 ../copy.qcow2 --yes");
    assert_eq!(code, Some(0), "{text}");
    let copy = volumes.dir.path().join("copy.qcow2");
    assert!(std::fs::metadata(&copy).unwrap().len() < 8 * MIB, "{text}");
    let disk = volumes.path("disk.qcow2");
    assert_eq!(qemu.digest(&copy), qemu.digest(&disk));
}

#[test]
fn a_device_without_room_is_refused_with_the_numbers() {
    let Some(qemu) = support::qemu() else { return };
    let Some(volumes) = Volumes::new(&qemu, [16 * MIB, 4 * MIB, 32 * MIB]) else {
        return;
    };
    let disk = volumes.path("disk.qcow2");
    qemu.io(&disk, &["write -P 9 20M 20M"]);
    let before = qemu.digest(&disk);
    let (code, text) = volumes.qanopy("commit disk.qcow2 --confirm 1");
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("which is 4 MiB long"), "{text}");
    assert!(text.contains("lvextend --size +"), "{text}");
    assert_eq!(qemu.digest(&disk), before);
}

#[test]
fn a_device_receives_the_content_of_an_image_and_keeps_its_length() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some(device) = LoopDevice::new(dir.path(), 8 * MIB) else {
        return;
    };
    let node = dir.path().join("lv.img");
    device.node(&node);
    let here = qemu.within(dir.path());
    here.img(&["create", "-q", "-f", "qcow2", "source.qcow2", "6M"]);
    here.io("source.qcow2", &["write -P 5 1M 2M", "write -P 6 5M 700k"]);
    std::fs::write(&node, vec![9; 8 << 20]).unwrap();
    let words = "convert source.qcow2 lv.img --into-existing";
    let (code, text) = qanopy(dir.path(), false, &format!("{words} --yes"));
    assert_eq!(code, Some(4), "{text}");
    let (code, text) = qanopy(dir.path(), false, &format!("{words} --yes --confirm 1"));
    assert_eq!(code, Some(0), "{text}");
    let held = std::fs::read(&node).unwrap();
    assert_eq!(held.len(), 8 << 20);
    let is_all =
        |range: std::ops::Range<usize>, byte: u8| held[range].iter().all(|found| *found == byte);
    let m = 1 << 20;
    assert!(is_all(0..m, 0) && is_all(m..3 * m, 5) && is_all(3 * m..5 * m, 0));
    assert!(is_all(5 * m..5 * m + (700 << 10), 6) && is_all(6 * m..8 * m, 9));
    // While it is mounted it is the kernel's.
    let mounted = dir.path().join("mounted");
    std::fs::create_dir(&mounted).unwrap();
    let run = |words: &[&str]| {
        let done = std::process::Command::new(words[0])
            .args(&words[1..])
            .status();
        assert!(done.unwrap().success(), "{words:?}");
    };
    let (device_name, folder) = (node.to_str().unwrap(), mounted.to_str().unwrap());
    run(&["mkfs.ext4", "-q", "-F", device_name]);
    run(&["mount", device_name, folder]);
    let (code, text) = qanopy(dir.path(), false, &format!("{words} --yes --confirm 1"));
    run(&["umount", folder]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("it is mounted"), "{text}");
    // A disk that is longer than the device, and an image on a device without room for it.
    here.img(&["create", "-q", "-f", "qcow2", "long.qcow2", "9M"]);
    let (code, text) = qanopy(
        dir.path(),
        false,
        "convert long.qcow2 lv.img --into-existing",
    );
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("make the device longer"), "{text}");
    here.img(&["create", "-q", "-f", "qcow2", "lv.img", "64M"]);
    here.img(&["create", "-q", "-f", "qcow2", "full.qcow2", "16M"]);
    here.io("full.qcow2", &["write -P 5 0 16M"]);
    let (code, text) = qanopy(
        dir.path(),
        false,
        "convert full.qcow2 lv.img --into-existing",
    );
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("no room on the device"), "{text}");
    let (code, text) = qanopy(dir.path(), false, &format!("{words} --yes --confirm 1"));
    assert_eq!(code, Some(0), "{text}");
    here.io("lv.img", &["read -P 5 1M 2M", "read -P 6 5M 700k"]);
    here.check_clean("lv.img");
}

/// `qanopy WORDS` in a folder, as root or as the user `nobody`: its exit code, and all it printed.
fn qanopy(dir: &Path, as_nobody: bool, words: &str) -> (Option<i32>, String) {
    let program = std::path::PathBuf::from(env!("CARGO_BIN_EXE_qanopy"));
    let mut command = if as_nobody {
        use std::os::unix::process::CommandExt;
        // A copy where everybody may go: the folder it was built in is somebody's own.
        let copy = dir.join("qanopy");
        if !copy.exists() {
            std::fs::copy(program, &copy).unwrap();
        }
        let mut command = std::process::Command::new(copy);
        command.uid(65534).gid(65534);
        command
    } else {
        std::process::Command::new(program)
    };
    let home = dir.join(if as_nobody { "nobody" } else { "state" });
    let output = command
        .args(words.split_whitespace())
        .current_dir(dir)
        .env("HOME", &home)
        .env("XDG_STATE_HOME", &home)
        .env("XDG_CONFIG_HOME", &home)
        .env("XDG_DATA_HOME", &home)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[test]
fn whoever_writes_a_base_is_an_alarm_on_it_and_on_all_that_is_built_on_it() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let dir = pair.base.parent().unwrap();
    let (code, text) = qanopy(dir, false, "tree --check .");
    assert_eq!(code, Some(0), "{text}");
    let held = qemu.hold_with_nbd(&pair.base, HoldMode::ReadWrite);
    let who = format!("qemu-nbd (process {})", held.pid());
    let (code, text) = qanopy(dir, false, "tree --check .");
    assert_eq!(code, Some(3), "{text}");
    assert_eq!(text.matches("written-under").count(), 2, "{text}");
    assert!(text.matches(&who).count() >= 2, "{text}");
    let (_, json) = qanopy(dir, false, "tree --json .");
    assert_eq!(
        json.matches("\"written-under\"").count(),
        4,
        "flag and problem: {json}"
    );
    drop(held);
    // A machine that writes the overlay reads the base: that is what it is for.
    let _held = qemu.hold_with_nbd(&pair.overlay, HoldMode::ReadWrite);
    let (_, text) = qanopy(dir, false, "tree .");
    assert!(
        !text.contains("written-under") && text.contains("in-use"),
        "{text}"
    );
}

#[test]
fn a_machine_of_another_user_is_seen_by_its_locks() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let dir = pair.base.parent().unwrap();
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let reachable = |path: &Path| {
        let mut all = path.ancestors();
        all.all(|dir| std::fs::metadata(dir).is_ok_and(|stat| stat.mode() & 1 != 0))
    };
    if !is_root || !reachable(dir) {
        eprintln!(
            "SKIPPED (not root, or nobody may not go to {}): a machine of another user",
            dir.display()
        );
        return;
    }
    let _held = qemu.hold_with_nbd(&pair.overlay, HoldMode::ReadWrite);
    let (_, tree) = qanopy(dir, true, "tree .");
    assert_eq!(tree.matches("in-use").count(), 2, "{tree}");
    let (_, info) = qanopy(dir, true, "info ov.qcow2");
    assert!(info.contains("by whom cannot be seen"), "{info}");
    let (_, info) = qanopy(dir, false, "info ov.qcow2");
    assert!(info.contains("qemu-nbd (process"), "{info}");
}

#[test]
fn a_machine_is_called_by_its_name_where_it_stands_in_the_way() {
    let _alone = support::alone();
    let Some(qemu) = support::qemu() else { return };
    let pair = pair(&qemu);
    let dir = pair.base.parent().unwrap();
    // A stand-in for QEMU: its command line and its locks are all that tell of a machine.
    let script = "import fcntl, os, struct, sys, time\n\
        fd = os.open(sys.argv[1], os.O_RDWR)\n\
        for byte in (100, 101, 103, 201, 203):\n\
        \x20   fcntl.fcntl(fd, 37, struct.pack('hhqqi4x', 0, 0, byte, 1, 0))\n\
        open('/proc/self/comm', 'w').write('qemu-system-x86')\n\
        print('locked', flush=True)\n\
        time.sleep(60)\n";
    std::fs::write(dir.join("vm.py"), script).unwrap();
    let started = std::process::Command::new("bash")
        .args(["-c", "exec -a qemu-system-x86_64 python3 \"$@\"", "x"])
        .arg(dir.join("vm.py"))
        .arg(&pair.overlay)
        .args(["-name", "guest=c2,debug-threads=on"])
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut vm = started.unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(vm.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    if line.trim() != "locked" {
        eprintln!("SKIPPED (no python3): a machine is called by its name");
        vm.wait().unwrap();
        return;
    }
    let (code, text) = qanopy(dir, false, "commit ov.qcow2 --yes");
    let (_, info) = qanopy(dir, false, "info ov.qcow2");
    let id = vm.id();
    vm.kill().unwrap();
    vm.wait().unwrap();
    // What stands first in the command line of the stand-in is up to how python3 is installed.
    let named = |text: &str| {
        text.contains("machine c2 (qemu-system-x86") && text.contains(&format!(", process {id})"))
    };
    assert_eq!(code, Some(4), "{text}");
    assert!(named(&text), "{text}");
    assert!(named(&info), "{info}");
}

#[test]
fn a_data_file_is_found_from_every_directory_and_a_relative_name_is_a_problem() {
    let Some(qemu) = support::qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("sub")).unwrap();
    let (code, text) = qanopy(dir, false, "create sub/n.qcow2 4M --data-file sub/n.raw");
    assert_eq!(code, Some(0), "{text}");
    // From where it was made, and from elsewhere.
    qemu.within(dir).io("sub/n.qcow2", &["write -P 2 0 64k"]);
    qemu.within("/")
        .io(dir.join("sub/n.qcow2"), &["read -P 2 0 64k"]);
    let (code, text) = qanopy(dir, false, "tree --check .");
    assert_eq!(code, Some(0), "{text}");
    let words = "create sub/r.qcow2 4M --data-file sub/r.raw --data-file-relative";
    let (_, text) = qanopy(dir, false, &format!("{words} --dry-run"));
    assert!(text.contains("working directory"), "{text}");
    let (code, text) = qanopy(dir, false, &format!("{words} --yes"));
    assert_eq!(code, Some(0), "{text}");
    let refused = qemu
        .within(dir)
        .try_img(&["info", "--backing-chain", "sub/r.qcow2"]);
    let open = qemu.within(dir).try_io("sub/r.qcow2", &["read 0 512"]);
    assert!(
        !open.success(),
        "QEMU looks in its own directory: {}",
        refused.stderr
    );
    for words in ["tree --check .", "info sub/r.qcow2"] {
        let (_, text) = qanopy(dir, false, words);
        assert!(text.contains("working directory"), "{words}: {text}");
    }
    let (code, text) = qanopy(dir, false, "amend sub/r.qcow2 --data-file sub/r.raw --yes");
    assert_eq!(code, Some(0), "{text}");
    qemu.within("/")
        .io(dir.join("sub/r.qcow2"), &["write -P 3 0 64k"]);
    let (code, text) = qanopy(dir, false, "tree --check .");
    assert_eq!(code, Some(0), "{text}");
}
