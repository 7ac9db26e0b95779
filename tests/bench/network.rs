//! Scan of images behind a network: a folder mounted by `sshfs` whose answers take 20 ms, with the images in ten
//! folders, and with a folder for each.
//!
//! `cargo bench --bench network` prints the seconds of each, the time of one image, and the most memory this process
//! ever had. `QANOPY_BENCH_IMAGES` sets another number of images than 500, `QANOPY_BENCH_DELAY` another round trip in
//! milliseconds.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

mod delay;
mod images;
mod memory;
mod own_mounts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use qanopy::forest::{ScanOptions, scan_all};
use qanopy::host::RealHost;

/// Where distributions have the program that serves files to sshfs.
const SERVERS: [&str; 3] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
];

/// A folder that is mounted by sshfs, with a delay on the way.
struct Mounted {
    at: PathBuf,
    children: [Child; 2],
}

impl Mounted {
    /// None where something for it is missing.
    fn new(dir: &Path, at: &Path, round_trip: Duration) -> Option<Self> {
        let server = SERVERS.iter().find(|path| Path::new(path).exists())?;
        let piped = |command: &mut Command| {
            let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command.stderr(Stdio::null()).spawn().ok()
        };
        let mut there = piped(&mut Command::new(server))?;
        let source = format!("host:{}", dir.display());
        let mut sshfs = Command::new("sshfs");
        sshfs.arg(source).arg(at).args(["-f", "-o", "passive"]);
        let mut here = piped(&mut sshfs)?;
        let (one_way, other_way) = (round_trip / 2, round_trip / 2);
        delay::relay(here.stdout.take()?, there.stdin.take()?, one_way);
        delay::relay(there.stdout.take()?, here.stdin.take()?, other_way);
        let mounted = Self {
            at: at.to_path_buf(),
            children: [here, there],
        };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if fs::read_dir(at).is_ok_and(|mut entries| entries.next().is_some()) {
                return Some(mounted);
            }
            thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").arg("-u").arg(&self.at).status();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Seconds of a scan of a folder with so many images.
fn scan(dir: &Path, count: usize) -> f64 {
    let started = Instant::now();
    let options = ScanOptions {
        roots: vec![dir.to_path_buf()],
        ..ScanOptions::default()
    };
    let (forest, summary) = scan_all(Arc::new(RealHost), options);
    let took = started.elapsed().as_secs_f64();
    assert_eq!(summary.images, count as u64);
    assert_eq!(summary.unreadable_dirs, []);
    assert_eq!(forest.nodes().count(), count);
    took
}

/// Moves each image into a folder of its own, with what it is built on recorded from there.
fn spread(dir: &Path, count: usize) {
    for i in 0..count {
        let folder = dir.join(format!("vm-{i:04}"));
        fs::create_dir(&folder).unwrap();
        let base = (i > 0).then_some(("../vm-0000/disk.qcow2", "qcow2"));
        images::image(&folder.join("disk.qcow2"), base);
    }
}

fn main() {
    own_mounts::enter();
    // `cargo test --benches` runs this too; then a look at few images is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let count = images::wished(if full { 500 } else { 20 });
    let wished = std::env::var("QANOPY_BENCH_DELAY").ok();
    let milliseconds = wished.and_then(|number| number.parse().ok());
    let round_trip = Duration::from_millis(milliseconds.unwrap_or(20));
    let dir = tempfile::tempdir().unwrap();
    let [trees, each, at] = ["trees", "each", "at"].map(|name| dir.path().join(name));
    for dir in [&trees, &each, &at] {
        fs::create_dir(dir).unwrap();
    }
    images::build(&trees, count);
    spread(&each, count);
    println!("images             {count}");
    println!("round trip         {} ms", round_trip.as_millis());
    for (what, from) in [("in few folders", &trees), ("a folder each", &each)] {
        println!("{what:<18} {:.3} s on this disk", scan(from, count));
        let Some(mounted) = Mounted::new(from, &at, round_trip) else {
            println!("skipped: sshfs, its server or the right to mount is missing");
            return;
        };
        let took = scan(&at, count);
        drop(mounted);
        let per_image = took * 1e3 / count as f64;
        println!("{what:<18} {took:.2} s over sshfs, {per_image:.1} ms an image");
    }
    println!(
        "peak memory        {:.1} MiB",
        memory::peak_kib() as f64 / 1024.0
    );
}
