//! Looking inside images changes no byte of them, and needs no right to write anything.

use crate::other_users::{as_nobody, may_become_another, put_program};
use crate::support::{self, guest_disks};

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

/// Content and times of each image.
type States = BTreeMap<PathBuf, (Vec<u8>, i64, i64)>;

fn states(dir: &Path) -> States {
    let images = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    images
        .filter(|path| path.extension().is_some_and(|it| it == "qcow2"))
        .map(|path| {
            let (bytes, meta) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
            let state = (
                Sha256::digest(bytes).to_vec(),
                meta.mtime_nsec(),
                meta.ctime_nsec(),
            );
            (path, state)
        })
        .collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A chain with files in it, with an internal snapshot, and all of it in one image. Nobody but root may write any of
/// that.
struct Place {
    home: tempfile::TempDir,
}

impl Place {
    fn new() -> Option<Self> {
        let qemu = support::qemu().filter(|_| may_become_another())?;
        let home = tempfile::tempdir().unwrap();
        let place = Self { home };
        let images = place.images();
        fs::create_dir(&images).unwrap();
        guest_disks::make(&images, &qemu);
        let qemu = qemu.within(&images);
        qemu.img(&["convert", "-q", "-O", "qcow2", "top.qcow2", "alone.qcow2"]);
        qemu.img(&["snapshot", "-c", "before", "top.qcow2"]);
        for entry in fs::read_dir(&images).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "qcow2") {
                // What is found in younger ones is not kept.
                let then = SystemTime::now() - Duration::from_secs(60);
                let file = fs::File::options().write(true).open(&path).unwrap();
                file.set_modified(then).unwrap();
                set_mode(&path, 0o444);
            } else {
                // What the images were made of.
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        }
        set_mode(&images, 0o555);
        for name in ["state", "out"] {
            let dir = place.home.path().join(name);
            fs::create_dir(&dir).unwrap();
            std::os::unix::fs::chown(dir, Some(65534), Some(65534)).unwrap();
        }
        set_mode(place.home.path(), 0o755);
        put_program(place.home.path());
        Some(place)
    }

    fn images(&self) -> PathBuf {
        self.home.path().join("images")
    }

    fn run(&self, words: &str) -> Output {
        as_nobody(self.home.path(), words).output().unwrap()
    }
}

#[test]
fn every_command_that_looks_inside_works_where_nothing_may_be_written() {
    let Some(place) = Place::new() else { return };
    let before = states(&place.images());
    assert_eq!(before.len(), 4);
    for (words, code, shows) in [
        ("contents top.qcow2", 0, "Debian GNU/Linux 12"),
        ("contents top.qcow2 --snapshot before", 0, "ext4"),
        ("files top.qcow2 /etc", 0, "hostname"),
        ("cat top.qcow2 /etc/fstab", 0, "the new table"),
        ("find top.qcow2 thesis", 0, "thesis.odt"),
        ("history top.qcow2 /etc/fstab", 0, "top.qcow2"),
        ("extract top.qcow2 /home --to ../out", 0, ""),
        ("diff top.qcow2", 1, "thesis.odt"),
        ("diff --deep base.qcow2 top.qcow2", 1, "thesis.odt"),
        ("diff top.qcow2 --snapshot before", 0, "the same"),
        ("diff top.qcow2 --file /etc/fstab", 1, "+the new table"),
        ("explain top.qcow2", 0, "stored by this layer"),
        ("info --chain top.qcow2", 0, "top.qcow2"),
        ("space --read", 0, "top.qcow2"),
        ("tree --filter os:debian", 0, "top.qcow2"),
        ("tree --json", 0, "bookworm"),
        ("trim alone.qcow2 -n", 0, "call free"),
    ] {
        let out = place.run(words);
        let said = String::from_utf8_lossy(&out.stdout);
        let erred = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{words}: {said}{erred}");
        assert!(said.contains(shows), "{words}: {said}");
        assert_eq!(states(&place.images()), before, "{words}");
    }
    assert!(place.home.path().join("out/home/anna/thesis.odt").exists());
}
