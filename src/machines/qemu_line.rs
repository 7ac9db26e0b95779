//! The disks that a command line of QEMU names, pure: `-drive`, `-blockdev`, `-hda` and the like, for the emulator
//! and for the tools that serve images.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::host::option_parts;

use super::machine::Disk;

/// Disks of one command line, at most.
const MAX_DISKS: usize = 256;

/// Options whose value is a file and nothing else, and the disk it becomes.
const PLAIN: [(&str, &str); 13] = [
    ("hda", "hda"),
    ("hdb", "hdb"),
    ("hdc", "hdc"),
    ("hdd", "hdd"),
    ("fda", "fda"),
    ("fdb", "fdb"),
    ("sd", "sd"),
    ("mtdblock", "mtd"),
    ("pflash", "pflash"),
    ("cdrom", "cdrom"),
    ("sda", "sda"),
    ("sdb", "sdb"),
    ("usbdisk", "usb"),
];

/// Options of the emulator without a value, behind which a bare word is a disk.
const FLAGS: [&str; 12] = [
    "S",
    "daemonize",
    "enable-kvm",
    "full-screen",
    "no-fd-bootchk",
    "no-reboot",
    "no-shutdown",
    "no-user-config",
    "nodefaults",
    "nographic",
    "snapshot",
    "usb",
];

/// Which program of QEMU it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// `qemu-system-*`: runs a machine.
    Emulator,
    /// `qemu-storage-daemon`.
    Daemon,
    /// `qemu-nbd`.
    Nbd,
}

impl Program {
    /// Which one a command is.
    pub(super) fn of(command: &[u8]) -> Option<Self> {
        let name = command.rsplit(|byte| *byte == b'/').next()?;
        match name {
            b"qemu-storage-daemon" => Some(Self::Daemon),
            b"qemu-nbd" => Some(Self::Nbd),
            b"kvm" | b"qemu-kvm" | b"qemu" => Some(Self::Emulator),
            _ => name.starts_with(b"qemu-system-").then_some(Self::Emulator),
        }
    }

    /// Its name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Emulator => "a machine without a name",
            Self::Daemon => "qemu-storage-daemon",
            Self::Nbd => "qemu-nbd",
        }
    }
}

/// The disks that a process has been started with; a relative name counts from the folder it runs in.
pub(super) fn disks(program: Program, words: &[&[u8]], folder: &Path) -> Vec<Disk> {
    let mut found = Disks {
        folder,
        list: Vec::new(),
    };
    let mut rest = words.iter().skip(1).peekable();
    let mut may_be_bare = true;
    while let Some(word) = rest.next() {
        let Some(option) = option(word) else {
            let is_last = rest.peek().is_none();
            let is_disk = match program {
                Program::Emulator => may_be_bare,
                Program::Nbd => is_last,
                Program::Daemon => false,
            };
            if is_disk {
                found.file("hda", word, DriveOptions::default());
            }
            may_be_bare = true;
            continue;
        };
        may_be_bare = FLAGS.iter().any(|flag| flag.as_bytes() == option);
        if may_be_bare || program == Program::Nbd {
            continue;
        }
        let Some(value) = rest.next() else { break };
        may_be_bare = true;
        if option == b"drive" {
            found.drive(value);
        } else if option == b"blockdev" {
            found.blockdev(value);
        } else if let Some((_, target)) = PLAIN.iter().find(|one| one.0.as_bytes() == option) {
            let drive = DriveOptions {
                read_only: *target == "cdrom",
                ..DriveOptions::default()
            };
            found.file(target, value, drive);
        }
    }
    found.list
}

/// The option that a word is.
pub(super) fn option(word: &[u8]) -> Option<&[u8]> {
    let name = word.strip_prefix(b"-")?;
    let name = name.strip_prefix(b"-").unwrap_or(name);
    (!name.is_empty()).then_some(name)
}

