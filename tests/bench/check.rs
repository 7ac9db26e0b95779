//! Check of an image with 1 TiB mapped in clusters of 64 KiB, against `qemu-img check`.
//!
//! `cargo bench --bench check` prints times, their ratio (the median of paired samples) and the most
//! memory this process ever had. `QANOPY_BENCH_DIR` says where the image is made: 200 MiB on disk.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

mod memory;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qanopy::host::{Access, RealHost};
use qanopy::image::{self, ImageFile, NoProgress, Verdict};

fn ours(path: &Path, size: u64) -> Duration {
    let started = Instant::now();
    let file = ImageFile::open(&RealHost, path, Access::Read).unwrap();
    let check = image::check(&file, &NoProgress).unwrap();
    let elapsed = started.elapsed();
    assert_eq!(check.verdict(), Verdict::Clean);
    assert_eq!(check.allocated_clusters, size >> 16);
    elapsed
}

fn theirs(path: &Path) -> Duration {
    let started = Instant::now();
    let status = Command::new("qemu-img")
        .arg("check")
        .arg(path)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    started.elapsed()
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}

fn main() {
    // `cargo test --benches` runs this too; then a look at a small image is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let size: u64 = if full { 1 << 40 } else { 1 << 34 };
    let samples = if full { 15 } else { 1 };
    let home = std::env::var_os("QANOPY_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(home).unwrap();
    let path = dir.path().join("mapped.qcow2");
    let made = Command::new("qemu-img")
        .args([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "preallocation=metadata",
        ])
        .arg(&path)
        .arg(size.to_string())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: qemu-img is not installed");
        return;
    }
    // Both once, so that the tables are in memory for both.
    ours(&path, size);
    theirs(&path);
    // Paired: what disturbs the machine disturbs both.
    let (mut mine, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..samples {
        let (a, b) = (ours(&path, size), theirs(&path));
        mine.push(a.as_secs_f64());
        others.push(b.as_secs_f64());
        ratios.push(b.as_secs_f64() / a.as_secs_f64());
    }
    println!("mapped             {} GiB", size >> 30);
    println!("check              {:.1} ms", median(mine) * 1e3);
    println!("qemu-img check     {:.1} ms", median(others) * 1e3);
    println!("ratio              {:.1} times", median(ratios));
    println!(
        "peak memory        {:.1} MiB",
        memory::peak_kib() as f64 / 1024.0
    );
}
