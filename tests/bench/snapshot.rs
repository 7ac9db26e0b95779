//! Taking and deleting an internal snapshot of an image whose whole disk is mapped, against
//! `qemu-img snapshot` on the same file.
//!
//! `cargo bench --bench snapshot` makes a sparse image of 1 TiB (`QANOPY_BENCH_GIB` sets another
//! size) with `preallocation=metadata`, takes and deletes a snapshot by both in turns, checks the
//! image with qemu-img, and prints the median of the paired ratios and the most memory this process
//! ever had. Every time contains the flush at the end.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use qanopy::host::{Access, Host, HostFile, RealHost};
use qanopy::image::{NewSnapshot, SnapshotChange, Unhurried};

fn qemu_img(args: &[&str], path: &Path) -> Option<Duration> {
    let started = Instant::now();
    let status = Command::new("qemu-img")
        .args(args)
        .arg(path)
        .stdout(Stdio::null())
        .status()
        .ok()?;
    assert!(status.success(), "qemu-img {args:?}");
    Some(started.elapsed())
}

fn open(path: &Path) -> Arc<dyn HostFile> {
    RealHost.open(path, Access::ReadWrite).unwrap()
}

/// Time to work the change out, and to make it.
fn ours(change: impl FnOnce() -> SnapshotChange) -> (Duration, Duration) {
    let started = Instant::now();
    let change = change();
    let worked_out = started.elapsed();
    change.commit(&Unhurried).unwrap();
    (worked_out, started.elapsed())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .unwrap()
}

fn main() {
    // `cargo test --benches` runs this too; then a look at a small image is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let wished = std::env::var("QANOPY_BENCH_GIB").ok();
    let gib = wished
        .and_then(|number| number.parse().ok())
        .unwrap_or(if full { 1024 } else { 1 });
    let pairs = if full { 5 } else { 1 };
    let dir = tempfile::tempdir().unwrap();
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
        .arg(format!("{gib}G"))
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: qemu-img is not installed");
        return;
    }

    let mut create = Vec::new();
    let mut delete = Vec::new();
    for _ in 0..pairs {
        let theirs = qemu_img(&["snapshot", "-c", "one"], &path).unwrap();
        let theirs_gone = qemu_img(&["snapshot", "-d", "one"], &path).unwrap();
        let file = open(&path);
        let new = NewSnapshot {
            name: b"one".to_vec(),
            date: SystemTime::now(),
        };
        let (worked_out, taken) =
            ours(|| SnapshotChange::create(&path, &file, &new, &Unhurried).unwrap());
        create.push((theirs, worked_out, taken));
        let (worked_out, gone) =
            ours(|| SnapshotChange::delete(&path, &file, b"1", &Unhurried).unwrap());
        delete.push((theirs_gone, worked_out, gone));
    }
    let memory = peak_memory_kib();
    qemu_img(&["check", "-q"], &path).unwrap();

    println!("mapped             {gib} GiB, {pairs} pairs");
    println!("                   qemu-img       ours  (worked out)  ratio");
    for (what, samples) in [("create", create), ("delete", delete)] {
        let seconds = Duration::as_secs_f64;
        println!(
            "{what:18} {:>7.3} s  {:>7.3} s  {:>9.3} s  {:>5.1}",
            median(samples.iter().map(|(theirs, ..)| seconds(theirs))),
            median(samples.iter().map(|(_, _, ours)| seconds(ours))),
            median(samples.iter().map(|(_, out, _)| seconds(out))),
            median(
                samples
                    .iter()
                    .map(|(theirs, _, ours)| seconds(theirs) / seconds(ours))
            ),
        );
    }
    println!("peak memory        {:.1} MiB", memory as f64 / 1024.0);
}