/// The UUID that a command line gives its machine.
pub(super) fn uuid(words: &[&[u8]]) -> Option<String> {
    let at = words
        .iter()
        .position(|word| matches!(*word, b"-uuid" | b"--uuid"))?;
    let text = str::from_utf8(words.get(at + 1)?).ok()?;
    Some(text.to_owned())
}

#[derive(Debug, Default)]
struct DriveOptions {
    format: Option<String>,
    read_only: bool,
}

struct Disks<'a> {
    folder: &'a Path,
    list: Vec<Disk>,
}

impl Disks<'_> {
    fn file(&mut self, target: &str, name: &[u8], drive: DriveOptions) {
        if let Some(json) = name.strip_prefix(b"json:") {
            return self.json(target, json);
        }
        let name = ["file:", "host_device:"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix.as_bytes()))
            .unwrap_or(name);
        let path = PathBuf::from(OsString::from_vec(name.to_vec()));
        let is_known = |disk: &Disk| disk.file.path == self.folder.join(&path);
        // Descriptors that were passed have no name, and other protocols no file.
        let is_file = !name.is_empty()
            && !name.contains(&0)
            && !path.starts_with("/dev/fdset")
            && (path.is_absolute() || !has_protocol(name));
        if !is_file || self.list.len() >= MAX_DISKS || self.list.iter().any(is_known) {
            return;
        }
        let mut disk = Disk::new(target, self.folder.join(path));
        disk.format = drive.format;
        disk.read_only = drive.read_only;
        self.list.push(disk);
    }

    fn drive(&mut self, value: &[u8]) {
        let parts = option_parts(value);
        let get = |key: &str| {
            let mut found = parts.iter().rev().filter_map(|part| {
                let rest = part.strip_prefix(key.as_bytes())?;
                rest.strip_prefix(b"=")
            });
            found.next()
        };
        let text = |key: &str| get(key).map(|value| String::from_utf8_lossy(value).into_owned());
        let Some(file) = get("file").or(get("file.filename")) else {
            return;
        };
        let target = text("id").or_else(|| {
            let number = text("index").or(text("unit"))?;
            Some(format!("{}{number}", text("if").unwrap_or_default()))
        });
        let is_read = ["readonly", "read-only"];
        let is_read = is_read.iter().any(|key| get(key) == Some(b"on"));
        let drive = DriveOptions {
            format: text("format").or(text("driver")),
            read_only: is_read || get("media") == Some(b"cdrom"),
        };
        self.file(target.as_deref().unwrap_or("drive"), file, drive);
    }

    fn blockdev(&mut self, value: &[u8]) {
        if value.trim_ascii_start().starts_with(b"{") {
            return self.json("node", value);
        }
        let parts = option_parts(value);
        let get = |key: &str| {
            let mut found = parts.iter().filter(|part| part.starts_with(key.as_bytes()));
            found.find_map(|part| part.get(key.len()..)?.strip_prefix(b"="))
        };
        let target = get("node-name").map(|name| String::from_utf8_lossy(name).into_owned());
        let target = target.unwrap_or_else(|| "node".to_owned());
        for (at, part) in parts.iter().enumerate() {
            let Some(split) = part.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (key, value) = part.split_at(split);
            if (key == b"filename" || key.ends_with(b".filename")) && at < MAX_DISKS {
                let drive = DriveOptions {
                    format: None,
                    read_only: get("read-only") == Some(b"on"),
                };
                self.file(&target, value.get(1..).unwrap_or_default(), drive);
            }
        }
    }

    fn json(&mut self, target: &str, text: &[u8]) {
        if let Ok(value) = serde_json::from_slice::<Value>(text) {
            let name = value.get("node-name").and_then(Value::as_str);
            let target = name.unwrap_or(target).to_owned();
            self.node(&target, &value);
        }
    }

    /// A node and what is inside it: the parser bounds the depth.
    fn node(&mut self, target: &str, value: &Value) {
        let Value::Object(fields) = value else { return };
        let is_read = value.get("read-only") == Some(&Value::Bool(true));
        for (key, value) in fields {
            match value {
                Value::String(name) if key == "filename" || key.ends_with(".filename") => {
                    let drive = DriveOptions {
                        format: None,
                        read_only: is_read,
                    };
                    self.file(target, name.as_bytes(), drive);
                }
                // What lies below it is not written.
                Value::Object(_) if key != "backing" => self.node(target, value),
                _ => {}
            }
        }
    }
}

