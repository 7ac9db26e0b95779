//! Images with a filesystem inside whose files differ along the chain.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Qemu;

/// Runs a tool of e2fsprogs, which must succeed.
pub fn tool(dir: &Path, words: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let mut command = Command::new("/usr/bin/env");
    command
        .arg(format!("PATH={path}"))
        .args(words)
        .current_dir(dir);
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Makes `base.qcow2` with a small system on it, `middle.qcow2` on that, which changes nothing, and `top.qcow2` on that, in
/// which files were added, changed and removed. By `mkfs.ext4` and `debugfs`, without root.
pub fn make(dir: &Path, qemu: &Qemu) {
    let qemu = qemu.within(dir);
    let root = dir.join("root");
    for folder in ["etc/ssl", "home/anna", "var/log"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(
        root.join("etc/os-release"),
        "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\n",
    )
    .unwrap();
    fs::write(root.join("etc/hostname"), "golden\n").unwrap();
    fs::write(root.join("etc/fstab"), "old table\n").unwrap();
    fs::write(root.join("etc/ssl/key"), vec![7; 100_000]).unwrap();
    fs::write(root.join("home/anna/old"), "gone soon\n").unwrap();
    fs::write(root.join("var/log/messages"), "one\n").unwrap();
    tool(
        dir,
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
    fs::copy(dir.join("base.raw"), dir.join("edited.raw")).unwrap();
    fs::write(dir.join("table"), "the new table\n").unwrap();
    fs::write(dir.join("thesis"), vec![b'x'; 30_000]).unwrap();
    fs::write(dir.join("messages"), "one\ntwo\n").unwrap();
    let edits = "rm /etc/fstab\nwrite table /etc/fstab\nwrite thesis /home/anna/thesis.odt\nrm /home/anna/old\n\
        rm /var/log/messages\nwrite messages /var/log/messages\nset_inode_field /etc/hostname mode 0100600\n\
        set_inode_field /etc/fstab mtime 202001010000\n";
    fs::write(dir.join("edits"), edits).unwrap();
    tool(dir, &["debugfs", "-w", "-f", "edits", "edited.raw"]);
    for words in [
        &[
            "convert",
            "-q",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "base.raw",
            "base.qcow2",
        ][..],
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            "base.qcow2",
            "-F",
            "qcow2",
            "middle.qcow2",
        ],
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            "edited.raw",
            "-F",
            "raw",
            "top.qcow2",
        ],
        &[
            "rebase",
            "-q",
            "-b",
            "middle.qcow2",
            "-F",
            "qcow2",
            "top.qcow2",
        ],
    ] {
        qemu.img(words);
    }
    for gone in ["edited.raw", "base.raw"] {
        fs::remove_file(dir.join(gone)).unwrap();
    }
}

/// Copies a disk, and does these requests of `debugfs` on the copy.
pub fn edited(dir: &Path, from: &str, to: &str, requests: &str) {
    tool(dir, &["cp", "--sparse=always", from, to]);
    let script = format!("{to}.requests");
    fs::write(dir.join(&script), requests).unwrap();
    tool(dir, &["debugfs", "-w", "-f", &script, to]);
}

/// Makes an overlay on an image of this format that shows what a raw disk does.
pub fn overlay(
    qemu: &Qemu,
    (base, format): (&str, &str),
    shows: &str,
    overlay: &str,
    options: &[&str],
) {
    let create = [
        &["create", "-q", "-f", "qcow2", "-b", shows, "-F", "raw"],
        options,
        &[overlay],
    ]
    .concat();
    qemu.img(&create);
    qemu.img(&["rebase", "-q", "-b", base, "-F", format, overlay]);
}

/// Makes `old.img` and `new.img`, two disks whose files differ in all ways that one file can. By `mkfs.ext4`, without root.
pub fn make_two(dir: &Path) {
    use std::os::unix::fs::symlink;
    let long = |end: &str| format!("{}{end}\n", "a line that is long\n".repeat(60_000));
    let binary = |at: usize| {
        let mut bytes: Vec<u8> = (0..9_000_u32).map(|n| (n % 251) as u8).collect();
        bytes[at] ^= 0x80;
        bytes
    };
    for (name, is_new) in [("old", false), ("new", true)] {
        let root = dir.join(name);
        fs::create_dir_all(root.join("etc")).unwrap();
        let other = |old: &str, new: &str| {
            if is_new {
                new.to_owned()
            } else {
                old.to_owned()
            }
        };
        fs::write(
            root.join("etc/table"),
            other("one\ntwo\nthree\n", "one\n2\nthree\nfour"),
        )
        .unwrap();
        fs::write(
            root.join("evil\u{1b}[2J"),
            other("a line of text\n", "a line of text\n\u{1b}]0;own\u{7}\n"),
        )
        .unwrap();
        fs::write(root.join("binary"), binary(if is_new { 8_000 } else { 0 })).unwrap();
        fs::write(root.join("long"), long(&other("end", "END"))).unwrap();
        fs::write(root.join("same"), "the same\n").unwrap();
        symlink(other("etc/table", "/etc/other"), root.join("link")).unwrap();
        if is_new {
            fs::write(root.join("added"), "new\n").unwrap();
            fs::create_dir(root.join("kind")).unwrap();
        } else {
            fs::write(root.join("kind"), "a file\n").unwrap();
        }
        let when =
            std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        fs::File::open(root.join("same"))
            .unwrap()
            .set_modified(when)
            .unwrap();
        let image = format!("{name}.img");
        tool(dir, &["mkfs.ext4", "-q", "-d", name, &image, "64M"]);
    }
}

/// Makes `deleted.qcow2`, of whose files one of 2 MB was deleted again.
pub fn make_with_deleted(dir: &Path, qemu: &Qemu) {
    let root = dir.join("lived-in");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("kept"), vec![7; 100_000]).unwrap();
    fs::write(root.join("gone"), vec![9; 2_000_000]).unwrap();
    tool(
        dir,
        &["mkfs.ext4", "-q", "-d", "lived-in", "deleted.raw", "16M"],
    );
    tool(dir, &["debugfs", "-w", "-R", "rm gone", "deleted.raw"]);
    qemu.within(dir).img(&[
        "convert",
        "-q",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "deleted.raw",
        "deleted.qcow2",
    ]);
    fs::remove_file(dir.join("deleted.raw")).unwrap();
}
