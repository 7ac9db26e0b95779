//! Processes that have a chain of images open as a machine does, and can be told what to do by their monitor: a storage
//! daemon, whose guest is an NBD client, and an emulator that has not begun to run.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::qemu::Qemu;

/// How long a process gets to come up.
const START: Duration = Duration::from_secs(60);

/// Which program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `qemu-storage-daemon`.
    Daemon,
    /// `qemu-system-x86_64`, paused.
    Emulator,
}

/// A folder with `base <- l1 <- l2 <- l3`, `sib` on `l1`, and what runs on `l3`.
#[derive(Debug)]
pub struct LiveMachine {
    dir: TempDir,
    images: PathBuf,
    kind: Kind,
    child: Option<Child>,
    qemu: Qemu,
}

/// What `l3` shows: a pattern, and where its mebibyte is.
pub const OF_L3: &[(u8, u64)] = &[(0x10, 1), (0x21, 9), (0x32, 17), (0x43, 25)];
/// What `sib` shows.
pub const OF_SIB: &[(u8, u64)] = &[(0x10, 1), (0x21, 9), (0x21, 17), (0x10, 25)];

impl LiveMachine {
    /// It runs; none after a loud line where a program is missing.
    pub fn start(kind: Kind) -> Option<Self> {
        Self::start_in(kind, tempfile::tempdir().unwrap())
    }

    /// The same with its images in this folder.
    pub fn start_in(kind: Kind, dir: TempDir) -> Option<Self> {
        let images = dir.path().canonicalize().unwrap();
        let qemu = super::qemu()?.within(&images);
        if kind == Kind::Emulator && !is_emulator_there() {
            return None;
        }
        let layer = |name: &str, below: Option<&str>, pattern: u8, mib: u64, len: u64| {
            let mut words = vec!["create", "-q", "-f", "qcow2"];
            if let Some(below) = below {
                words.extend(["-b", below, "-F", "qcow2"]);
            }
            words.push(name);
            if below.is_none() {
                words.push("64M");
            }
            qemu.img(&words);
            if len > 0 {
                qemu.io(
                    images.join(name),
                    &[format!("write -P {pattern:#x} {mib}M {len}M")],
                );
            }
        };
        layer("base", None, 0x10, 0, 32);
        layer("l1", Some("base"), 0x21, 8, 16);
        layer("l2", Some("l1"), 0x32, 16, 8);
        layer("l3", Some("l2"), 0x43, 24, 4);
        layer("sib", Some("l1"), 0, 0, 0);
        let mut machine = Self {
            dir,
            images,
            kind,
            child: None,
            qemu,
        };
        machine.run_on("l3");
        Some(machine)
    }

    /// Starts it on this image.
    pub fn run_on(&mut self, image: &str) {
        self.run_on_as(image, "qcow2");
    }

    /// The same, told that it is of this format.
    pub fn run_on_as(&mut self, image: &str, format: &str) {
        let monitor = self.monitor();
        // Left of one that was killed.
        drop(fs::remove_file(&monitor));
        let mut command = match self.kind {
            Kind::Daemon => {
                let mut command = Command::new("qemu-storage-daemon");
                command
                    .arg("--chardev")
                    .arg(format!(
                        "socket,id=m,path={},server=on,wait=off",
                        monitor.display()
                    ))
                    .args(["--monitor", "m", "--nbd-server"])
                    .arg(format!(
                        "addr.type=unix,addr.path={}",
                        self.socket().display()
                    ))
                    .arg("--blockdev")
                    .arg(format!("driver=file,node-name=f,filename={image}"))
                    .arg("--blockdev")
                    .arg(format!("driver={format},node-name=disk,file=f"))
                    .args(["--export", "nbd,id=e,node-name=disk,name=disk,writable=on"]);
                command
            }
            Kind::Emulator => {
                let mut command = Command::new("qemu-system-x86_64");
                command
                    .args([
                        "-S",
                        "-m",
                        "64",
                        "-nodefaults",
                        "-display",
                        "none",
                        "-accel",
                        "tcg",
                        "-qmp",
                    ])
                    .arg(format!("unix:{},server=on,wait=off", monitor.display()))
                    .arg("-drive")
                    .arg(format!("file={image},format={format},if=none,id=d0"))
                    .args(["-device", "virtio-blk-pci,drive=d0"]);
                command
            }
        };
        let child = command
            .current_dir(&self.images)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
        let until = Instant::now() + START;
        let is_up = |path: &Path| std::os::unix::net::UnixStream::connect(path).is_ok();
        let socket = match self.kind {
            Kind::Daemon => self.socket(),
            Kind::Emulator => monitor,
        };
        while !is_up(&socket) {
            assert!(Instant::now() < until, "{:?} does not come up", self.kind);
            sleep(Duration::from_millis(20));
        }
    }

    /// Where its monitor is.
    pub fn monitor(&self) -> PathBuf {
        self.dir.path().join("qmp.sock")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("nbd.sock")
    }