/// Whether a name begins as that of a protocol: letters and a colon before any slash.
fn has_protocol(name: &[u8]) -> bool {
    let end = name.iter().position(|byte| matches!(byte, b':' | b'/'));
    end.is_some_and(|end| end > 0 && name.get(end) == Some(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(program: Program, line: &[&str]) -> Vec<(String, String, bool)> {
        let words: Vec<&[u8]> = line.iter().map(|word| word.as_bytes()).collect();
        disks(program, &words, Path::new("/run/here"))
            .into_iter()
            .map(|disk| {
                let path = disk.file.path.to_str().unwrap().to_owned();
                (disk.target, path, disk.read_only)
            })
            .collect()
    }

    fn row(target: &str, path: &str, reads: bool) -> (String, String, bool) {
        (target.to_owned(), path.to_owned(), reads)
    }

    #[test]
    fn drives_and_plain_options_are_disks() {
        let line = [
            "qemu-system-x86_64",
            "-enable-kvm",
            "bare.qcow2",
            "-m",
            "1G",
            "-drive",
            "file=/vm/a,,b.qcow2,if=virtio,index=1,format=qcow2",
            "-drive",
            "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF.fd",
            "-drive",
            "if=none,id=cd,media=cdrom",
            "-hda",
            "file:disk:1.img",
            "-cdrom",
            "/iso/x.iso",
            "-drive",
            "file=nbd:localhost:10809,id=net",
            "-drive",
            "file=/dev/fdset/3,id=passed",
        ];
        assert_eq!(
            told(Program::Emulator, &line),
            [
                row("hda", "/run/here/bare.qcow2", false),
                row("virtio1", "/vm/a,b.qcow2", false),
                row("drive", "/usr/share/OVMF.fd", true),
                row("cdrom", "/iso/x.iso", true),
            ]
        );
    }

    #[test]
    fn nodes_are_found_in_json_and_in_words() {
        let json = r#"{"driver":"qcow2","node-name":"n0","file":{"driver":"file","filename":"/vm/a"},"backing":{"driver":"raw","file":{"driver":"file","filename":"/vm/base"}}}"#;
        let line = [
            "qemu-storage-daemon",
            "--blockdev",
            json,
            "--blockdev",
            "driver=file,node-name=p,filename=b,read-only=on",
            "--blockdev",
            "driver=qcow2,node-name=q,file.driver=file,file.filename=/vm/c",
            "-drive",
            "file=json:{\"driver\":\"raw\"\\,\"file.filename\":\"x\"}",
        ];
        assert_eq!(
            told(Program::Daemon, &line),
            [
                row("n0", "/vm/a", false),
                row("p", "/run/here/b", true),
                row("q", "/vm/c", false),
            ]
        );
    }

    #[test]
    fn what_is_served_is_the_last_word() {
        let line = ["qemu-nbd", "-c", "/dev/nbd0", "-f", "qcow2", "disk"];
        assert_eq!(
            told(Program::Nbd, &line),
            [row("hda", "/run/here/disk", false)]
        );
        assert_eq!(told(Program::Nbd, &["qemu-nbd", "--version"]), []);
    }

    #[test]
    fn programs_are_known_by_their_names() {
        for (command, is) in [
            (&b"/usr/bin/qemu-system-x86_64"[..], Some(Program::Emulator)),
            (b"/usr/bin/kvm", Some(Program::Emulator)),
            (b"qemu-nbd", Some(Program::Nbd)),
            (b"qemu-storage-daemon", Some(Program::Daemon)),
            (b"qemu-img", None),
            (b"", None),
        ] {
            assert_eq!(Program::of(command), is);
        }
    }
}
