//! Images mounted by the real process, looked at by the kernel: the same disks as QEMU shows, the same files as the
//! kernel shows, nothing that can be written, and how a mount ends.

use crate::support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use support::filesystems::Filesystem;
use support::script::files_below;
use support::{HoldMode, Qemu, guest_disks, qemu};

/// How long a mount may take to come or to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// The real tools, where the kernel lets this process mount; none after a loud line on stderr.
fn fuse() -> Option<Qemu> {
    let qemu = qemu()?;
    let can_open = File::options().read(true).write(true).open("/dev/fuse");
    let has_helper = Command::new("fusermount3").arg("--version").output();
    let is_root = nix::unistd::geteuid().is_root();
    if can_open.is_ok() && has_helper.is_ok() && is_root {
        return Some(qemu);
    }
    let required = std::env::var_os("QANOPY_REQUIRE_QEMU").is_some_and(|value| value == "1");
    assert!(
        !required,
        "these tests need /dev/fuse, fusermount3 and root"
    );
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("(unnamed test)");
    let line = format!("SKIPPED (no /dev/fuse, no fusermount3 or not root): {test}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    None
}

/// A folder for images, one to mount on, and a state directory of their own; readable by everybody.
struct Place {
    home: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for name in ["images", "mnt"] {
            fs::create_dir(home.path().join(name)).unwrap();
        }
        for path in [home.path().to_path_buf(), home.path().join("images")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { home }
    }

    fn images(&self) -> PathBuf {
        self.home.path().join("images")
    }

    fn mnt(&self) -> PathBuf {
        self.home.path().join("mnt")
    }

    /// Gives a user where to mount, and a state directory.
    fn give(&self, user: u32) {
        let state = self.home.path().join("state");
        fs::create_dir_all(&state).unwrap();
        for path in [self.mnt(), state] {
            std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
        }
    }

    fn command(&self, program: &[&str], words: &[&str]) -> Command {
        let all = [program, &[env!("CARGO_BIN_EXE_qanopy"), "mount"], words].concat();
        let mut command = Command::new(all[0]);
        command
            .args(&all[1..])
            .current_dir(self.images())
            .env("XDG_STATE_HOME", self.home.path().join("state"))
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Mounts, as `program` runs it, and waits until it is there.
    fn mounted_by(&self, program: &[&str], words: &[&str]) -> Mounted {
        let mnt = self.mnt();
        let all = [words, &[mnt.to_str().unwrap()]].concat();
        let mut child = self.command(program, &all).spawn().unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut said).unwrap();
        if said.is_empty() {
            let out = child.wait_with_output().unwrap();
            panic!("{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        }
        Mounted {
            mnt,
            child: Some(child),
            said,
        }
    }

    fn mounted(&self, words: &[&str]) -> Mounted {
        self.mounted_by(&[], words)
    }
}

/// Runs a program as an ordinary user.
const USER: [&str; 6] = [
    "setpriv",
    "--reuid",
    "1000",
    "--regid",
    "1000",
    "--clear-groups",
];

/// A process that keeps a mount, ended when this is dropped.
struct Mounted {
    mnt: PathBuf,
    child: Option<Child>,
    /// The first line that it printed.
    said: String,
}

impl Mounted {
    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let killed = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(killed.unwrap().success());
    }

    /// Waits for its end; its exit code and what it complained of.
    fn ended(&mut self) -> (Option<i32>, String) {
        let mut child = self.child.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let out = child.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&out.stderr).into_owned();
        (out.status.code(), complaint)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if is_mounted(&self.mnt) {
            let _ = Command::new("umount").arg("-l").arg(&self.mnt).status();
        }
    }
}

/// Whether something lies over a folder.
fn is_mounted(folder: &Path) -> bool {
    let mounts = fs::read("/proc/self/mounts").unwrap();
    let folder = [b" ", folder.as_os_str().as_bytes(), b" "].concat();
    mounts.windows(folder.len()).any(|part| part == folder)
}

fn digest(path: &Path) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    let mut hasher = Sha256::new();
    let mut buf = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buf).unwrap();
        if read == 0 {
            return hasher.finalize().to_vec();
        }
        hasher.update(&buf[..read]);
    }
}

