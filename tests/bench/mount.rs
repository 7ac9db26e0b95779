//! Reading a disk through a mount, against `qemu-storage-daemon --export type=fuse` of the same image in turns: an
//! overlay on a base, and a compressed image, read from beginning to end, and a plain one in small pieces all over it.
//!
//! `cargo bench --bench mount` needs root or `fusermount3`, and makes images of files of this machine
//! (`QANOPY_BENCH_MIB` sets another size than 512) in the temporary directory (`TMPDIR`). It prints medians of the
//! paired ratios of time, and what both processes took of memory at most. The first read finds nothing of the mount in
//! the page cache, the second all of it; the image itself is in there both times.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

mod own_mounts;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Rounds of each pair.
const ROUNDS: usize = 7;

/// Small reads, and bytes of each.
const SMALL: (u64, usize) = (4000, 4096);

/// A process that shows a disk as a file.
struct Server {
    child: Child,
    disk: PathBuf,
}

impl Server {
    fn ours(image: &Path, dir: &Path) -> Self {
        let mnt = dir.join("ours");
        fs::create_dir_all(&mnt).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_qanopy"))
            .arg("mount")
            .args([image, &mnt])
            .env("XDG_STATE_HOME", dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert!(line.contains("mounted"), "{line}");
        let disk = mnt.join("disk.raw");
        Self { child, disk }
    }

    fn theirs(image: &Path, dir: &Path) -> Self {
        let disk = dir.join("theirs.raw");
        File::create(&disk).unwrap();
        let (image, at) = (image.to_str().unwrap(), disk.to_str().unwrap());
        let node = format!(
            "driver=qcow2,node-name=disk,read-only=on,file.driver=file,file.filename={image}"
        );
        let export = format!("type=fuse,id=export,node-name=disk,mountpoint={at},writable=off");
        let child = Command::new("qemu-storage-daemon")
            .args(["--blockdev", &node, "--export", &export])
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while fs::metadata(&disk).unwrap().len() == 0 {
            assert!(Instant::now() < deadline, "no export");
            std::thread::sleep(Duration::from_millis(2));
        }
        Self { child, disk }
    }

    /// The most memory that it took, in MiB.
    fn peak(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: f64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        let _ = self.child.wait();
    }
}

/// Reads a file from beginning to end, and gives the seconds that took.
fn read_all(path: &Path) -> f64 {
    let mut file = File::open(path).unwrap();
    let mut buf = vec![0; 1 << 20];
    let started = Instant::now();
    while file.read(&mut buf).unwrap() > 0 {}
    started.elapsed().as_secs_f64()
}

/// Reads small pieces all over a file.
fn read_small(path: &Path) -> f64 {
    let file = File::open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let mut buf = vec![0; SMALL.1];
    let mut at = 1_u64;
    let started = Instant::now();
    for _ in 0..SMALL.0 {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let offset = (at >> 16) % (len / 4096) * 4096;
        file.read_exact_at(&mut buf, offset).unwrap();
    }
    started.elapsed().as_secs_f64()
}

/// Programs and libraries of this machine, one after the other.
fn disk(path: &Path, len: u64) {
    let mut file = File::create_new(path).unwrap();
    let mut dirs = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/bin")];
    let mut written = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().filter_map(Result::ok) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file()
                && let Ok(bytes) = fs::read(entry.path())
                && bytes.len() < 16 << 20
            {
                file.write_all(&bytes).unwrap();
                written += bytes.len() as u64;
            }
            if written > len {
                return file.set_len(len).unwrap();
            }
        }
    }
    file.set_len(len).unwrap();
}

fn qemu_img(dir: &Path, words: &[&str]) {
    let status = Command::new("qemu-img")
        .args(words)
        .current_dir(dir)
        .status();
    assert!(status.unwrap().success(), "{words:?}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    own_mounts::enter();
    let mib = std::env::var("QANOPY_BENCH_MIB").ok();
    let mib: u64 = mib.map_or(512, |mib| mib.parse().unwrap());
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    disk(&dir.join("raw"), mib << 20);
    qemu_img(dir, &["convert", "-O", "qcow2", "raw", "base.qcow2"]);
    qemu_img(dir, &["convert", "-c", "-O", "qcow2", "raw", "small.qcow2"]);
    let overlay = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "top.qcow2",
    ];
    qemu_img(dir, &overlay);
    let write = format!("write -P 7 {}M {}M", mib / 4, mib / 4);
    let status = Command::new("qemu-io")
        .args(["-c", &write, "top.qcow2"])
        .current_dir(dir)
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    println!("{mib} MiB; ratios of qemu-storage-daemon's time to ours: above 1 we are faster");
    for (name, what) in [("top.qcow2", "overlay"), ("small.qcow2", "compressed")] {
        let image = dir.join(name);
        let mut ratios: [Vec<f64>; 3] = Default::default();
        let (mut speed, mut peaks) = (Vec::new(), (0.0_f64, 0.0_f64));
        for round in 0..ROUNDS {
            // All of the image is in the page cache.
            fs::read(&image).unwrap();
            let run = |server: Server| {
                let times = [read_all(&server.disk), read_all(&server.disk)];
                let peak = server.peak();
                drop(server);
                (times, peak)
            };
            let small = |server: Server| read_small(&server.disk);
            let ours_first = round % 2 == 0;
            let (ours, theirs) = if ours_first {
                let ours = run(Server::ours(&image, dir));
                (ours, run(Server::theirs(&image, dir)))
            } else {
                let theirs = run(Server::theirs(&image, dir));
                (run(Server::ours(&image, dir)), theirs)
            };
            let small = (
                small(Server::ours(&image, dir)),
                small(Server::theirs(&image, dir)),
            );
            ratios[0].push(theirs.0[0] / ours.0[0]);
            ratios[1].push(theirs.0[1] / ours.0[1]);
            ratios[2].push(small.1 / small.0);
            speed.push(mib as f64 / ours.0[0]);
            peaks = (peaks.0.max(ours.1), peaks.1.max(theirs.1));
        }
        let [first, again, small] = ratios.map(median);
        println!(
            "{what:<10}  first {first:.2} ({:.0} MiB/s)  again {again:.2}  small pieces {small:.2}  \
             memory {:.0} MiB, theirs {:.0} MiB",
            median(speed),
            peaks.0,
            peaks.1
        );
    }
}
