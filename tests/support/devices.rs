//! Block devices: loop devices over files, and further nodes for them, as LVM and Proxmox have theirs.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A loop device, detached when this is dropped.
#[derive(Debug)]
pub struct LoopDevice {
    /// Its node in `/dev`.
    pub path: PathBuf,
}

impl LoopDevice {
    /// A device of so many bytes over a file in `dir`; `None` after a loud line on stderr where there are
    /// none to be had.
    pub fn new(dir: &Path, bytes: u64) -> Option<Self> {
        let file = tempfile::NamedTempFile::new_in(dir).unwrap();
        file.as_file().set_len(bytes).unwrap();
        let (_, file) = file.keep().unwrap();
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show"]).arg(file);
        match losetup.output() {
            Ok(out) if out.status.success() => Some(Self {
                path: PathBuf::from(String::from_utf8(out.stdout).unwrap().trim()),
            }),
            _ => {
                let thread = std::thread::current();
                let test = thread.name().unwrap_or("(unnamed test)");
                // Not `eprintln!`, whose output the test harness swallows when the test passes.
                let line = format!("SKIPPED (no loop device, not root?): {test}\n");
                let _ = std::io::stderr().write_all(line.as_bytes());
                None
            }
        }
    }

    /// `MAJOR:MINOR`.
    pub fn number(&self) -> String {
        let rdev = std::fs::metadata(&self.path).unwrap().rdev();
        format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev))
    }

    /// Another node for the same device.
    pub fn node(&self, path: &Path) {
        let number = self.number();
        let (major, minor) = number.split_once(':').unwrap();
        let made = Command::new("mknod")
            .arg(path)
            .args(["b", major, minor])
            .status();
        assert!(made.unwrap().success(), "mknod {}", path.display());
    }

    /// Makes a tree that looks like sysfs tell that this is a logical volume.
    pub fn name_in_sysfs(&self, sysfs: &Path, mapper_name: &str) {
        let mapper = sysfs.join("dev/block").join(self.number()).join("dm");
        std::fs::create_dir_all(&mapper).unwrap();
        std::fs::write(mapper.join("name"), format!("{mapper_name}\n")).unwrap();
        std::fs::write(mapper.join("uuid"), "LVM-x\n").unwrap();
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.path)
            .status();
    }
}