/// Digests of all files below a folder.
fn digests(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut digests(&path));
        } else {
            found.insert(path.clone(), digest(&path));
        }
    }
    found
}

/// The images of these tests: a base, an overlay on it in a folder of its own, one with compressed clusters and an
/// internal snapshot, and one whose base is gone.
fn make_images(qemu: &Qemu, place: &Place) {
    let dir = place.images();
    let qemu = qemu.within(&dir);
    fs::create_dir(dir.join("sub")).unwrap();
    qemu.img(&["create", "-q", "-f", "qcow2", "base.qcow2", "64M"]);
    qemu.io(
        dir.join("base.qcow2"),
        &[
            "write -P 0x11 0 1M",
            "write -P 0x12 40M 300k",
            "write -z 8M 1M",
        ],
    );
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "../base.qcow2",
        "sub/over.qcow2",
    ]);
    qemu.io(
        dir.join("sub/over.qcow2"),
        &["write -P 0x21 512k 64k", "write -z 40M 64k"],
    );
    qemu.img(&[
        "convert",
        "-q",
        "-c",
        "-O",
        "qcow2",
        "sub/over.qcow2",
        "small.qcow2",
    ]);
    qemu.img(&["snapshot", "-c", "../a/b", "small.qcow2"]);
    qemu.io(dir.join("small.qcow2"), &["write -P 0x31 0 2M"]);
    qemu.img(&["create", "-q", "-f", "qcow2", "gone.qcow2", "1M"]);
    qemu.img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "gone.qcow2",
        "lost.qcow2",
    ]);
    fs::remove_file(dir.join("gone.qcow2")).unwrap();
}

/// Walks over data and holes as `cp` does: holes have to be zeros, and what is left is what the file is said to take.
fn assert_sparse(disk: &Path, bytes: &[u8]) {
    let file = File::open(disk).unwrap();
    let len = file.metadata().unwrap().len();
    let (mut at, mut data) = (0, 0);
    while at < len {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => len,
            Err(error) => panic!("{error}"),
        };
        let hole = usize::try_from(at).unwrap()..usize::try_from(start).unwrap();
        assert!(bytes[hole].iter().all(|byte| *byte == 0), "{at}..{start}");
        if start == len {
            break;
        }
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        assert!(at > start);
        data += at - start;
    }
    assert_eq!(file.metadata().unwrap().blocks() * 512, data);
    assert!(data < len / 2, "{data} of {len}");
}

#[test]
fn every_disk_is_the_one_that_qemu_reads_and_as_sparse() {
    let Some(qemu) = fuse() else { return };
    let place = Place::new();
    make_images(&qemu, &place);
    let before = digests(&place.images());
    let mut mounted = place.mounted(&["."]);
    assert!(
        mounted.said.starts_with("4 images mounted on "),
        "{}",
        mounted.said
    );
    let mnt = place.mnt();
    for name in ["base.qcow2", "sub/over.qcow2", "small.qcow2"] {
        let disk = mnt.join(name).join("disk.raw");
        let bytes = qemu.raw_bytes(place.images().join(name));
        assert!(fs::read(&disk).unwrap() == bytes, "{name}");
        assert_sparse(&disk, &bytes);
    }
    // An internal snapshot, whose name is no name of a file.
    let snapshot = mnt.join("small.qcow2/snapshots/.._a_b/disk.raw");
    assert!(fs::read(&snapshot).unwrap() == qemu.raw_bytes(place.images().join("sub/over.qcow2")));
    assert!(!mnt.join("base.qcow2/snapshots").exists());
    // One that cannot be opened says why, and nothing else.
    let names = fs::read_dir(mnt.join("lost.qcow2")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["ERROR.txt"]);
    let error = fs::read_to_string(mnt.join("lost.qcow2/ERROR.txt")).unwrap();
    assert!(
        error.contains("gone.qcow2") && error.ends_with('\n'),
        "{error}"
    );
    // What is on the disk is known by name.
    let text = fs::read_to_string(mnt.join("base.qcow2/disk.txt")).unwrap();
    assert_eq!(text, "Nothing is on it that is known\n");
    mounted.signal("TERM");
    assert_eq!(mounted.ended(), (Some(0), String::new()));
    assert_eq!(digests(&place.images()), before);
}

