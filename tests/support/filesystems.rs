//! Filesystems of a kind, each in a file and mounted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A filesystem that is mounted until this is dropped.
#[derive(Debug)]
pub struct Filesystem {
    /// The folder in which its files are.
    pub dir: PathBuf,
    /// The file in which it is.
    pub disk: PathBuf,
    _home: tempfile::TempDir,
}

impl Filesystem {
    /// A new filesystem of a kind that `mkfs` knows (`xfs`, `btrfs`); `None` after a loud line on stderr where it
    /// cannot be made or mounted.
    pub fn new(kind: &str) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let (disk, dir) = (home.path().join("disk"), home.path().join("files"));
        std::fs::File::create(&disk)
            .unwrap()
            .set_len(512 << 20)
            .unwrap();
        std::fs::create_dir(&dir).unwrap();
        let run = |program: &str, words: &[&str], paths: &[&Path]| {
            // Where they are, and not everybody looks.
            let path = format!(
                "{}:/usr/sbin:/sbin",
                std::env::var("PATH").unwrap_or_default()
            );
            let mut command = Command::new(program);
            let ended = command.args(words).args(paths).env("PATH", path).output();
            ended.is_ok_and(|ended| ended.status.success())
        };
        let is_there = run(&format!("mkfs.{kind}"), &["-q"], &[&disk])
            && run("mount", &["-o", "loop"], &[&disk, &dir]);
        if !is_there {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or("(unnamed test)");
            // Not `eprintln!`, whose output the test harness swallows when the test passes.
            let line = format!("SKIPPED (no {kind} can be mounted, not root?): {test}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            return None;
        }
        Some(Self {
            dir,
            disk,
            _home: home,
        })
    }

    /// Mounts it once more for reading only, so that its file stays as it is from here on.
    pub fn settle(&self) {
        let run = |program: &str, words: &[&str]| {
            let ended = Command::new(program).args(words).arg(&self.dir).status();
            assert!(ended.unwrap().success(), "{program}");
        };
        run("umount", &[]);
        run("mount", &["-o", "loop,ro", self.disk.to_str().unwrap()]);
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.dir).status();
    }
}
