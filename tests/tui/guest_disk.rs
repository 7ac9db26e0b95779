//! A small image with files on it, and a layer above in which some of them changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::{Qemu, qemu};

/// Runs a tool of e2fsprogs, which must succeed.
fn tool(dir: &Path, words: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let mut command = Command::new("/usr/bin/env");
    command.arg(format!("PATH={path}")).args(words);
    let out = command.current_dir(dir).output().unwrap();
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words:?}: {complaint}");
}

/// `vm/base.qcow2` with a small system, and `vm/top.qcow2` on it, in which `/etc/fstab` is another one. None where
/// QEMU's tools are missing.
pub fn guest() -> Option<tempfile::TempDir> {
    let qemu = qemu()?;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    for folder in ["etc/ssl", "home/anna", "out"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let release = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\n";
    fs::write(root.join("etc/os-release"), release).unwrap();
    fs::write(root.join("etc/fstab"), "old table\n").unwrap();
    fs::write(root.join("etc/motd"), "Welcome\x1b[31m\tto it\n").unwrap();
    fs::write(root.join("etc/ssl/key"), vec![0; 100_000]).unwrap();
    fs::write(root.join("home/anna/thesis.odt"), vec![b'x'; 30_000]).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("home/anna/configuration")).unwrap();
    tool(
        dir.path(),
        &[
            "mkfs.ext4",
            "-q",
            "-L",
            "system",
            "-d",
            "root",
            "base.raw",
            "64M",
        ],
    );
    fs::copy(dir.path().join("base.raw"), dir.path().join("edited.raw")).unwrap();
    fs::write(dir.path().join("table"), "new table, which is longer\n").unwrap();
    let edits = "rm /etc/fstab\nwrite table /etc/fstab\n";
    fs::write(dir.path().join("edits"), edits).unwrap();
    tool(dir.path(), &["debugfs", "-w", "-f", "edits", "edited.raw"]);
    fs::create_dir(dir.path().join("vm")).unwrap();
    layers(&qemu.within(dir.path()));
    fs::create_dir(dir.path().join("copies")).unwrap();
    Some(dir)
}

fn layers(qemu: &Qemu) {
    let convert = [
        "convert",
        "-q",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "base.raw",
        "vm/base.qcow2",
    ];
    qemu.img(&convert);
    let create = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "../edited.raw",
        "-F",
        "raw",
        "vm/top.qcow2",
    ];
    qemu.img(&create);
    // What differs goes into the layer.
    let rebase = [
        "rebase",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "base.qcow2",
        "-F",
        "qcow2",
        "vm/top.qcow2",
    ];
    qemu.img(&rebase);
}