#[test]
fn a_single_image_is_mounted_without_a_folder_of_its_name() {
    let Some(qemu) = fuse() else { return };
    let place = Place::new();
    make_images(&qemu, &place);
    let mut mounted = place.mounted(&["sub/over.qcow2", "--follow"]);
    let disk = fs::read(place.mnt().join("disk.raw")).unwrap();
    assert!(disk == qemu.raw_bytes(place.images().join("sub/over.qcow2")));
    mounted.signal("INT");
    assert_eq!(mounted.ended().0, Some(0));
    assert!(!is_mounted(&place.mnt()));
    // The base is in no folder that was named.
    let mnt = place.mnt();
    let words = ["sub/over.qcow2", mnt.to_str().unwrap()];
    let out = place.command(&[], &words).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("--follow"));
}

#[test]
fn nothing_can_be_changed() {
    let Some(qemu) = fuse() else { return };
    let place = Place::new();
    make_images(&qemu, &place);
    let _mounted = place.mounted(&["."]);
    let disk = place.mnt().join("base.qcow2/disk.raw");
    let refused = |what: std::io::Result<()>| {
        let error = what.unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(Errno::ROFS.raw_os_error()),
            "{error}"
        );
    };
    refused(File::options().write(true).open(&disk).map(drop));
    refused(fs::remove_file(&disk));
    refused(fs::set_permissions(
        &disk,
        fs::Permissions::from_mode(0o777),
    ));
    refused(fs::create_dir(place.mnt().join("new")));
    refused(fs::rename(&disk, place.mnt().join("other")));
    refused(fs::write(place.mnt().join("sub/new"), "new"));
    refused(symlink("a", place.mnt().join("link")));
}

/// The files below a folder that a process has open, with their access: `O_RDONLY`, `O_WRONLY` or `O_RDWR`.
fn open_files(pid: u32, folder: &Path) -> Vec<(PathBuf, u32)> {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let access = |number: &str| {
        let told = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
        let flags = told.lines().find_map(|line| line.strip_prefix("flags:"))?;
        Some(u32::from_str_radix(flags.trim(), 8).unwrap() & 3)
    };
    all.filter_map(|open| {
        let open = open.unwrap().path();
        let file = fs::read_link(&open).ok()?;
        let number = open.file_name()?.to_str()?;
        file.starts_with(folder)
            .then(|| access(number).map(|access| (file, access)))?
    })
    .collect()
}

#[test]
fn images_are_read_through_what_is_opened_for_reading_only() {
    let Some(qemu) = fuse() else { return };
    let place = Place::new();
    guest_disks::make(&place.images(), &qemu);
    let before = digests(&place.images());
    let mut mounted = place.mounted(&["top.qcow2"]);
    // The kernel reads all of the disk, and of a file that is in it.
    let mut held = File::open(place.mnt().join("disk.raw")).unwrap();
    std::io::copy(&mut held, &mut std::io::sink()).unwrap();
    let mut files = files_below(&place.mnt());
    files.retain(|path| path.ends_with("etc/fstab"));
    assert_eq!(fs::read(&files[0]).unwrap(), b"the new table\n");
    let open = open_files(mounted.child.as_ref().unwrap().id(), &place.images());
    assert!(!open.is_empty());
    assert!(open.iter().all(|(_, access)| *access == 0), "{open:?}");
    drop(held);
    mounted.signal("TERM");
    mounted.ended();
    assert_eq!(digests(&place.images()), before);
}

