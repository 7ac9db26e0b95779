//! Scan and tree of 10,000 images in one process, against `qemu-img info` once an image.
//!
//! `cargo bench --bench scan` prints images per second, microseconds per image, the ratio to
//! `qemu-img info` (the median of paired samples) and the most memory this process ever had.
//! `QANOPY_BENCH_IMAGES` sets another number of images.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

mod images;
mod memory;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qanopy::forest::render::{Charset, tree};
use qanopy::forest::{ScanOptions, scan_all};
use qanopy::host::RealHost;

const SAMPLES: usize = 50;

/// Scans and draws; returns how long that took and how many lines there are.
fn scan_and_tree(dir: &Path) -> (Duration, usize) {
    let started = Instant::now();
    let options = ScanOptions {
        roots: vec![dir.to_path_buf()],
        ..ScanOptions::default()
    };
    let (forest, _) = scan_all(Arc::new(RealHost), options);
    let lines = tree(&forest, 120, Charset::Unicode);
    let bytes: usize = lines.iter().map(|line| line.text().len()).sum();
    assert!(bytes > 0);
    (started.elapsed(), lines.len())
}

fn qemu_img_info(path: &Path) -> Option<Duration> {
    let started = Instant::now();
    let status = Command::new("qemu-img")
        .arg("info")
        .arg(path)
        .stdout(Stdio::null())
        .status()
        .ok()?;
    assert!(status.success(), "qemu-img info {}", path.display());
    Some(started.elapsed())
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}

fn main() {
    // `cargo test --benches` runs this too; then a look at few images is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let count = images::wished(if full { 10_000 } else { 100 });
    let samples = if full { SAMPLES } else { 3 };
    let dir = tempfile::tempdir().unwrap();
    let images = images::build(dir.path(), count);
    assert_eq!(scan_and_tree(dir.path()).1, count);

    // Paired: what disturbs the machine disturbs both.
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut ratios = Vec::new();
    for i in 0..samples {
        let (elapsed, lines) = scan_and_tree(dir.path());
        assert_eq!(lines, count);
        let each = elapsed.as_secs_f64() / count as f64;
        ours.push(each);
        if let Some(info) = qemu_img_info(&images[i * count / samples]) {
            theirs.push(info.as_secs_f64());
            ratios.push(info.as_secs_f64() / each);
        }
    }
    let each = median(ours);
    println!("images             {count}");
    println!("scan and tree      {:.1} ms", each * count as f64 * 1e3);
    println!("images a second    {:.0}", 1.0 / each);
    println!("each image         {:.1} µs", each * 1e6);
    if ratios.is_empty() {
        println!("qemu-img info      skipped: qemu-img is not installed");
    } else {
        println!("qemu-img info      {:.2} ms an image", median(theirs) * 1e3);
        println!("ratio              {:.0} times", median(ratios));
    }
    println!(
        "peak memory        {:.1} MiB",
        memory::peak_kib() as f64 / 1024.0
    );
}