    /// The numbers of the jobs that it has.
    pub fn jobs(&self) -> Vec<String> {
        let jobs = self.ask("query-jobs");
        let jobs = jobs.as_array().unwrap().iter();
        jobs.map(|job| job["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What its monitor answers.
    pub fn ask(&self, command: &str) -> Value {
        let mut monitor = std::os::unix::net::UnixStream::connect(self.monitor()).unwrap();
        monitor.set_read_timeout(Some(START)).unwrap();
        let asked =
            format!("{{\"execute\": \"qmp_capabilities\"}}{{\"execute\": \"{command}\"}}\n");
        monitor.write_all(asked.as_bytes()).unwrap();
        let told = serde_json::Deserializer::from_reader(monitor).into_iter::<Value>();
        // The greeting, the answer to the first, events, the answer.
        let mut answers = told.filter_map(|one| one.unwrap().get("return").cloned());
        answers.nth(1).unwrap()
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Whether its process is there.
    pub fn is_running(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// The image of that name.
    pub fn at(&self, name: &str) -> PathBuf {
        self.images.join(name)
    }

    /// The tools, in the folder of the images.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Writes a mebibyte of this pattern as its guest does.
    pub fn write(&self, pattern: u8, mib: u64) {
        let told = self.client(&format!("write -P {pattern:#x} {mib}M 1M"));
        assert!(told.contains("wrote 1048576"), "{told}");
    }

    /// Asserts that its guest finds these patterns.
    pub fn guest_finds(&self, patterns: &[(u8, u64)]) {
        for (pattern, mib) in patterns {
            let told = self.client(&format!("read -P {pattern:#x} {mib}M 64k"));
            assert!(
                told.contains("read 65536") && !told.contains("failed"),
                "{told}"
            );
        }
    }

    fn client(&self, line: &str) -> String {
        let uri = format!("nbd:unix:{}:exportname=disk", self.socket().display());
        let ended = Command::new("timeout")
            .args(["60", "qemu-io", "-f", "raw", "-c", line, &uri])
            .output()
            .unwrap();
        String::from_utf8_lossy(&ended.stdout).into_owned()
            + &String::from_utf8_lossy(&ended.stderr)
    }

    /// Asserts that an image that nobody has open shows these patterns, and is sound.
    pub fn shows(&self, image: &str, patterns: &[(u8, u64)]) {
        self.qemu.check_clean(self.at(image));
        self.finds(image, patterns);
    }

    /// The same without a check: what a machine that was killed leaves may have leaks.
    pub fn finds(&self, image: &str, patterns: &[(u8, u64)]) {
        for (pattern, mib) in patterns {
            let line = format!("read -P {pattern:#x} {mib}M 64k");
            let told = self.qemu.io(self.at(image), &[line]);
            assert!(!told.contains("failed"), "{image} at {mib} MiB: {told}");
        }
    }

    /// Whether an image that nobody has open shows this pattern there.
    pub fn has(&self, image: &str, pattern: u8, mib: u64) -> bool {
        let line = format!("read -P {pattern:#x} {mib}M 64k");
        let told = self.qemu.try_io(self.at(image), &[line]);
        told.text().contains("read 65536") && !told.text().contains("failed")
    }

    /// What an image's header names as what it is built on.
    pub fn built_on(&self, image: &str) -> Option<String> {
        let told = self.qemu.img(&["info", "-U", "--output=json", image]);
        let info: Value = serde_json::from_str(&told).unwrap();
        info["backing-filename"].as_str().map(str::to_owned)
    }

    /// Our program with these words, among the images.
    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qanopy"));
        command
            .args(words.split(' '))
            .current_dir(&self.images)
            .env("HOME", self.dir.path())
            .env("XDG_STATE_HOME", self.dir.path().join("state"))
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            .stdin(Stdio::null());
        command
    }

    /// Runs it.
    pub fn q(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs it; fails the test if it fails.
    pub fn q_ok(&self, words: &str) -> String {
        let ended = self.q(words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let told = text(&ended.stdout) + &text(&ended.stderr);
        assert!(ended.status.success(), "{words}: {told}");
        told
    }

    /// Asserts that it is refused, and gives what is said.
    pub fn refused(&self, words: &str) -> String {
        let ended = self.q(words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let told = text(&ended.stdout) + &text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(4), "{words}: {told}");
        told
    }
}

impl Drop for LiveMachine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An emulator comes with libvirt, which may not be installed.
fn is_emulator_there() -> bool {
    let is_there = Command::new("qemu-system-x86_64")
        .arg("--version")
        .output()
        .is_ok_and(|ended| ended.status.success());
    if !is_there {
        let told = "qemu-system-x86_64 is not installed: nothing of a machine that runs is tested";
        let required = std::env::var_os("QANOPY_REQUIRE_LIBVIRT").is_some_and(|it| it == "1");
        assert!(!required, "{told}");
        let line = format!("SKIPPED (libvirt missing): {told}\n");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }
    is_there
}