#[test]
fn it_ends_when_asked_when_unmounted_and_when_in_use() {
    let Some(qemu) = fuse() else { return };
    let place = Place::new();
    make_images(&qemu, &place);
    for signal in ["TERM", "INT", "HUP"] {
        let mut mounted = place.mounted(&["."]);
        mounted.signal(signal);
        assert_eq!(mounted.ended(), (Some(0), String::new()));
        assert!(!is_mounted(&place.mnt()), "{signal}");
    }
    let mut mounted = place.mounted(&["."]);
    let unmounted = Command::new("umount").arg(place.mnt()).status();
    assert!(unmounted.unwrap().success());
    let (code, complaint) = mounted.ended();
    assert_eq!(code, Some(0));
    assert!(complaint.contains("was unmounted"), "{complaint}");
    // Somebody has a file open, which ends with the process.
    let mut mounted = place.mounted(&["."]);
    let open = File::open(place.mnt().join("base.qcow2/disk.raw")).unwrap();
    mounted.signal("TERM");
    let (code, complaint) = mounted.ended();
    assert_eq!(code, Some(0));
    assert!(complaint.contains("was in use"), "{complaint}");
    assert!(!is_mounted(&place.mnt()));
    let error = open.read_at(&mut [0; 512], 60 << 20).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::NOTCONN.raw_os_error()));
    // Killed, it leaves a mount behind that anybody can take away.
    let mut mounted = place.mounted(&["."]);
    mounted.signal("KILL");
    mounted.ended();
    assert!(is_mounted(&place.mnt()));
    let error = fs::read_dir(place.mnt()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::NOTCONN.raw_os_error()));
    let cleared = Command::new("fusermount3")
        .arg("-u")
        .arg(place.mnt())
        .status();
    assert!(cleared.unwrap().success());
    assert!(!is_mounted(&place.mnt()));
}

#[test]
fn who_is_not_root_mounts_too_and_is_the_only_one_let_in() {
    let Some(qemu) = fuse() else { return };
    let place = Place::new();
    make_images(&qemu, &place);
    place.give(1000);
    let mut mounted = place.mounted_by(&USER, &["."]);
    let disk = place.mnt().join("sub/over.qcow2/disk.raw");
    let read = |program: &[&str]| {
        let mut command = Command::new(program.first().unwrap_or(&"cat"));
        command.args(program.get(1..).unwrap_or_default());
        if !program.is_empty() {
            command.arg("cat");
        }
        command.arg(&disk).output().unwrap()
    };
    assert!(read(&USER).stdout == qemu.raw_bytes(place.images().join("sub/over.qcow2")));
    assert!(!read(&[]).status.success(), "root is let in");
    let told = [&USER[..], &["stat", "-c", "%u %g %a"]].concat();
    let told = Command::new(told[0]).args(&told[1..]).arg(&disk).output();
    assert_eq!(
        String::from_utf8_lossy(&told.unwrap().stdout),
        "1000 1000 444\n"
    );
    mounted.signal("TERM");
    assert_eq!(mounted.ended(), (Some(0), String::new()));
    assert!(!is_mounted(&place.mnt()));
}

#[test]
fn a_folder_that_is_no_place_to_mount_on_is_refused() {
    let Some(qemu) = fuse() else { return };
    let place = Place::new();
    make_images(&qemu, &place);
    fs::create_dir(place.images().join("inside")).unwrap();
    for (at, says) in [
        ("sub", "is not empty"),
        ("base.qcow2", "base.qcow2"),
        ("nothing", "nothing"),
        ("inside", "lies in"),
    ] {
        let source = if at == "inside" { "." } else { "base.qcow2" };
        let out = place.command(&[], &[source, at]).output().unwrap();
        let complaint = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{at}: {complaint}");
        assert!(complaint.contains(says), "{at}: {complaint}");
        assert!(!is_mounted(&place.images().join(at)));
    }
}

#[test]
fn a_program_is_told_where_it_is_mounted() {
    let Some(qemu) = fuse() else { return };
    let place = Place::new();
    make_images(&qemu, &place);
    let mnt = place.mnt();
    let words = [".", mnt.to_str().unwrap(), "--json"];
    let mut child = place.command(&[], &words).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mounted = Mounted {
        mnt: mnt.clone(),
        child: Some(child),
        said: String::new(),
    };
    let mut text = String::new();
    while serde_json::from_str::<serde_json::Value>(&text).is_err() {
        assert!(out.read_line(&mut text).unwrap() > 0, "{text}");
    }
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let told = serde_json::json!({ "source": ".", "mounted": mnt, "images": 4 });
    assert_eq!(document["command"], "mount");
    assert_eq!(document["result"], told);
    assert!(is_mounted(&mnt));
    drop(mounted);
}

#[test]
fn what_is_encrypted_is_shown_to_who_has_the_passphrase() {
    let Some(qemu) = fuse() else { return };
    let place = Place::new();
    let dir = place.images();
    support::encrypted::one(&qemu, &dir.join("one.qcow2"));
    fs::write(dir.join("words"), "one").unwrap();
    for (source, disk) in [("one.qcow2", "disk.raw"), (".", "one.qcow2/disk.raw")] {
        let _mounted = place.mounted(&[source, "--passphrase-file", "words"]);
        let bytes = fs::read(place.mnt().join(disk)).unwrap();
        assert!(bytes.len() as u64 == support::encrypted::SIZE && bytes.iter().all(|b| *b == 0));
    }
    let _mounted = place.mounted(&["."]);
    let error = fs::read_to_string(place.mnt().join("one.qcow2/ERROR.txt")).unwrap();
    assert!(error.contains("passphrase"), "{error}");
}

#[test]
fn an_image_that_changes_shows_what_it_is_now() {
    let Some(qemu) = fuse() else { return };
    let place = Place::new();
    make_images(&qemu, &place);
    let _mounted = place.mounted(&["."]);
    let disk = place.mnt().join("sub/over.qcow2/disk.raw");
    let image = place.images().join("sub/over.qcow2");
    assert!(fs::read(&disk).unwrap() == qemu.raw_bytes(&image));
    qemu.io(&image, &["write -P 0x77 3M 1M"]);
    std::thread::sleep(Duration::from_millis(2500));
    assert!(fs::read(&disk).unwrap() == qemu.raw_bytes(&image));
    // What a process writes says so.
    assert!(!place.mnt().join("base.qcow2/IN-USE.txt").exists());
    let holding = qemu.hold_with_io(&place.images().join("small.qcow2"), HoldMode::ReadWrite);
    let text = fs::read_to_string(place.mnt().join("small.qcow2/IN-USE.txt")).unwrap();
    assert!(
        text.contains(&holding.pid().to_string()) && text.contains("torn"),
        "{text}"
    );
}

/// What is told of a file, in one form for both mounts.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    modified: (i64, i64),
    content: Vec<u8>,
}

/// All files below a folder. Set-user-id and set-group-id are left out of modes; devices, FIFOs and sockets count as
/// empty files; links to folders are counted by some filesystems only.
fn told(root: &Path) -> BTreeMap<Vec<u8>, Told> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<Vec<u8>, Told>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let is = meta.file_type();
            let (kind, content) = if is.is_dir() {
                walk(root, &path, found);
                ("folder", Vec::new())
            } else if is.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                ("link", target.into_os_string().into_vec())
            } else if is.is_file() && meta.len() > 0 {
                ("file", digest(&path))
            } else {
                ("file", Vec::new())
            };
            let told = Told {
                kind,
                mode: meta.mode() & 0o1777,
                owner: (meta.uid(), meta.gid()),
                links: if is.is_dir() { 0 } else { meta.nlink() },
                modified: (meta.mtime(), meta.mtime_nsec()),
                content,
            };
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
            found.insert(name.to_vec(), told);
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// Bytes that no compression makes nothing of, and that differ from block to block.
fn noise(len: usize, from: u64) -> Vec<u8> {
    let words = (from..).map(|number| Sha256::digest(number.to_le_bytes()));
    words.flatten().take(len).collect()
}

/// Files of many kinds.
fn populate(dir: &Path) {
    fs::create_dir_all(dir.join("etc/deep/er")).unwrap();
    fs::write(dir.join("etc/small"), "a few bytes\n").unwrap();
    fs::write(dir.join("etc/empty"), "").unwrap();
    fs::write(dir.join("etc/deep/er/large.bin"), noise(3_000_001, 1)).unwrap();
    fs::create_dir(dir.join("many")).unwrap();
    for number in 0..5000 {
        fs::write(dir.join(format!("many/file-{number:05}")), b"x").unwrap();
    }
    let hostile: [&[u8]; 4] = [b"new\nline", b"\x1b[31mred", b"\xff\xfe", b"-rf *"];
    for name in hostile {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::write(dir.join("etc").join(name), "hostile").unwrap();
    }
    for (name, mode) in [("setuid", 0o6755), ("secret", 0o600), ("nothing", 0o000)] {
        fs::write(dir.join(name), name).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::chown(dir.join("secret"), Some(1234), Some(77)).unwrap();
    symlink("../etc/small", dir.join("etc/relative")).unwrap();
    symlink("/etc/passwd", dir.join("etc/absolute")).unwrap();
    symlink("x".repeat(900), dir.join("etc/long")).unwrap();
    fs::hard_link(dir.join("etc/small"), dir.join("etc/deep/hard")).unwrap();
    nix::unistd::mkfifo(&dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let sparse = File::create(dir.join("sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(&noise(200_000, 9), 5 << 20).unwrap();
    sparse.set_len(40 << 20).unwrap();
}

/// A disk with two partitions: this filesystem, and swap.
fn partitioned(filesystem: &Path, disk: &Path) {
    const START: u64 = 1 << 20;
    const SWAP: u64 = 1 << 20;
    let len = fs::metadata(filesystem).unwrap().len();
    let file = File::create(disk).unwrap();
    let mut from = File::open(filesystem).unwrap();
    let mut to = &file;
    std::io::Seek::seek(&mut to, std::io::SeekFrom::Start(START)).unwrap();
    std::io::copy(&mut from, &mut to).unwrap();
    file.set_len(START + len + SWAP).unwrap();
    for (at, kind, start, len) in [(446, 0x83, START, len), (462, 0x82, START + len, SWAP)] {
        let sectors = |bytes: u64| u32::try_from(bytes / 512).unwrap().to_le_bytes();
        let entry = [
            &[0, 0, 0, 0, kind, 0, 0, 0][..],
            &sectors(start),
            &sectors(len),
        ];
        file.write_all_at(&entry.concat(), at).unwrap();
    }
    file.write_all_at(&[0x55, 0xaa], 510).unwrap();
    file.write_all_at(b"SWAPSPACE2", START + len + 4086)
        .unwrap();
}

/// A filesystem of each kind, on the first partition of an image that is compressed, shown as the kernel shows it.
#[test]
fn the_files_of_a_guest_are_those_that_the_kernel_shows() {
    let Some(qemu) = fuse() else { return };
    for kind in KINDS {
        let Some(own) = Filesystem::new(kind) else {
            return;
        };
        populate(&own.dir);
        own.settle();
        let place = Place::new();
        let dir = place.images();
        let (disk, image) = (place.home.path().join("disk"), dir.join("guest.qcow2"));
        partitioned(&own.disk, &disk);
        let convert = ["convert", "-q", "-c", "-O", "qcow2", "-f", "raw"];
        let paths = [disk.to_str().unwrap(), image.to_str().unwrap()];
        qemu.img(&[&convert[..], &paths].concat());
        let mounted = place.mounted(&["."]);
        let guest = place.mnt().join("guest.qcow2");
        let (ours, theirs) = (told(&guest.join("p1")), told(&own.dir));
        let names = |told: &BTreeMap<Vec<u8>, Told>| told.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs), "{kind}");
        for (name, told) in &theirs {
            assert_eq!(&ours[name], told, "{kind}: {}", name.escape_ascii());
        }
        assert!(theirs.len() > 5000, "{kind}");
        let text = fs::read_to_string(guest.join("p2.txt")).unwrap();
        assert_eq!(text, "swap: not read\n");
        assert_holes(&guest.join("p1/sparse"), &own.dir.join("sparse"));
        let error = fs::write(guest.join("p1/etc/new"), "new").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ROFS.raw_os_error()));
        drop(mounted);
        as_a_user(&place);
    }
}

/// A guest can write any directory into any other; the kernel shows each folder in one place only.
#[test]
fn a_circle_of_folders_has_an_end() {
    if fuse().is_none() {
        return;
    }
    let place = Place::new();
    let disk = place.images().join("circle.raw");
    File::create(&disk).unwrap().set_len(32 << 20).unwrap();
    let run = |program: &str, words: &[&str]| {
        let path = format!(
            "{}:/usr/sbin:/sbin",
            std::env::var("PATH").unwrap_or_default()
        );
        let mut command = Command::new(program);
        let out = command.args(words).arg(&disk).env("PATH", path).output();
        assert!(out.unwrap().status.success(), "{program} {words:?}");
    };
    run("mkfs.ext4", &["-q"]);
    for request in ["mkdir a", "mkdir a/b", "ln <2> a/b/root", "ln a a/b/up"] {
        run("debugfs", &["-w", "-R", request]);
    }
    let _mounted = place.mounted(&["circle.raw"]);
    let deep = place.mnt().join("disk/a/b");
    let names = fs::read_dir(&deep).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in ["root", "up"] {
        let error = fs::read_dir(deep.join(name)).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(Errno::LOOP.raw_os_error()),
            "{name}"
        );
    }
}

/// Holes of a guest's file are holes: the first one that is told begins behind what is written first and ends where
/// what is written next begins.
fn assert_holes(ours: &Path, theirs: &Path) {
    let bytes = fs::read(theirs).unwrap();
    let file = File::open(ours).unwrap();
    let hole = seek(&file, SeekFrom::Hole(0)).unwrap();
    let data = seek(&file, SeekFrom::Data(hole)).unwrap();
    let between = usize::try_from(hole).unwrap()..usize::try_from(data).unwrap();
    assert!(bytes[between].iter().all(|byte| *byte == 0));
    assert!(hole <= 64 << 10 && data > 4 << 20, "{hole} {data}");
}

/// Who mounts without being root owns all files, and may read those that a guest lets nobody read.
fn as_a_user(place: &Place) {
    place.give(1000);
    let _mounted = place.mounted_by(&USER, &["."]);
    let file = place.mnt().join("guest.qcow2/p1/nothing");
    let run = |words: &[&str]| {
        let words = [&USER[..], words].concat();
        let out = Command::new(words[0]).args(&words[1..]).arg(&file).output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    assert_eq!(run(&["cat"]), "nothing");
    assert_eq!(run(&["stat", "-c", "%u %g %a"]), "1000 1000 0\n");
}

/// Filesystems that are read here and that `mkfs` makes.
const KINDS: [&str; 3] = ["ext4", "btrfs", "xfs"];
